// Package registry keeps what people configure: sources, endpoints,
// subscriptions and partners. It fills in defaults, says everything that is wrong with an input
// at once and where, and has the store save what is right.
//
// What a provider's preset needs is judged by the table of providers, expressions
// by those who compile them and URLs by the guard of outbound calls. Whose things may
// be seen and changed is up to the store that it is over.
//
// Errors are hub.UserErrors, whose paths begin at the mutation's arguments, or a
// *hub.Error where the thing itself cannot be found or saved.
package registry

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// Store saves the configuration. An edit may be called while the store holds a
// lock, and its error comes back as it is.
type Store interface {
	// Sight is what the store shows and lets change. Whatever is out of it cannot be
	// told from what does not exist.
	Sight() hub.Sight
	Configuration() *hub.Configuration
	Refresh(ctx context.Context) error

	CreateSource(ctx context.Context, source *hub.Source) error
	UpdateSource(ctx context.Context, id string, edit func(*hub.Source) error) (*hub.Source, error)
	DeleteSource(ctx context.Context, id string) error
	// AskFetch has a source that fetches asked soon.
	AskFetch(ctx context.Context, sourceID string) error

	CreateEndpoint(ctx context.Context, endpoint *hub.Endpoint) error
	UpdateEndpoint(ctx context.Context, id string, edit func(*hub.Endpoint) error) (*hub.Endpoint, error)
	DeleteEndpoint(ctx context.Context, id string) error

	CreateSubscription(ctx context.Context, subscription *hub.Subscription) error
	UpdateSubscription(ctx context.Context, id string, edit func(*hub.Subscription) error) (*hub.Subscription, error)
	DeleteSubscription(ctx context.Context, id string) error

	CreatePartner(ctx context.Context, partner *hub.Partner) error
	UpdatePartner(ctx context.Context, id string, edit func(*hub.Partner) error) (*hub.Partner, error)
	// CreateDocument calls check with what is registered, under the lock that keeps it so.
	CreateDocument(ctx context.Context, document *hub.Document, check func([]*hub.Document) error) error
	DeleteDocument(ctx context.Context, id string) error
	// PutEventType calls edit with the event type of the name, which is new where there
	// was none, and with all that are described.
	PutEventType(ctx context.Context, name string, edit func(one *hub.EventType, described []*hub.EventType) error) (*hub.EventType, error)
}

// Providers judges how a source verifies its requests. Its paths begin with input.
type Providers interface {
	CheckSource(source *hub.Source) hub.UserErrors
	// Keyed reports whether what a source polls can have the dedupe keys of what a webhook
	// source is sent.
	Keyed(source, of *hub.Source) bool
}

// Expressions compiles what people write, to say what is wrong with it. Its errors
// are of type *match.ExpressionError.
type Expressions interface {
	CheckFilter(expression string) error
	CheckOrderingKey(expression string) error
	CheckSource(expression string, kind match.ValueKind) error
}

// Transforms says what is wrong with a transform, by the rights of the partner for whose
// endpoints it is, or of the operator for "". Its errors are of type *match.ExpressionError. It is called while
// the store may hold a lock.
type Transforms interface {
	CheckTransform(partnerID string, transform *hub.Transform) error
}

// Config is what a Registry is made of. All of it is needed.
type Config struct {
	Store       Store
	Providers   Providers
	Expressions Expressions
	Transforms  Transforms
	// CheckURL says what is wrong with a URL that the hub is to call. An
	// *outbound.BlockedError means that it may not.
	CheckURL func(url string) error
	// PublicURL is how the outside reaches this hub, which need not follow itself.
	PublicURL string
	Clock     hub.Clock
}

// Registry creates, changes and deletes what people configure. It is safe for
// concurrent use.
type Registry struct {
	store       Store
	providers   Providers
	expressions Expressions
	transforms  Transforms
	checkURL    func(string) error
	self        *url.URL // nil: not known
	clock       hub.Clock
}

// New makes a Registry.
func New(c Config) *Registry {
	r := &Registry{
		store: c.Store, providers: c.Providers, expressions: c.Expressions, transforms: c.Transforms,
		checkURL: c.CheckURL, clock: c.Clock,
	}
	if self, err := url.Parse(c.PublicURL); err == nil && self.Host != "" {
		r.self = self
	}
	return r
}

// Over returns a registry over the same store as somebody else sees it.
func (r *Registry) Over(store Store) *Registry {
	over := *r
	over.store = store
	return &over
}

// errUnchanged ends an edit that has nothing to save.
var errUnchanged = errors.New("nothing changes")

// switched returns what an edit left as it was, or what the store made of it.
func switched[T any](found, saved *T, err error) (*T, error) {
	if errors.Is(err, errUnchanged) {
		return found, nil
	}
	return saved, err
}

// now is the time of a change.
func (r *Registry) now() time.Time { return r.clock.Now() }

// known reports whether every ID satisfies has in the configuration, and which do
// not. What another node has just created is looked for in the database.
func (r *Registry) known(ctx context.Context, ids []string, has func(*hub.Configuration, string) bool) (missing map[string]bool, err error) {
	missing = make(map[string]bool)
	look := func() {
		clear(missing)
		cfg := r.store.Configuration()
		for _, id := range ids {
			if !has(cfg, id) {
				missing[id] = true
			}
		}
	}
	if look(); len(missing) == 0 {
		return missing, nil
	}
	if err := r.store.Refresh(ctx); err != nil {
		return nil, err
	}
	look()
	return missing, nil
}
