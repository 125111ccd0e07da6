package gate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/graph/gate"
)

func newGate(t testing.TB) *gate.Gate {
	t.Helper()
	g, err := gate.New(graph.Schema(), gate.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// hostile documents are each refused, with a code, without costing much time.
var hostile = map[string]struct{ document, code string }{
	"fragments that double":        {doubling(25), "GRAPHQL_VALIDATION_FAILED"},
	"fragments that multiply":      {multiplying(), "COST_LIMIT_EXCEEDED"},
	"more fragments than admitted": {doubling(60), "GRAPHQL_VALIDATION_FAILED"},
	"fields repeated":              {"{ " + strings.Repeat("__typename ", 1500) + "}", "GRAPHQL_VALIDATION_FAILED"},
	"fields repeated in fragments": {"{ ...A ...B } fragment A on Query { " + strings.Repeat("__typename ", 40) + "} fragment B on Query { " + strings.Repeat("__typename ", 40) + "}", "GRAPHQL_VALIDATION_FAILED"},
	"fields repeated in a spread":  {"{ " + strings.Repeat("...A ", 600) + "} fragment A on Query { __typename }", "GRAPHQL_VALIDATION_FAILED"},
	"fields repeated inline":       {"{ " + strings.Repeat("... { __typename } ", 400) + "}", "GRAPHQL_VALIDATION_FAILED"},
	"ten thousand fields":          {"{ " + strings.Repeat("__typename ", 10_000) + "}", "GRAPHQL_PARSE_FAILED"},
	"aliases":                      {"{ sources { nodes { " + numbered(300, "a%d: id ") + "} } }", "GRAPHQL_VALIDATION_FAILED"},
	"a thousand aliases":           {"{ " + numbered(1000, "a%d: __typename ") + "}", "GRAPHQL_PARSE_FAILED"},
	"root fields":                  {"{ " + numbered(30, "a%d: viewer { role } ") + "}", "GRAPHQL_VALIDATION_FAILED"},
	"directives":                   {"{ viewer { " + strings.Repeat("@include(if: true) ", 0) + "role " + strings.Repeat("@include(if: true) ", 100) + "} }", "GRAPHQL_VALIDATION_FAILED"},
	"unknown directives":           {"{ __typename " + strings.Repeat("@a ", 900) + "}", "GRAPHQL_VALIDATION_FAILED"},
	"depth":                        {deep(20), "DEPTH_LIMIT_EXCEEDED"},
	"depth in fragments":           {"{ events { nodes { ...A } } } " + chain(14), "DEPTH_LIMIT_EXCEEDED"},
	"a fragment in itself":         {"{ viewer { ...A } } fragment A on Viewer { role ...A }", "GRAPHQL_VALIDATION_FAILED"},
	"fragments in a circle":        {"{ viewer { ...A } } fragment A on Viewer { ...B } fragment B on Viewer { ...A }", "GRAPHQL_VALIDATION_FAILED"},
	"an unused circle":             {"{ viewer { role } } fragment A on Viewer { ...A }", "GRAPHQL_VALIDATION_FAILED"},
	"lists in lists":               {"{ nodes(ids: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + ") { id } }", "GRAPHQL_PARSE_FAILED"},
	"objects in objects":           {"{ events(filter: " + strings.Repeat("{a:", 450) + "1" + strings.Repeat("}", 450) + ") { totalCount } }", "GRAPHQL_VALIDATION_FAILED"},
	"variables":                    {"query(" + numbered(400, "$v%d: Int ") + ") { viewer { role } }", "GRAPHQL_VALIDATION_FAILED"},
	"operations":                   {numbered(200, "query Q%d { viewer { role } } "), ""},
	"unknown fields":               {"{ viewer { " + numbered(1500, "f%d ") + "} }", "GRAPHQL_VALIDATION_FAILED"},
	"overlapping subselections":    {"{ " + strings.Repeat("viewer { role scopes role scopes } ", 18) + strings.Repeat("sources { nodes { id name } } ", 2) + "}", ""},
	"a long comment":               {"#" + strings.Repeat("x", 1<<20) + "\n{", "GRAPHQL_PARSE_FAILED"},
	"a long string":                {`{ source(slug: "` + strings.Repeat("x", 1<<20), "GRAPHQL_PARSE_FAILED"},
	"a long block string":          {`{ source(slug: """` + strings.Repeat("\n x", 1<<19), "GRAPHQL_PARSE_FAILED"},
	"a long number":                {"{ sources(first: " + strings.Repeat("9", 1<<20) + ") { totalCount } }", "GRAPHQL_VALIDATION_FAILED"},
	"blanks":                       {strings.Repeat(" ", 1<<20), "GRAPHQL_VALIDATION_FAILED"},
	"commas":                       {strings.Repeat(",", 1<<20) + "{", "GRAPHQL_PARSE_FAILED"},
	"no UTF-8":                     {"{ \xff\xfe }", "GRAPHQL_PARSE_FAILED"},
	"nothing":                      {"", "GRAPHQL_VALIDATION_FAILED"},
	"a schema":                     {"type Query { a: Int }", "GRAPHQL_PARSE_FAILED"},
	"@defer":                       {"{ ... @defer { viewer { role } } }", "GRAPHQL_VALIDATION_FAILED"},
	"introspection in a stream":    {"subscription { __typename }", "GRAPHQL_VALIDATION_FAILED"},
	"a skipped stream":             {"subscription { eventStream @skip(if: true) { cursor } }", "GRAPHQL_VALIDATION_FAILED"},
	"an excluded stream":           {"subscription { ...A @include(if: false) } fragment A on Subscription { eventStream { cursor } }", "GRAPHQL_VALIDATION_FAILED"},
	"streams in fragments":         {"subscription { ...A ... { b: eventStream { cursor } } } fragment A on Subscription { eventStream { cursor } }", "GRAPHQL_VALIDATION_FAILED"},
	"a stream in a fragment":       {"subscription { ...A } fragment A on Subscription { eventStream { cursor } }", ""},
	"two root fields in a stream":  {"subscription { a: eventStream { cursor } b: eventStream { cursor } }", "GRAPHQL_VALIDATION_FAILED"},
}

func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// doubling expands to 2^n fields of one name.
func doubling(n int) string {
	var b strings.Builder
	b.WriteString("{ viewer { ...F0 } } ")
	for i := range n {
		fmt.Fprintf(&b, "fragment F%d on Viewer { ...F%d ... { ...F%d } } ", i, i+1, i+1)
	}
	fmt.Fprintf(&b, "fragment F%d on Viewer { role }", n)
	return b.String()
}

// multiplying expands to 20^4 fields, none beside another of its name.
func multiplying() string {
	var b strings.Builder
	b.WriteString("{ events { nodes { ...F0 } } } ")
	for i := range 4 {
		fmt.Fprintf(&b, "fragment F%d on Event { %s } ", i, numbered(20, fmt.Sprintf("a%%d: source { events { nodes { ...F%d } } } ", i+1)))
	}
	b.WriteString("fragment F4 on Event { id }")
	return b.String()
}

// deep nests fields n levels deep.
func deep(n int) string {
	return "{ events { nodes { " + strings.Repeat("deliveries { nodes { event { ", n/3) + "id" + strings.Repeat(" } } }", n/3) + " } } }"
}

// chain is fragments that nest one in another.
func chain(n int) string {
	var b strings.Builder
	b.WriteString("fragment A on Event { ...F0 } ")
	for i := range n {
		fmt.Fprintf(&b, "fragment F%d on Event { deliveries { nodes { event { ...F%d } } } } ", i, i+1)
	}
	fmt.Fprintf(&b, "fragment F%d on Event { id }", n)
	return b.String()
}

func TestHostileDocumentsAreRefusedCheaply(t *testing.T) {
	g := newGate(t) // not parallel: it measures time
	for name, c := range hostile {
		began := time.Now()
		_, errs := g.Admit(c.document, false)
		took := time.Since(began)
		code := ""
		if len(errs) > 0 {
			code, _ = errs[0].Extensions["code"].(string)
		}
		if code != c.code {
			t.Errorf("%s: got %q (%.200v), want %q", name, code, errs, c.code)
		}
		if took > time.Second { // tens of milliseconds; the machine may be busy
			t.Errorf("%s took %s", name, took)
		}
		t.Logf("%s: %s", name, took)
	}
}

// The worst that passes the structural limits must not be expensive in validation.
func TestValidationOfWhatIsAdmittedIsCheap(t *testing.T) {
	g := newGate(t)
	for name, document := range map[string]string{
		"names up to the limit":     "{ viewer { " + strings.Repeat("role ", 50) + strings.Repeat("scopes ", 50) + strings.Repeat("__typename ", 50) + "} }",
		"nested names":              "{ " + strings.Repeat("sources { nodes { id name "+strings.Repeat("events { nodes { id } } ", 6)+"} } ", 20) + "}",
		"spreads of one fragment":   "{ events { nodes { " + strings.Repeat("...A ", 50) + "} } } fragment A on Event { id type source { id name } }",
		"fragments beside another":  "{ events { nodes { " + numbered(29, "...F%d ") + "} } } " + numbered(29, "fragment F%d on Event { id type source { id name } } "),
		"fragments one in another":  "{ events { nodes { ...F0 } } } " + numbered(28, "fragment F%d on Event { id }  "),
		"every field, every object": "{ " + numbered(19, "a%d: sources { nodes { id name slug kind state url } edges { cursor node { id } } } ") + "}",
	} {
		began := time.Now()
		_, errs := g.Admit(document, false)
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s took %s (%v)", name, took, errs)
		} else {
			t.Logf("%s: %s, %d errors", name, took, len(errs))
		}
	}
}

func TestTheStandardIntrospectionQueryIsAdmitted(t *testing.T) {
	t.Parallel()
	if _, errs := newGate(t).Admit(introspection, true); errs != nil {
		t.Error(errs)
	}
}

func TestCostsAreCountedOncePerFragmentAndMultiplied(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	for document, want := range map[string]int{
		`{ events(first: 10) { ...E } } fragment E on EventConnection { nodes { ...N } totalCount } fragment N on Event { source { id } payload }`: 1 + 5 + 10*(1+1+1),
		`{ a: events(first: 1) { nodes { id } } b: events(last: 2) { edges { node { id } } } }`:                                                    2 + 3,
		`query($n: Int!) { events(first: $n) { nodes { id } } }`:                                                                                   1 + 7,
		`mutation($input: [PublishEventInput!]!) { publishEvents(input: $input) { event { id } } }`:                                                2 * (10 + 1),
		`subscription { eventStream(batchSize: 10) { events { id source { id } } } }`:                                                              10 * (1 + 1 + 1),
		`{ events(first: 2147483647) { nodes { deliveries(first: 2147483647) { nodes { attempts(first: 2147483647) { nodes { id } } } } } } }`:     1<<63 - 1,
		`{ viewer { role } __typename }`: 1,
	} {
		admitted, errs := g.Admit(document, false)
		if errs != nil {
			t.Errorf("%s: %v", document, errs)
			continue
		}
		variables := map[string]any{"n": int64(7), "input": []any{map[string]any{}, map[string]any{}}}
		if got := g.Cost(admitted.Operations[0], variables); got != want {
			t.Errorf("%s: costs %d, want %d", document, got, want)
		}
	}
}

func TestEveryRootFieldNamesItsScope(t *testing.T) {
	t.Parallel()
	schema := graph.Schema()
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation, schema.Subscription} {
		for _, field := range root.Fields {
			if strings.HasPrefix(field.Name, "__") || field.Name == "viewer" {
				continue
			}
			if field.Directives.ForName("hasScope") == nil {
				t.Errorf("%s.%s is open to everybody", root.Name, field.Name)
			}
		}
	}
}

func FuzzAdmitNeverPanics(f *testing.F) {
	for _, c := range hostile {
		if len(c.document) < 10_000 {
			f.Add(c.document)
		}
	}
	f.Add(introspection)
	g := newGate(f)
	f.Fuzz(func(t *testing.T, document string) {
		admitted, errs := g.Admit(document, false)
		if (admitted == nil) == (len(errs) == 0) {
			t.Fatalf("neither admitted nor refused: %q", document)
		}
		if admitted == nil {
			return
		}
		for _, operation := range admitted.Operations {
			if cost := g.Cost(operation, map[string]any{}); cost < 0 {
				t.Fatalf("costs %d: %q", cost, document)
			}
		}
	})
}

const introspection = `query IntrospectionQuery { __schema { description queryType { name kind } mutationType { name kind }
	subscriptionType { name kind } types { ...FullType } directives { name description isRepeatable locations
	args(includeDeprecated: true) { ...InputValue } } } }
fragment FullType on __Type { kind name description specifiedByURL isOneOf
	fields(includeDeprecated: true) { name description args(includeDeprecated: true) { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason }
	inputFields(includeDeprecated: true) { ...InputValue } interfaces { ...TypeRef }
	enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } }
fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue isDeprecated deprecationReason }
fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name
	ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }`
