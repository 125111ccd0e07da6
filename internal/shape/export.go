package shape

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
)

// draft is the dialect of the schemas that are written.
const draft = "https://json-schema.org/draft/2020-12/schema"

// JSONSchema writes what is known as JSON Schema 2020-12, indented, with the name
// as its title. Objects stay open: properties that no sample had are allowed.
// Integers carry the format int32 or int64 where all fitted, as OpenAPI names them.
// Every sample that was learned is valid under it, formats included. A shape that
// knows nothing gives a schema that allows everything.
func (s *Shape) JSONSchema(name, description string) []byte {
	schema := s.root.schema()
	schema["$schema"] = draft
	if name != "" {
		schema["title"] = name
	}
	if description != "" {
		schema["description"] = description
	}
	return indented(schema)
}

func (n *node) schema() map[string]any {
	schema := map[string]any{}
	names := n.kinds.names()
	switch len(names) {
	case 0:
		return schema
	case 1:
		schema["type"] = names[0]
	default:
		schema["type"] = names
	}
	switch {
	case n.format > formatPlain:
		schema["format"] = formatNames[n.format]
	case n.format == formatPlain: // a format would speak of the strings
	case n.width == width32:
		schema["format"] = "int32"
	case n.width == width64:
		schema["format"] = "int64"
	}
	if n.items != nil && n.items.kinds&kindAny == 0 {
		schema["items"] = n.items.schema()
	}
	if len(n.properties) > 0 {
		properties := make(map[string]any, len(n.properties))
		var required []string
		for _, key := range n.keys() {
			p := n.properties[key]
			properties[key] = p.schema()
			if p.count == n.objects {
				required = append(required, key)
			}
		}
		schema["properties"] = properties
		if required != nil {
			schema["required"] = required
		}
	} else if n.rest != nil && n.rest.kinds&kindAny == 0 {
		// Beside named properties the rest stays open: a new name is no member of
		// the map.
		schema["additionalProperties"] = n.rest.schema()
	}
	return schema
}

// JSONSchemaDocument bundles the schemas of event types, given or learned, into one
// document: each under $defs by the name of its type, with an $id of its own so
// that its references go on meaning what they meant. What is not a schema allows
// everything.
func JSONSchemaDocument(types map[string]json.RawMessage) []byte {
	definitions := make(map[string]any, len(types))
	taken := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(types)) {
		schema := parse(types[name])
		object, ok := schema.(map[string]any)
		if !ok {
			definitions[name] = schema
			continue
		}
		id, _ := object["$id"].(string)
		if u, err := url.Parse(id); id == "" || err != nil || !u.IsAbs() || taken[id] {
			id = "urn:hookgraph:event-type:" + url.PathEscape(name)
			object["$id"] = id
		}
		taken[id] = true
		definitions[name] = object
	}
	return indented(map[string]any{"$schema": draft, "$defs": definitions})
}

// indented writes JSON for people. What it is given can be written.
func indented(value any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(value); err != nil {
		return []byte("true\n")
	}
	return b.Bytes()
}
