package gate

import (
	"math"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// shape is the measure of a selection set with its fragments expanded.
type shape struct {
	nodes int            // fields, saturating
	depth int            // of nested fields
	names map[string]int // how many fields answer under each name, at the top level
}

// measurer walks a document. Each selection set of its text is visited once;
// what a fragment measures is remembered.
type measurer struct {
	limits     Limits
	fragments  map[string]*ast.FragmentDefinition
	measured   map[string]*shape // nil while the fragment is being measured
	aliases    int
	directives int
	refused    gqlerror.List
}

// measure returns why a document's structure is not admitted, nil if it is.
func (l Limits) measure(document *ast.QueryDocument) gqlerror.List {
	if len(document.Fragments) > l.Fragments {
		return refuse(hub.CodeValidationFailed, nil, "the document has %d fragments; at most %d are admitted",
			len(document.Fragments), l.Fragments)
	}
	m := &measurer{
		limits:    l,
		fragments: make(map[string]*ast.FragmentDefinition, len(document.Fragments)),
		measured:  make(map[string]*shape, len(document.Fragments)),
	}
	for _, fragment := range document.Fragments {
		m.fragments[fragment.Name] = fragment
	}
	total := 0
	for _, operation := range document.Operations {
		m.directives += len(operation.Directives)
		whole := m.selections(operation.SelectionSet)
		if m.refused != nil {
			return m.refused
		}
		roots := 0
		for _, count := range whole.names {
			roots = add(roots, count)
		}
		if roots > l.RootFields {
			return refuse(hub.CodeValidationFailed, operation.Position,
				"the operation has more than %d root fields", l.RootFields)
		}
		if operation.Operation == ast.Subscription && !m.oneStream(operation.SelectionSet, len(whole.names)) {
			return refuse(hub.CodeValidationFailed, operation.Position,
				"a subscription has exactly one root field, not of introspection and without @skip and @include")
		}
		if total = add(total, whole.nodes); total > l.Nodes {
			return refuse(hub.CodeCostLimitExceeded, operation.Position,
				"the document has more than %d fields with its fragments expanded", l.Nodes)
		}
	}
	for _, fragment := range document.Fragments { // also those that nothing spreads: validation walks them
		m.fragment(fragment.Name, fragment.Position)
		if m.refused != nil {
			return m.refused
		}
	}
	if m.aliases > l.Aliases {
		return refuse(hub.CodeValidationFailed, nil, "the document has more than %d aliases", l.Aliases)
	}
	if m.directives > l.Directives {
		return refuse(hub.CodeValidationFailed, nil, "the document has more than %d directives", l.Directives)
	}
	return nil
}

// selections measures a selection set.
func (m *measurer) selections(set ast.SelectionSet) *shape {
	sum := &shape{names: make(map[string]int, len(set))}
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			m.field(sum, s)
		case *ast.InlineFragment:
			m.directives += len(s.Directives)
			m.merge(sum, m.selections(s.SelectionSet), s.Position)
		case *ast.FragmentSpread:
			m.directives += len(s.Directives)
			m.merge(sum, m.fragment(s.Name, s.Position), s.Position)
		}
		if m.refused != nil {
			return sum
		}
	}
	return sum
}

// oneStream reports whether the root of a subscription is one field that is
// always there (GraphQL specification, 5.2.4.1). Validation misses some of it,
// and the executor does not cope with the rest.
func (m *measurer) oneStream(set ast.SelectionSet, names int) bool {
	conditional := func(directives ast.DirectiveList) bool {
		return directives.ForName("skip") != nil || directives.ForName("include") != nil
	}
	if names != 1 {
		return false
	}
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			if conditional(s.Directives) || strings.HasPrefix(s.Name, "__") {
				return false
			}
		case *ast.InlineFragment:
			if conditional(s.Directives) || !m.oneStream(s.SelectionSet, names) {
				return false
			}
		case *ast.FragmentSpread:
			definition := m.fragments[s.Name]
			if conditional(s.Directives) || definition != nil && !m.oneStream(definition.SelectionSet, names) {
				return false
			}
		}
	}
	return true
}

// field adds a field to what is measured.
func (m *measurer) field(sum *shape, f *ast.Field) {
	m.directives += len(f.Directives)
	name := f.Alias
	if name == "" {
		name = f.Name
	}
	if name != f.Name {
		m.aliases++
	}
	child := m.selections(f.SelectionSet)
	if m.refused != nil {
		return
	}
	depth := child.depth
	if f.Name == "__schema" || f.Name == "__type" {
		depth = 0 // the standard introspection query is deep; validation has a bound of its own for it
	}
	one := &shape{nodes: add(1, child.nodes), depth: depth + 1, names: map[string]int{name: 1}}
	m.merge(sum, one, f.Position)
}

// fragment measures a fragment, once.
func (m *measurer) fragment(name string, at *ast.Position) *shape {
	if known, ok := m.measured[name]; ok {
		if known == nil {
			m.refused = refuse(hub.CodeValidationFailed, at, "the fragment %q spreads itself", name)
			return &shape{}
		}
		return known
	}
	definition := m.fragments[name]
	if definition == nil {
		return &shape{} // validation says so
	}
	m.measured[name] = nil
	m.directives += len(definition.Directives)
	whole := m.selections(definition.SelectionSet)
	m.measured[name] = whole
	return whole
}

// merge adds one measure to another and checks what must hold in every selection set.
func (m *measurer) merge(sum, part *shape, at *ast.Position) {
	sum.nodes = add(sum.nodes, part.nodes)
	sum.depth = max(sum.depth, part.depth)
	if sum.depth > m.limits.Depth {
		m.refused = refuse(hub.CodeDepthLimitExceeded, at, "fields nest deeper than %d levels", m.limits.Depth)
		return
	}
	for name, count := range part.names {
		total := add(sum.names[name], count)
		if sum.names[name] = total; total > m.limits.SameField {
			m.refused = refuse(hub.CodeValidationFailed, at,
				"a selection set has more than %d fields of the same name", m.limits.SameField)
			return
		}
	}
}

// add is addition that stops at the largest int.
func add(a, b int) int {
	if a > math.MaxInt-b {
		return math.MaxInt
	}
	return a + b
}

// multiply is multiplication of non-negative numbers that stops at the largest int.
func multiply(a, b int) int {
	if a != 0 && b > math.MaxInt/a {
		return math.MaxInt
	}
	return a * b
}
