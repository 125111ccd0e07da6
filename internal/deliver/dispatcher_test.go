package deliver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// sink answers every request and counts how many it has at once, by host.
type sink struct {
	mu    sync.Mutex
	now   map[string]int
	most  map[string]int
	total map[string]int
	hang  map[string]chan struct{} // requests to these hosts wait until it is closed
}

func newSink() *sink {
	return &sink{now: map[string]int{}, most: map[string]int{}, total: map[string]int{}, hang: map[string]chan struct{}{}}
}

func (s *sink) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Host
	s.mu.Lock()
	s.now[host]++
	s.total[host]++
	s.most[host] = max(s.most[host], s.now[host])
	hang := s.hang[host]
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now[host]--
		s.mu.Unlock()
	}()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return nil, r.Context().Err()
		}
	}
	return answer(200), nil
}

func (s *sink) read(of map[string]int, host string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return of[host]
}

func many(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return out
}

// An endpoint that hangs with all its slots, and a backlog behind, keeps no
// delivery of another from arriving while it hangs.
func TestHangingEndpointsDelayNobody(t *testing.T) {
	t.Parallel()
	s := newSink()
	release := make(chan struct{})
	defer close(release)
	endpoints := []*hub.Endpoint{newEndpoint("healthy", "http://healthy")}
	for i := range 30 {
		id := fmt.Sprint("hanging", i)
		s.hang[id] = release
		endpoints = append(endpoints, newEndpoint(id, "http://"+id, func(e *hub.Endpoint) { e.Timeout, e.MaxConcurrency = time.Minute, 16 }))
	}
	store := newFakeStore(endpoints...)
	// Fewer slots in all than the hanging ones want together.
	d := newDispatcher(t, store, s, func(c *deliver.Config) { c.MaxInFlight = 64 })
	for _, e := range endpoints[1:] {
		store.publish(e.ID, many(50)...)
	}
	store.await(t, "the hanging ones to hang", func() bool { return d.InFlight() >= 50 })
	store.publish("healthy", many(200)...)
	store.await(t, "the healthy one's deliveries", func() bool { return store.count("healthy", hub.DeliveryDelivered) == 200 })
	for _, e := range endpoints[1:] {
		if n := store.count(e.ID, hub.DeliveryPending); n != 50 {
			t.Errorf("%s: %d pending", e.ID, n)
		}
	}
}

// Never more in flight than an endpoint allows, and never more than all slots,
// whichever way deliveries come; and everything is delivered in the end, once.
func TestConcurrencyStaysWithinItsLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		s := newSink()
		total := rapid.IntRange(1, 40).Draw(rt, "slots")
		var endpoints []*hub.Endpoint
		for i := range rapid.IntRange(1, 5).Draw(rt, "endpoints") {
			id := fmt.Sprint("e", i)
			limit := rapid.IntRange(1, 20).Draw(rt, "limit")
			endpoints = append(endpoints, newEndpoint(id, "http://"+id, func(e *hub.Endpoint) { e.MaxConcurrency = limit }))
		}
		store := newFakeStore(endpoints...)
		var inFlight, most atomic.Int64
		transport := roundTrip(func(r *http.Request) (*http.Response, error) {
			n := inFlight.Add(1)
			defer inFlight.Add(-1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			return s.RoundTrip(r)
		})
		d, err := deliver.New(deliver.Config{Store: store, Shaper: &shaper{}, Transport: transport, Sign: sign, Logger: quiet, MaxInFlight: total})
		if err != nil {
			rt.Fatal(err)
		}
		store.taker = d
		if err := d.Start(t.Context()); err != nil {
			rt.Fatal(err)
		}
		want := map[string]int{}
		var publishers sync.WaitGroup
		for _, e := range endpoints {
			for range rapid.IntRange(1, 4).Draw(rt, "batches") {
				n := rapid.IntRange(1, 60).Draw(rt, "deliveries")
				want[e.ID] += n
				publishers.Go(func() { store.publish(e.ID, many(n)...) })
			}
		}
		publishers.Wait()
		for id, n := range want {
			store.await(t, "all deliveries", func() bool { return store.count(id, hub.DeliveryDelivered) == n })
		}
		if err := d.Stop(t.Context()); err != nil {
			rt.Fatal(err)
		}
		if most.Load() > int64(total) {
			rt.Fatalf("%d of %d slots in flight", most.Load(), total)
		}
		for _, e := range endpoints {
			if got := s.read(s.most, e.ID); got > e.MaxConcurrency {
				rt.Fatalf("%s: %d in flight, %d allowed", e.ID, got, e.MaxConcurrency)
			}
			if got := s.read(s.total, e.ID); got != want[e.ID] {
				rt.Fatalf("%s: %d sent of %d", e.ID, got, want[e.ID])
			}
		}
	})
}

// Where even the slots for all are taken, they go round: an endpoint with a
// backlog does not keep its slot as long as another waits for its first.
func TestExhaustedSlotsGoRound(t *testing.T) {
	t.Parallel()
	steps := make(chan struct{})
	store := newFakeStore(newEndpoint("busy", "http://busy"), newEndpoint("other", "http://other"))
	d := newDispatcher(t, store, roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "busy" {
			select {
			case <-steps:
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		}
		return answer(200), nil
	}), func(c *deliver.Config) { c.MaxInFlight = 1 })
	store.publish("busy", many(100)...)
	store.await(t, "the only slot to be taken", func() bool { return d.InFlight() == 1 })
	store.publish("other", "x")
	store.await(t, "the other to wait", func() bool { return d.Crowded() })
	steps <- struct{}{}
	store.await(t, "the other's turn", func() bool { return store.count("other", hub.DeliveryDelivered) == 1 })
	if n := store.count("busy", hub.DeliveryDelivered); n != 1 {
		t.Errorf("%d of the busy one went first", n)
	}
}

func TestLostWakeUpsOnlyCostLatency(t *testing.T) {
	t.Parallel()
	store := newFakeStore(newEndpoint("end_1", "http://end_1"))
	newDispatcher(t, store, newSink())
	store.taker = nil // as from another node: nobody is offered anything, nobody wakes anyone
	store.publish("end_1", many(300)...)
	store.await(t, "the recovery", func() bool { return store.count("end_1", hub.DeliveryDelivered) == 300 })
}

func TestBacklogFromBeforeTheStart(t *testing.T) {
	t.Parallel()
	store := newFakeStore(newEndpoint("end_1", "http://end_1"), newEndpoint("end_2", "http://end_2"))
	first := store.publish("end_1", many(100)...)
	store.publish("end_2", many(100)...)
	var mu sync.Mutex
	var order []string
	newDispatcher(t, store, roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.URL.Host == "end_1" {
			mu.Lock()
			order = append(order, r.Header["webhook-id"][0]) //nolint:staticcheck // sent in lower case, as the specification writes it
			mu.Unlock()
		}
		return answer(200), nil
	}))
	store.await(t, "both backlogs", func() bool {
		return store.count("end_1", hub.DeliveryDelivered) == 100 && store.count("end_2", hub.DeliveryDelivered) == 100
	})
	mu.Lock()
	defer mu.Unlock()
	if !slices.Contains(first[:8], order[0]) {
		t.Error("the oldest did not go first")
	}
}

func TestClaimErrorsAreSurvived(t *testing.T) {
	t.Parallel()
	store := newFakeStore(newEndpoint("end_1", "http://end_1"))
	store.claimErr = errors.New("the database is away")
	newDispatcher(t, store, newSink())
	store.taker = nil
	store.publish("end_1", "x")
	store.await(t, "a claim that fails", func() bool {
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.claims > 0
	})
	store.mu.Lock()
	store.claimErr = nil
	store.mu.Unlock()
	store.await(t, "the delivery", func() bool { return store.count("end_1", hub.DeliveryDelivered) == 1 })
}

func TestConfigurationTakesEffect(t *testing.T) {
	t.Parallel()
	paused := func(e *hub.Endpoint) { e.State = hub.EndpointPaused }

	t.Run("a paused endpoint gets nothing until it is resumed", func(t *testing.T) {
		t.Parallel()
		s := newSink()
		store := newFakeStore(newEndpoint("end_1", "http://end_1", paused), newEndpoint("end_2", "http://end_2"))
		d := newDispatcher(t, store, s)
		store.publish("end_1", many(10)...)
		store.publish("end_2", many(10)...)
		store.await(t, "the other endpoint", func() bool { return store.count("end_2", hub.DeliveryDelivered) == 10 })
		if n := s.read(s.total, "end_1"); n != 0 {
			t.Fatalf("%d were sent", n)
		}
		store.configure(newEndpoint("end_1", "http://end_1"), newEndpoint("end_2", "http://end_2"))
		d.Wake()
		store.await(t, "the resumed endpoint", func() bool { return store.count("end_1", hub.DeliveryDelivered) == 10 })
	})
	t.Run("what waits in memory is given back when it is paused", func(t *testing.T) {
		t.Parallel()
		s := newSink()
		release := make(chan struct{})
		store := newFakeStore(newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) { e.MaxConcurrency = 1 }))
		newDispatcher(t, store, s)
		for range 20 { // quick answers, so that there is a queue
			store.publish("end_1", "x")
			store.await(t, "the quick ones", func() bool { return store.count("end_1", hub.DeliveryPending) == 0 })
		}
		s.mu.Lock()
		s.hang["end_1"] = release
		s.mu.Unlock()
		store.publish("end_1", many(5)...)
		store.await(t, "the first to hang", func() bool { return s.read(s.now, "end_1") == 1 })
		store.configure(newEndpoint("end_1", "http://end_1", paused))
		close(release)
		store.await(t, "the others to come back", func() bool {
			store.mu.Lock()
			defer store.mu.Unlock()
			leased := 0
			for _, r := range store.rows {
				if r.token != "" {
					leased++
				}
			}
			return leased == 0
		})
		if n := s.read(s.total, "end_1"); n != 21 {
			t.Errorf("%d were sent, want 21", n)
		}
	})
	t.Run("a deleted endpoint gets nothing", func(t *testing.T) {
		t.Parallel()
		s := newSink()
		store := newFakeStore(newEndpoint("end_1", "http://end_1"), newEndpoint("end_2", "http://end_2"))
		d := newDispatcher(t, store, s)
		store.publish("end_1", "x")
		store.await(t, "the first", func() bool { return store.count("end_1", hub.DeliveryDelivered) == 1 })
		if !d.Reserve("end_1") {
			t.Fatal("no room")
		}
		store.configure(newEndpoint("end_2", "http://end_2"))
		d.Take(hub.Lease{Delivery: hub.Delivery{ID: "dlv_gone", EndpointID: "end_1"}, Token: "t"})
		if d.Reserve("end_1") || d.Reserve("end_unknown") {
			t.Error("there is room for an endpoint that is gone")
		}
		store.publish("end_2", "x")
		store.await(t, "the other", func() bool { return store.count("end_2", hub.DeliveryDelivered) == 1 })
		if n := s.read(s.total, "end_1"); n != 1 {
			t.Errorf("%d were sent", n)
		}
	})
	t.Run("a paused subscription's deliveries are given back", func(t *testing.T) {
		t.Parallel()
		s := newSink()
		store := newFakeStore(newEndpoint("end_1", "http://end_1"))
		newDispatcher(t, store, s)
		store.mu.Lock()
		store.configuration.Subscriptions["sub_end_1"].State = hub.SubscriptionPaused
		store.mu.Unlock()
		store.publish("end_1", many(3)...)
		store.await(t, "all to come back", func() bool {
			store.mu.Lock()
			defer store.mu.Unlock()
			return store.returned == 3
		})
		if n := s.read(s.total, "end_1"); n != 0 {
			t.Errorf("%d were sent", n)
		}
	})
	t.Run("a change of the limit counts from the next delivery on", func(t *testing.T) {
		t.Parallel()
		s := newSink()
		release := make(chan struct{})
		s.hang["end_1"] = release
		store := newFakeStore(newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) { e.MaxConcurrency = 2 }))
		newDispatcher(t, store, s)
		store.publish("end_1", many(20)...)
		store.await(t, "two", func() bool { return s.read(s.now, "end_1") == 2 })
		store.configure(newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) { e.MaxConcurrency = 7 }))
		store.await(t, "seven", func() bool { return s.read(s.now, "end_1") == 7 })
		close(release)
		store.await(t, "all", func() bool { return store.count("end_1", hub.DeliveryDelivered) == 20 })
		if most := s.read(s.most, "end_1"); most != 7 {
			t.Errorf("%d in flight", most)
		}
	})
}

func TestStop(t *testing.T) {
	t.Parallel()
	t.Run("drains what is under way and gives back the rest", func(t *testing.T) {
		t.Parallel()
		s := newSink()
		release := make(chan struct{})
		s.hang["end_1"] = release
		store := newFakeStore(newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) { e.MaxConcurrency = 3 }), newEndpoint("end_2", "http://end_2"))
		d := newDispatcher(t, store, s)
		ids := store.publish("end_1", many(10)...)
		store.await(t, "three", func() bool { return d.InFlight() == 3 })
		stopped := make(chan error, 1)
		go func() { stopped <- d.Stop(t.Context()) }()
		store.await(t, "no more room", func() bool {
			ok := d.Reserve("end_2")
			if ok {
				d.Release("end_2")
			}
			return !ok
		})
		close(release)
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		delivered := store.count("end_1", hub.DeliveryDelivered)
		if delivered < 3 || delivered != s.read(s.total, "end_1") {
			t.Errorf("%d were delivered of %d sent", delivered, s.read(s.total, "end_1"))
		}
		store.mu.Lock()
		defer store.mu.Unlock()
		for _, id := range ids {
			if r := store.rows[id]; r.token != "" {
				t.Errorf("%s is still leased", id)
			}
		}
	})
	t.Run("interrupts what does not end in time, at no cost to anyone", func(t *testing.T) {
		t.Parallel()
		s := newSink()
		s.hang["end_1"] = make(chan struct{})
		store := newFakeStore(newEndpoint("end_1", "http://end_1"))
		d := newDispatcher(t, store, s)
		id := store.publish("end_1", "x")[0]
		store.await(t, "it to hang", func() bool { return d.InFlight() == 1 })
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := d.Stop(ctx); err != nil {
			t.Fatal(err)
		}
		got := store.delivery(id)
		if got.Status != hub.DeliveryPending || got.SchedulePosition != 0 || got.NextAttemptAt.After(time.Now()) || got.AttemptCount != 1 {
			t.Errorf("delivery %+v", got)
		}
		if a := store.attemptsOf(id); len(a) != 1 || a[0].Outcome != hub.AttemptInterrupted {
			t.Errorf("attempts %+v", a)
		}
		if h := store.Health("end_1"); h != nil && h.ConsecutiveFailures != 0 {
			t.Errorf("health %+v", h)
		}
	})
	t.Run("gives back a lease that comes while it stops", func(t *testing.T) {
		t.Parallel()
		store := newFakeStore(newEndpoint("end_1", "http://end_1"))
		d := newDispatcher(t, store, newSink())
		store.await(t, "room", func() bool { return d.Reserve("end_1") })
		stopped := make(chan error, 1)
		go func() { stopped <- d.Stop(t.Context()) }()
		store.await(t, "no more room", func() bool {
			ok := d.Reserve("end_1")
			if ok {
				d.Release("end_1")
			}
			return !ok
		})
		d.Take(hub.Lease{Delivery: hub.Delivery{ID: "dlv_late", EndpointID: "end_1"}, Token: "t"})
		if err := <-stopped; err != nil {
			t.Fatal(err)
		}
		if store.returned != 1 {
			t.Errorf("%d given back", store.returned)
		}
	})
	t.Run("may come before the start, and twice", func(t *testing.T) {
		t.Parallel()
		d, err := deliver.New(deliver.Config{Store: newFakeStore(), Shaper: &shaper{}, Transport: newSink(), Sign: sign, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		if d.Reserve("end_1") {
			t.Error("there is room before the start")
		}
		for range 2 {
			if err := d.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		}
		if d.Start(t.Context()) == nil {
			t.Error("started after it was stopped")
		}
	})
	t.Run("at any moment loses nothing", func(t *testing.T) {
		t.Parallel()
		store := newFakeStore(newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) { e.MaxConcurrency = 8 }))
		const total = 2000
		var publisher sync.WaitGroup
		var current atomic.Pointer[deliver.Dispatcher]
		publisher.Go(func() {
			for range total / 20 {
				store.publishVia(current.Load(), "end_1", many(20)...)
			}
		})
		for round := 0; store.count("end_1", hub.DeliveryDelivered) < total; round++ {
			d, err := deliver.New(deliver.Config{Store: store, Shaper: &shaper{}, Transport: newSink(), Sign: sign, Logger: quiet})
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			current.Store(d)
			before := store.count("end_1", hub.DeliveryDelivered)
			store.await(t, "progress", func() bool { return store.count("end_1", hub.DeliveryDelivered) >= min(before+100, total) })
			if err := d.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			// What was offered to it as it stopped ends with its lease.
			store.mu.Lock()
			for _, r := range store.rows {
				if r.delivery.Status == hub.DeliveryPending && r.token != "" && r.due.After(time.Now()) {
					r.due = time.Now()
				}
			}
			store.mu.Unlock()
		}
		publisher.Wait()
		store.mu.Lock()
		defer store.mu.Unlock()
		for id, attempts := range store.attempts {
			for _, a := range attempts[:len(attempts)-1] {
				if a.Outcome == hub.AttemptSucceeded {
					t.Errorf("%s was delivered %d times", id, len(attempts))
				}
			}
		}
	})
}
