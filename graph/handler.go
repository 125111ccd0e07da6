package graph

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/graph/document"
	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/transport"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// Config is what the handler is made of. All of it must be given but what says what
// stands in for it.
type Config struct {
	// View opens the store as somebody sees it. Resolvers have no other way in.
	View      func(sight hub.Sight) View
	Registry  *registry.Registry
	Prober    Prober
	Puller    Puller
	Publisher Publisher
	Keys      Keys
	Tail      Tail[*hub.Event]
	Changes   Tail[*hub.DeliveryChange]
	Matcher   Matcher
	Shaper    *Shaper
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
	// StreamsPerKey bounds the WebSockets and event streams that are open with one
	// key; 2,000 if 0.
	StreamsPerKey int
	// QueryTimeout bounds queries, mutations and each message of a subscription; 30 s if 0.
	QueryTimeout time.Duration
	// KeyInterval is how often the key of an open stream is looked at again; 5 s if 0.
	KeyInterval time.Duration
	// WriteTimeout is how long a reader of a stream may take over one message before
	// it is cut off; 5 s if 0.
	WriteTimeout time.Duration
	// Limits bound documents; gate.DefaultLimits if zero.
	Limits gate.Limits
	// Points are what each credential may ask.
	Points gate.PointsConfig
	// Clock is the machine's if nil.
	Clock hub.Clock
	// Documents say which documents are trusted and whether others are accepted.
	Documents document.Options
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
	paths, err := newPaths()
	if err != nil {
		return nil, err
	}
	clock := cfg.Clock
	if clock == nil {
		clock = hub.SystemClock{}
	}
	table := cfg.Providers
	if table == nil {
		table = webhook.Presets()
	}
	providers, err := providersOf(table)
	if err != nil {
		return nil, err
	}
	limits := cfg.Limits
	if limits == (gate.Limits{}) {
		limits = gate.DefaultLimits()
	}
	points, err := newMeters(cfg.Points, limits, clock)
	if err != nil {
		return nil, err
	}
	r := &Resolver{
		view: cfg.View, registry: cfg.Registry, prober: cfg.Prober, puller: cfg.Puller, publisher: cfg.Publisher, keys: cfg.Keys,
		tail: cfg.Tail, changes: cfg.Changes, matcher: cfg.Matcher, shaper: cfg.Shaper,
		providers: providers, logger: logger, inboundURL: inboundURL(cfg.PublicURL),
		fingerprint: cfg.Fingerprint, paths: paths,
		points: points,
	}
	e, err := newEngine(r, limits, cfg.Development)
	if err != nil {
		return nil, err
	}
	r.documents, err = document.New(cfg.Documents, e.gate, func(nameOrHash string) *hub.Document {
		return cfg.View(hub.WholeSight()).Configuration().Document(nameOrHash)
	})
	if err != nil {
		return nil, err
	}
	e.points, e.documents = points, r.documents
	e.AroundOperations(withCostOfFailure)
	e.AroundOperations(bounded(cmp.Or(cfg.QueryTimeout, 30*time.Second)))
	e.AroundResponses(withCost)
	e.AroundResponses(nulled)
	return &Handler{transport: transport.New(transport.Config{
		Executor: e, Authenticate: cfg.Authenticate, Logger: logger, OriginPatterns: cfg.OriginPatterns,
		KeyInterval: cfg.KeyInterval, MaxPerKey: cfg.StreamsPerKey, WriteTimeout: cfg.WriteTimeout,
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

// hiddenFromPartners is the directive @hiddenFromPartners.
func hiddenFromPartners(ctx context.Context, _ any, next graphql.Resolver) (any, error) {
	if !hub.SightOf(hub.ViewerFromContext(ctx)).Whole() {
		return nil, hub.NewError(hub.CodeForbidden, "this is not shown to partners")
	}
	return next(ctx)
}

// bounded gives each answer a deadline: that of a query or mutation, and each of a
// subscription, for which the transport asks once there is something to answer.
func bounded(timeout time.Duration) graphql.OperationMiddleware {
	return func(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
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
	fresh := func() *model.Snapshot { return r.snapshot(ctx) }
	snapshot := sync.OnceValue(fresh)
	if graphql.HasOperationContext(ctx) {
		if operation := graphql.GetOperationContext(ctx).Operation; operation != nil {
			switch operation.Operation {
			case ast.Query:
				if handOf(ctx) == nil { // a body is shaped by what this node knows, without a read for each
					snapshot = sync.OnceValue(func() *model.Snapshot { return r.newest(ctx) })
				}
			case ast.Mutation:
				snapshot = fresh
			case ast.Subscription:
			}
		}
	}
	loaders := loader.New(r.store(ctx), snapshot, partsOf(ctx))
	if h := handOf(ctx); h != nil {
		loaders.ShowEvents([]*hub.Event{h.event})
	}
	return next(loader.WithLoaders(ctx, loaders))
}

// withCostOfFailure does what withCost does for a subscription that could not begin: its
// answer passes the response middleware by.
func withCostOfFailure(ctx context.Context, next graphql.OperationHandler) graphql.ResponseHandler {
	respond := next(ctx)
	return func(ctx context.Context) *graphql.Response {
		response := respond(ctx)
		if response == nil || response.Extensions != nil || !graphql.HasOperationContext(ctx) {
			return response
		}
		operation := graphql.GetOperationContext(ctx)
		if told := operation.Stats.GetExtension(costExtension); told != nil {
			response.Extensions = map[string]any{costExtension: told}
			operation.Stats.SetExtension(costExtension, nil)
		}
		return response
	}
}

// withCost tells in the answer what the operation cost and what is left; in the first
// one of a subscription.
func withCost(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	if graphql.HasOperationContext(ctx) {
		operation := graphql.GetOperationContext(ctx)
		if told := operation.Stats.GetExtension(costExtension); told != nil {
			graphql.RegisterExtension(ctx, costExtension, told)
			operation.Stats.SetExtension(costExtension, nil)
		}
	}
	return next(ctx)
}
