package catalogue_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/catalogue"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// plain seals nothing.
type plain struct{}

func (plain) Seal(text, _ []byte) ([]byte, error) { return text, nil }
func (plain) Open(text, _ []byte) ([]byte, error) { return text, nil }

// bundle is a store with one source, and a keeper of its catalogue.
type bundle struct {
	t      testing.TB
	store  *store.Store
	clock  *testkit.Clock
	source *hub.Source
	keeper *catalogue.Keeper
}

// eachDatabase runs a test on SQLite and on PostgreSQL.
func eachDatabase(t *testing.T, test func(*bundle)) {
	t.Helper()
	testkit.EachDatabase(t, func(t *testing.T, url string) { test(setup(t, url)) })
}

func setup(t testing.TB, url string) *bundle {
	t.Helper()
	b := &bundle{t: t, clock: testkit.NewClock(time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC))}
	var err error
	b.store, err = store.Open(t.Context(), store.Config{URL: url, Keyring: plain{}, Clock: b.clock})
	must(t, err)
	t.Cleanup(func() { must(t, b.store.Close()) })
	_, _, err = b.store.Migrate(t.Context())
	must(t, err)
	must(t, b.store.Start(t.Context(), nil))
	b.source = b.newSource("shop")
	b.keeper = b.newKeeper()
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bundle) newSource(slug string) *hub.Source {
	b.t.Helper()
	src := &hub.Source{
		ID: hub.NewID(hub.SourcePrefix, b.clock.Now()), Name: slug, Slug: slug, Kind: hub.SourceWebhook,
		State: hub.SourceActive, AllowUnverified: true, MaxBodyBytes: hub.DefaultMaxBodyBytes,
	}
	must(b.t, b.store.CreateSource(b.t.Context(), src))
	return src
}

// newKeeper makes a keeper as another process would.
func (b *bundle) newKeeper() *catalogue.Keeper {
	return catalogue.New(catalogue.Config{
		Store: b.store, Clock: b.clock, Logger: slog.New(slog.DiscardHandler),
		TypeOf: func(*hub.Source, *hub.Rejection) string { return "captured" },
	})
}

func (b *bundle) look() {
	b.t.Helper()
	must(b.t, b.keeper.Look(b.t.Context()))
}

// pass lets time pass in steps, at each of which somebody looks.
func (b *bundle) pass(d, step time.Duration) {
	b.t.Helper()
	for ; d > 0; d -= step {
		b.clock.Advance(min(d, step))
		b.look()
	}
}

// event stores an event of a source.
func (b *bundle) event(src *hub.Source, eventType, body string, change ...func(*hub.Event)) {
	b.t.Helper()
	b.events(src, eventType, []string{body}, change...)
}

func (b *bundle) events(src *hub.Source, eventType string, bodies []string, change ...func(*hub.Event)) {
	b.t.Helper()
	list := make([]*hub.Event, len(bodies))
	for i, body := range bodies {
		list[i] = &hub.Event{
			ID: hub.NewID(hub.EventPrefix, b.clock.Now()), SourceID: src.ID, Type: eventType, ReceivedAt: b.clock.Now(),
			ContentType: "application/json", Payload: &hub.Payload{Body: []byte(body)},
		}
		for _, f := range change {
			f(list[i])
		}
	}
	_, err := b.store.Append(b.t.Context(), list)
	must(b.t, err)
}

// typed returns the entry of a type, nil where there is none, and what was seen of it.
func (b *bundle) typed(name string) (*hub.EventType, hub.Sightings) {
	b.t.Helper()
	types, err := b.store.EventTypesByName(b.t.Context(), []string{name})
	must(b.t, err)
	one := types[name]
	if one == nil {
		return nil, hub.Sightings{}
	}
	seen, err := b.store.SightingsOf(b.t.Context(), []string{one.ID})
	must(b.t, err)
	if seen[one.ID] == nil {
		return one, hub.Sightings{}
	}
	return one, *seen[one.ID]
}

// schema returns the learned schema of a type.
func (b *bundle) schema(name string) string {
	b.t.Helper()
	one, _ := b.typed(name)
	if one == nil {
		return ""
	}
	shapes, err := b.store.ShapesOf(b.t.Context(), []string{one.ID})
	must(b.t, err)
	text, err := catalogue.LearnedSchema(one, shapes[one.ID])
	must(b.t, err)
	return string(text)
}

// told returns what was announced of a type since the last call, and forgets it.
func (b *bundle) told(eventType string) []hub.SourceFacts {
	b.t.Helper()
	list, err := b.store.Announcements(b.t.Context(), 1000)
	must(b.t, err)
	var facts []hub.SourceFacts
	var ids []string
	for _, a := range list {
		if a.Type != eventType {
			continue
		}
		ids = append(ids, a.ID)
		var one hub.SourceFacts
		must(b.t, json.Unmarshal(a.Body, &one))
		facts = append(facts, one)
	}
	must(b.t, b.store.Announced(b.t.Context(), ids))
	return facts
}

func (b *bundle) quiet(types ...string) {
	b.t.Helper()
	for _, one := range types {
		if facts := b.told(one); len(facts) > 0 {
			b.t.Fatalf("%s was told: %+v", one, facts)
		}
	}
}

// watched returns what is known of the source's rhythm.
func (b *bundle) watched() hub.Watch {
	b.t.Helper()
	all, err := b.store.Watches(b.t.Context(), []string{b.source.ID})
	must(b.t, err)
	if all[b.source.ID] == nil {
		return hub.Watch{}
	}
	return *all[b.source.ID]
}

func bodies(n int, format string) []string {
	list := make([]string, n)
	for i := range list {
		list[i] = strings.ReplaceAll(format, "N", fmt.Sprint(i))
	}
	return list
}
