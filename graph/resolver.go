package graph

import (
	"context"
	"log/slog"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/theory/jsonpath"

	"github.com/hookgraph/hookgraph/graph/document"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/registry"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/stream"
)

// View is what is stored as somebody sees it: what resolvers ask and tell.
type View interface {
	loader.Store
	registry.Store
	Sight() hub.Sight
	CatchUp(ctx context.Context)
	HubID() string
	Health(endpointID string) *hub.EndpointHealth
	Events(ctx context.Context, query store.EventQuery) (hub.Slice[*hub.Event], error)
	CountEvents(ctx context.Context, filter hub.EventFilter) (int, error)
	CountAdmitted(ctx context.Context, query store.EventQuery) (int, error)
	Rejections(ctx context.Context, filter hub.RejectionFilter, page hub.Page) (hub.Slice[*hub.Rejection], error)
	CountRejections(ctx context.Context, filter hub.RejectionFilter) (int, error)
	Deliveries(ctx context.Context, filter hub.DeliveryFilter, page hub.Page) (hub.Slice[*hub.Delivery], error)
	CountDeliveries(ctx context.Context, filter hub.DeliveryFilter) (int, error)
	RulesAt(ctx context.Context, sequence hub.Sequence, limit int) ([]hub.Rule, error)
	RetryDelivery(ctx context.Context, id string) (*hub.Delivery, error)
	CancelDelivery(ctx context.Context, id string) (*hub.Delivery, error)
	CountReplay(ctx context.Context, selection hub.ReplaySelection) (int, error)
	StartReplay(ctx context.Context, r *hub.Replay) (*hub.Replay, error)
	CancelReplay(ctx context.Context, id string) (*hub.Replay, error)
	Replays(ctx context.Context, f hub.ReplayFilter, page hub.Page) (hub.Slice[*hub.Replay], error)
	CountReplays(ctx context.Context, f hub.ReplayFilter) (int, error)
	Stats(ctx context.Context, query store.StatsQuery) ([]*hub.StatsBucket, error)
	NewestStats(ctx context.Context, bucket time.Duration, filter hub.StatsFilter, since time.Time) ([]*hub.StatsBucket, error)
	EventTypes(ctx context.Context, filter hub.EventTypeFilter, page hub.Page) (hub.Slice[*hub.EventType], error)
	CountEventTypes(ctx context.Context, filter hub.EventTypeFilter) (int, error)
	APIKeys(ctx context.Context, page hub.Page) (hub.Slice[*hub.APIKey], error)
	CountAPIKeys(ctx context.Context) (int, error)
}

// Prober sends requests to endpoints that are of no delivery. It sees every endpoint.
type Prober interface {
	TestEndpoint(ctx context.Context, id, eventType string, payload []byte) (*hub.Attempt, error)
	VerifyEndpoint(ctx context.Context, id string) (*hub.Endpoint, error)
}

// Puller leases deliveries of STREAM endpoints to consumers. It sees every endpoint and
// delivery.
type Puller interface {
	Pull(endpointID string, most int) (deliver.Pulling, error)
	SettlePulled(ctx context.Context, settlings []hub.Settling) ([]error, error)
}

// Publisher takes events from within.
type Publisher interface {
	Publish(ctx context.Context, publications []receive.Publication) ([]receive.Published, error)
}

// Keys makes and revokes API keys on behalf of somebody.
type Keys interface {
	Create(ctx context.Context, by *hub.Viewer, input auth.KeyInput) (*hub.APIKey, hub.Secret, error)
	Revoke(ctx context.Context, by *hub.Viewer, id string) (*hub.APIKey, error)
}

// Tail streams a log.
type Tail[T any] interface {
	Read(ctx context.Context, sight hub.Sight, request stream.Request[T]) (<-chan stream.Batch[T], error)
}

// Matcher evaluates expressions over events.
type Matcher interface {
	CheckFilter(expression string) error
	Admits(expression string, event *hub.Event, sourceSlug string) (bool, error)
	Judge(rule hub.Rule, event *hub.Event, sourceSlug string) (verdict match.Verdict, reason string)
	CheckTransform(expression string) error
	Transform(expression string, event *hub.Event, sourceSlug string) ([]byte, error)
}

// Resolver holds what the resolvers depend on.
type Resolver struct {
	view        func(hub.Sight) View
	registry    *registry.Registry
	prober      Prober
	puller      Puller
	publisher   Publisher
	keys        Keys
	tail        Tail[*hub.Event]
	changes     Tail[*hub.DeliveryChange]
	live        liveStats
	matcher     Matcher
	shaper      *Shaper
	providers   []*model.Provider
	logger      *slog.Logger
	inboundURL  string
	fingerprint func(hub.Secret) string
	points      meters
	documents   *document.Documents
	paths       *lru.Cache[string, *jsonpath.Path] // parsed ones by their text
}

// store returns what is stored as whoever asks sees it.
func (r *Resolver) store(ctx context.Context) View {
	return r.view(hub.SightOf(hub.ViewerFromContext(ctx)))
}

// configure returns the registry as whoever asks sees it.
func (r *Resolver) configure(ctx context.Context) *registry.Registry {
	return r.registry.Over(r.store(ctx))
}

// newest is snapshot once this node knows what others have changed before the request
// came, so that who has made something by way of another node finds it here.
func (r *Resolver) newest(ctx context.Context) *model.Snapshot {
	r.store(ctx).CatchUp(ctx)
	return r.snapshot(ctx)
}

// knows reports whether the viewer sees an endpoint, which another node may just have made.
func (r *Resolver) knows(ctx context.Context, endpointID string) bool {
	return r.store(ctx).Configuration().Endpoints[endpointID] != nil || r.newest(ctx).Configuration.Endpoints[endpointID] != nil
}

// snapshot returns what lies in memory as it stands now, as whoever asks sees it.
func (r *Resolver) snapshot(ctx context.Context) *model.Snapshot {
	view := r.store(ctx)
	return &model.Snapshot{
		Configuration: view.Configuration(), Health: view.Health,
		InboundURL: r.inboundURL, Fingerprint: r.fingerprint,
	}
}

// inboundURL is where senders reach the sources of a hub.
func inboundURL(publicURL string) string { return strings.TrimSuffix(publicURL, "/") + "/in" }
