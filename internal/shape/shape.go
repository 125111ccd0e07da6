package shape

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Why a document is not learned from.
var (
	// ErrTooLarge is a document of more than MaxDocumentBytes.
	ErrTooLarge = fmt.Errorf("more than %d bytes", MaxDocumentBytes)
	// ErrNotJSON is a document that is not valid JSON.
	ErrNotJSON = errors.New("not JSON")
)

// Shape is what is known of the documents of one kind. The zero value knows
// nothing. It is not safe for concurrent use.
type Shape struct {
	samples uint64
	root    node
	depth   int // how deep it may be; 0: MaxDepth
}

// Samples is how many documents it was learned from.
func (s *Shape) Samples() uint64 { return s.samples }

// Learn adds a document. It reports whether more is known now than counts (if not,
// the schema is the same as before), and in which ways documents differ from those
// before: the first document changes what is known and differs from nothing. There
// are at most [MaxChanges] differences.
//
// A document that cannot be learned from (ErrTooLarge, ErrNotJSON) changes nothing.
// Of two members with the same key, both are learned.
func (s *Shape) Learn(doc []byte) (changed bool, drift []Change, err error) {
	if len(doc) > MaxDocumentBytes {
		return false, nil, ErrTooLarge
	}
	if !json.Valid(doc) {
		return false, nil, ErrNotJSON
	}
	sample := Shape{samples: 1, depth: s.limit()}
	r := reader{scanner: scanner{data: doc}, depth: sample.depth}
	r.value(&sample.root, 0)
	sample.depth = sample.root.bounded(sample.depth)
	changed, drift = s.add(&sample)
	return changed, drift, nil
}

// Merge adds what another shape knows, which stays as it is, and reports what
// [Shape.Learn] reports.
func (s *Shape) Merge(other *Shape) (changed bool, drift []Change) {
	return s.add(&Shape{samples: other.samples, root: *other.root.clone(), depth: other.depth})
}

func (s *Shape) limit() int {
	if s.depth == 0 {
		return MaxDepth
	}
	return s.depth
}

// add takes another shape over.
func (s *Shape) add(other *Shape) (changed bool, drift []Change) {
	if other.samples == 0 {
		return false, nil
	}
	first := s.samples == 0
	s.samples += other.samples
	before := s.limit()
	s.depth = min(before, other.limit())
	if s.depth < before {
		s.root.cut(s.depth)
	}
	other.root.cut(s.depth)
	c := &comparison{}
	s.root.join(&other.root, c)
	s.depth = s.root.bounded(s.depth)
	if s.depth < before && !first {
		c.note(BecameShallow, fmt.Sprintf("%d levels", before), fmt.Sprintf("%d levels", s.depth))
	}
	if first {
		return true, nil
	}
	return c.changed, c.report()
}

// version is that of a shape's JSON.
const version = 1

// stored is the JSON of a shape.
type stored struct {
	Version int         `json:"version"`
	Samples uint64      `json:"samples"`
	Depth   int         `json:"depth,omitempty"`
	Root    *storedNode `json:"root,omitempty"`
}

type storedNode struct {
	Types      []string               `json:"types,omitempty"` // none: anything
	Format     string                 `json:"format,omitempty"`
	Width      width                  `json:"width,omitempty"`
	Objects    uint64                 `json:"objects,omitempty"`
	Count      uint64                 `json:"count,omitempty"` // of a property
	Map        bool                   `json:"map,omitempty"`
	Properties map[string]*storedNode `json:"properties,omitempty"`
	Rest       *storedNode            `json:"rest,omitempty"`
	Items      *storedNode            `json:"items,omitempty"`
}

// MarshalJSON writes the shape so that another process, or a later version of this
// package, can go on learning.
func (s *Shape) MarshalJSON() ([]byte, error) {
	out := stored{Version: version, Samples: s.samples, Depth: s.depth}
	if s.samples > 0 {
		out.Root = s.root.stored()
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON wrote, and holds it to the bounds and to the
// rules of keys that hold now.
func (s *Shape) UnmarshalJSON(data []byte) error {
	var in stored
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if in.Version != version {
		return fmt.Errorf("a shape of version %d: this program knows version %d", in.Version, version)
	}
	read := Shape{samples: in.Samples, depth: MaxDepth}
	if in.Depth > 0 && in.Depth < MaxDepth {
		read.depth = in.Depth
	}
	switch {
	case in.Samples == 0:
		*s = Shape{}
		return nil
	case in.Root == nil:
		return errors.New("a shape without a root")
	}
	root, err := in.Root.node(0)
	if err != nil {
		return err
	}
	read.root = *root
	read.root.cut(read.depth)
	read.depth = read.root.bounded(read.depth)
	*s = read
	return nil
}

func (n *node) stored() *storedNode {
	if n == nil {
		return nil
	}
	out := &storedNode{Types: n.kinds.names(), Width: n.width, Objects: n.objects, Map: n.wide}
	if n.format > formatPlain {
		out.Format = formatNames[n.format]
	}
	if len(n.properties) > 0 {
		out.Properties = make(map[string]*storedNode, len(n.properties))
	}
	for key, p := range n.properties {
		out.Properties[key] = p.stored()
		out.Properties[key].Count = p.count
	}
	out.Rest, out.Items = n.rest.stored(), n.items.stored()
	return out
}

func (in *storedNode) node(depth int) (*node, error) {
	if in == nil {
		return nil, errors.New("a shape with a hole")
	}
	if depth > MaxDepth+1 || len(in.Types) == 0 {
		return &node{kinds: kindAny}, nil
	}
	n := &node{}
	for _, name := range in.Types {
		i := slices.IndexFunc(kindNames, func(known struct {
			kind kind
			name string
		}) bool {
			return known.name == name
		})
		if i < 0 {
			return nil, errors.New("a shape with a type that JSON does not have")
		}
		n.kinds |= kindNames[i].kind
	}
	if n.kinds&kindString != 0 {
		n.format = formatPlain
		if i := slices.Index(formatNames[:], in.Format); i > int(formatPlain) {
			n.format = format(i)
		}
	}
	if n.kinds&kindInteger != 0 {
		n.width = min(max(in.Width, width32), widthMore)
	}
	n.observe(0, 0, 0)
	if n.kinds&kindObject != 0 {
		if err := in.object(n, depth); err != nil {
			return nil, err
		}
	}
	if n.kinds&kindArray != 0 && in.Items != nil {
		items, err := in.Items.node(depth + 1)
		if err != nil {
			return nil, err
		}
		n.items = items
	}
	return n, nil
}

func (in *storedNode) object(n *node, depth int) error {
	n.objects, n.wide = in.Objects, in.Map
	if in.Rest != nil {
		rest, err := in.Rest.node(depth + 1)
		if err != nil {
			return err
		}
		n.rest = rest
	}
	for key, stored := range in.Properties {
		p, err := stored.node(depth + 1)
		if err != nil {
			return err
		}
		if n.wide || isData(key) {
			n.addRest(p, nil)
			continue
		}
		if n.properties == nil {
			n.properties = map[string]*property{}
		}
		n.properties[key] = &property{node: *p, count: min(stored.Count, in.Objects)}
	}
	if len(n.properties) > MaxProperties {
		n.widen()
	}
	return nil
}
