package exec_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/graph/exec"
)

// A parent with items, as generated code would resolve them: { parent { items { name at } } }.
type (
	parent struct{ items []*item }
	item   struct {
		name string
		at   time.Time
	}
)

var held = exec.Held{
	"Query": {"parent": false}, "Parent": {"items": false}, "Item": {"name": true, "at": true},
}

func selected(object, name string, under ...ast.Selection) *ast.Field {
	return &ast.Field{Name: name, Alias: name, ObjectDefinition: &ast.Definition{Name: object}, SelectionSet: under}
}

// answer resolves the document. With other, a field is selected that objects do not
// hold, so that everything is resolved with places.
func answer(t *testing.T, p *parent, other bool) (text string, errs []string) {
	t.Helper()
	operation := &graphql.OperationContext{
		ResolverMiddleware: func(ctx context.Context, next graphql.Resolver) (any, error) { return next(ctx) },
		RecoverFunc:        func(context.Context, any) error { return errors.New("it panicked") },
	}
	ctx := graphql.WithOperationContext(t.Context(), operation)
	ctx = graphql.WithResponseContext(ctx, graphql.DefaultErrorPresenter, operation.RecoverFunc)
	items := selected("Parent", "items", selected("Item", "name"), selected("Item", "at"))
	if other {
		items.SelectionSet = append(items.SelectionSet, selected("Item", "other"))
	}
	root := selected("Query", "parent", items)
	g := &generated{operation: operation}
	result := g.query(ctx, root, p)
	for _, err := range graphql.GetErrors(ctx) {
		errs = append(errs, err.Path.String()+": "+err.Message)
	}
	return string(exec.Encode(result)), errs
}

// generated stands for generated code.
type generated struct {
	operation *graphql.OperationContext
	plan      exec.Plan
}

func describe(_ context.Context, field graphql.CollectedField) (*graphql.FieldContext, error) {
	return &graphql.FieldContext{Object: field.ObjectDefinition.Name, Field: field}, nil
}

// resolve is what generated code does where nothing could be read.
func resolve[T any](
	ctx context.Context, g *generated, field graphql.CollectedField, value func() T,
	marshal func(context.Context, ast.SelectionSet, T) graphql.Marshaler, nonNull bool,
) graphql.Marshaler {
	return graphql.ResolveField(ctx, g.operation, field, describe,
		func(context.Context) (any, error) { return value(), nil }, nil, marshal, true, nonNull)
}

func (g *generated) query(ctx context.Context, f *ast.Field, p *parent) graphql.Marshaler {
	field := graphql.CollectedField{Field: f, Selections: f.SelectionSet}
	value := func() *parent { return p }
	if ret, ok := exec.Read(ctx, &g.plan, held, field, value, g.parent); ok {
		return ret
	}
	return resolve(ctx, g, field, value, g.parent, true)
}

func (g *generated) parent(ctx context.Context, set ast.SelectionSet, p *parent) graphql.Marshaler {
	selection := g.plan.Collect(g.operation, set, []string{"Parent"})
	out := exec.NewObject(selection)
	for i, field := range selection.Fields {
		value := func() []*item { return p.items }
		ret, ok := exec.Read(ctx, &g.plan, held, field, value, g.items)
		if !ok {
			ret = resolve(ctx, g, field, value, g.items, true)
		}
		out.Values[i] = ret
	}
	return out
}

func (g *generated) items(ctx context.Context, set ast.SelectionSet, items []*item) graphql.Marshaler {
	return exec.List(ctx, len(items), func(ctx context.Context, i int) graphql.Marshaler { return g.item(ctx, set, items[i]) })
}

func (g *generated) item(ctx context.Context, set ast.SelectionSet, v *item) graphql.Marshaler {
	selection := g.plan.Collect(g.operation, set, []string{"Item"})
	out := exec.NewObject(selection)
	for i, field := range selection.Fields {
		switch field.Name {
		case "name":
			out.Values[i] = leaf(ctx, g, field, func() string { return v.name },
				func(_ context.Context, _ ast.SelectionSet, s string) graphql.Marshaler { return exec.String(s) })
		case "at":
			out.Values[i] = leaf(ctx, g, field, func() time.Time { return v.at }, never)
		case "other":
			out.Values[i] = graphql.Null
		}
	}
	out.Dispatch(ctx)
	return out
}

func leaf[T any](
	ctx context.Context, g *generated, field graphql.CollectedField, value func() T,
	marshal func(context.Context, ast.SelectionSet, T) graphql.Marshaler,
) graphql.Marshaler {
	if ret, ok := exec.Leaf(ctx, true, value, marshal); ok {
		return ret
	}
	return resolve(ctx, g, field, value, marshal, true)
}

// never marshals a time that must not be null.
func never(ctx context.Context, _ ast.SelectionSet, at time.Time) graphql.Marshaler {
	if at.IsZero() {
		graphql.AddErrorf(ctx, "must not be null")
		return graphql.Null
	}
	return graphql.MarshalTime(at)
}

func TestWhatObjectsHoldIsRead(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	p := &parent{items: []*item{{"a \"quoted\" näme\n", at}, {"b", at}}}
	want := `{"items":[{"name":"a \"quoted\" näme\n","at":"2026-03-01T12:00:00Z"},{"name":"b","at":"2026-03-01T12:00:00Z"}]}`
	if text, errs := answer(t, p, false); text != want || errs != nil {
		t.Errorf("got %s %v", text, errs)
	}
	other := strings.ReplaceAll(want, `"}`, `","other":null}`)
	if text, errs := answer(t, p, true); text != other || errs != nil {
		t.Errorf("with places: got %s %v", text, errs)
	}
	if text, _ := answer(t, &parent{}, false); text != `{"items":[]}` {
		t.Errorf("got %s", text)
	}
}

// What is wrong is told once, with its place, however it is resolved.
func TestErrorsKeepTheirPlace(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		second *item
		want   string
	}{
		"null where that is not allowed": {&item{name: "b"}, "parent.items[1].at: must not be null"},
		"a panic":                        {nil, "parent.items[1].name: it panicked"},
	} {
		p := &parent{items: []*item{{"a", at}, c.second}}
		for _, other := range []bool{false, true} {
			_, errs := answer(t, p, other)
			if len(errs) == 0 || errs[0] != c.want {
				t.Errorf("%s, with places %t: got %q", name, other, errs)
			}
			if c.second != nil && len(errs) != 1 {
				t.Errorf("%s, with places %t: told %d times", name, other, len(errs))
			}
		}
	}
}
