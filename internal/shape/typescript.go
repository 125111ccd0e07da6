package shape

import (
	"encoding/json"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// TypeScript writes the schemas of event types, given or learned, as one module
// that compiles under strict rules: a type for each event type (invoice.paid is
// InvoicePaid; names that coincide get a number), a type for each definition that
// they refer to, and EventTypes, which leads from the names of event types to
// their types.
//
// What TypeScript cannot say (patterns, ranges, conditions) is left out, and what
// cannot be known is unknown: references that leave the schema, and those that lead
// only to themselves.
func TypeScript(types map[string]json.RawMessage) string {
	w := &typeScript{names: names{"EventTypes": true}}
	w.out.WriteString("// The types of events, from their JSON Schemas.\n")
	order := slices.Sorted(maps.Keys(types))
	named := make(map[string]string, len(order))
	for _, name := range order {
		named[name] = w.names.unique(pascal(name))
	}
	for _, name := range order {
		w.given, w.refs, w.pending = newGiven(types[name]), map[string]string{"#": named[name]}, nil
		w.root = named[name]
		w.declare(named[name], w.given.root)
		for len(w.pending) > 0 {
			ref := w.pending[0]
			w.pending = w.pending[1:]
			w.declare(w.refs[ref], w.given.resolve(ref))
		}
	}
	w.out.WriteString("\n/** Which type the events of each name have. */\nexport interface EventTypes {\n")
	for _, name := range order {
		w.out.WriteString("  " + tsKey(name) + ": " + named[name] + ";\n")
	}
	w.out.WriteString("}\n")
	return w.out.String()
}

type typeScript struct {
	out     strings.Builder
	names   names
	given   *given
	root    string            // the name of the event type at hand
	refs    map[string]string // the names of what it refers to
	pending []string          // references that are named and not declared
}

func (w *typeScript) declare(name string, schema any) {
	w.out.WriteString("\n" + tsComment(about(schema), ""))
	typ := w.typ(schema, "")
	if strings.HasPrefix(typ, "{\n") && strings.Count(typ, "\n}") == 1 && strings.HasSuffix(typ, "\n}") {
		w.out.WriteString("export interface " + name + " " + typ + "\n")
		return
	}
	w.out.WriteString("export type " + name + " = " + typ + ";\n")
}

// typ writes a schema as a type. The indent is that of the line it begins in.
func (w *typeScript) typ(schema any, indent string) string {
	s, ok := schema.(map[string]any)
	if !ok {
		if schema == false {
			return "never"
		}
		return "unknown"
	}
	var parts []string // all of them apply
	if ref, target := w.given.target(s); ref != "" {
		parts = append(parts, w.ref(ref, target))
	}
	combined := false
	for _, keyword := range []string{"allOf", "anyOf", "oneOf"} {
		var members []string
		for _, part := range list(s[keyword]) {
			members = append(members, w.typ(part, indent))
		}
		switch {
		case len(members) == 0:
			continue
		case keyword == "allOf":
			parts = append(parts, members...)
		default:
			parts = append(parts, union(members))
		}
		combined = true
	}
	if own := w.own(s, indent); own != "" && (!combined || !w.bare(s)) {
		parts = append([]string{own}, parts...)
	}
	return intersection(parts)
}

// bare tells whether a schema says no more of objects than that they are some.
func (w *typeScript) bare(s map[string]any) bool {
	return typesOf(s) == kindObject && s["properties"] == nil && s["additionalProperties"] == nil && s["patternProperties"] == nil
}

// own writes what a schema says without referring to others.
func (w *typeScript) own(s map[string]any, indent string) string {
	if value, ok := s["const"]; ok {
		return tsLiteral(value)
	}
	if values := list(s["enum"]); len(values) > 0 {
		members := make([]string, len(values))
		for i, value := range values {
			members[i] = tsLiteral(value)
		}
		return union(members)
	}
	var members []string
	kinds := typesOf(s)
	for _, known := range kindNames {
		if kinds&known.kind == 0 {
			continue
		}
		switch known.kind {
		case kindInteger:
			members = append(members, "number")
		case kindObject:
			members = append(members, w.object(s, indent))
		case kindArray:
			members = append(members, w.array(s, indent))
		default:
			members = append(members, known.name)
		}
	}
	if len(members) == 0 {
		return ""
	}
	return union(members)
}

// ref returns the name of what a reference leads to.
func (w *typeScript) ref(ref string, target any) string {
	if _, ok := target.(map[string]any); !ok {
		return w.typ(target, "")
	}
	name, ok := w.refs[ref]
	if !ok {
		_, last, _ := cutLast(ref, "/")
		name = pascal(last)
		if w.names[name] {
			name = w.root + name
		}
		name = w.names.unique(name)
		w.refs[ref] = name
		w.pending = append(w.pending, ref)
	}
	return name
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return "", s, false
}

func (w *typeScript) object(s map[string]any, indent string) string {
	properties, needed := object(s["properties"]), required(s)
	rest, described := s["additionalProperties"]
	patterns := object(s["patternProperties"])
	for key := range needed {
		if properties[key] == nil {
			// It is there, and nothing is known of it.
			if properties = maps.Clone(properties); properties == nil {
				properties = map[string]any{}
			}
			properties[key] = true
		}
	}
	if len(properties) == 0 {
		value := "unknown"
		switch {
		case len(patterns) == 1 && (!described || rest == false):
			for _, pattern := range patterns {
				value = w.typ(pattern, indent)
			}
		case len(patterns) > 0:
		case described:
			value = w.typ(rest, indent)
		}
		return "{ [key: string]: " + value + " }"
	}
	inner := indent + "  "
	var b strings.Builder
	b.WriteString("{\n")
	for _, key := range sortedKeys(properties) {
		b.WriteString(tsComment(w.comment(properties[key]), inner))
		mark := "?: "
		if needed[key] {
			mark = ": "
		}
		b.WriteString(inner + tsKey(key) + mark + w.typ(properties[key], inner) + ";\n")
	}
	if len(patterns) > 0 || described && rest != false {
		// An index signature speaks of the named properties too.
		b.WriteString(inner + "[key: string]: unknown;\n")
	}
	b.WriteString(indent + "}")
	return b.String()
}

// comment is what a schema says of itself, with what its type does not show.
func (w *typeScript) comment(schema any) string {
	s := object(schema)
	said := about(schema)
	if f := text(s["format"]); f != "" && f != "int32" {
		note := "Format: " + f + "."
		if f == "int64" {
			note = "An integer that may exceed Number.MAX_SAFE_INTEGER, to which JSON.parse would round it."
		}
		said = strings.TrimSpace(said + "\n" + note)
	}
	if s["deprecated"] == true {
		said = strings.TrimSpace(said + "\n@deprecated")
	}
	return said
}

func (w *typeScript) array(s map[string]any, indent string) string {
	first, rest := list(s["prefixItems"]), s["items"]
	if before, ok := rest.([]any); ok { // before draft 2020-12
		first, rest = before, s["additionalItems"]
	}
	if len(first) == 0 {
		if rest == nil {
			rest = true
		}
		return elements(w.typ(rest, indent))
	}
	members := make([]string, 0, len(first)+1)
	for _, item := range first {
		members = append(members, group(w.typ(item, indent))+"?")
	}
	if rest != false {
		members = append(members, "..."+elements(w.typ(rest, indent)))
	}
	return "[" + strings.Join(members, ", ") + "]"
}

func elements(item string) string { return group(item) + "[]" }

// group puts what has an operator into parentheses.
func group(typ string) string {
	if operator(typ) {
		return "(" + typ + ")"
	}
	return typ
}

// operator tells whether a type has | or & outside of all brackets and literals.
func operator(typ string) bool {
	depth := 0
	for i := 0; i < len(typ); i++ {
		switch c := typ[i]; {
		case c == '"':
			for i++; typ[i] != '"'; i++ {
				if typ[i] == '\\' {
					i++
				}
			}
		case strings.HasPrefix(typ[i:], "/**"):
			i += strings.Index(typ[i:], "*/")
		case c == '{' || c == '[' || c == '(':
			depth++
		case c == '}' || c == ']' || c == ')':
			depth--
		case (c == '|' || c == '&') && depth == 0:
			return true
		}
	}
	return false
}

func union(members []string) string {
	if slices.Contains(members, "unknown") {
		return "unknown"
	}
	members = distinctOf(members, "never")
	if len(members) == 0 {
		return "never"
	}
	return strings.Join(members, " | ")
}

func intersection(parts []string) string {
	parts = distinctOf(parts, "unknown")
	switch len(parts) {
	case 0:
		return "unknown"
	case 1:
		return parts[0]
	}
	for i := range parts {
		parts[i] = group(parts[i])
	}
	return strings.Join(parts, " & ")
}

// distinctOf leaves repetitions out, and what adds nothing.
func distinctOf(types []string, neutral string) []string {
	var kept []string
	seen := map[string]bool{neutral: true}
	for _, typ := range types {
		if !seen[typ] {
			seen[typ] = true
			kept = append(kept, typ)
		}
	}
	return kept
}

func tsLiteral(value any) string {
	switch value := value.(type) {
	case string:
		return quoted(value)
	case bool:
		return strconv.FormatBool(value)
	case nil:
		return "null"
	case json.Number:
		f, err := value.Float64()
		if err != nil || math.IsInf(f, 0) {
			return "number"
		}
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	return "unknown"
}

// quoted writes a string as JSON does, which JavaScript reads alike.
func quoted(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

var tsIdentifier = regexp.MustCompile(`^[A-Za-z_$][A-Za-z0-9_$]*$`)

func tsKey(key string) string {
	if tsIdentifier.MatchString(key) {
		return key
	}
	return quoted(key)
}

// tsComment writes a documentation comment in lines of its own.
func tsComment(said, indent string) string {
	lines := commentLines(strings.ReplaceAll(said, "*/", "* /"))
	switch len(lines) {
	case 0:
		return ""
	case 1:
		return indent + "/** " + lines[0] + " */\n"
	}
	var b strings.Builder
	b.WriteString(indent + "/**\n")
	for _, line := range lines {
		b.WriteString(strings.TrimRight(indent+" * "+line, " ") + "\n")
	}
	b.WriteString(indent + " */\n")
	return b.String()
}

// maxComment is how much of a description is written, in bytes.
const maxComment = 4000

// commentLines splits what goes into a comment, without what could leave it.
func commentLines(said string) []string {
	if len(said) > maxComment {
		said = said[:maxComment] + "…"
	}
	said = strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\u2028' || r == '\u2029' || r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r == '\ufeff':
			return -1
		}
		return r
	}, strings.ToValidUTF8(said, "\ufffd"))
	said = strings.TrimSpace(said)
	if said == "" {
		return nil
	}
	return strings.Split(said, "\n")
}
