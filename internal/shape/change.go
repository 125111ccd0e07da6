package shape

import (
	"cmp"
	"slices"
	"strings"
)

// ChangeKind says in which way a shape has grown.
type ChangeKind string

// The ways in which shapes grow.
const (
	// PropertyAdded is a property that no object had before.
	PropertyAdded ChangeKind = "PROPERTY_ADDED"
	// PropertyOptional is a property that every object had, until now.
	PropertyOptional ChangeKind = "PROPERTY_OPTIONAL"
	// TypeWidened is a type that was not seen at its place before, or an integer
	// of more bits.
	TypeWidened ChangeKind = "TYPE_WIDENED"
	// FormatLost is a string without the format that all had before.
	FormatLost ChangeKind = "FORMAT_LOST"
	// BecameMap is an object that has had so many properties that it is taken for
	// a map.
	BecameMap ChangeKind = "BECAME_MAP"
	// BecameShallow says that the shape got too large: what is in deep objects and
	// arrays is not known any more.
	BecameShallow ChangeKind = "BECAME_SHALLOW"
)

// Change is one difference between what was known and what is known now. It tells
// types and names, and no values.
type Change struct {
	// Path is where: a JSON pointer, with * for the items of an array and for keys
	// that are not kept. It is empty for the document itself.
	Path string     `json:"path"`
	Kind ChangeKind `json:"kind"`
	// From and To are for people: "integer", "string (date-time) or null".
	From string `json:"from"`
	To   string `json:"to"`
}

// String is the change in one line.
func (c Change) String() string {
	return cmp.Or(c.Path, "the document") + ": " + c.From + ", now " + c.To
}

// MaxChanges is how many changes one sample can report.
const MaxChanges = 100

// anyName stands in paths for items and for keys that are not kept.
const anyName = "*"

// comparison takes down what a join changes. A nil one takes down nothing.
type comparison struct {
	path    []string
	changed bool
	changes []Change
}

func (c *comparison) enter(name string) {
	if c != nil {
		c.path = append(c.path, name)
	}
}

func (c *comparison) leave() {
	if c != nil {
		c.path = c.path[:len(c.path)-1]
	}
}

// change says that the schema changes in a way that needs no report.
func (c *comparison) change() {
	if c != nil {
		c.changed = true
	}
}

func (c *comparison) note(kind ChangeKind, from, to string) {
	if c != nil {
		c.changed = true
		c.changes = append(c.changes, Change{Path: pointer(c.path), Kind: kind, From: from, To: to})
	}
}

// report returns the changes in the order of their paths.
func (c *comparison) report() []Change {
	slices.SortStableFunc(c.changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	return c.changes[:min(len(c.changes), MaxChanges)]
}

var pointerEscapes = strings.NewReplacer("~", "~0", "/", "~1")

// pointer writes a JSON pointer.
func pointer(path []string) string {
	var b strings.Builder
	for _, name := range path {
		b.WriteByte('/')
		b.WriteString(pointerEscapes.Replace(name))
	}
	return b.String()
}
