package graph_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/graph"
)

// A field answers the same when it is asked alone as when everything is: what is not read
// of a row is never missed.
func TestEachFieldOfAListAnswersAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, _ := b.wire("billing")
	for i := range 3 {
		must(t, b.ask(fmt.Sprintf(`mutation { publishEvent(input: {type: "t", payload: 1, dedupeKey: "key %d", orderingKey: "line %d", occurredAt: "2026-03-01T12:00:0%dZ"}) { userErrors { message } } }`, i, i, i)).problem())
	}
	must(t, b.ask(`mutation { publishEvent(input: {type: "t", payload: 1, dedupeKey: "key 0"}) { userErrors { message } } }`).problem())
	b.attempt(e, 200)
	for kind, ask := range map[string]string{
		"Event":    `{ events { nodes { %s } edges { node { deliveries { nodes { event { %[1]s } } } } } } sources { nodes { events { nodes { %[1]s } } } } }`,
		"Delivery": `{ deliveries { nodes { %s } } events { nodes { deliveries { nodes { %[1]s } } } } endpoints { nodes { deliveries { nodes { ...D } } } } } fragment D on Delivery { %[1]s }`,
	} {
		var fields []string
		for _, field := range graph.Schema().Types[kind].Fields {
			if of := graph.Schema().Types[field.Type.Name()]; !of.IsCompositeType() && field.Arguments == nil {
				fields = append(fields, field.Name)
			}
		}
		if len(fields) < 7 {
			t.Fatalf("%s has the fields %s alone", kind, fields)
		}
		whole := b.ask(fmt.Sprintf(ask, strings.Join(fields, " ")))
		for _, field := range fields {
			var want, got any
			whole.into(t, &want)
			b.ask(fmt.Sprintf(ask, field)).into(t, &got)
			want = only(want, field)
			if !reflect.DeepEqual(got, want) || !strings.Contains(whole.Raw, `"`+field+`"`) {
				text, _ := json.Marshal(got)
				t.Errorf("%s.%s alone: got %s, want %v", kind, field, text, want)
			}
		}
	}
}

// only leaves one field and what is around it.
func only(value any, field string) any {
	switch v := value.(type) {
	case []any:
		for i := range v {
			v[i] = only(v[i], field)
		}
	case map[string]any:
		for name, inner := range v {
			if around(inner) {
				v[name] = only(inner, field)
			} else if name != field {
				delete(v, name)
			}
		}
	}
	return value
}

// around reports whether a value has fields, or is a list of such or of nothing.
func around(value any) bool {
	if list, is := value.([]any); is {
		return len(list) == 0 || around(list[0])
	}
	_, is := value.(map[string]any)
	return is
}

// problem is the first thing that was wrong.
func (a *answer) problem() error {
	var told map[string]struct{ UserErrors []struct{ Message string } }
	if len(a.Errors) > 0 || json.Unmarshal(a.Data, &told) != nil {
		return fmt.Errorf("answered %s", a.Raw)
	}
	for _, one := range told {
		if len(one.UserErrors) > 0 {
			return fmt.Errorf("answered %s", a.Raw)
		}
	}
	return nil
}
