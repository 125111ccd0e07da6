package shape

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
)

// GraphQL writes the schemas of event types, given or learned, as the SDL of output
// types: an object type for each event type (invoice.paid is InvoicePaid) and for
// each object within, with names that GraphQL allows; a key that had to be renamed
// is in the field's description. A field is non-null where the property is required
// and not nullable.
//
//   - Integers are Int where the schema keeps them within 32 bits (format int32, or
//     minimum and maximum), and else BigInt, a scalar that is written as a JSON number.
//   - Maps, unions of different types, tuples, and what is not known are JSON, a
//     scalar of any value.
//   - A document that is no object is a scalar of its type's name.
//
// The scalars JSON and BigInt are declared where they are used. There is no Query.
func GraphQL(types map[string]json.RawMessage) string {
	w := &graphQL{names: names{}, types: map[string]string{}}
	for _, name := range []string{"Query", "Mutation", "Subscription", "String", "Int", "Float", "Boolean", "ID", "JSON", "BigInt"} {
		w.names[name] = true
	}
	order := slices.Sorted(maps.Keys(types))
	named := make(map[string]string, len(order))
	for _, name := range order {
		named[name] = w.names.unique(pascal(name))
	}
	for _, name := range order {
		w.given, w.refs, w.steps, w.objects = newGiven(types[name]), map[string]string{}, 0, 0
		root := w.look(w.given.root, 0)
		said := "Events of the type " + quoted(name) + "."
		if more := about(w.given.root); more != name { // which is the title of what was learned
			said = strings.TrimSpace(said + "\n" + more)
		}
		if root.fields() {
			w.refs["#"] = named[name]
			w.object(named[name], said, root, 0)
		} else {
			w.types[named[name]] = gqlDescription(said, "") + "scalar " + named[name] + "\n"
		}
	}
	var b strings.Builder
	b.WriteString("# The types of events, from their JSON Schemas.\n")
	if w.bigInt {
		b.WriteString("\n" + gqlDescription("An integer of any size, as a JSON number.", "") + "scalar BigInt\n")
	}
	if w.json {
		b.WriteString("\n" + gqlDescription("Any JSON value.", "") + "scalar JSON\n")
	}
	for _, name := range slices.Sorted(maps.Keys(w.types)) {
		b.WriteString("\n" + w.types[name])
	}
	return b.String()
}

// Bounds of what one event type gives.
const (
	maxObjectTypes = 2000
	maxLookSteps   = 50_000
)

type graphQL struct {
	names        names
	types        map[string]string // the SDL of what is declared, by name
	json, bigInt bool              // whether the scalars are used
	given        *given
	refs         map[string]string // the names of what the event type refers to
	steps        int               // schemas looked at
	objects      int               // object types declared
}

// view is what GraphQL can say of a schema.
type view struct {
	any        bool
	kinds      kind
	bounded    bool // integers of 32 bits
	properties map[string]any
	required   map[string]bool
	items      any
	ref        string // where it was defined
}

// fields tells whether it can be an object type.
func (v *view) fields() bool {
	return !v.any && v.kinds&^kindNull == kindObject && len(v.properties) > 0
}

// look sees through references and combinations.
func (w *graphQL) look(schema any, depth int) *view {
	s, ok := schema.(map[string]any)
	w.steps++
	if !ok || depth > MaxSchemaDepth || w.steps > maxLookSteps {
		return &view{any: true}
	}
	if ref, target := w.given.target(s); ref != "" {
		// What stands beside a reference is left out, so that whatever refers
		// to the same place has the same type.
		v := w.look(target, depth+1)
		v.ref = ref
		return v
	}
	v := w.own(s)
	parts := list(s["allOf"])
	for _, part := range parts {
		v.meet(w.look(part, depth+1))
	}
	for _, keyword := range []string{"anyOf", "oneOf"} {
		alternatives := list(s[keyword])
		if len(alternatives) == 0 {
			continue
		}
		// Alternatives beside named properties say more about the same object.
		if v.fields() {
			continue
		}
		v.meet(w.either(alternatives, depth))
	}
	return v
}

// own reads what a schema says without referring to others.
func (w *graphQL) own(s map[string]any) *view {
	v := &view{kinds: typesOf(s), properties: object(s["properties"]), required: required(s)}
	values := list(s["enum"])
	if value, ok := s["const"]; ok {
		values = []any{value}
	}
	if v.kinds == 0 {
		for _, value := range values {
			v.kinds |= kindOf(value)
		}
		if v.kinds&kindNumber != 0 {
			v.kinds &^= kindInteger
		}
	}
	if v.kinds == 0 {
		v.any = true
	}
	low, isLow := integer(s["minimum"])
	high, isHigh := integer(s["maximum"])
	v.bounded = s["format"] == "int32" || isLow && isHigh && low >= -1<<31 && high < 1<<31
	switch items := s["items"].(type) {
	case map[string]any, bool:
		if s["prefixItems"] == nil {
			v.items = items
		}
	}
	return v
}

func integer(value any) (int64, bool) {
	number, ok := value.(json.Number)
	if !ok {
		return 0, false
	}
	n, err := number.Int64()
	return n, err == nil
}

func kindOf(value any) kind {
	switch value := value.(type) {
	case nil:
		return kindNull
	case bool:
		return kindBoolean
	case string:
		return kindString
	case json.Number:
		if _, err := value.Int64(); err == nil {
			return kindInteger
		}
		return kindNumber
	case []any:
		return kindArray
	}
	return kindObject
}

// meet narrows a view to what another one says too.
func (v *view) meet(other *view) {
	switch {
	case other.any:
		return
	case v.any:
		*v = *other
		return
	}
	v.ref = "" // it is more than what was defined there
	kinds := v.kinds & other.kinds
	if v.kinds&kindNumber != 0 {
		kinds |= other.kinds & kindInteger
	}
	if other.kinds&kindNumber != 0 {
		kinds |= v.kinds & kindInteger
	}
	v.kinds = kinds
	v.bounded = v.bounded || other.bounded
	if v.items == nil {
		v.items = other.items
	}
	if len(other.properties) > 0 {
		properties := maps.Clone(other.properties)
		maps.Copy(properties, v.properties)
		v.properties = properties
	}
	if len(other.required) > 0 {
		needed := maps.Clone(other.required)
		maps.Copy(needed, v.required)
		v.required = needed
	}
}

// either is one of several, or null: a type if all but null are of one type that
// has no parts.
func (w *graphQL) either(alternatives []any, depth int) *view {
	var one *view
	nullable := false
	for _, alternative := range alternatives {
		v := w.look(alternative, depth+1)
		switch {
		case v.any:
			return v
		case v.kinds == kindNull:
			nullable = true
		case one == nil:
			one = v
		case one.kinds == v.kinds && v.kinds&(kindObject|kindArray) == 0:
			one.bounded = one.bounded && v.bounded
		default:
			return &view{any: true}
		}
	}
	if one == nil {
		return &view{any: true}
	}
	if nullable {
		one.kinds |= kindNull
	}
	return one
}

// typ returns the type of a property or item, with its exclamation mark if null is
// not one of its values.
func (w *graphQL) typ(schema any, hint string, depth int) string {
	v := w.look(schema, 0)
	mark := "!"
	if v.any || v.kinds&kindNull != 0 {
		mark = ""
	}
	if v.any {
		w.json = true
		return "JSON"
	}
	switch v.kinds &^ kindNull {
	case kindString:
		return "String" + mark
	case kindBoolean:
		return "Boolean" + mark
	case kindNumber:
		return "Float" + mark
	case kindInteger:
		if v.bounded {
			return "Int" + mark
		}
		w.bigInt = true
		return "BigInt" + mark
	case kindArray:
		if v.items != nil && depth < MaxDepth {
			return "[" + w.typ(v.items, hint, depth+1) + "]" + mark
		}
	case kindObject:
		if !v.fields() {
			break
		}
		if v.ref != "" {
			if name, ok := w.refs[v.ref]; ok {
				return name + mark
			}
			_, last, _ := cutLast(v.ref, "/")
			hint = pascal(last)
		}
		if depth >= MaxDepth && v.ref == "" || w.objects >= maxObjectTypes {
			break
		}
		name := w.names.unique(hint)
		if v.ref != "" {
			w.refs[v.ref] = name
			schema = w.given.resolve(v.ref)
		}
		w.object(name, about(schema), v, depth+1)
		return name + mark
	default: // several
	}
	w.json = true
	return "JSON" + mark
}

func (w *graphQL) object(name, said string, v *view, depth int) {
	w.objects++
	var b strings.Builder
	b.WriteString(gqlDescription(said, "") + "type " + name + " {\n")
	fields := names{}
	for _, key := range sortedKeys(v.properties) {
		field := gqlName(key)
		if field == key {
			fields[field] = true
		}
	}
	for _, key := range sortedKeys(v.properties) {
		field, said := gqlName(key), about(v.properties[key])
		if field != key {
			field = fields.unique(field)
			said = strings.TrimSpace("The property " + quoted(key) + ".\n" + said)
		}
		if f := text(object(v.properties[key])["format"]); f != "" && f != "int32" && f != "int64" {
			said = strings.TrimSpace(said + "\nFormat: " + f + ".")
		}
		typ := w.typ(v.properties[key], name+pascal(key), depth)
		if !v.required[key] {
			typ = strings.TrimSuffix(typ, "!")
		}
		b.WriteString(gqlDescription(said, "  ") + "  " + field + ": " + typ + "\n")
	}
	b.WriteString("}\n")
	w.types[name] = b.String()
}

// gqlName makes a field's name of a key.
func gqlName(key string) string {
	var b strings.Builder
	for i := range len(key) {
		c := key[i]
		switch {
		case isLetter(c) || isDigit(c) || c == '_':
			if b.Len() == 0 && isDigit(c) {
				b.WriteByte('_')
			}
			b.WriteByte(c)
		case b.Len() > 0:
			b.WriteByte('_')
		}
		if b.Len() >= 100 {
			break
		}
	}
	name := strings.TrimRight(b.String(), "_")
	if strings.HasPrefix(key, name) && strings.Trim(key[len(name):], "_") == "" {
		name = b.String() // its own underscores
	}
	if strings.HasPrefix(name, "__") {
		name = "_" + strings.TrimLeft(name, "_") // two underscores are GraphQL's own
	}
	if name == "" || name == "_" && key != "_" {
		return "field"
	}
	return name
}

// gqlDescription writes a description in lines of its own.
func gqlDescription(said, indent string) string {
	lines := commentLines(strings.ReplaceAll(said, `"""`, `\"""`))
	switch len(lines) {
	case 0:
		return ""
	case 1:
		if !strings.ContainsAny(lines[0], `"\`) {
			return indent + `"` + lines[0] + `"` + "\n"
		}
	}
	var b strings.Builder
	b.WriteString(indent + `"""` + "\n")
	for _, line := range lines {
		b.WriteString(strings.TrimRight(indent+line, " ") + "\n")
	}
	b.WriteString(indent + `"""` + "\n")
	return b.String()
}
