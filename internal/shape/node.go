package shape

import (
	"maps"
	"slices"
	"strings"
)

// Bounds of what is learned.
const (
	// MaxDocumentBytes is the largest document that is learned from.
	MaxDocumentBytes = 256 << 10
	// MaxDepth is how deep a shape goes: of what is inside a deeper object or
	// array, it says nothing.
	MaxDepth = 32
	// MaxProperties is how many properties an object may have. One that has had
	// more, over all samples, is a map.
	MaxProperties = 64
	// MaxNodes is about how many places (properties, items) a shape has. One that
	// would get more becomes less deep.
	MaxNodes = 2000
)

// kind is a set of JSON types.
type kind uint8

const (
	kindNull kind = 1 << iota
	kindBoolean
	kindInteger
	kindNumber // an integer is a number too; the set never holds both
	kindString
	kindObject
	kindArray
	kindAny // beyond the bounds; the set never holds others beside it
)

// kindNames are in the order in which they are shown.
var kindNames = []struct {
	kind kind
	name string
}{
	{kindString, "string"}, {kindInteger, "integer"}, {kindNumber, "number"}, {kindBoolean, "boolean"},
	{kindObject, "object"}, {kindArray, "array"}, {kindNull, "null"},
}

func (k kind) names() []string {
	var names []string
	for _, known := range kindNames {
		if k&known.kind != 0 {
			names = append(names, known.name)
		}
	}
	return names
}

// width is how many bits the integers at one place need.
type width uint8

const (
	widthUnseen width = iota
	width32
	width64
	widthMore
)

// node is what is known of one place in a document.
type node struct {
	kinds  kind
	format format
	width  width

	objects    uint64 // how many objects were seen here
	properties map[string]*property
	wide       bool  // an object of any keys: all it has is in rest
	rest       *node // what is under keys that are not kept; nil: there were none
	items      *node // nil: no item was seen
}

// property is a named place in an object.
type property struct {
	node
	count uint64 // how many of the objects had it
	seen  uint64 // the last object that had it, while a document is read
}

// observe adds types, keeping to what is said at kindNumber and kindAny.
func (n *node) observe(kinds kind, f format, w width) {
	n.kinds |= kinds
	n.format = n.format.join(f)
	n.width = max(n.width, w)
	if n.kinds&kindNumber != 0 {
		n.kinds &^= kindInteger
		n.width = widthUnseen
	}
	if n.kinds&kindAny != 0 {
		*n = node{kinds: kindAny}
	}
}

// reader builds a node from a document.
type reader struct {
	scanner
	depth   int    // how deep to go
	objects uint64 // objects met so far, to know a repeated key
}

func (r *reader) value(n *node, depth int) {
	switch c := r.next(); c {
	case '{':
		r.object(n, depth)
	case '[':
		r.array(n, depth)
	case '"':
		n.observe(kindString, formatOf(r.text()), 0)
	case 't', 'f':
		r.scalar()
		n.observe(kindBoolean, 0, 0)
	case 'n':
		r.scalar()
		n.observe(kindNull, 0, 0)
	default:
		kinds, w := numberOf(r.scalar())
		n.observe(kinds, 0, w)
	}
}

func (r *reader) object(n *node, depth int) {
	n.observe(kindObject, 0, 0)
	if n.kinds&kindAny != 0 {
		r.skip()
		return
	}
	n.objects++
	if depth >= r.depth {
		r.skip()
		n.close(kindObject)
		return
	}
	r.objects++
	object := r.objects
	for more := r.opened(); more; more = r.more() {
		key := decoded(r.key())
		if n.wide || isData(key) {
			if n.rest == nil {
				n.rest = &node{}
			}
			r.value(n.rest, depth+1)
			continue
		}
		p := n.properties[key]
		if p == nil {
			p = &property{}
			if n.properties == nil {
				n.properties = map[string]*property{}
			}
			n.properties[key] = p
		}
		if p.seen != object {
			p.seen = object
			p.count++
		}
		r.value(&p.node, depth+1)
		if len(n.properties) > MaxProperties {
			n.widen()
		}
	}
}

func (r *reader) array(n *node, depth int) {
	n.observe(kindArray, 0, 0)
	if n.kinds&kindAny != 0 {
		r.skip()
		return
	}
	if depth >= r.depth {
		r.skip()
		n.close(kindArray)
		return
	}
	for more := r.opened(); more; more = r.more() {
		if n.items == nil {
			n.items = &node{}
		}
		r.value(n.items, depth+1)
	}
}

// numberOf tells what a number is. One with a fraction or an exponent is not an
// integer, whatever its value: its writer has others too.
func numberOf(text []byte) (kind, width) {
	digits := text
	negative := digits[0] == '-'
	if negative {
		digits = digits[1:]
	}
	var value uint64
	for _, c := range digits {
		if !isDigit(c) {
			return kindNumber, widthUnseen
		}
		if len(digits) < 20 {
			value = value*10 + uint64(c-'0')
		}
	}
	limit := func(bits int) uint64 {
		if negative {
			return 1 << (bits - 1)
		}
		return 1<<(bits-1) - 1
	}
	switch {
	case len(digits) >= 20:
		return kindInteger, widthMore
	case value <= limit(32):
		return kindInteger, width32
	case value <= limit(64):
		return kindInteger, width64
	}
	return kindInteger, widthMore
}

// close forgets what is in the objects or arrays here.
func (n *node) close(container kind) {
	if container&kindObject != 0 {
		n.properties, n.wide, n.rest = nil, true, &node{kinds: kindAny}
	}
	if container&kindArray != 0 {
		n.items = &node{kinds: kindAny}
	}
}

// widen makes a map of an object with named properties.
func (n *node) widen() {
	for _, p := range n.properties {
		n.addRest(&p.node, nil)
	}
	n.properties, n.wide = nil, true
}

func (n *node) addRest(o *node, c *comparison) {
	if n.rest == nil {
		n.rest = &node{}
	}
	n.rest.join(o, c)
}

// cut closes what is deeper.
func (n *node) cut(depth int) {
	if depth <= 0 {
		n.close(n.kinds)
		return
	}
	n.each(func(_ string, child *node) { child.cut(depth - 1) })
}

// each visits the places directly below, in no order.
func (n *node) each(visit func(name string, child *node)) {
	for key, p := range n.properties {
		visit(key, &p.node)
	}
	if n.rest != nil {
		visit(anyName, n.rest)
	}
	if n.items != nil {
		visit(anyName, n.items)
	}
}

// count adds up how many places there are at each depth.
func (n *node) count(levels []int) []int {
	if len(levels) == 0 {
		return levels
	}
	levels[0]++
	n.each(func(_ string, child *node) { child.count(levels[1:]) })
	return levels
}

// bounded cuts what exceeds MaxNodes, and returns how deep the node may be now.
func (n *node) bounded(depth int) int {
	sum := 0
	for level, count := range n.count(make([]int, depth+1)) {
		if sum += count; sum > MaxNodes {
			depth = max(level-1, 1)
			n.cut(depth)
			break
		}
	}
	return depth
}

// join adds what is known of other places of the same name. It may take parts of o
// over, which must not be used any more. A comparison, if there is one, is told
// what changes.
func (n *node) join(o *node, c *comparison) {
	if o.kinds == 0 || n.kinds&kindAny != 0 {
		return
	}
	if n.kinds == 0 {
		*n = *o
		c.change()
		return
	}
	kinds, f, w := n.kinds, n.format, n.width
	before := ""
	if c != nil {
		before = n.String()
	}
	arrays := n.kinds&kindArray != 0
	n.observe(o.kinds, o.format, o.width)
	switch {
	case n.kinds != kinds || n.width != w:
		c.note(TypeWidened, before, n.String())
	case n.format != f:
		c.note(FormatLost, before, n.String())
	}
	if n.kinds&kindAny != 0 {
		return
	}
	if o.kinds&kindObject != 0 {
		n.joinObjects(o, c)
	}
	switch {
	case o.items == nil:
	case n.items == nil:
		n.items = o.items
		if arrays {
			c.enter(anyName)
			c.note(TypeWidened, "no items", n.items.String())
			c.leave()
		} else {
			c.change()
		}
	default:
		c.enter(anyName)
		n.items.join(o.items, c)
		c.leave()
	}
}

func (n *node) joinObjects(o *node, c *comparison) {
	had := n.objects
	n.objects += o.objects
	if o.wide && !n.wide {
		if had > 0 {
			c.note(BecameMap, "object", "map")
		}
		c.change()
		n.widen()
	}
	if n.wide && !o.wide {
		o.widen()
	}
	for key, p := range o.properties {
		q := n.properties[key]
		if q != nil {
			continue
		}
		if n.properties == nil {
			n.properties = map[string]*property{}
		}
		n.properties[key] = p
		c.change()
		if had > 0 {
			c.enter(key)
			c.note(PropertyAdded, "absent", p.String())
			c.leave()
		}
	}
	for key, q := range n.properties {
		p := o.properties[key]
		if p == q {
			continue
		}
		required := q.count == had
		c.enter(key)
		if p != nil {
			q.count += p.count
			q.join(&p.node, c)
		}
		if required && q.count < n.objects {
			c.note(PropertyOptional, "always there", "sometimes missing")
		}
		c.leave()
	}
	switch {
	case o.rest == nil:
	case n.rest == nil:
		n.rest = o.rest
		c.change()
		if had > 0 {
			c.enter(anyName)
			c.note(PropertyAdded, "absent", n.rest.String())
			c.leave()
		}
	default:
		c.enter(anyName)
		n.rest.join(o.rest, c)
		c.leave()
	}
	if len(n.properties) > MaxProperties {
		c.note(BecameMap, "object", "map")
		n.widen()
	}
}

func (n *node) clone() *node {
	if n == nil {
		return nil
	}
	clone := *n
	clone.rest, clone.items = n.rest.clone(), n.items.clone()
	if n.properties != nil {
		clone.properties = make(map[string]*property, len(n.properties))
		for key, p := range n.properties {
			clone.properties[key] = &property{node: *p.clone(), count: p.count}
		}
	}
	return &clone
}

// String names the types for people.
func (n *node) String() string {
	if n.kinds&kindAny != 0 {
		return "anything"
	}
	names := n.kinds.names()
	for i, name := range names {
		switch {
		case name == "string" && n.format > formatPlain:
			names[i] = "string (" + formatNames[n.format] + ")"
		case name == "integer" && n.width == width64:
			names[i] = "integer (64 bits)"
		case name == "integer" && n.width == widthMore:
			names[i] = "integer (more than 64 bits)"
		case name == "object" && n.wide:
			names[i] = "map"
		}
	}
	return strings.Join(names, " or ")
}

// keys returns the names of the properties in order.
func (n *node) keys() []string { return slices.Sorted(maps.Keys(n.properties)) }
