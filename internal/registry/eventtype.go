package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/shape"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// PutEventTypeInput is what is to be said of an event type.
type PutEventTypeInput struct {
	Name        string
	Description Optional[string]          // empty
	Schema      Optional[json.RawMessage] // none given: the learned one
	Example     Optional[json.RawMessage] // none
}

// PutEventType describes an event type, which need not have had any events yet.
func (r *Registry) PutEventType(ctx context.Context, in PutEventTypeInput) (*hub.EventType, error) {
	var p problems
	switch wrong := webhook.CheckType(in.Name); {
	case in.Name == "":
		p.add(hub.InputRequired, "say which type of events this is about, such as invoice.paid", "name")
	case strings.ContainsRune(in.Name, '*'):
		p.add(hub.InputInvalid, "this is the type of events itself, not a pattern: describe each type by its own name, without *", "name")
	case wrong != "":
		p.add(hub.InputInvalid, "the type "+wrong, "name")
	}
	if n := utf8.RuneCountInString(in.Description.Value); n > hub.MaxDescriptionLength {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("a description has at most %d characters", hub.MaxDescriptionLength), "description")
	}
	if strings.ContainsRune(in.Description.Value, 0) || !utf8.ValidString(in.Description.Value) {
		p.add(hub.InputInvalid, "a description is text in UTF-8, without null characters", "description")
	}
	if in.Schema.given() {
		checkSchema(in.Schema.Value, &p)
	}
	if len(in.Example.Value) > hub.MaxExampleBytes {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("an example has at most %d bytes as JSON", hub.MaxExampleBytes), "example")
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	var found *hub.EventType
	saved, err := r.store.PutEventType(ctx, in.Name, func(one *hub.EventType, described []*hub.EventType) error {
		before := *one
		in.Description.change(&one.Description, "")
		in.Schema.change(&one.Schema, nil)
		in.Example.change(&one.Example, nil)
		if found = one; one.Described && same(&before, one) {
			return errUnchanged
		}
		return fitsCatalogue(one, described, in)
	})
	return switched(found, saved, err)
}

func same(a, b *hub.EventType) bool {
	return a.Description == b.Description && string(a.Schema) == string(b.Schema) && string(a.Example) == string(b.Example)
}

// checkSchema notes what is wrong with a schema, and where.
func checkSchema(text json.RawMessage, p *problems) {
	_, err := shape.Compile(text)
	if err == nil {
		return
	}
	code := hub.InputInvalid
	if len(text) > shape.MaxSchemaBytes {
		code = hub.InputLimitExceeded
	}
	p.add(code, schemaProblem(err), "schema")
}

func schemaProblem(err error) string {
	var at *shape.SchemaError
	if errors.As(err, &at) && at.Path != "" {
		return "at " + at.Path + ": " + at.Reason
	}
	if at != nil {
		return at.Reason
	}
	return err.Error()
}

// fitsCatalogue says whether an example fits the schema beside it, and whether there is
// room for both.
func fitsCatalogue(one *hub.EventType, described []*hub.EventType, in PutEventTypeInput) error {
	var p problems
	if one.Schema != nil && one.Example != nil {
		if validator, err := shape.Compile(one.Schema); err == nil { // what is new was checked before
			if err := validator.Validate(one.Example); err != nil {
				field, advice := "example", "the example does not fit the schema: "
				if !in.Example.given() {
					field, advice = "schema", "the example that is there does not fit it; give another one or null: "
				}
				p.add(hub.InputInvalid, advice+err.Error(), field)
			}
		}
	}
	count, bytes := 0, sizeOf(one)
	for _, other := range described {
		if other.ID != one.ID {
			count++
			bytes += sizeOf(other)
		}
	}
	if count >= hub.MaxDescribedTypes || bytes > hub.MaxDescribedBytes {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d types are described, with %d bytes together",
			hub.MaxDescribedTypes, hub.MaxDescribedBytes), "name")
	}
	return p.err()
}

func sizeOf(t *hub.EventType) int { return len(t.Description) + len(t.Schema) + len(t.Example) }
