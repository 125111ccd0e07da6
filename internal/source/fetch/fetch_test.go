package fetch_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/secret"
	"github.com/hookgraph/hookgraph/internal/source/fetch"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a hub's store and door, to which nodes are added.
type world struct {
	*testing.T
	store *store.Store
	door  *receive.Door
	clock *testkit.Clock
}

func newWorld(t *testing.T, url string) *world {
	t.Helper()
	keys, err := secret.ParseKeys("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	must(t, err)
	keyring, err := secret.NewKeyring(keys...)
	must(t, err)
	matcher, err := match.New()
	must(t, err)
	w := &world{T: t, clock: testkit.NewClock(time.Now())}
	w.store, err = store.Open(t.Context(), store.Config{URL: url, Keyring: keyring, Clock: w.clock, Router: matcher, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	_, _, err = w.store.Migrate(t.Context())
	must(t, err)
	must(t, w.store.Start(t.Context(), nil))
	w.door = receive.New(receive.Config{Store: w.store, Expressions: matcher, Clock: w.clock})
	return w
}

func (w *world) source(edit ...func(*hub.Source)) *hub.Source {
	w.Helper()
	src := &hub.Source{
		ID: hub.NewID(hub.SourcePrefix, time.Now()), Name: "Items", Slug: "items" + strconv.Itoa(len(w.store.Configuration().Sources)),
		Kind: hub.SourcePoll, State: hub.SourceActive, MaxBodyBytes: 100, CreatedAt: w.clock.Now(), UpdatedAt: w.clock.Now(),
		Poll: &hub.Poll{URL: "https://api.example.com", Interval: time.Minute, Items: "$[*]"}, DedupeKey: "string(body.id)",
	}
	for _, f := range edit {
		f(src)
	}
	must(w, w.store.CreateSource(w.Context(), src))
	return src
}

// node starts a node that fetches by a function.
func (w *world) node(fetcher fetcherFunc) *fetch.Supervisor {
	w.Helper()
	s := fetch.Start(w.Context(), fetch.Config{
		Store: w.store, Door: w.door, Clock: w.clock, Logger: slog.New(slog.DiscardHandler),
		Fetchers: map[hub.SourceKind]fetch.Fetcher{hub.SourcePoll: fetcher},
	})
	w.Cleanup(func() { must(w, s.Stop(context.Background())) })
	return s
}

func (w *world) status(src *hub.Source) hub.Fetch {
	w.Helper()
	found, err := w.store.Fetches(w.Context(), []string{src.ID})
	must(w, err)
	if found[src.ID] == nil {
		return hub.Fetch{}
	}
	return *found[src.ID]
}

// bodies lists the bodies of all events, oldest first.
func (w *world) bodies() (bodies []string, events []*hub.Event) {
	w.Helper()
	list, err := w.store.EventsAfter(w.Context(), 0, 1000)
	must(w, err)
	for _, ev := range list {
		bodies = append(bodies, string(ev.Payload.Body))
	}
	return bodies, list
}

type fetcherFunc func(ctx context.Context, feed *fetch.Feed) error

func (f fetcherFunc) Fetch(ctx context.Context, feed *fetch.Feed) error { return f(ctx, feed) }

func item(id int) receive.Item {
	return receive.Item{Body: fmt.Appendf(nil, `{"id":%d}`, id), ContentType: "application/json"}
}

func TestOneNodeAtATimeFetchesAndAnotherGoesOn(t *testing.T) {
	t.Parallel()
	testkit.EachDatabase(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		src := w.source()
		var mu sync.Mutex
		at, most := map[string]int{}, 0
		working := func() (n int) {
			for _, k := range at {
				n += k
			}
			return n
		}
		// Each call stores the next three items and how far it has come, then waits.
		count := func(name string) fetcherFunc {
			return func(ctx context.Context, feed *fetch.Feed) error {
				mu.Lock()
				at[name]++
				most = max(most, working())
				mu.Unlock()
				defer func() {
					mu.Lock()
					at[name]--
					mu.Unlock()
				}()
				next := 0
				if state := feed.State(); state.Progress != nil {
					if err := json.Unmarshal(state.Progress, &next); err != nil {
						return err
					}
				}
				if _, err := feed.Receive(ctx, []receive.Item{item(next), item(next + 1), item(next + 2)}); err != nil {
					return err
				}
				if err := feed.Save(ctx, json.RawMessage(strconv.Itoa(next+3)), w.clock.Now(), time.Time{}, ""); err != nil {
					return err
				}
				<-ctx.Done()
				return nil
			}
		}
		first := w.node(count("first"))
		testkit.Eventually(t, "the first node has fetched", func() bool { return string(w.status(src).Progress) == "3" })
		w.node(count("second"))
		must(t, first.Stop(t.Context()))
		testkit.Eventually(t, "the second node goes on where the first ended", func() bool { return w.status(src).FetchedCount == 6 })
		bodies, _ := w.bodies()
		if want := []string{`{"id":0}`, `{"id":1}`, `{"id":2}`, `{"id":3}`, `{"id":4}`, `{"id":5}`}; !slices.Equal(bodies, want) {
			t.Errorf("the events are %q", bodies)
		}
		if mu.Lock(); most != 1 {
			t.Errorf("%d nodes fetched at once", most)
		}
		mu.Unlock()
	})
}

// watched counts what a node does to its store.
type watched struct {
	*store.Store
	looks, takes atomic.Int64
}

func (s *watched) FetchMarks(ctx context.Context) (map[string]hub.FetchMark, error) {
	s.looks.Add(1)
	return s.Store.FetchMarks(ctx)
}

func (s *watched) TakeFetch(ctx context.Context, sourceID, token string, until time.Time) (*hub.Fetch, error) {
	s.takes.Add(1)
	return s.Store.TakeFetch(ctx, sourceID, token, until)
}

func TestWhatAnotherNodeHasIsLookedAtAlone(t *testing.T) {
	t.Parallel()
	testkit.EachDatabase(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		src := w.source()
		until := w.clock.Now().Add(time.Minute)
		if state, err := w.store.TakeFetch(t.Context(), src.ID, "another", until); err != nil || state == nil {
			t.Fatalf("not taken: %v", err)
		}
		seen := &watched{Store: w.store}
		s := fetch.Start(t.Context(), fetch.Config{
			Store: seen, Door: w.door, Clock: w.clock, Logger: slog.New(slog.DiscardHandler),
			Fetchers: map[hub.SourceKind]fetch.Fetcher{hub.SourcePoll: fetcherFunc(func(ctx context.Context, _ *fetch.Feed) error {
				<-ctx.Done()
				return nil
			})},
		})
		t.Cleanup(func() { must(t, s.Stop(context.Background())) })
		testkit.Eventually(t, "the node has looked twice", func() bool { return seen.looks.Load() >= 2 })
		if n := seen.takes.Load(); n != 0 {
			t.Fatalf("it has written %d times to take what another has", n)
		}
		w.clock.Advance(2 * time.Minute)
		testkit.Eventually(t, "the node takes it once the lease has ended", func() bool { return seen.takes.Load() > 0 })
	})
}

func TestANodeThatIsGoneLosesItsSources(t *testing.T) {
	t.Parallel()
	testkit.EachDatabase(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		src := w.source()
		// A node that took the source and says nothing any more.
		if taken, err := w.store.TakeFetch(t.Context(), src.ID, "gone", w.clock.Now().Add(15*time.Second)); err != nil || taken == nil {
			t.Fatalf("it got %v, %v", taken, err)
		}
		if taken, err := w.store.TakeFetch(t.Context(), src.ID, "other", w.clock.Now().Add(time.Minute)); err != nil || taken != nil {
			t.Fatalf("another node got %v, %v while the first had it", taken, err)
		}
		w.node(func(ctx context.Context, feed *fetch.Feed) error {
			if err := feed.Save(ctx, json.RawMessage(`"mine"`), w.clock.Now(), time.Time{}, ""); err != nil {
				return err
			}
			<-ctx.Done()
			return nil
		})
		w.clock.Advance(16 * time.Second)
		testkit.Eventually(t, "another node has taken it", func() bool { return string(w.status(src).Progress) == `"mine"` })
		late := hub.Fetch{SourceID: src.ID, Progress: json.RawMessage(`"late"`)}
		if err := w.store.SaveFetch(t.Context(), &late, "gone", w.clock.Now().Add(time.Hour)); hub.CodeOf(err) != hub.CodeConflict {
			t.Errorf("what the first node saved late gave %v", err)
		}
		if got := w.status(src).Progress; string(got) != `"mine"` {
			t.Errorf("the progress is %s", got)
		}
	})
}

func TestAFetcherFollowsItsSource(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	src := w.source()
	var mu sync.Mutex
	var seen []string
	w.node(func(ctx context.Context, feed *fetch.Feed) error {
		mu.Lock()
		seen = append(seen, feed.Source.Name)
		mu.Unlock()
		<-ctx.Done()
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, "end")
		return nil
	})
	saw := func(what string, want ...string) {
		t.Helper()
		testkit.Eventually(t, what, func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.Equal(seen, want)
		})
	}
	edit := func(f func(*hub.Source)) {
		t.Helper()
		w.clock.Advance(time.Second)
		_, err := w.store.UpdateSource(t.Context(), src.ID, func(s *hub.Source) error { f(s); return nil })
		must(t, err)
	}
	saw("it begins", "Items")
	edit(func(s *hub.Source) { s.Name = "Renamed" })
	saw("a change is taken up", "Items", "end", "Renamed")
	edit(func(s *hub.Source) { s.State = hub.SourcePaused })
	saw("a pause ends it", "Items", "end", "Renamed", "end")
	edit(func(s *hub.Source) { s.State = hub.SourceActive })
	saw("it is resumed", "Items", "end", "Renamed", "end", "Renamed")
	must(t, w.store.DeleteSource(t.Context(), src.ID))
	saw("a deleted source is left alone", "Items", "end", "Renamed", "end", "Renamed", "end")
}

func TestWhatAWebhookSourceNeverGotIsRecovered(t *testing.T) {
	t.Parallel()
	testkit.EachDatabase(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		webhook := w.source(func(s *hub.Source) {
			s.Kind, s.Poll, s.AllowUnverified, s.DedupeKey, s.EventType = hub.SourceWebhook, nil, true, "body.key", `"sent"`
		})
		behind := w.source(func(s *hub.Source) { s.Poll.Reconciles, s.DedupeKey = webhook.ID, "" })
		sent := &hub.Event{ID: hub.NewID(hub.EventPrefix, w.clock.Now()), SourceID: webhook.ID, Type: "sent", DedupeKey: "a", ReceivedAt: w.clock.Now(), Payload: &hub.Payload{Body: []byte(`{"key":"a"}`)}}
		_, err := w.door.Receive(t.Context(), []*hub.Event{sent})
		must(t, err)
		long := make([]byte, 101)
		results := make(chan receive.Fetched, 1)
		w.node(func(ctx context.Context, feed *fetch.Feed) error {
			got, err := feed.Receive(ctx, []receive.Item{
				{Body: []byte(`{"key":"a"}`), ContentType: "application/json"}, {Body: long},
				{Body: []byte(`{"key":"b"}`), ContentType: "application/json", Found: found("ignored", w.clock.Now())},
				{Body: []byte(`no JSON`)},
			})
			if err != nil {
				return err
			}
			if err := feed.Save(ctx, nil, w.clock.Now(), time.Time{}, ""); err != nil {
				return err
			}
			results <- got
			<-ctx.Done()
			return nil
		})
		got := <-results
		if got.Stored != 1 || got.Refused != 2 || !got.Receipts[0].Duplicate || got.Receipts[0].EventID != sent.ID || got.Receipts[1].EventID != "" {
			t.Errorf("it got %+v", got)
		}
		_, events := w.bodies()
		if len(events) != 2 || events[0].Recovered || !events[1].Recovered || events[1].SourceID != webhook.ID ||
			events[1].DedupeKey != "b" || events[1].Type != "sent" || !events[1].OccurredAt.Equal(w.clock.Now()) {
			t.Errorf("the events are %+v", events)
		}
		if s := w.status(behind); s.FetchedCount != 1 || s.RecoveredCount != 1 {
			t.Errorf("the source counts %+v", s)
		}
		if s := w.status(webhook); s.FetchedCount != 0 {
			t.Errorf("the other source counts %+v", s)
		}
		rejections, err := w.store.Rejections(t.Context(), hub.RejectionFilter{SourceIDs: []string{behind.ID}}, hub.Page{Size: 10})
		must(t, err)
		var reasons []hub.RejectionReason
		for _, r := range rejections.Items {
			reasons = append(reasons, r.Reason)
		}
		if !slices.Equal(reasons, []hub.RejectionReason{hub.RejectedExtraction, hub.RejectedBodyTooLarge}) {
			t.Errorf("the rejections are %q", reasons)
		}
	})
}

func found(key string, at time.Time) (e receive.Found) {
	e.DedupeKey, e.OccurredAt = key, at
	return e
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestWhatIsRecoveredIsCountedWithItAndToldOnce has a node end between what it stores and
// how far it has come, and the next one tell the whole run.
func TestWhatIsRecoveredIsCountedWithItAndToldOnce(t *testing.T) {
	t.Parallel()
	testkit.EachDatabase(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		webhook := w.source(func(s *hub.Source) {
			s.Kind, s.Poll, s.AllowUnverified, s.DedupeKey, s.EventType = hub.SourceWebhook, nil, true, "string(body.id)", `"sent"`
		})
		behind := w.source(func(s *hub.Source) { s.Poll.Reconciles, s.DedupeKey = webhook.ID, "" })
		told := func() (facts []hub.RecoveryFacts) {
			t.Helper()
			list, err := w.store.Announcements(t.Context(), 100)
			must(t, err)
			for _, a := range list {
				var f hub.RecoveryFacts
				must(t, json.Unmarshal(a.Body, &f))
				facts = append(facts, f)
			}
			return facts
		}
		stored := make(chan error, 1)
		killed := w.node(func(ctx context.Context, feed *fetch.Feed) error {
			_, err := feed.Receive(ctx, []receive.Item{item(1), item(2)})
			stored <- err
			<-ctx.Done()
			return nil
		})
		must(t, <-stored)
		must(t, killed.Stop(t.Context()))
		if s := w.status(behind); s.FetchedCount != 2 || s.RecoveredCount != 2 || len(told()) != 0 {
			t.Errorf("the source counts %+v and %v is told", s, told())
		}
		ended := make(chan error, 1)
		w.node(func(ctx context.Context, feed *fetch.Feed) error {
			for page := range 2 {
				if _, err := feed.Receive(ctx, []receive.Item{item(2 * page), item(2*page + 1)}); err != nil {
					return err
				}
				if page == 1 {
					feed.Tell()
				}
				if err := feed.Save(ctx, nil, w.clock.Now(), time.Time{}, ""); err != nil {
					return err
				}
			}
			feed.Tell()
			ended <- feed.Save(ctx, nil, w.clock.Now(), time.Time{}, "")
			<-ctx.Done()
			return nil
		})
		must(t, <-ended)
		if s := w.status(behind); s.FetchedCount != 4 || s.RecoveredCount != 4 {
			t.Errorf("the source counts %+v", s)
		}
		if facts := told(); len(facts) != 1 || facts[0].Count != 4 || facts[0].SourceID != webhook.ID || facts[0].PollID != behind.ID || len(facts[0].EventIDs) != 2 {
			t.Errorf("%+v is told", facts)
		}
	})
}
