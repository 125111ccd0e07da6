package registry_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
)

// described is an event type with a schema, "" for none, and an example likewise.
func described(name, schema, example string) registry.PutEventTypeInput {
	in := registry.PutEventTypeInput{Name: name}
	if schema != "" {
		in.Schema = registry.Some(json.RawMessage(schema))
	}
	if example != "" {
		in.Example = registry.Some(json.RawMessage(example))
	}
	return in
}

const counted = `{"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}`

func TestAnEventTypeIsDescribed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := described("invoice.paid", counted, `{"n": 1}`)
	in.Description = registry.Some("An invoice was paid.")
	first, err := b.PutEventType(t.Context(), in)
	if err != nil || first.Description != "An invoice was paid." || string(first.Schema) != counted || string(first.Example) != `{"n": 1}` {
		t.Fatalf("got %+v, %v", first, err)
	}
	t.Run("what is absent stays", func(t *testing.T) {
		got, err := b.PutEventType(t.Context(), registry.PutEventTypeInput{Name: "invoice.paid", Description: registry.Some("Paid.")})
		if err != nil || got.Description != "Paid." || got.Schema == nil || got.Example == nil {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("the same again changes nothing", func(t *testing.T) {
		got, err := b.PutEventType(t.Context(), registry.PutEventTypeInput{Name: "invoice.paid", Description: registry.Some("Paid.")})
		if err != nil || got == nil || got.Description != "Paid." {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
	t.Run("a schema that the example does not fit is refused", func(t *testing.T) {
		_, err := b.PutEventType(t.Context(), described("invoice.paid", `{"required": ["m"]}`, ""))
		wrong(t, err, "INVALID input.schema: the example that is there does not fit it")
	})
	t.Run("null removes", func(t *testing.T) {
		got, err := b.PutEventType(t.Context(), registry.PutEventTypeInput{Name: "invoice.paid", Schema: registry.Null[json.RawMessage](), Description: registry.Null[string]()})
		if err != nil || got.Description != "" || got.Schema != nil || got.Example == nil {
			t.Fatalf("got %+v, %v", got, err)
		}
	})
}

func TestEverythingWrongWithAnEventType(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   registry.PutEventTypeInput
		want string
	}{
		"no name":               {described("", "", ""), "REQUIRED input.name: say which type"},
		"a pattern":             {described("p*", "", ""), "INVALID input.name: this is the type of events itself, not a pattern"},
		"too long a name":       {described(strings.Repeat("n", 1025), "", ""), "INVALID input.name: the type "},
		"one of the hub's own":  {described("hookgraph.delivery.dead", "", ""), "INVALID input.name: the hub's own"},
		"too long a text":       {registry.PutEventTypeInput{Name: "a", Description: registry.Some(strings.Repeat("ü", 2001))}, "LIMIT_EXCEEDED input.description: 2000 characters"},
		"a null character":      {registry.PutEventTypeInput{Name: "a", Description: registry.Some("\x00")}, "INVALID input.description"},
		"no schema":             {described("a", `7`, ""), "INVALID input.schema"},
		"an unknown type":       {described("a", `{"properties": {"n": {"type": "number7"}}}`, ""), "INVALID input.schema: at /properties/n"},
		"a reference elsewhere": {described("a", `{"properties": {"n": {"$ref": "https://example.com/n.json"}}}`, ""), "INVALID input.schema: at /properties/n"},
		"a wild expression":     {described("a", `{"properties": {"n": {"pattern": "(?=a)"}}}`, ""), "INVALID input.schema: at /properties/n"},
		"too large a schema":    {described("a", `{"description": "`+strings.Repeat("n", 64<<10)+`"}`, ""), "LIMIT_EXCEEDED input.schema"},
		"too large an example":  {described("a", "", `"`+strings.Repeat("n", 64<<10)+`"`), "LIMIT_EXCEEDED input.example: 65536 bytes"},
		"one that does not fit": {described("a", counted, `{"n": "secret"}`), "INVALID input.example: the example does not fit the schema: /n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := setup(t).PutEventType(t.Context(), c.in)
			wrong(t, err, c.want)
			if strings.Contains(err.Error(), "secret") {
				t.Errorf("the error holds a value: %v", err)
			}
		})
	}
}

func TestTheCatalogueHasBounds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i := range hub.MaxDescribedTypes {
		if _, err := b.PutEventType(t.Context(), described(fmt.Sprintf("type.%d", i), "", "")); err != nil {
			t.Fatal(err)
		}
	}
	_, err := b.PutEventType(t.Context(), described("one.more", "", ""))
	wrong(t, err, "LIMIT_EXCEEDED input.name: at most 1000 types")
	if _, err := b.PutEventType(t.Context(), described("type.7", counted, "")); err != nil {
		t.Fatalf("one of those that are there: %v", err)
	}
}

func TestHowLongASourceMayBeSilent(t *testing.T) {
	t.Parallel()
	b := setup(t)
	src, err := b.CreateSource(t.Context(), with(open("a"), func(in *registry.CreateSourceInput) { in.SilentAfter = registry.Some(time.Hour) }))
	if err != nil || src.SilentAfter != time.Hour {
		t.Fatalf("got %+v, %v", src, err)
	}
	_, err = b.UpdateSource(t.Context(), registry.UpdateSourceInput{ID: src.ID, SilentAfter: registry.Some(time.Second)})
	wrong(t, err, "INVALID input.silentAfter: PT1M to P366D")
	src, err = b.UpdateSource(t.Context(), registry.UpdateSourceInput{ID: src.ID, SilentAfter: registry.Null[time.Duration]()})
	if err != nil || src.SilentAfter != 0 {
		t.Fatalf("got %+v, %v", src, err)
	}
}
