package graph

import (
	"context"
	"log/slog"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/theory/jsonpath"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/registry"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/stream"
)

// Store is what resolvers ask and tell the store.
type Store interface {
	loader.Store
	Configuration() *hub.Configuration
	Health(endpointID string) *hub.EndpointHealth
	Events(ctx context.Context, query store.EventQuery) (hub.Slice[*hub.Event], error)
	CountEvents(ctx context.Context, filter hub.EventFilter) (int, error)
	CountAdmitted(ctx context.Context, query store.EventQuery) (int, error)
	Rejections(ctx context.Context, filter hub.RejectionFilter, page hub.Page) (hub.Slice[*hub.Rejection], error)
	CountRejections(ctx context.Context, filter hub.RejectionFilter) (int, error)
	Deliveries(ctx context.Context, filter hub.DeliveryFilter, page hub.Page) (hub.Slice[*hub.Delivery], error)
	CountDeliveries(ctx context.Context, filter hub.DeliveryFilter) (int, error)
	RetryDelivery(ctx context.Context, id string) (*hub.Delivery, error)
	CancelDelivery(ctx context.Context, id string) (*hub.Delivery, error)
	APIKeys(ctx context.Context, page hub.Page) (hub.Slice[*hub.APIKey], error)
	CountAPIKeys(ctx context.Context) (int, error)
}

// Registry creates, changes and deletes what people configure.
type Registry interface {
	CreateSource(ctx context.Context, input registry.CreateSourceInput) (*hub.Source, error)
	UpdateSource(ctx context.Context, input registry.UpdateSourceInput) (*hub.Source, error)
	DeleteSource(ctx context.Context, id string) error
	PauseSource(ctx context.Context, id string) (*hub.Source, error)
	ResumeSource(ctx context.Context, id string) (*hub.Source, error)

	CreateEndpoint(ctx context.Context, input registry.CreateEndpointInput) (*hub.Endpoint, hub.Secret, error)
	UpdateEndpoint(ctx context.Context, input registry.UpdateEndpointInput) (*hub.Endpoint, error)
	DeleteEndpoint(ctx context.Context, id string) error
	PauseEndpoint(ctx context.Context, id string) (*hub.Endpoint, error)
	ResumeEndpoint(ctx context.Context, id string) (*hub.Endpoint, error)
	RotateEndpointSecret(ctx context.Context, id string, overlap time.Duration) (*hub.Endpoint, hub.Secret, error)

	CreateSubscription(ctx context.Context, input registry.CreateSubscriptionInput) (*hub.Subscription, error)
	UpdateSubscription(ctx context.Context, input registry.UpdateSubscriptionInput) (*hub.Subscription, error)
	DeleteSubscription(ctx context.Context, id string) error
	PauseSubscription(ctx context.Context, id string) (*hub.Subscription, error)
	ResumeSubscription(ctx context.Context, id string) (*hub.Subscription, error)
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

// Tail streams the log.
type Tail interface {
	Events(ctx context.Context, request stream.Request) (<-chan stream.Batch, error)
}

// Matcher evaluates filter expressions.
type Matcher interface {
	CheckFilter(expression string) error
	Admits(expression string, event *hub.Event, sourceSlug string) (bool, error)
}

// Resolver holds what the resolvers depend on.
type Resolver struct {
	store       Store
	registry    Registry
	publisher   Publisher
	keys        Keys
	tail        Tail
	matcher     Matcher
	providers   []*model.Provider
	logger      *slog.Logger
	inboundURL  string
	fingerprint func(hub.Secret) string
	paths       *lru.Cache[string, *jsonpath.Path] // parsed ones by their text
}

// snapshot returns what lies in memory as it stands now.
func (r *Resolver) snapshot() *model.Snapshot {
	return &model.Snapshot{
		Configuration: r.store.Configuration(), Health: r.store.Health,
		InboundURL: r.inboundURL, Fingerprint: r.fingerprint,
	}
}

// inboundURL is where senders reach the sources of a hub.
func inboundURL(publicURL string) string { return strings.TrimSuffix(publicURL, "/") + "/in" }
