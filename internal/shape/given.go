package shape

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// Bounds of schemas that are read.
const (
	// MaxSchemaBytes is the largest schema.
	MaxSchemaBytes = 64 << 10
	// MaxSchemaDepth is how deep objects and arrays may nest in a schema.
	MaxSchemaDepth = 128
)

// given is a JSON Schema as somebody wrote it, of any draft, read for what other
// notations can say.
type given struct {
	root any
	// loops remembers which references lead back to themselves without going
	// into a property or an item, and so describe nothing.
	loops map[string]bool
}

func newGiven(schema json.RawMessage) *given {
	return &given{root: parse(schema), loops: map[string]bool{}}
}

// parse reads a schema. What is not one allows everything.
func parse(schema json.RawMessage) any {
	if len(schema) > MaxSchemaBytes*16 || !json.Valid(schema) || nesting(schema) > MaxSchemaDepth*2 {
		return true
	}
	d := json.NewDecoder(bytes.NewReader(schema))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil && err != io.EOF {
		return true
	}
	switch value.(type) {
	case map[string]any, bool:
		return value
	}
	return true
}

// nesting tells how deep a valid document nests.
func nesting(doc []byte) int {
	deepest, depth := 0, 0
	for s := (scanner{data: doc}); s.pos < len(doc); {
		switch doc[s.pos] {
		case '"':
			s.text()
			continue
		case '{', '[':
			depth++
			deepest = max(deepest, depth)
		case '}', ']':
			depth--
		}
		s.pos++
	}
	return deepest
}

// resolve follows a reference within the schema. Others, and anchors, give nil.
func (g *given) resolve(ref string) any {
	fragment, ok := strings.CutPrefix(ref, "#")
	if !ok || fragment != "" && fragment[0] != '/' {
		return nil
	}
	fragment, err := url.PathUnescape(fragment)
	if err != nil {
		return nil
	}
	value := g.root
	for _, name := range strings.Split(fragment, "/")[1:] {
		name = strings.NewReplacer("~1", "/", "~0", "~").Replace(name)
		switch at := value.(type) {
		case map[string]any:
			value = at[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i < 0 || i >= len(at) {
				return nil
			}
			value = at[i]
		default:
			return nil
		}
	}
	return value
}

// target returns what a schema refers to, and where that is.
func (g *given) target(schema map[string]any) (ref string, target any) {
	ref, ok := schema["$ref"].(string)
	if !ok {
		return "", nil
	}
	target = g.resolve(ref)
	switch target.(type) {
	case map[string]any, bool:
	default:
		return ref, true
	}
	if g.looping(ref, map[string]bool{}) {
		return ref, true
	}
	return ref, target
}

// looping tells whether a reference leads back to one on the way.
func (g *given) looping(ref string, way map[string]bool) bool {
	if known, ok := g.loops[ref]; ok {
		return known
	}
	if way[ref] {
		return true
	}
	way[ref] = true
	found := g.leads(g.resolve(ref), way)
	delete(way, ref)
	g.loops[ref] = found
	return found
}

// leads looks for references that apply to the same value as the schema.
func (g *given) leads(schema any, way map[string]bool) bool {
	object, ok := schema.(map[string]any)
	if !ok {
		return false
	}
	if ref, ok := object["$ref"].(string); ok && g.looping(ref, way) {
		return true
	}
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		for _, part := range list(object[keyword]) {
			if g.leads(part, way) {
				return true
			}
		}
	}
	return false
}

func list(value any) []any {
	values, _ := value.([]any)
	return values
}

func object(value any) map[string]any {
	values, _ := value.(map[string]any)
	return values
}

func text(value any) string {
	s, _ := value.(string)
	return s
}

// typesOf returns the types that a schema names, or that its keywords are about.
func typesOf(schema map[string]any) kind {
	names := list(schema["type"])
	if name := text(schema["type"]); name != "" {
		names = []any{name}
	}
	var kinds kind
	for _, known := range kindNames {
		if slices.Contains(names, any(known.name)) {
			kinds |= known.kind
		}
	}
	if kinds == 0 {
		for _, about := range []struct {
			kind     kind
			keywords []string
		}{
			{kindObject, []string{"properties", "required", "additionalProperties", "patternProperties"}},
			{kindArray, []string{"items", "prefixItems"}},
		} {
			for _, keyword := range about.keywords {
				if _, ok := schema[keyword]; ok {
					kinds |= about.kind
				}
			}
		}
	}
	if kinds&kindNumber != 0 {
		kinds &^= kindInteger
	}
	if kinds != 0 && schema["nullable"] == true {
		kinds |= kindNull
	}
	return kinds
}

func required(schema map[string]any) map[string]bool {
	names := map[string]bool{}
	for _, name := range list(schema["required"]) {
		if name, ok := name.(string); ok {
			names[name] = true
		}
	}
	return names
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// about returns what a schema says of itself to people.
func about(schema any) string {
	s := object(schema)
	title, description := strings.TrimSpace(text(s["title"])), strings.TrimSpace(text(s["description"]))
	switch {
	case description == "":
		return title
	case title == "" || title == description:
		return description
	}
	return title + "\n\n" + description
}

// names gives each thing a name of its own.
type names map[string]bool

func (n names) unique(name string) string {
	unique := name
	for i := 2; n[unique]; i++ {
		unique = name + strconv.Itoa(i)
	}
	n[unique] = true
	return unique
}

// pascal makes a type's name of any text: invoice.paid becomes InvoicePaid. It has
// letters and digits of ASCII only, and begins with a letter.
func pascal(name string) string {
	var b strings.Builder
	start := true
	for i := range len(name) {
		c := name[i]
		switch {
		case !isLetter(c) && !isDigit(c):
			start = true
			continue
		case start && isLower(c):
			c -= 'a' - 'A'
		}
		if b.Len() == 0 && isDigit(c) {
			b.WriteString("Type")
		}
		b.WriteByte(c)
		start = false
		if b.Len() >= 100 {
			break
		}
	}
	if b.Len() == 0 {
		return "Event"
	}
	return b.String()
}
