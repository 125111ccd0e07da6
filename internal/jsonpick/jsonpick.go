// Package jsonpick finds places in JSON documents by RFC 9535 paths, and hands over what
// is there byte for byte: numbers keep their digits, objects the order of their members.
package jsonpick

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/theory/jsonpath"
	"github.com/theory/jsonpath/spec"
	"github.com/tidwall/gjson"
)

// Bounds of a path. A path visits each value of a document as often as its descendant
// segments and its lists of selectors multiply.
const (
	MaxLength    = 1000
	maxDescents  = 1
	maxFilters   = 2
	maxSelectors = 16 // the product over all segments
)

// Path is a path that was read.
type Path struct{ path *jsonpath.Path }

// Error is what is wrong with a path, in a sentence for the one who gave it.
type Error struct {
	Message string
	Column  int // where in the path, from 1; 0: in all of it
}

func (e *Error) Error() string { return e.Message }

// Parse reads a path. Its errors are of type *Error.
func Parse(text string) (*Path, error) {
	if len(text) > MaxLength {
		return nil, &Error{Message: fmt.Sprintf("a path has at most %d characters", MaxLength)}
	}
	path, err := jsonpath.Parse(text)
	if err != nil {
		reason, column := err.Error(), 0
		if _, after, found := strings.Cut(reason, ": "); found { // the library's own prefix
			reason = after
		}
		const place = " at position "
		if i := strings.LastIndex(reason, place); i >= 0 {
			if at, err := strconv.Atoi(reason[i+len(place):]); err == nil {
				reason, column = reason[:i], at
			}
		}
		return nil, &Error{"this is not an RFC 9535 path, such as $.items[*]: " + reason, column}
	}
	if !Modest(path) {
		return nil, &Error{Message: "the path visits too much: use .. once and outside of filters, ? twice and without $, and few selectors in brackets"}
	}
	return &Path{path: path}, nil
}

// MustParse reads a path of the hub's own.
func MustParse(text string) *Path {
	path, err := Parse(text)
	if err != nil {
		panic(err)
	}
	return path
}

// String writes the path in its normal form, the same for all paths that mean the same
// but differ in how they are written.
func (p *Path) String() string { return p.path.String() }

// Modest reports whether a path visits each value of a document a bounded number of times:
// once for each of its few descents and lists of selectors, and not again for every value
// that a filter looks at.
func Modest(path *jsonpath.Path) bool {
	selectors := 1
	for _, segment := range path.Query().Segments() {
		if selectors *= max(1, len(segment.Selectors())); selectors > maxSelectors {
			return false
		}
	}
	bare := withoutStrings(path.String())
	outside, inside, _ := strings.Cut(bare, "?")
	return strings.Count(outside, "..") <= maxDescents && strings.Count(bare, "?") <= maxFilters &&
		!strings.Contains(inside, "..") && !strings.Contains(inside, "$")
}

// withoutStrings drops string literals and quoted names.
func withoutStrings(text string) string {
	var bare strings.Builder
	var quote byte
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == '\\':
			i++ // whatever is escaped belongs to the string
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		default:
			bare.WriteByte(c)
		}
	}
	return bare.String()
}

// Document is a JSON document in which places are looked up.
type Document struct {
	raw   gjson.Result
	value any
	known map[string]*children // of the values that were walked through, by their paths
}

// children are the members or elements of one value.
type children struct {
	members  map[string]gjson.Result
	elements []gjson.Result
}

// Read reads a document; false where it is no JSON in UTF-8. The document keeps the bytes.
func Read(raw []byte) (*Document, bool) {
	if !utf8.Valid(raw) {
		return nil, false
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var value any
	if !json.Valid(raw) || decoder.Decode(&value) != nil {
		return nil, false
	}
	return &Document{raw: gjson.ParseBytes(raw), value: value, known: make(map[string]*children)}, true
}

// IsList reports whether the whole document is a list.
func (d *Document) IsList() bool { return d.raw.IsArray() }

// Pick returns what a path leads to, in the order of the document.
func (d *Document) Pick(p *Path) []json.RawMessage {
	located := p.path.SelectLocated(d.value)
	found := make([]json.RawMessage, 0, len(located))
	for _, node := range located {
		found = append(found, json.RawMessage(d.at(node.Path).Raw))
	}
	return found
}

// at walks to a place. What it passes through is taken apart once, however many places
// are within it.
func (d *Document) at(path spec.NormalizedPath) gjson.Result {
	here := d.raw
	for depth, step := range path {
		prefix := path[:depth].String()
		inside := d.known[prefix]
		if inside == nil {
			inside = takeApart(here)
			d.known[prefix] = inside
		}
		switch step := step.(type) {
		case spec.Name:
			here = inside.members[string(step)]
		case spec.Index:
			here = inside.elements[int(step)]
		}
	}
	return here
}

func takeApart(value gjson.Result) *children {
	c := &children{}
	if value.IsObject() {
		c.members = make(map[string]gjson.Result)
	}
	value.ForEach(func(key, member gjson.Result) bool {
		if c.members != nil {
			c.members[nameOf(key)] = member // of a name twice the last, as it was decoded
		} else {
			c.elements = append(c.elements, member)
		}
		return true
	})
	return c
}

// nameOf reads a name as paths see it: the two readers differ in what they make of half a
// surrogate pair.
func nameOf(key gjson.Result) string {
	var name string
	if strings.Contains(key.Raw, `\u`) && json.Unmarshal([]byte(key.Raw), &name) == nil {
		return name
	}
	return key.String()
}
