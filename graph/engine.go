package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// engine is gqlgen's executor behind the gate: it sees admitted documents alone.
type engine struct {
	*executor.Executor
	gate        *gate.Gate
	development bool
}

// CreateOperationContext admits a document and prepares its operation.
func (e *engine) CreateOperationContext(
	ctx context.Context, params *graphql.RawParams,
) (*graphql.OperationContext, gqlerror.List) {
	open := e.development || hub.ViewerFromContext(ctx).Can(hub.ScopeSchemaRead)
	document, errs := e.gate.Admit(params.Query, open)
	if len(errs) > 0 {
		return &graphql.OperationContext{}, errs
	}
	operation, errs := e.Executor.CreateOperationContext(withDocument(ctx, document), params)
	if len(errs) > 0 {
		return operation, errs
	}
	operation.DisableIntrospection = !open
	cost := e.gate.Cost(operation.Operation, operation.Variables)
	if err := e.gate.CheckCost(cost); err != nil {
		return operation, gqlerror.List{err}
	}
	operation.Stats.SetExtension(costExtension, cost)
	return operation, nil
}

// costExtension is the key of an operation's cost in its statistics and its answer.
const costExtension = "cost"

type documentKey struct{}

func withDocument(ctx context.Context, document *ast.QueryDocument) context.Context {
	return context.WithValue(ctx, documentKey{}, document)
}

// admitted hands the executor the document that the gate has parsed and
// validated, so that it does neither.
type admitted struct{}

// Get returns the document of the operation that is being prepared.
func (admitted) Get(ctx context.Context, _ string) (*ast.QueryDocument, bool) {
	document, ok := ctx.Value(documentKey{}).(*ast.QueryDocument)
	return document, ok
}

// Add is never called, because Get always answers.
func (admitted) Add(context.Context, string, *ast.QueryDocument) {}
