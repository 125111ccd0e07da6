package deliver_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// witness watches an endpoint's every request and every result, and notes what is
// against the rules.
type witness struct {
	*fakeStore
	began time.Time

	mu       sync.Mutex
	random   *rand.Rand
	script   []int // statuses in turn; 0 hangs until the deadline, -1 breaks the connection
	takes    []time.Duration
	endpoint *hub.Endpoint
	requests int
	inFlight int
	planned  map[string]time.Time // when the next attempt of each delivery is due
	running  map[string]bool
	health   hub.EndpointHealth
	learned  time.Time // when health was
	updated  time.Time // when the endpoint was changed: somebody may have mended it, so its breaker is tried at once
	stopped  time.Time // when the endpoint or its subscription was paused or disabled; zero: it is not
	wrong    []string
}

// The states that an endpoint and its subscription may be put into.
const (
	goesOn      = "goes on"
	isPaused    = "is paused"
	isDisabled  = "is disabled"
	isPausedSub = "its subscription is paused"
)

// put puts the endpoint and its subscription into a state.
func (w *witness) put(state string) {
	cfg := w.Configuration()
	e, sub := *cfg.Endpoints[w.endpoint.ID], *cfg.Ordered[0]
	was := e.State
	e.State, sub.State = hub.EndpointActive, hub.SubscriptionActive
	switch state {
	case isPaused:
		e.State = hub.EndpointPaused
	case isDisabled:
		e.State = hub.EndpointDisabled
	case isPausedSub:
		sub.State = hub.SubscriptionPaused
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if e.State != was {
		e.UpdatedAt, w.updated = time.Now(), time.Now()
	}
	switch {
	case state == goesOn:
		w.stopped = time.Time{}
	case w.stopped.IsZero():
		w.stopped = time.Now()
	}
	w.fakeStore.mu.Lock()
	defer w.fakeStore.mu.Unlock()
	w.configuration = hub.NewConfiguration(0, nil, []*hub.Endpoint{&e}, []*hub.Subscription{&sub})
}

func (w *witness) object(format string, arguments ...any) {
	if len(w.wrong) < 5 {
		w.wrong = append(w.wrong, fmt.Sprintf("%v: ", time.Since(w.began))+fmt.Sprintf(format, arguments...))
	}
}

func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	id := r.Header["webhook-id"][0] //nolint:staticcheck // sent in lower case, as the specification writes it
	now := time.Now()
	w.mu.Lock()
	n := w.requests
	w.requests++
	w.inFlight++
	if w.inFlight > w.endpoint.MaxConcurrency {
		w.object("%d in flight", w.inFlight)
	}
	if limit := w.endpoint.RateLimit; limit != nil {
		if allowed := float64(limit.Limit) * (1 + now.Sub(w.began).Seconds()/limit.Period.Seconds()); float64(w.requests) > allowed+0.001 {
			w.object("%d requests, where %.2f are allowed", w.requests, allowed)
		}
	}
	if due := w.planned[id]; now.Before(due) {
		w.object("%s was attempted %v early", id, due.Sub(now))
	}
	if !w.stopped.IsZero() && now.After(w.stopped) {
		w.object("%s was attempted %v after a stop", id, now.Sub(w.stopped))
	}
	if w.running[id] {
		w.object("%s was attempted while it was attempted", id)
	}
	w.running[id] = true
	// What is learned at this very moment, a request may not have known.
	if now.After(w.learned) {
		if now.Before(w.health.PacedUntil) {
			w.object("the endpoint asked for %v more", w.health.PacedUntil.Sub(now))
		}
		if w.health.Breaker == hub.BreakerOpen && now.Before(w.health.BreakerUntil) && !w.updated.After(w.health.LastFailureAt) {
			w.object("the breaker is open for %v more", w.health.BreakerUntil.Sub(now))
		}
		if w.health.Breaker == hub.BreakerOpen && w.inFlight > 1 && w.health.Probes > 0 {
			w.object("%d probes at once", w.inFlight)
		}
	}
	status, takes := w.script[n%len(w.script)], w.takes[n%len(w.takes)]
	w.mu.Unlock()

	defer func() {
		w.mu.Lock()
		w.inFlight--
		delete(w.running, id)
		w.mu.Unlock()
	}()
	if status == 0 {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	switch {
	case status < 0:
		return nil, http.ErrServerClosed
	case status == http.StatusTooManyRequests:
		return answer(status, "Retry-After", fmt.Sprint(n%40)), nil
	}
	return answer(status), nil
}

func (w *witness) Settle(s hub.Settlement) {
	w.mu.Lock()
	if s.Attempt != nil {
		w.planned[s.Delivery.ID] = s.Delivery.NextAttemptAt
	}
	if s.Health != nil {
		w.health, w.learned = *s.Health, time.Now()
	}
	w.mu.Unlock()
	w.fakeStore.Settle(s)
}

func (w *witness) Float64() float64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.random.Float64()
}

// Whatever an endpoint does and however deliveries come: no attempt is earlier than
// planned, none is made twice at once, never more are in flight than the limit, the
// rate is kept, nobody calls while the endpoint asked to be left alone or its breaker
// is open or it is paused or disabled, and in the end every delivery has ended or says when it goes on.
func TestTheRulesHoldWhateverHappens(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		concurrency := rapid.IntRange(1, 12).Draw(rt, "concurrency")
		timeout := time.Duration(rapid.IntRange(1, 10).Draw(rt, "timeout")) * time.Second
		var limit *hub.RateLimit
		if rapid.Bool().Draw(rt, "limited") {
			limit = &hub.RateLimit{
				Limit:  rapid.IntRange(5, 300).Draw(rt, "limit"),
				Period: rapid.SampledFrom([]time.Duration{100 * time.Millisecond, time.Second, 10 * time.Second}).Draw(rt, "period"),
			}
		}
		schedule := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration {
			return time.Duration(rapid.Int64Range(0, int64(10*time.Minute)).Draw(t, "wait"))
		}), 1, 6).Draw(rt, "schedule")
		e := newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) {
			e.MaxConcurrency, e.Timeout, e.RateLimit = concurrency, timeout, limit
			e.RetryPolicy = hub.RetryPolicy{Schedule: schedule, Jitter: rapid.Float64Range(0, 1).Draw(rt, "jitter")}
		})
		w := &witness{
			endpoint: e, planned: map[string]time.Time{}, running: map[string]bool{},
			random: rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 1)), //nolint:gosec // chance that can be repeated
			script: rapid.SliceOfN(rapid.SampledFrom([]int{200, 200, 200, 200, 500, 503, 429, 302, 0, -1}), 1, 40).Draw(rt, "script"),
			takes:  rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 20 * time.Millisecond, time.Second, 8 * time.Second}), 1, 20).Draw(rt, "takes"),
		}
		batches := rapid.SliceOfN(rapid.IntRange(1, 40), 1, 6).Draw(rt, "batches")
		pauses := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, time.Millisecond, time.Second, time.Minute}), len(batches), len(batches)).Draw(rt, "pauses")
		states := rapid.SliceOfN(rapid.SampledFrom([]string{goesOn, goesOn, goesOn, isPaused, isDisabled, isPausedSub}), len(batches), len(batches)).Draw(rt, "states")
		stops := rapid.SliceOfN(rapid.SampledFrom([]time.Duration{0, time.Millisecond, 3 * time.Second, 20 * time.Minute}), len(batches), len(batches)).Draw(rt, "stops")
		resumed := rapid.Bool().Draw(rt, "resumed") // in the end
		offered := rapid.Bool().Draw(rt, "offered") // or else they are found in the database
		synctest.Test(t, func(t *testing.T) {
			w.began = time.Now()
			w.fakeStore = newFakeStore(e)
			d := newDispatcher(t, w.fakeStore, w, func(c *deliver.Config) { c.Store, c.Random = w, w.Float64 })
			for i, n := range batches {
				if !offered {
					w.taker = nil
				}
				w.publish("end_1", many(n)...)
				pass(pauses[i])
				w.put(states[i])
				d.Wake()
				pass(stops[i])
			}
			if resumed {
				w.put(goesOn)
				d.Wake()
			}
			for range 48 { // far longer than the slowest of these endpoints takes for all
				pass(10 * time.Minute)
				if w.count("end_1", hub.DeliveryPending) == 0 {
					break
				}
			}
			for range 20 { // a probe may have begun just now; it has a timeout
				if d.InFlight() == 0 {
					break
				}
				pass(time.Second)
			}
			if n := d.InFlight(); n != 0 {
				w.object("%d are still in flight", n)
			}
		})
		w.mu.Lock()
		defer w.mu.Unlock()
		for id, r := range w.rows {
			d := &r.delivery
			waits := d.Status == hub.DeliveryPending && (!w.stopped.IsZero() || !w.planned[id].IsZero() || w.health.Breaker != hub.BreakerClosed)
			if !d.Status.Ended() && !waits || d.Status == hub.DeliveryDead && d.Reason == "" {
				w.object("%s stays %s for %q", id, d.Status, d.Reason)
			}
		}
		for _, wrong := range w.wrong {
			rt.Error(wrong)
		}
	})
}
