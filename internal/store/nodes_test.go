package store_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// twoNodes starts two stores on one PostgreSQL, which share a clock.
func twoNodes(t *testing.T) (one, two *store.Store, b *bundle) {
	t.Helper()
	url := testkit.Postgres(t)
	one, b = start(t, url)
	two, _ = start(t, url, func(cfg *store.Config) {
		cfg.Clock, cfg.Router = b.clock, b.router
	})
	return one, two, b
}

func TestTwoNodesMigrateAndStartAtOnce(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			s, err := store.Open(t.Context(), store.Config{URL: url, Keyring: sealer{}})
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = s.Close() }()
			if _, _, err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Start(t.Context(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// Commands may use a file beside a hub, and one of them can be the first to do so.
func TestToolsMigrateAFileAtOnce(t *testing.T) {
	t.Parallel()
	for range 5 {
		url := "sqlite:" + filepath.Join(t.TempDir(), "hub.db")
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				s, err := store.Open(t.Context(), store.Config{URL: url, Keyring: sealer{}, Tool: i > 0})
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = s.Close() }()
				if _, _, err := s.Migrate(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
}

func TestTwoNodesWriteOneLog(t *testing.T) {
	t.Parallel()
	one, two, b := twoNodes(t)
	src := newSource(t, one, b)
	must(t, two.Refresh(t.Context()))
	const writers, each = 8, 60

	var done atomic.Bool
	var read []*hub.Event
	var reading sync.WaitGroup
	reading.Go(func() { // whoever has been handed N has been handed everything before N
		for after := hub.Sequence(0); ; {
			last := done.Load()
			events, err := two.EventsAfter(t.Context(), after, 7)
			if err != nil {
				t.Error(err)
				return
			}
			for _, ev := range events {
				if ev.Sequence != after+1 {
					t.Errorf("sequence %d follows %d", ev.Sequence, after)
					return
				}
				after = ev.Sequence
			}
			read = append(read, events...)
			if last && len(events) == 0 {
				return
			}
		}
	})

	var mu sync.Mutex
	receipts := make(map[string]hub.Receipt)
	var writing sync.WaitGroup
	for w := range writers {
		s := []*store.Store{one, two}[w%2]
		writing.Go(func() {
			previous := hub.Sequence(0)
			for i := range each {
				ev := newEvent(b, src, keyed(fmt.Sprint("key", w/2, i))) // each key is sent by both nodes
				r, err := s.Append(t.Context(), []*hub.Event{ev})
				if err != nil {
					t.Error(err)
					return
				}
				if !r[0].Duplicate && r[0].Sequence <= previous {
					t.Errorf("sequence %d came after %d was acknowledged", r[0].Sequence, previous)
				}
				if !r[0].Duplicate {
					previous = r[0].Sequence
				}
				mu.Lock()
				first, known := receipts[ev.DedupeKey]
				if known && (first.EventID != r[0].EventID || first.Duplicate == r[0].Duplicate) {
					t.Errorf("key %s: %+v and %+v", ev.DedupeKey, first, r[0])
				}
				receipts[ev.DedupeKey] = r[0]
				mu.Unlock()
			}
		})
	}
	writing.Wait()
	done.Store(true)
	reading.Wait()
	if len(read) != writers/2*each {
		t.Fatalf("read %d events, want %d", len(read), writers/2*each)
	}
	for _, ev := range read {
		if ev.DuplicateCount > 1 || receipts[ev.DedupeKey].EventID != ev.ID {
			t.Fatalf("event %+v", ev)
		}
	}
}

func TestTwoNodesClaimOnceWhileALeaseHolds(t *testing.T) {
	t.Parallel()
	one, two, b := twoNodes(t)
	src, e := newSource(t, one, b), newEndpoint(t, one, b)
	newSubscription(t, one, b, e)
	must(t, two.Refresh(t.Context()))
	const events = 400
	var batch []*hub.Event
	for range events {
		batch = append(batch, newEvent(b, src))
	}
	got[[]hub.Receipt](t)(one.Append(t.Context(), batch))

	var mu sync.Mutex
	claims := make(map[string]int)
	round := func() (claimed int) {
		var wg sync.WaitGroup
		for w := range 6 {
			s := []*store.Store{one, two}[w%2]
			wg.Go(func() {
				for misses := 0; misses < 3; {
					leases, err := s.Claim(t.Context(), []hub.Want{{EndpointID: e.ID, Limit: 7, Lease: time.Minute}})
					if err != nil {
						t.Error(err)
						return
					}
					if len(leases) == 0 {
						misses++
					}
					if len(leases) > 7 {
						t.Errorf("claimed %d, want at most 7", len(leases))
					}
					mu.Lock()
					for _, l := range leases {
						claims[l.Delivery.ID]++
						claimed++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		return claimed
	}
	if n := round(); n != events {
		t.Fatalf("claimed %d of %d", n, events)
	}
	b.clock.advance(time.Minute)
	if n := round(); n != events {
		t.Fatalf("claimed %d of %d after the leases ended", n, events)
	}
	for id, n := range claims {
		if n != 2 {
			t.Errorf("%s was claimed %d times in two rounds", id, n)
		}
	}
}

func TestTheNextCommitSeesAnotherNodesConfiguration(t *testing.T) {
	t.Parallel()
	one, two, b := twoNodes(t)
	b.router.set(func(ev *hub.Event, cfg *hub.Configuration) []string {
		var ids []string
		for _, sub := range cfg.Ordered {
			if slices.Contains(sub.EventTypes, ev.Type) {
				ids = append(ids, sub.ID)
			}
		}
		return ids
	})
	src, e := newSource(t, one, b), newEndpoint(t, one, b)
	must(t, two.Refresh(t.Context()))
	for i := range 30 {
		name := fmt.Sprint("type", i)
		sub := newSubscription(t, one, b, e, func(sub *hub.Subscription) { sub.EventTypes = []string{name} })
		ev := newEvent(b, src, typed(name))
		add(t, two, ev) // at once, without a refresh in between
		if list := deliveriesOf(t, two, ev.ID); len(list) != 1 || list[0].SubscriptionID != sub.ID {
			t.Fatalf("deliveries are %+v", list)
		}
		must(t, one.DeleteSubscription(t.Context(), sub.ID))
		late := newEvent(b, src, typed(name))
		add(t, two, late)
		if list := deliveriesOf(t, two, late.ID); len(list) != 0 {
			t.Fatalf("%d deliveries for a subscription that is gone", len(list))
		}
	}
	must(t, one.DeleteSource(t.Context(), src.ID))
	_, err := two.Append(t.Context(), []*hub.Event{newEvent(b, src)})
	wantCode(t, err, hub.CodeNotFound)
	eventually(t, "the other node follows by itself", func() bool {
		return two.Configuration().Revision == one.Configuration().Revision
	})
}

func TestAnotherNodesHealthIsFollowed(t *testing.T) {
	t.Parallel()
	one, two, b := twoNodes(t)
	src, e := newSource(t, one, b), newEndpoint(t, one, b)
	newSubscription(t, one, b, e)
	ev := newEvent(b, src)
	add(t, one, ev)
	r := attempt(b, claim(t, one, e, 1)[0], hub.AttemptTimedOut, hub.DeliveryPending)
	r.Health = &hub.EndpointHealth{EndpointID: e.ID, Breaker: hub.BreakerOpen, BreakerUntil: b.clock.Now().Add(time.Minute)}
	settled(t, one, r)
	eventually(t, "the other node knows", func() bool {
		h := two.Health(e.ID)
		return h != nil && h.Breaker == hub.BreakerOpen
	})
	eventually(t, "it shows the delivery as held", func() bool { return deliveriesOf(t, two, ev.ID)[0].Status == hub.DeliveryHeld })
}
