// Package loader fetches what objects refer to, in as few statements as there
// are edges: objects that were fetched together are also resolved together, so
// that each edge of a list is one statement, whatever the list's length. Loaders
// live for one answer: one query, one mutation, one message of a subscription.
// What lies in memory is shown by package model without them.
package loader

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// Store is what loaders ask the store. Each call is one statement; objects that
// are not found are absent from the answer.
type Store interface {
	EventsByID(ctx context.Context, ids []string) (map[string]*hub.Event, error)
	Payloads(ctx context.Context, eventIDs []string) (map[string]*hub.Payload, error)
	EventsOfSources(ctx context.Context, sourceIDs []string, filter hub.EventFilter, page hub.Page) (map[string]hub.Slice[*hub.Event], error)
	CountEventsOfSources(ctx context.Context, sourceIDs []string, filter hub.EventFilter) (map[string]int, error)
	LastEventAt(ctx context.Context, sourceIDs []string) (map[string]time.Time, error)
	Fetches(ctx context.Context, sourceIDs []string) (map[string]*hub.Fetch, error)
	RejectionsByID(ctx context.Context, ids []string) (map[string]*hub.Rejection, error)
	RejectionsOfSources(ctx context.Context, sourceIDs []string, page hub.Page) (map[string]hub.Slice[*hub.Rejection], error)
	CountRejectionsOfSources(ctx context.Context, sourceIDs []string) (map[string]int, error)
	Backlog(ctx context.Context, endpointIDs []string) (map[string]int, error)
	DeliveriesByID(ctx context.Context, ids []string) (map[string]*hub.Delivery, error)
	DeliveriesOf(ctx context.Context, parent store.Parent, ids []string, filter hub.DeliveryFilter, page hub.Page) (map[string]hub.Slice[*hub.Delivery], error)
	CountDeliveriesOf(ctx context.Context, parent store.Parent, ids []string, filter hub.DeliveryFilter) (map[string]int, error)
	AttemptsByID(ctx context.Context, ids []string) (map[string]*hub.Attempt, error)
	AttemptsOf(ctx context.Context, deliveryIDs []string, page hub.Page) (map[string]hub.Slice[*hub.Attempt], error)
	CountAttemptsOf(ctx context.Context, deliveryIDs []string) (map[string]int, error)
	ShapedBodies(ctx context.Context, deliveryIDs []string) (map[string]*hub.Body, error)
	StatsOf(ctx context.Context, parent store.StatsParent, ids []string, since, until time.Time) (map[string]*hub.StatsBucket, error)
	ReplaysByID(ctx context.Context, ids []string) (map[string]*hub.Replay, error)
	EventTypesByID(ctx context.Context, ids []string) (map[string]*hub.EventType, error)
	EventTypesByName(ctx context.Context, names []string) (map[string]*hub.EventType, error)
	EventTypesOfSources(ctx context.Context, sourceIDs []string, page hub.Page) (map[string]hub.Slice[*hub.EventType], error)
	CountEventTypesOfSources(ctx context.Context, sourceIDs []string) (map[string]int, error)
	SightingsOf(ctx context.Context, typeIDs []string) (map[string]*hub.Sightings, error)
	ShapesOf(ctx context.Context, typeIDs []string) (map[string][]json.RawMessage, error)
	Watches(ctx context.Context, sourceIDs []string) (map[string]*hub.Watch, error)
	APIKeysByID(ctx context.Context, ids []string) (map[string]*hub.APIKey, error)
}

// Arguments of edges. Filters are shared per answer, so that equal ones are one pointer.
type (
	none      struct{}
	eventArgs struct {
		filter *hub.EventFilter
		page   hub.Page
	}
	statsArgs struct {
		parent       store.StatsParent
		since, until time.Time
	}
	deliveryArgs struct {
		parent store.Parent
		filter *hub.DeliveryFilter
		page   hub.Page
	}
)

// Loaders are the edges of one answer.
type Loaders struct {
	store    Store
	snapshot func() *model.Snapshot
	parts    store.Parts

	event           *edge[none, *model.Event]
	payload         *edge[none, *hub.Payload]
	eventsOfSource  *edge[eventArgs, hub.Slice[*model.Event]]
	countOfSource   *edge[eventArgs, int]
	lastEventAt     *edge[none, time.Time]
	fetch           *edge[none, *hub.Fetch]
	rejections      *edge[hub.Page, hub.Slice[*model.Rejection]]
	countRejections *edge[none, int]
	backlog         *edge[none, int]
	delivery        *edge[none, *model.Delivery]
	deliveries      *edge[deliveryArgs, hub.Slice[*model.Delivery]]
	countDeliveries *edge[deliveryArgs, int]
	attempts        *edge[hub.Page, hub.Slice[*model.Attempt]]
	countAttempts   *edge[none, int]
	shapedBody      *edge[none, *hub.Body]
	stats           *edge[statsArgs, *hub.StatsBucket]
	eventType       *edge[none, *model.EventType]
	typesOfSource   *edge[hub.Page, hub.Slice[*model.EventType]]
	countTypes      *edge[none, int]
	sightings       *edge[none, *hub.Sightings]
	shapes          *edge[none, []json.RawMessage]
	watch           *edge[none, *hub.Watch]

	// mu guards what has been seen in this answer.
	mu      sync.Mutex
	shown   map[string]*model.Event // an edge back to one of them needs no statement
	filters map[string]any          // by their encoding
	same    map[any]any             // filters by the pointers that were given for them
}

// New makes the loaders of one answer. snapshot is asked whenever objects are shown. Parts
// are all that the answer shows of events and deliveries.
func New(s Store, snapshot func() *model.Snapshot, parts store.Parts) *Loaders {
	l := &Loaders{
		store: s, snapshot: snapshot, parts: parts,
		shown: make(map[string]*model.Event), filters: make(map[string]any), same: make(map[any]any),
	}
	l.event = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]*model.Event, error) {
		return l.eventsByID(ctx, ids)
	})
	l.payload = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]*hub.Payload, error) {
		return s.Payloads(ctx, ids)
	})
	l.eventsOfSource = newEdge(func(ctx context.Context, ids []string, a eventArgs) (map[string]hub.Slice[*model.Event], error) {
		found, err := s.EventsOfSources(store.WithParts(ctx, l.parts), ids, *a.filter, a.page)
		return together(ids, found, l.ShowEvents), err
	})
	l.countOfSource = newEdge(func(ctx context.Context, ids []string, a eventArgs) (map[string]int, error) {
		return s.CountEventsOfSources(ctx, ids, *a.filter)
	})
	l.lastEventAt = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]time.Time, error) {
		return s.LastEventAt(ctx, ids)
	})
	l.fetch = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]*hub.Fetch, error) {
		return s.Fetches(ctx, ids)
	})
	l.rejections = newEdge(func(ctx context.Context, ids []string, p hub.Page) (map[string]hub.Slice[*model.Rejection], error) {
		found, err := s.RejectionsOfSources(ctx, ids, p)
		return together(ids, found, l.ShowRejections), err
	})
	l.countRejections = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]int, error) {
		return s.CountRejectionsOfSources(ctx, ids)
	})
	l.backlog = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]int, error) {
		return s.Backlog(ctx, ids)
	})
	l.delivery = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]*model.Delivery, error) {
		found, err := s.DeliveriesByID(ctx, ids)
		return showMap(ids, found, l.ShowDeliveries), err
	})
	l.deliveries = newEdge(func(ctx context.Context, ids []string, a deliveryArgs) (map[string]hub.Slice[*model.Delivery], error) {
		found, err := s.DeliveriesOf(store.WithParts(ctx, l.parts), a.parent, ids, *a.filter, a.page)
		return together(ids, found, l.ShowDeliveries), err
	})
	l.countDeliveries = newEdge(func(ctx context.Context, ids []string, a deliveryArgs) (map[string]int, error) {
		return s.CountDeliveriesOf(ctx, a.parent, ids, *a.filter)
	})
	l.attempts = newEdge(func(ctx context.Context, ids []string, p hub.Page) (map[string]hub.Slice[*model.Attempt], error) {
		found, err := s.AttemptsOf(ctx, ids, p)
		return together(ids, found, model.NewAttempts), err
	})
	l.countAttempts = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]int, error) {
		return s.CountAttemptsOf(ctx, ids)
	})
	l.shapedBody = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]*hub.Body, error) {
		return s.ShapedBodies(ctx, ids)
	})
	l.stats = newEdge(func(ctx context.Context, ids []string, a statsArgs) (map[string]*hub.StatsBucket, error) {
		return s.StatsOf(ctx, a.parent, ids, a.since, a.until)
	})
	l.eventType = newEdge(func(ctx context.Context, names []string, _ none) (map[string]*model.EventType, error) {
		found, err := s.EventTypesByName(ctx, names)
		return showMap(names, found, model.NewEventTypes), err
	})
	l.typesOfSource = newEdge(func(ctx context.Context, ids []string, p hub.Page) (map[string]hub.Slice[*model.EventType], error) {
		found, err := s.EventTypesOfSources(ctx, ids, p)
		return together(ids, found, model.NewEventTypes), err
	})
	l.countTypes = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]int, error) {
		return s.CountEventTypesOfSources(ctx, ids)
	})
	l.sightings = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]*hub.Sightings, error) {
		return s.SightingsOf(ctx, ids)
	})
	l.shapes = newEdge(func(ctx context.Context, ids []string, _ none) (map[string][]json.RawMessage, error) {
		return s.ShapesOf(ctx, ids)
	})
	l.watch = newEdge(func(ctx context.Context, ids []string, _ none) (map[string]*hub.Watch, error) {
		return s.Watches(ctx, ids)
	})
	return l
}

type loadersKey struct{}

// WithLoaders returns a context that carries the loaders of an answer.
func WithLoaders(ctx context.Context, l *Loaders) context.Context {
	return context.WithValue(ctx, loadersKey{}, l)
}

// FromContext returns the loaders of the answer that is being made. There always
// are some while resolvers run.
func FromContext(ctx context.Context) *Loaders {
	l, _ := ctx.Value(loadersKey{}).(*Loaders)
	return l
}

// Parts returns what the answer shows of the events and deliveries of lists.
func (l *Loaders) Parts() store.Parts { return l.parts }

// Snapshot returns what the answer sees of everything that lies in memory.
func (l *Loaders) Snapshot() *model.Snapshot { return l.snapshot() }

// together shows the items of many lists as fetched together, so that their own
// edges are loaded together too.
func together[R, N any](parents []string, lists map[string]hub.Slice[R], show func([]R) []N) map[string]hub.Slice[N] {
	var rows []R
	for _, parent := range parents {
		rows = append(rows, lists[parent].Items...)
	}
	nodes := show(rows)
	out := make(map[string]hub.Slice[N], len(lists))
	for _, parent := range parents {
		list, ok := lists[parent]
		if !ok {
			continue
		}
		n := len(list.Items)
		out[parent] = hub.Slice[N]{Items: nodes[:n:n], HasNext: list.HasNext, HasPrevious: list.HasPrevious}
		nodes = nodes[n:]
	}
	return out
}

// showMap shows objects by ID as fetched together.
func showMap[R, N any](ids []string, found map[string]R, show func([]R) []N) map[string]N {
	var present []string
	var rows []R
	for _, id := range ids {
		if row, ok := found[id]; ok {
			present, rows = append(present, id), append(rows, row)
		}
	}
	out := make(map[string]N, len(rows))
	for i, node := range show(rows) {
		out[present[i]] = node
	}
	return out
}

// shared returns one pointer for all equal filters of the answer; nil is the
// filter that admits everything.
func shared[F any](l *Loaders, given *F) *F {
	l.mu.Lock()
	known, ok := l.same[given].(*F)
	l.mu.Unlock()
	if ok {
		return known
	}
	filter := given
	if filter == nil {
		filter = new(F)
	}
	text, err := json.Marshal(filter)
	if err != nil { // filters are plain data
		return filter
	}
	key := fmt.Sprintf("%T%s", filter, text)
	l.mu.Lock()
	defer l.mu.Unlock()
	if known, ok := l.filters[key].(*F); ok {
		filter = known
	}
	l.filters[key], l.same[given] = filter, filter
	return filter
}
