// Package exec executes selection sets: generated code calls it in places where
// gqlgen's own helpers cost more than what they do. It gives the same answers and the
// same errors. What it leaves out is what this schema has no use for: goroutines for
// the items of a list, because the edges of a list are loaded together by whichever
// item comes first; contexts of fields that can have neither children nor errors;
// field middleware on fields that only read a struct; and @defer.
//
// The program in rewrite/ puts the calls into generated code; `go generate` runs it
// after gqlgen.
package exec

import (
	"context"
	"sync"
	"time"
	"unsafe"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
)

// Plan holds what is the same for all objects that one selection set is asked of,
// during one operation. Its zero value is ready; it is safe for concurrent use.
type Plan struct {
	mu         sync.RWMutex
	selections map[selectionKey]*Selection
	arguments  map[*ast.Field]map[string]any
	readable   map[selectionKey]bool
}

// Held are the fields that objects hold, by the names of type and field: true for
// scalars.
type Held map[string]map[string]bool

// selectionKey names a selection set by where it lies, and a type by where the list of
// what it implements lies.
type selectionKey struct {
	set    *ast.Selection
	length int
	of     *string
}

// Selection is a selection set with its fragments expanded for one type.
type Selection struct {
	Fields []graphql.CollectedField
	keys   []string // of the answer, each with its quotes and colon; "" for one that is there already
}

// Collect returns the fields that a selection set asks of a type.
func (p *Plan) Collect(operation *graphql.OperationContext, set ast.SelectionSet, implementors []string) *Selection {
	key := selectionKey{unsafe.SliceData(set), len(set), unsafe.SliceData(implementors)}
	p.mu.RLock()
	known := p.selections[key]
	p.mu.RUnlock()
	if known != nil {
		return known
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if known := p.selections[key]; known != nil {
		return known
	}
	selection := &Selection{Fields: graphql.CollectFields(operation, set, implementors)}
	seen := make(map[string]bool, len(selection.Fields))
	for _, field := range selection.Fields {
		name := ""
		if !seen[field.Alias] {
			name = `"` + field.Alias + `":` // a name in GraphQL needs no escaping
		}
		seen[field.Alias] = true
		selection.keys = append(selection.keys, name)
	}
	if p.selections == nil {
		p.selections = make(map[selectionKey]*Selection)
	}
	p.selections[key] = selection
	return selection
}

// Arguments returns the arguments of a field, which read makes of what the document
// and the variables say. Whoever gets them must not change them.
func (p *Plan) Arguments(
	ctx context.Context, field graphql.CollectedField, variables map[string]any,
	read func(context.Context, map[string]any) (map[string]any, error),
) (map[string]any, error) {
	p.mu.RLock()
	known := p.arguments[field.Field]
	p.mu.RUnlock()
	if known != nil {
		return known, nil
	}
	arguments, err := read(ctx, field.ArgumentMap(variables))
	if err != nil {
		return arguments, err // with the path of this very field
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.arguments == nil {
		p.arguments = make(map[*ast.Field]map[string]any)
	}
	p.arguments[field.Field] = arguments
	return arguments, nil
}

// reads reports whether everything that is selected under a field is held by objects.
func (p *Plan) reads(held Held, field graphql.CollectedField) bool {
	key := selectionKey{set: unsafe.SliceData(field.Selections), length: len(field.Selections)}
	p.mu.RLock()
	known, ok := p.readable[key]
	p.mu.RUnlock()
	if ok {
		return known
	}
	known = held.all(field.Selections)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.readable == nil {
		p.readable = make(map[selectionKey]bool)
	}
	p.readable[key] = known
	return known
}

func (h Held) all(set ast.SelectionSet) bool {
	for _, selection := range set {
		ok := false
		switch s := selection.(type) {
		case *ast.Field:
			var known, scalar bool
			if s.ObjectDefinition != nil {
				scalar, known = h[s.ObjectDefinition.Name][s.Name]
			}
			ok = s.Name == "__typename" || known && (scalar || h.all(s.SelectionSet))
		case *ast.InlineFragment:
			ok = h.all(s.SelectionSet)
		case *ast.FragmentSpread:
			ok = s.Definition != nil && h.all(s.Definition.SelectionSet)
		}
		if !ok {
			return false
		}
	}
	return true
}

// reading is the context of a part of the answer that objects hold altogether. What is
// read has no place of its own, because nothing needs one, unless something is wrong:
// then the part is resolved again with places.
type reading struct{ context.Context }

// Leaf reads a field of a scalar that an object holds. It is not ok where anything may
// be wrong: then gqlgen resolves the field, and tells what is wrong with its place.
func Leaf[T any](
	ctx context.Context, nonNull bool, value func() T,
	marshal func(context.Context, ast.SelectionSet, T) graphql.Marshaler,
) (ret graphql.Marshaler, ok bool) {
	if _, ok := ctx.(reading); ok {
		return marshal(ctx, nil, value()), true
	}
	defer func() {
		if recover() != nil { // it panics again
			ok = false
		}
	}()
	v := value()
	if at, ok := any(v).(time.Time); ok && nonNull && at.IsZero() {
		return nil, false
	}
	return marshal(ctx, nil, v), true
}

// Read reads any other field that an object holds, where objects hold everything under
// it. It is not ok where they do not, or where anything was wrong.
func Read[T any](
	ctx context.Context, plan *Plan, held Held, field graphql.CollectedField, value func() T,
	marshal func(context.Context, ast.SelectionSet, T) graphql.Marshaler,
) (ret graphql.Marshaler, ok bool) {
	if _, ok := ctx.(reading); ok {
		return marshal(ctx, field.Selections, value()), true
	}
	if !plan.reads(held, field) {
		return nil, false
	}
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	within := reading{graphql.WithFreshResponseContext(ctx)}
	ret = marshal(within, field.Selections, value())
	return ret, len(graphql.GetErrors(within)) == 0
}

// List resolves the items of a list, one after the other.
func List(ctx context.Context, length int, item func(context.Context, int) graphql.Marshaler) graphql.Array {
	list := make(graphql.Array, length)
	if _, ok := ctx.(reading); ok {
		for i := range list {
			list[i] = item(ctx, i)
		}
		return list
	}
	contexts := make([]graphql.FieldContext, length)
	places := make([]int, length)
	for i := range list {
		places[i] = i
		contexts[i].Index = &places[i]
		within := graphql.WithFieldContext(ctx, &contexts[i])
		if !one(within, list, i, item) {
			return nil
		}
	}
	return list
}

// one resolves an item and reports whether it came to its end.
func one(ctx context.Context, list graphql.Array, i int, item func(context.Context, int) graphql.Marshaler) (ok bool) {
	defer func() {
		if reason := recover(); reason != nil {
			graphql.AddError(ctx, graphql.Recover(ctx, reason))
		}
	}()
	list[i] = item(ctx, i)
	return true
}
