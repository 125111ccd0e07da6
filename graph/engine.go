package graph

import (
	"context"
	"fmt"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/graph/document"
	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/transport"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// engine is gqlgen's executor behind the gate: it sees admitted documents alone.
type engine struct {
	*executor.Executor
	gate        *gate.Gate
	points      meters
	documents   *document.Documents
	development bool
}

// newEngine makes an engine that answers with a resolver, within limits.
func newEngine(r *Resolver, limits gate.Limits, development bool) (*engine, error) {
	executable := generated.NewExecutableSchema(generated.Config{
		Schema: Schema(), Resolvers: r,
		Directives: generated.DirectiveRoot{HasScope: hasScope, HiddenFromPartners: hiddenFromPartners},
	})
	admission, err := gate.New(executable.Schema(), limits)
	if err != nil {
		return nil, fmt.Errorf("make gate: %w", err)
	}
	e := &engine{Executor: executor.New(executable), gate: admission, development: development}
	e.SetQueryCache(admitted{})
	e.SetErrorPresenter(r.present)
	e.SetRecoverFunc(r.recovered)
	e.AroundResponses(r.withLoaders)
	return e, nil
}

// CreateOperationContext admits a document and prepares its operation.
func (e *engine) CreateOperationContext(
	ctx context.Context, params *graphql.RawParams,
) (*graphql.OperationContext, gqlerror.List) {
	open := e.development || hub.ViewerFromContext(ctx).Can(hub.ScopeSchemaRead)
	document, errs := e.documents.Admit(params, transport.DocumentID(ctx), open)
	if len(errs) > 0 {
		return e.refused(ctx), errs
	}
	asked, errs := gate.Operation(document, params.OperationName)
	if len(errs) == 0 {
		errs = e.gate.CheckVariables(asked, params.Variables)
	}
	if len(errs) > 0 {
		return e.refused(ctx), errs
	}
	operation, errs := e.Executor.CreateOperationContext(withDocument(ctx, document), params)
	if len(errs) > 0 {
		return e.refused(ctx), gate.OfVariables(asked, errs)
	}
	operation.DisableIntrospection = !open
	return operation, e.charge(ctx, operation)
}

// Known reports whether a document has been admitted before.
func (e *engine) Known(query string) bool { return e.gate.Admitted(query) }

// Owes says for how long whoever has taken too much work is to wait.
func (e *engine) Owes(viewer *hub.Viewer) (*hub.Error, map[string]any) {
	wait := e.points.effort(viewer).Owed(viewer.Credential())
	if wait == 0 {
		return nil, nil
	}
	return gate.Owing(wait), e.told(viewer)
}

// Refused takes the effort of a request that is refused, and returns what its answer tells.
func (e *engine) Refused(viewer *hub.Viewer, bytes int) map[string]any {
	e.points.effort(viewer).Take(viewer.Credential(), gate.Refusal(bytes))
	return e.told(viewer)
}

// told is the extension of an answer to what took no points.
func (e *engine) told(viewer *hub.Viewer) map[string]any {
	return map[string]any{costExtension: e.gate.Extension(0, e.points.of(viewer).Balance(viewer.Credential()))}
}

// refused does what Refused does for an operation that is being prepared.
func (e *engine) refused(ctx context.Context) *graphql.OperationContext {
	operation := &graphql.OperationContext{}
	told := e.Refused(hub.ViewerFromContext(ctx), transport.Size(ctx))
	operation.Stats.SetExtension(costExtension, told[costExtension])
	return operation
}

// charge takes the points of an operation that may run, and notes what its answer is
// to tell. Of a subscription, that is the cost of one message: what it sends later is
// bounded by what the hub receives and by how fast it is read.
func (e *engine) charge(ctx context.Context, operation *graphql.OperationContext) gqlerror.List {
	viewer := hub.ViewerFromContext(ctx)
	points, credential := e.points.of(viewer), viewer.Credential()
	cost := e.gate.Cost(operation.Operation, operation.Variables)
	left, refused := points.Balance(credential), e.gate.CheckCost(cost)
	if refused == nil {
		var wait time.Duration
		var ok bool
		if left, wait, ok = points.Charge(credential, cost); !ok {
			refused = gate.RateLimited(cost, left, wait)
		}
	}
	effort := gate.Bulk(transport.Size(ctx))
	if refused != nil {
		effort = gate.Refusal(transport.Size(ctx))
	}
	e.points.effort(viewer).Take(credential, effort)
	told := e.gate.Extension(cost, left)
	operation.Stats.SetExtension(costExtension, told)
	if refused == nil {
		return nil
	}
	refused.Extensions[costExtension] = told // an error message of a WebSocket has no other place for it
	return gqlerror.List{refused}
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
