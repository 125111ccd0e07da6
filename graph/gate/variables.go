package gate

import (
	"fmt"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Operation returns the operation of an admitted document that a request asks for.
func Operation(document *ast.QueryDocument, name string) (*ast.OperationDefinition, gqlerror.List) {
	if operation := document.Operations.ForName(name); operation != nil {
		return operation, nil
	}
	if name == "" {
		return nil, refuse(hub.CodeValidationFailed, nil,
			"the document has %d operations: say by operationName which of them to run", len(document.Operations))
	}
	return nil, refuse(hub.CodeValidationFailed, nil, "the document has no operation of the name that operationName gives")
}

// CheckVariables bounds what the values of an operation's variables hold, before they
// are brought into the form of their types. Whether they are of their types is found
// then; here, what is not is passed over. Values of scalars, JSON among them, are
// bounded by the size of the request alone.
func (g *Gate) CheckVariables(operation *ast.OperationDefinition, values map[string]any) gqlerror.List {
	w := &variableWalk{schema: g.schema, limits: g.limits}
	for _, variable := range operation.VariableDefinitions {
		if refused := w.value(variable.Type, values[variable.Variable], 0); refused != nil {
			return refused
		}
	}
	return nil
}

// variableWalk goes through variables along their types.
type variableWalk struct {
	schema *ast.Schema
	limits Limits
	values int
}

func (w *variableWalk) value(of *ast.Type, value any, depth int) gqlerror.List {
	if depth > w.limits.Depth {
		return refuse(hub.CodeDepthLimitExceeded, nil, "the variables nest deeper than %d levels", w.limits.Depth)
	}
	if w.values++; w.values > w.limits.InputValues {
		return refuse(hub.CodeValidationFailed, nil, "the variables hold more than %d values", w.limits.InputValues)
	}
	if of.Elem != nil {
		items, ok := value.([]any)
		if !ok {
			return nil // a list of one, or an error
		}
		if len(items) > w.limits.ListItems {
			return refuse(hub.CodeValidationFailed, nil, "a list in the variables has %d items; at most %d are admitted",
				len(items), w.limits.ListItems)
		}
		for _, item := range items {
			if refused := w.value(of.Elem, item, depth+1); refused != nil {
				return refused
			}
		}
		return nil
	}
	definition := w.schema.Types[of.NamedType]
	members, ok := value.(map[string]any)
	if !ok || definition == nil || definition.Kind != ast.InputObject {
		return nil
	}
	if len(members) > len(definition.Fields) {
		return refuse(hub.CodeValidationFailed, nil, "an input in the variables has %d members; its type %s has %d",
			len(members), definition.Name, len(definition.Fields))
	}
	for _, field := range definition.Fields {
		member, given := members[field.Name]
		if !given {
			continue
		}
		if refused := w.value(field.Type, member, depth+1); refused != nil {
			return refused
		}
	}
	return nil
}

// OfVariables has errors of coercing variables say which variable they are about and where
// it is declared. They come with a path that says so, where an answer has the path of a
// field.
func OfVariables(operation *ast.OperationDefinition, errs gqlerror.List) gqlerror.List {
	for _, err := range errs {
		if len(err.Path) < 2 || err.Path[0] != ast.PathName("variable") {
			continue
		}
		err.Message = fmt.Sprintf("the variable $%s: %s", err.Path[1:], err.Message)
		if name, ok := err.Path[1].(ast.PathName); ok {
			if declared := operation.VariableDefinitions.ForName(string(name)); declared != nil && declared.Position != nil {
				err.Locations = []gqlerror.Location{{Line: declared.Position.Line, Column: declared.Position.Column}}
			}
		}
		err.Path = nil
	}
	return errs
}
