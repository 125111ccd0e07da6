package gate

import (
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// maxSelectionBytes bounds the text of a selection set.
const maxSelectionBytes = 16 << 10

// AdmitSelection parses, measures and validates a selection set, with fragments behind
// it if it likes, on what a field of the query root yields for an ID. It returns the
// document that asks for it, with the ID as the variable id. What it says is wrong has
// its place in the text.
func (g *Gate) AdmitSelection(text, field string, suggest bool) (*ast.QueryDocument, gqlerror.List) {
	if len(text) > maxSelectionBytes {
		return nil, refuse(hub.CodeParseFailed, nil, "a selection set has at most %d bytes", maxSelectionBytes)
	}
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, g.limits.Tokens)
	if err != nil {
		return nil, coded(hub.CodeParseFailed, gqlerror.List{gqlerror.WrapIfUnwrapped(err)})
	}
	// The short form of a query is a selection set and nothing else.
	if len(document.Operations) == 0 {
		return nil, refuse(hub.CodeParseFailed, nil, "this is no selection set: write the fields in braces, such as { id type }")
	}
	given := document.Operations[0]
	if at := given.Position; at == nil || at.Start >= len(text) || text[at.Start] != '{' {
		return nil, refuse(hub.CodeParseFailed, at, "write the selection set alone, such as { id type }, without a keyword before it")
	}
	if len(document.Operations) > 1 {
		return nil, refuse(hub.CodeParseFailed, document.Operations[1].Position, "write one selection set")
	}
	at := given.Position
	document.Operations = ast.OperationList{{
		Operation: ast.Query, Position: at,
		VariableDefinitions: ast.VariableDefinitionList{{Variable: "id", Type: ast.NonNullNamedType("ID", at), Position: at}},
		SelectionSet: ast.SelectionSet{&ast.Field{
			Alias: field, Name: field, Position: at, SelectionSet: given.SelectionSet,
			Arguments: ast.ArgumentList{{Name: "id", Position: at, Value: &ast.Value{Raw: "id", Kind: ast.Variable, Position: at}}},
		}},
	}}
	if errs := g.limits.measure(document); errs != nil {
		return nil, errs
	}
	checked := g.closed
	if suggest {
		checked = g.open
	}
	if errs := validator.ValidateWithRules(g.schema, document, checked); len(errs) > 0 {
		return nil, coded(hub.CodeValidationFailed, errs)
	}
	if err := g.CheckCost(g.Cost(document.Operations[0], nil)); err != nil {
		return nil, gqlerror.List{err}
	}
	return document, nil
}
