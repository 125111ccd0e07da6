package catalogue

import (
	"encoding/json"
	"fmt"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/shape"
)

// LearnedSchema makes one JSON Schema of what was learned of an event type at each
// source and of its example; nil where there is neither.
func LearnedSchema(t *hub.EventType, shapes []json.RawMessage) (json.RawMessage, error) {
	var all shape.Shape
	for _, text := range shapes {
		var one shape.Shape
		if err := json.Unmarshal(text, &one); err != nil {
			return nil, fmt.Errorf("read what was learned of %q: %w", t.Name, err)
		}
		all.Merge(&one)
	}
	if t.Example != nil {
		if _, _, err := all.Learn(t.Example); err != nil {
			return nil, fmt.Errorf("learn from the example of %q: %w", t.Name, err)
		}
	}
	if all.Samples() == 0 {
		return nil, nil
	}
	return all.JSONSchema(t.Name, t.Description), nil
}

// Format is a notation of schemas.
type Format string

// The notations in which event types are exported.
const (
	FormatJSONSchema Format = "JSON_SCHEMA"
	FormatTypeScript Format = "TYPESCRIPT"
	FormatGraphQL    Format = "GRAPHQL"
)

// Export writes the schemas of event types, by their names, as one document.
func Export(format Format, types map[string]json.RawMessage) (string, error) {
	switch format {
	case FormatJSONSchema:
		return string(shape.JSONSchemaDocument(types)), nil
	case FormatTypeScript:
		return shape.TypeScript(types), nil
	case FormatGraphQL:
		return shape.GraphQL(types), nil
	}
	return "", hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("there is no format %q", format))
}
