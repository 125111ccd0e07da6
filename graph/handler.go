package graph

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/executor"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/theory/jsonpath"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/transport"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// Config is what the handler is made of. All interfaces must be given, and what has
// no default besides.
type Config struct {
	Store     Store
	Registry  Registry
	Publisher Publisher
	Keys      Keys
	Tail      Tail
	Matcher   Matcher
	Providers *webhook.Table // the presets of webhook sources; all there are if nil
	// Authenticate returns who holds a bearer token, "" where none was sent; see
	// transport.Config.
	Authenticate func(ctx context.Context, token string) (*hub.Viewer, error)
	// Fingerprint tells the secrets of sources and endpoints apart. It must not let
	// anybody try guesses against what it returns.
	Fingerprint func(hub.Secret) string

	Logger *slog.Logger // silent if nil
	// PublicURL is how the outside reaches this hub.
	PublicURL string
	// Development opens introspection and suggestions to every viewer.
	Development bool
	// OriginPatterns are hosts besides the hub's own whose pages may open a WebSocket.
	OriginPatterns []string
	// QueryTimeout bounds queries and mutations; 30 s if 0.
	QueryTimeout time.Duration
	// KeyInterval is how often the key of an open stream is looked at again; 5 s if 0.
	KeyInterval time.Duration
	// Limits bound documents; gate.DefaultLimits if zero.
	Limits gate.Limits
}

// Handler serves /graphql.
type Handler struct {
	transport *transport.Handler
}

// NewHandler makes the handler.
func NewHandler(cfg Config) (*Handler, error) {
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	paths, err := lru.New[string, *jsonpath.Path](cachedPaths)
	if err != nil {
		return nil, fmt.Errorf("make path cache: %w", err)
	}
	table := cfg.Providers
	if table == nil {
		table = webhook.Presets()
	}
	providers, err := providersOf(table)
	if err != nil {
		return nil, err
	}
	r := &Resolver{
		store: cfg.Store, registry: cfg.Registry, publisher: cfg.Publisher, keys: cfg.Keys, tail: cfg.Tail, matcher: cfg.Matcher,
		providers: providers, logger: logger, inboundURL: inboundURL(cfg.PublicURL),
		fingerprint: cfg.Fingerprint, paths: paths,
	}
	executable := generated.NewExecutableSchema(generated.Config{
		Schema: Schema(), Resolvers: r,
		Directives: generated.DirectiveRoot{HasScope: hasScope},
	})
	limits := cfg.Limits
	if limits == (gate.Limits{}) {
		limits = gate.DefaultLimits()
	}
	admission, err := gate.New(executable.Schema(), limits)
	if err != nil {
		return nil, fmt.Errorf("make gate: %w", err)
	}
	e := &engine{Executor: executor.New(executable), gate: admission, development: cfg.Development}
	e.SetQueryCache(admitted{})
	e.SetErrorPresenter(r.present)
	e.SetRecoverFunc(r.recovered)
	e.AroundOperations(bounded(cmp.Or(cfg.QueryTimeout, 30*time.Second)))
	e.AroundResponses(r.withLoaders)
	e.AroundResponses(withCost(admission.Limits().Cost))
	return &Handler{transport: transport.New(transport.Config{
		Executor: e, Authenticate: cfg.Authenticate, Logger: logger, OriginPatterns: cfg.OriginPatterns,
		KeyInterval: cfg.KeyInterval,
	})}, nil
}

// ServeHTTP answers GraphQL over HTTP, server-sent events and WebSocket.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { h.transport.ServeHTTP(w, r) }

// Drain ends streams so that their readers come back; see transport.Handler.Drain.
func (h *Handler) Drain(ctx context.Context) error { return h.transport.Drain(ctx) }

// Schema returns the schema that is served.
//
// The directive @defer, which gqlgen adds, is left out: each use of it over a
// transport that takes one answer would leak a goroutine for good.
func Schema() *ast.Schema {
	whole := generated.NewExecutableSchema(generated.Config{}).Schema()
	schema := *whole
	schema.Directives = maps.Clone(whole.Directives)
	delete(schema.Directives, "defer")
	return &schema
}

// hasScope is the directive @hasScope: the one place where the scopes of fields are
// checked.
func hasScope(ctx context.Context, _ any, next graphql.Resolver, scope hub.Scope) (any, error) {
	if !hub.ViewerFromContext(ctx).Can(scope) {
		return nil, forbidden(scope)
	}
	return next(ctx)
}

// bounded gives queries and mutations a deadline. Subscriptions last as long as
// their reader.
func bounded(timeout time.Duration) graphql.OperationMiddleware {
	return func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
		if graphql.GetOperationContext(ctx).Operation.Operation == ast.Subscription {
			return next(ctx)
		}
		respond := next(ctx)
		return func(ctx context.Context) *graphql.Response {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			return respond(ctx)
		}
	}
}

// withLoaders gives each answer loaders of its own. The fields of a query agree
// on one snapshot, taken when it is first needed; a mutation sees what the one
// before it in the same document has changed.
func (r *Resolver) withLoaders(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	snapshot := sync.OnceValue(r.snapshot)
	if graphql.HasOperationContext(ctx) {
		if operation := graphql.GetOperationContext(ctx).Operation; operation != nil && operation.Operation == ast.Mutation {
			snapshot = r.snapshot
		}
	}
	return next(loader.WithLoaders(ctx, loader.New(r.store, snapshot)))
}

// withCost tells in the answer what a query or mutation cost.
func withCost(limit int) graphql.ResponseMiddleware {
	return func(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
		if graphql.HasOperationContext(ctx) {
			operation := graphql.GetOperationContext(ctx)
			cost, counted := operation.Stats.GetExtension(costExtension).(int)
			if counted && operation.Operation.Operation != ast.Subscription {
				graphql.RegisterExtension(ctx, costExtension, map[string]any{"requested": cost, "limit": limit})
			}
		}
		return next(ctx)
	}
}
