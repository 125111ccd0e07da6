package graph_test

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// asker makes questions from the schema.
type asker struct {
	t      *testing.T
	schema *ast.Schema
	w      *world
}

// hidden reports whether partners are refused a field.
func hidden(f *ast.FieldDefinition) bool { return f.Directives.ForName("hiddenFromPartners") != nil }

// everyField selects all fields of a type, and of what they lead to, as deep as said.
// The fields that partners are refused have a test of their own.
func (s *asker) everyField(typeName string, depth int) string {
	definition := s.schema.Types[typeName]
	switch definition.Kind {
	case ast.Scalar, ast.Enum:
		return ""
	case ast.Interface, ast.Union:
		var out strings.Builder
		out.WriteString("{ __typename")
		for _, one := range s.schema.GetPossibleTypes(definition) {
			// Fields of one name may have another type on each: they get names of their own.
			fmt.Fprintf(&out, " ... on %s { %s }", one.Name, s.fields(one, depth, one.Name+"_"))
		}
		return out.String() + " }"
	case ast.Object, ast.InputObject:
	}
	return "{ __typename " + s.fields(definition, depth, "") + " }"
}

func (s *asker) fields(definition *ast.Definition, depth int, prefix string) string {
	var out []string
	for _, f := range definition.Fields {
		// The points left change with every question.
		if strings.HasPrefix(f.Name, "__") || hidden(f) || f.Type.Name() == "RateLimitStatus" {
			continue
		}
		arguments, ok := s.always(f)
		if !ok {
			continue
		}
		kind := s.schema.Types[f.Type.Name()].Kind
		alias := ""
		if prefix != "" {
			alias = prefix + f.Name + ": "
		}
		switch {
		case kind == ast.Scalar || kind == ast.Enum:
			out = append(out, alias+f.Name+arguments)
		case depth > 0:
			out = append(out, alias+f.Name+arguments+" "+s.everyField(f.Type.Name(), depth-1))
		}
	}
	return strings.Join(out, " ")
}

// span is what statistics are asked of: all that the test does falls into it.
var span = struct{ since, until, bucket string }{
	time.Now().UTC().Truncate(time.Hour).Add(-time.Hour).Format(time.RFC3339),
	time.Now().UTC().Truncate(time.Hour).Add(3 * time.Hour).Format(time.RFC3339), "PT1H",
}

// always returns what a field is asked with wherever it is: nothing, but for those of
// statistics and exports. Not ok is one that needs more.
func (s *asker) always(f *ast.FieldDefinition) (arguments string, ok bool) {
	var given []string
	for _, a := range f.Arguments {
		switch known := map[string]string{"since": span.since, "until": span.until, "bucket": span.bucket}[a.Name]; {
		case known != "" && f.Type.Name() == "StatsBucket":
			given = append(given, fmt.Sprintf("%s: %q", a.Name, known))
		case f.Name == "exportEventTypes" && a.Name == "format":
			given = append(given, "format: JSON_SCHEMA")
		case required(a.Type, a.DefaultValue):
			return "", false
		}
	}
	if len(given) > 0 {
		arguments = "(" + strings.Join(given, ", ") + ")"
	}
	return arguments, true
}

func required(of *ast.Type, fallback *ast.Value) bool { return of.NonNull && fallback == nil }

// place is where a text or an ID can be given: an argument of a field, or a field of the
// input that it is.
type place struct {
	parent string // type of the field
	field  *ast.FieldDefinition
	path   []string // the argument and the fields of inputs in it
	of     *ast.Type
}

func (p place) String() string {
	return p.parent + "." + p.field.Name + "(" + strings.Join(p.path, ".") + ")"
}

// name is that of the innermost argument or field.
func (p place) name() string { return p.path[len(p.path)-1] }

// places finds every place of a scalar type in the arguments of the fields of a type.
func (s *asker) places(parent, scalar string) []place {
	var out []place
	for _, f := range s.schema.Types[parent].Fields {
		if strings.HasPrefix(f.Name, "__") {
			continue
		}
		for _, a := range f.Arguments {
			s.walk(place{parent: parent, field: f, path: []string{a.Name}, of: a.Type}, scalar, &out)
		}
	}
	return out
}

func (s *asker) walk(at place, scalar string, out *[]place) {
	definition := s.schema.Types[at.of.Name()]
	if definition.Name == scalar {
		*out = append(*out, at)
	}
	if definition.Kind != ast.InputObject || len(at.path) > 6 {
		return
	}
	for _, f := range definition.Fields {
		s.walk(place{at.parent, at.field, append(slices.Clone(at.path), f.Name), f.Type}, scalar, out)
	}
}

// own is what A gives of its own where an ID must be given besides the one tried.
var own = map[string]string{
	"CreateSubscriptionInput.endpointId": "end",
	"UpdateSubscriptionInput.id":         "sub",
	"UpdateSourceInput.id":               "src",
}

// value fills an argument or a field of an input with what must be given, and with the
// text that is tried at the end of the path.
func (s *asker) value(of *ast.Type, where string, path []string, tried any) any {
	if of.Elem != nil {
		if len(path) == 0 && tried != nil {
			if list, many := tried.([]string); many {
				return list
			}
		}
		return []any{s.value(of.Elem, where, path, tried)}
	}
	definition := s.schema.Types[of.NamedType]
	if definition.Kind == ast.InputObject {
		out := make(map[string]any)
		if definition.Fields.ForName("dryRun") != nil {
			out["dryRun"] = true // or each answer would name another thing that was made
		}
		for _, f := range definition.Fields {
			onPath := len(path) > 0 && path[0] == f.Name
			switch {
			case onPath:
				out[f.Name] = s.value(f.Type, definition.Name+"."+f.Name, path[1:], tried)
			case required(f.Type, f.DefaultValue):
				out[f.Name] = s.value(f.Type, definition.Name+"."+f.Name, nil, nil)
			}
		}
		return out
	}
	if tried != nil {
		return tried
	}
	if definition.Kind == ast.Enum {
		return definition.EnumValues[0].Name
	}
	switch definition.Name {
	case "String":
		return "text"
	case "Int":
		return 1
	case "Float":
		return 0.5
	case "Boolean":
		return false
	case "JSON":
		return map[string]any{}
	case "Duration":
		return span.bucket
	case "DateTime":
		if strings.HasSuffix(where, ".until") {
			return span.until
		}
		return span.since
	case "ID":
		if kind := own[where]; kind != "" {
			return s.w.mine[kind]
		}
	}
	s.t.Fatalf("the test does not know what to give for %s, of type %s: teach it", where, of)
	return nil
}

// question asks for the field of a place, with a value tried there.
func (s *asker) question(p place, tried any, depth int) (query string, variables []any) {
	var declared, given []string
	for _, a := range p.field.Arguments {
		var value any
		switch {
		case a.Name == p.path[0]:
			value = s.value(a.Type, p.parent+"."+p.field.Name+"."+a.Name, p.path[1:], tried)
		case required(a.Type, a.DefaultValue) || a.Name == "until":
			value = s.value(a.Type, p.parent+"."+p.field.Name+"."+a.Name, nil, nil)
		default:
			continue
		}
		declared = append(declared, "$"+a.Name+": "+a.Type.String())
		given = append(given, a.Name+": $"+a.Name)
		variables = append(variables, a.Name, value)
	}
	asked := p.field.Name + "(" + strings.Join(given, ", ") + ") " + s.everyField(p.field.Type.Name(), depth)
	operation := strings.ToLower(p.parent)
	if !slices.Contains([]string{"query", "mutation", "subscription"}, operation) {
		operation = "query"
		declared = append(declared, "$_own: ID!")
		variables = append(variables, "_own", s.ownNode(p.parent))
		asked = "node(id: $_own) { ... on " + p.parent + " { " + asked + " } }"
	}
	return operation + "(" + strings.Join(declared, ", ") + ") { " + asked + " }", variables
}

// prefixes are those of the IDs of each type that has some.
var prefixes = map[string]string{
	"Source": "src", "Event": "evt", "Rejection": "rej", "Endpoint": "end", "EventSubscription": "sub", "Delivery": "dlv",
	"Attempt": "att", "ApiKey": "key", "Partner": "prt", "Replay": "rpl", "EventType": "ety",
}

// ownNode is a thing of A of a type; where it can have none, it is one of nobody's.
func (s *asker) ownNode(typeName string) string {
	prefix := prefixes[typeName]
	if prefix == "" {
		s.t.Fatalf("the test does not know how to come by a %s, whose fields take arguments: teach it", typeName)
	}
	return cmp.Or(s.w.mine[prefix], hub.NewID(prefix, now()))
}

// parents are the types whose fields A can ask for by itself, but for streams.
func (s *asker) parents() []string {
	out := []string{"Query", "Mutation"}
	for _, one := range s.schema.GetPossibleTypes(s.schema.Types["Node"]) {
		out = append(out, one.Name)
	}
	for name, definition := range s.schema.Types {
		reached := slices.Contains(out, name) || name == "Subscription" || strings.HasPrefix(name, "__")
		if definition.Kind != ast.Object || reached {
			continue
		}
		for _, f := range definition.Fields {
			if len(f.Arguments) > 0 {
				s.t.Fatalf("%s.%s takes arguments, and the test does not know how to come by a %s: teach it", name, f.Name, name)
			}
		}
	}
	return out
}

// sweep asks for every field of Query, with nothing but A's own IDs, as deep as said.
func (s *asker) sweep(key string, depth int) string {
	var out strings.Builder
	for _, f := range s.schema.Query.Fields {
		if strings.HasPrefix(f.Name, "__") {
			continue
		}
		arguments, ok := s.always(f)
		questions := []string{arguments}
		if !ok {
			questions = nil
			for _, a := range f.Arguments {
				for _, id := range s.w.mine {
					switch a.Type.String() {
					case "ID!":
						questions = append(questions, fmt.Sprintf("(%s: %q)", a.Name, id))
					case "[ID!]!":
						questions = append(questions, fmt.Sprintf("(%s: [%q])", a.Name, id))
					}
				}
			}
			if slices.Sort(questions); len(questions) == 0 {
				s.t.Fatalf("the test does not know how to ask for Query.%s: teach it", f.Name)
			}
		}
		for _, arguments := range questions {
			answer := s.w.askAs(key, "{ "+f.Name+arguments+" "+s.everyField(f.Type.Name(), depth)+" }")
			if strings.Contains(answer.Raw, "VALIDATION_FAILED") || strings.Contains(answer.Raw, "_LIMIT") {
				s.t.Fatalf("the question %s%s is wrong: %s", f.Name, arguments, answer.Raw)
			}
			fmt.Fprintf(&out, "%s%s %s\n", f.Name, arguments, told(answer))
		}
	}
	return out.String()
}

func TestAPartnerSeesAndChangesNothingOfAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := &asker{t: t, schema: graph.Schema(), w: w}
	before := w.dump(s)
	if !strings.Contains(before, mark) || strings.Count(before, "__typename") < len(w.foreign)/2 {
		t.Fatalf("the operator does not see everything: %s", before)
	}

	t.Run("by asking for everything", func(t *testing.T) {
		seen := s.sweep(w.a.key, 5)
		if leaked := w.leaks(seen); len(leaked) > 0 {
			t.Errorf("A was told %q", leaked)
		}
		for kind, id := range w.mine { // or nothing was asked
			if !strings.Contains(seen, `"id":"`+id+`"`) && !strings.Contains(seen, `_id":"`+id+`"`) {
				t.Errorf("A does not see its own %s", kind)
			}
		}
		for _, text := range []string{`common`, `own partner`, `own response`, `own header`, `own echo`, `thing for all`, `\"type\":\"direct\"`} {
			if !strings.Contains(seen, text) {
				t.Errorf("A does not see %q", text)
			}
		}
	})

	foreign := func(prefix string) []string {
		return slices.DeleteFunc(slices.Clone(w.foreign), func(id string) bool { return prefix != "" && hub.IDPrefix(id) != prefix })
	}
	t.Run("by any ID in any place", func(t *testing.T) {
		tried := 0
		for _, parent := range s.parents() {
			for _, p := range s.places(parent, "ID") {
				nobodys := make(map[string]string) // the answer for an ID of a kind that nothing has
				for _, id := range foreign("") {
					tried++
					query, variables := s.question(p, id, 2)
					answer := w.askAs(w.a.key, query, variables...)
					if answer.code() == "GRAPHQL_VALIDATION_FAILED" || strings.Contains(answer.Raw, "_LIMIT") {
						t.Fatalf("%s: the question is wrong: %s\n%s", p, answer.Raw, query)
					}
					if leaked := w.leaks(answer.Raw, id); len(leaked) > 0 {
						t.Errorf("%s with %s: A was told %q", p, id, leaked)
					}
					prefix := hub.IDPrefix(id)
					if nobodys[prefix] == "" {
						nobody := hub.NewID(prefix, now())
						query, variables := s.question(p, nobody, 2)
						nobodys[prefix] = strings.ReplaceAll(told(w.askAs(w.a.key, query, variables...)), nobody, id)
						nobodys[prefix] = strings.ReplaceAll(nobodys[prefix], id, "ID")
					}
					if got := strings.ReplaceAll(told(answer), id, "ID"); got != nobodys[prefix] && id != w.once {
						t.Errorf("%s: for %s of another A is told\n%s\nand for one that does not exist\n%s", p, id, got, nobodys[prefix])
					}
				}
			}
		}
		if tried < 1000 {
			t.Errorf("only %d were tried", tried)
		}
	})
	t.Run("by all IDs at once", func(t *testing.T) {
		for _, parent := range s.parents() {
			for _, p := range s.places(parent, "ID") {
				if p.of.Elem == nil || parent == "Mutation" {
					continue
				}
				for part := range slices.Chunk(w.foreign, 90) {
					for _, id := range w.mine {
						part = append(slices.Clone(part), id)
					}
					query, variables := s.question(p, part, 3)
					answer := w.askAs(w.a.key, query, variables...)
					if leaked := w.leaks(answer.Raw); len(leaked) > 0 || answer.code() == "BAD_USER_INPUT" || answer.code() == "GRAPHQL_VALIDATION_FAILED" {
						t.Errorf("%s: A was told %q by %s", p, leaked, answer.Raw)
					}
				}
			}
		}
	})
	t.Run("by any name, key or cursor in any place", func(t *testing.T) {
		texts := []string{w.source.Slug, w.source.Name, mark + " order", w.b.endpoint.Name, w.b.subscription.Name, "only.b", "private", mark}
		for _, id := range foreign("evt") {
			texts = append(texts, mark+id)
		}
		var cursors []string
		for _, found := range regexp.MustCompile(`"(?:cursor|\w+Cursor)":"([^"]+)"`).FindAllStringSubmatch(s.sweep(operatorKey, 3), -1) {
			cursors = append(cursors, found[1])
		}
		slices.Sort(cursors)
		cursors = slices.Compact(cursors)
		if len(cursors) < 20 {
			t.Fatalf("the operator has only the cursors %v", cursors)
		}
		for _, parent := range s.parents() {
			if parent == "Mutation" { // what A names after others is its own affair
				continue
			}
			for _, p := range s.places(parent, "String") {
				tries := texts
				switch p.name() {
				case "after", "before":
					tries = cursors
				case "expression":
					tries = []string{"true", fmt.Sprintf("body.text == %q", mark), fmt.Sprintf("event.partnerId == %q", w.b.id)}
				}
				for _, text := range tries {
					query, variables := s.question(p, text, 2)
					answer := w.askAs(w.a.key, query, variables...)
					if leaked := w.leaks(answer.Raw, text); len(leaked) > 0 || answer.code() == "GRAPHQL_VALIDATION_FAILED" || strings.Contains(answer.Raw, "_LIMIT") {
						t.Errorf("%s with %q: A was told %q by %s", p, text, leaked, answer.Raw)
					}
				}
			}
		}
	})
	if after := w.dump(s); after != before {
		t.Errorf("A has changed what is not its own: it was\n%s\nand is\n%s", before, after)
	}
	t.Run("by what changes when others do something", func(t *testing.T) {
		seen := s.sweep(w.a.key, 4)
		w.busy()
		w.party("B2", "shared.*")
		if again := s.sweep(w.a.key, 4); again != seen {
			old, fresh := strings.Split(seen, "\n"), strings.Split(again, "\n")
			for i := range old {
				if old[i] != fresh[i] {
					t.Errorf("A was told\n%s\nand then\n%s", old[i], fresh[i])
				}
			}
		}
	})
}

func TestWhatPartnersAreRefusedIsAnErrorOfThatFieldAlone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	schema := graph.Schema()
	for _, f := range schema.Types["Source"].Fields {
		switch name := f.Name; {
		case strings.HasPrefix(name, "__"):
		case slices.Contains([]string{"id", "name", "slug", "kind"}, name):
			if hidden(f) {
				t.Errorf("partners are to see Source.%s", name)
			}
		case !hidden(f):
			t.Errorf("Source.%s lacks @hiddenFromPartners", name)
		default:
			selection := (&asker{t: t, schema: schema, w: w}).everyField(f.Type.Name(), 1)
			arguments, _ := (&asker{t: t}).always(f)
			query := fmt.Sprintf(`query($id: ID!) { event(id: $id) { id source { id } other: source { %s%s %s } } }`, name, arguments, selection)
			answer := w.askAs(w.a.key, query, "id", w.mine["evt"])
			if answer.code() != "FORBIDDEN" || !strings.Contains(answer.Raw, `"source":{"id":"`+w.mine["src"]+`"}`) {
				t.Errorf("Source.%s: got %s", name, answer.Raw)
			}
		}
	}
	answer := w.askAs(w.a.key, `query($id: ID!) { subscription(id: $id) { id sources { id } } }`, "id", w.mine["sub"])
	if answer.code() != "FORBIDDEN" || !strings.Contains(answer.Raw, w.mine["sub"]) {
		t.Errorf("got %s", answer.Raw)
	}

	// Without the scope, payloads are refused and the rest stands.
	key, text := auth.NewKey("no payloads", hub.RolePartner, []hub.Scope{hub.ScopeEventsRead}, time.Time{}, now())
	key.PartnerID = w.a.id
	must(t, w.store.CreateAPIKey(t.Context(), key))
	answer = w.askAs(text, `query($e: ID!, $a: ID!) { event(id: $e) { type payload rawBody headers { value } }
		node(id: $a) { ... on Attempt { id requestBody responseBody requestHeaders { value } responseHeaders { value } } } }`, "e", w.mine["evt"], "a", w.mine["att"])
	if answer.code() != "FORBIDDEN" || !strings.Contains(answer.Raw, `"type":"direct"`) || strings.Contains(answer.Raw, "own response") {
		t.Errorf("got %s", answer.Raw)
	}
	// An outsider's credential that names no partner, and one with every scope there is.
	for name, viewer := range map[string]*hub.Viewer{
		"of no partner": {Role: hub.RolePartner, Scopes: hub.Scopes()},
		"of no role":    {Scopes: hub.Scopes()},
	} {
		view := w.store.For(hub.SightOf(viewer))
		events, err := view.CountEvents(t.Context(), hub.EventFilter{})
		must(t, err)
		deliveries, err := view.CountDeliveries(t.Context(), hub.DeliveryFilter{})
		must(t, err)
		keys, err := view.CountAPIKeys(t.Context())
		must(t, err)
		if n := events + deliveries + keys + len(view.Configuration().Endpoints) + len(view.Configuration().Senders); n != 0 {
			t.Errorf("a viewer %s sees %d things", name, n)
		}
	}
}
