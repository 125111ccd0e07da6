package registry_test

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/outbound"
	"github.com/hookgraph/hookgraph/internal/registry"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// memory is a store that keeps everything in memory. Its Configuration is a
// snapshot that other nodes' changes reach with Refresh alone.
type memory struct {
	mu            sync.Mutex
	sources       map[string]*hub.Source
	endpoints     map[string]*hub.Endpoint
	subscriptions map[string]*hub.Subscription
	partners      map[string]*hub.Partner
	documents     map[string]*hub.Document
	eventTypes    map[string]*hub.EventType
	snapshot      *hub.Configuration
	revision      int64
	broken        error // what Refresh answers
}

func newMemory() *memory {
	m := &memory{
		sources: make(map[string]*hub.Source), endpoints: make(map[string]*hub.Endpoint),
		subscriptions: make(map[string]*hub.Subscription), partners: make(map[string]*hub.Partner), documents: make(map[string]*hub.Document), eventTypes: make(map[string]*hub.EventType),
	}
	m.publish()
	return m
}

// publish makes the snapshot current. The lock is held, or nobody else is there.
func (m *memory) publish() {
	m.revision++
	m.snapshot = hub.NewConfiguration(m.revision, values(m.sources), values(m.endpoints), values(m.subscriptions), values(m.partners)...)
}

func (m *memory) CreateDocument(_ context.Context, d *hub.Document, check func([]*hub.Document) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := check(values(m.documents)); err != nil {
		return err
	}
	m.documents[d.ID] = d
	return nil
}

func (m *memory) DeleteDocument(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.documents[id] == nil {
		return hub.ErrNotFound
	}
	delete(m.documents, id)
	return nil
}

func (m *memory) PutEventType(_ context.Context, name string, edit func(*hub.EventType, []*hub.EventType) error) (*hub.EventType, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	one := &hub.EventType{ID: "ety_" + name, Name: name}
	if known := m.eventTypes[name]; known != nil {
		*one = *known
	}
	if err := edit(one, values(m.eventTypes)); err != nil {
		return nil, err
	}
	one.Described = true
	m.eventTypes[name] = one
	return one, nil
}

func values[T any](nouns map[string]*T) []*T {
	list := make([]*T, 0, len(nouns))
	for _, n := range nouns {
		kept := *n
		list = append(list, &kept)
	}
	return list
}

func (m *memory) AskFetch(context.Context, string) error { return nil }

func (m *memory) Sight() hub.Sight { return hub.WholeSight() }

func (m *memory) Configuration() *hub.Configuration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.snapshot
}

func (m *memory) Refresh(context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken != nil {
		return m.broken
	}
	m.publish()
	return nil
}

// elsewhere makes a change as another node does: the snapshot does not show it.
func (m *memory) elsewhere(change func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func update[T any](m *memory, nouns map[string]*T, id string, edit func(*T) error) (*T, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	stored, found := nouns[id]
	if !found {
		return nil, hub.ErrNotFound
	}
	changed := *stored
	if err := edit(&changed); err != nil {
		return nil, err
	}
	nouns[id] = &changed
	m.publish()
	answer := changed
	return &answer, nil
}

func remove[T any](m *memory, nouns map[string]*T, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, found := nouns[id]; !found {
		return hub.ErrNotFound
	}
	delete(nouns, id)
	m.publish()
	return nil
}

func (m *memory) CreateSource(_ context.Context, s *hub.Source) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, other := range m.sources {
		if other.Slug == s.Slug {
			return hub.NewError(hub.CodeConflict, "the slug is taken")
		}
	}
	kept := *s
	m.sources[s.ID] = &kept
	m.publish()
	return nil
}

func (m *memory) UpdateSource(_ context.Context, id string, edit func(*hub.Source) error) (*hub.Source, error) {
	return update(m, m.sources, id, edit)
}

func (m *memory) DeleteSource(_ context.Context, id string) error { return remove(m, m.sources, id) }

func (m *memory) CreateEndpoint(_ context.Context, e *hub.Endpoint) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := *e
	m.endpoints[e.ID] = &kept
	m.publish()
	return nil
}

func (m *memory) UpdateEndpoint(_ context.Context, id string, edit func(*hub.Endpoint) error) (*hub.Endpoint, error) {
	return update(m, m.endpoints, id, edit)
}

func (m *memory) DeleteEndpoint(_ context.Context, id string) error {
	return remove(m, m.endpoints, id)
}

func (m *memory) CreateSubscription(_ context.Context, s *hub.Subscription) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.endpoints[s.EndpointID] == nil {
		return hub.NewError(hub.CodeNotFound, "there is no such endpoint")
	}
	kept := *s
	m.subscriptions[s.ID] = &kept
	m.publish()
	return nil
}

func (m *memory) UpdateSubscription(_ context.Context, id string, edit func(*hub.Subscription) error) (*hub.Subscription, error) {
	return update(m, m.subscriptions, id, edit)
}

func (m *memory) DeleteSubscription(_ context.Context, id string) error {
	return remove(m, m.subscriptions, id)
}

func (m *memory) CreatePartner(_ context.Context, p *hub.Partner) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := *p
	m.partners[p.ID] = &kept
	m.publish()
	return nil
}

func (m *memory) UpdatePartner(_ context.Context, id string, edit func(*hub.Partner) error) (*hub.Partner, error) {
	return update(m, m.partners, id, edit)
}

// clock is a time that a test sets.
type clock struct{ at time.Time }

func (c *clock) Now() time.Time { return c.at }

var newYear = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type bundle struct {
	*registry.Registry
	store *memory
	clock *clock
}

// setup makes a registry over a store in memory, with the real presets,
// expressions and guard.
func setup(t *testing.T) *bundle {
	t.Helper()
	matcher, err := match.New()
	if err != nil {
		t.Fatal(err)
	}
	b := &bundle{store: newMemory(), clock: &clock{at: newYear}}
	b.Registry = registry.New(registry.Config{
		Store: b.store, Providers: webhook.Presets(), Expressions: matcher, Transforms: celAlone{matcher}, Clock: b.clock,
		CheckURL: outbound.NewGuard(netip.MustParsePrefix("10.1.0.0/16")).CheckURL,
	})
	return b
}

// wrong checks that an error consists of exactly these problems, each written as
// "CODE path: part of the message", in any order.
func wrong(t *testing.T, err error, want ...string) {
	t.Helper()
	problems, ok := err.(hub.UserErrors) //nolint:errorlint // it is returned as it is
	if !ok {
		t.Fatalf("got %T: %v", err, err)
	}
	var unexpected []string
	for _, p := range problems {
		text := fmt.Sprintf("%s %s: %s", p.Code, strings.Join(p.Field, "."), p.Message)
		if p.Line > 0 {
			text += fmt.Sprintf(" (%d:%d)", p.Line, p.Column)
		}
		at := slices.IndexFunc(want, func(w string) bool {
			head, part, _ := strings.Cut(w, ": ")
			return strings.HasPrefix(text, head+": ") && strings.Contains(text, part)
		})
		if at < 0 {
			unexpected = append(unexpected, text)
			continue
		}
		want = slices.Delete(slices.Clone(want), at, at+1)
	}
	if len(unexpected)+len(want) > 0 {
		t.Fatalf("not expected: %q; not found: %q", unexpected, want)
	}
}

// celAlone judges transforms in CEL; the others need a schema.
type celAlone struct{ matcher *match.Matcher }

func (c celAlone) CheckTransform(_ string, transform *hub.Transform) error {
	return c.matcher.CheckTransform(transform.Expression)
}
