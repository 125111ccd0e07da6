package gate_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/graph/gate/gatetest"
)

func newGate(t testing.TB) *gate.Gate {
	t.Helper()
	g, err := gate.New(graph.Schema(), gate.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// cpu is the processor time that this process has taken, which a busy machine makes no
// longer.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func TestHostileDocumentsAreRefusedCheaply(t *testing.T) {
	g := newGate(t) // not parallel: it measures time
	for _, c := range gatetest.Documents() {
		began := cpu(t)
		_, errs := g.Admit(c.Query, false)
		took := cpu(t) - began
		code := ""
		if len(errs) > 0 {
			code, _ = errs[0].Extensions["code"].(string)
		}
		if code != c.Code {
			t.Errorf("%s: got %q (%.200v), want %q", c.Name, code, errs, c.Code)
		}
		if took > time.Second { // tens of milliseconds, and some times that under the race detector
			t.Errorf("%s took %s", c.Name, took)
		}
		t.Logf("%s: %s", c.Name, took)
	}
}

// The worst that passes the structural limits must not be expensive in validation.
func TestValidationOfWhatIsAdmittedIsCheap(t *testing.T) {
	g := newGate(t)
	for name, document := range map[string]string{
		"names up to the limit":     "{ viewer { " + strings.Repeat("role ", 50) + strings.Repeat("scopes ", 50) + strings.Repeat("__typename ", 50) + "} }",
		"nested names":              "{ " + strings.Repeat("sources { nodes { id name "+strings.Repeat("events { nodes { id } } ", 6)+"} } ", 20) + "}",
		"spreads of one fragment":   "{ events { nodes { " + strings.Repeat("...A ", 50) + "} } } fragment A on Event { id type source { id name } }",
		"fragments beside another":  "{ events { nodes { " + gatetest.Numbered(29, "...F%d ") + "} } } " + gatetest.Numbered(29, "fragment F%d on Event { id type source { id name } } "),
		"fragments one in another":  "{ events { nodes { ...F0 } } } " + gatetest.Numbered(28, "fragment F%d on Event { id }  "),
		"every field, every object": "{ " + gatetest.Numbered(19, "a%d: sources { nodes { id name slug kind state url } edges { cursor node { id } } } ") + "}",
	} {
		began := cpu(t)
		_, errs := g.Admit(document, false)
		if took := cpu(t) - began; took > time.Second {
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
	for _, c := range gatetest.Documents() {
		if len(c.Query) < 10_000 {
			f.Add(c.Query)
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
