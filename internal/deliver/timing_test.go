package deliver_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// script answers requests with the status that it holds now and remembers when
// each came.
type script struct {
	mu     sync.Mutex
	status int
	header http.Header
	takes  time.Duration
	came   []time.Time
	now    int
	most   int
}

func (s *script) set(status int, pairs ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status, s.header = status, answer(status, pairs...).Header
}

// seen returns how many requests came and the most at once since the last call.
func (s *script) seen() (came []time.Time, most int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	came, most = s.came, s.most
	s.came, s.most = nil, 0
	return came, most
}

func (s *script) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.came = append(s.came, time.Now())
	s.now++
	s.most = max(s.most, s.now)
	status, header, takes := s.status, s.header, s.takes
	s.mu.Unlock()
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
	s.mu.Lock()
	s.now--
	s.mu.Unlock()
	if r.Context().Err() != nil {
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: status, Header: header, Body: http.NoBody}, nil
}

// inBubble runs a story in which time passes only when nothing else can happen.
func inBubble(t *testing.T, e *hub.Endpoint, story func(t *testing.T, store *fakeStore, s *script, d *deliver.Dispatcher)) {
	synctest.Test(t, func(t *testing.T) {
		s := &script{status: 200}
		store := newFakeStore(e)
		d := newDispatcher(t, store, s)
		story(t, store, s, d)
	})
}

// pass lets time pass and everything that is due in it happen.
func pass(d time.Duration) {
	time.Sleep(d) // in a bubble: the fake clock, which moves when all are idle
	synctest.Wait()
}

func TestRetriesKeepTheSchedule(t *testing.T) {
	t.Parallel()
	inBubble(t, newEndpoint("end_1", "http://end_1"), func(t *testing.T, store *fakeStore, s *script, _ *deliver.Dispatcher) {
		s.set(500)
		began := time.Now()
		id := store.publish("end_1", "x")[0]
		pass(80 * time.Hour)
		came, _ := s.seen()
		if len(came) != len(hub.DefaultSchedule) {
			t.Fatalf("%d attempts", len(came))
		}
		due := began
		for i, at := range came {
			due = due.Add(hub.DefaultSchedule[i])
			if late := at.Sub(due); late < 0 || late > 10*time.Millisecond {
				t.Errorf("attempt %d came %v after it was due", i+1, late)
			}
			due = at
		}
		if d := store.delivery(id); d.Status != hub.DeliveryDead || d.AttemptCount != 10 || !strings.Contains(d.Reason, "500") {
			t.Errorf("delivery %+v", d)
		}
		for i, a := range store.attemptsOf(id) {
			if a.Number != i+1 {
				t.Errorf("attempt %d has the number %d", i+1, a.Number)
			}
		}
	})
}

func TestDeadlineIsOneForAll(t *testing.T) {
	t.Parallel()
	inBubble(t, newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) { e.Timeout = 0 }), func(t *testing.T, store *fakeStore, s *script, _ *deliver.Dispatcher) {
		s.takes = time.Hour
		id := store.publish("end_1", "x")[0]
		pass(16 * time.Second)
		a := store.attemptsOf(id)
		if len(a) != 1 || a[0].Outcome != hub.AttemptTimedOut || a[0].Duration != 15*time.Second || a[0].Error != "no answer came within 15s" {
			t.Errorf("got %+v", a)
		}
	})
}

func TestOpenBreakerHoldsProbesAndRises(t *testing.T) {
	t.Parallel()
	e := newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) {
		e.MaxConcurrency = 16
		// Failures that are due again at once keep everything due all the time.
		e.RetryPolicy.Schedule = make([]time.Duration, hub.MaxScheduleLength)
	})
	inBubble(t, e, func(t *testing.T, store *fakeStore, s *script, d *deliver.Dispatcher) {
		s.takes = time.Second
		s.set(500)
		store.publish("end_1", many(200)...)
		pass(2 * time.Second)
		// Slots that the first nine failures freed may have been taken again.
		came, most := s.seen()
		if len(came) < 16 || len(came) > 25 || most > 16 {
			t.Fatalf("%d attempts, %d at once, before it opened", len(came), most)
		}
		spent := len(came)
		attempts := func() int {
			n := 0
			for _, id := range store.order {
				n += store.delivery(id).AttemptCount
			}
			return n
		}
		if h := store.Health("end_1"); h.Breaker != hub.BreakerOpen {
			t.Fatalf("health %+v", h)
		}
		if d.Reserve("end_1") {
			t.Error("there is room while it is open")
		}
		pass(27 * time.Second) // 29 s since the first of the failures
		if came, _ := s.seen(); len(came) != 0 || attempts() != spent {
			t.Fatalf("%d attempts while it was open", len(came))
		}
		pass(3 * time.Second)
		if came, _ := s.seen(); len(came) != 1 {
			t.Fatalf("%d probes after 30 s", len(came))
		}
		pass(58 * time.Second)
		if came, _ := s.seen(); len(came) != 0 {
			t.Fatalf("%d more probes before another 60 s", len(came))
		}
		s.set(200)
		pass(2 * time.Second)
		var steps []int
		for range 6 {
			_, most := s.seen()
			steps = append(steps, most)
			pass(time.Second)
		}
		// The first look is in the middle of the probe or just after it.
		if got := fmt.Sprint(steps); !strings.Contains(got, "1 2 4 8 16") && !strings.Contains(got, "2 4 8 16") {
			t.Errorf("in flight %s", got)
		}
		pass(time.Minute)
		if n := store.count("end_1", hub.DeliveryDelivered); n != 200 {
			t.Errorf("%d delivered", n)
		}
		if h := store.Health("end_1"); h.Breaker != hub.BreakerClosed {
			t.Errorf("health %+v", h)
		}
	})
}

func TestBreakerSurvivesARestart(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{status: 200}
		store := newFakeStore(newEndpoint("end_1", "http://end_1"))
		store.health["end_1"] = &hub.EndpointHealth{
			EndpointID: "end_1", Breaker: hub.BreakerOpen, BreakerUntil: time.Now().Add(time.Minute), ConsecutiveFailures: 12,
			LastFailureAt: time.Now(), FailingSince: time.Now().Add(-time.Hour),
		}
		newDispatcher(t, store, s)
		store.publish("end_1", many(10)...)
		pass(59 * time.Second)
		if came, _ := s.seen(); len(came) != 0 {
			t.Fatalf("%d came while it was open", len(came))
		}
		pass(10 * time.Second)
		if n := store.count("end_1", hub.DeliveryDelivered); n != 10 {
			t.Errorf("%d delivered", n)
		}
	})
}

func TestPacingHoldsAllDeliveriesOfTheEndpoint(t *testing.T) {
	t.Parallel()
	inBubble(t, newEndpoint("end_1", "http://end_1"), func(t *testing.T, store *fakeStore, s *script, _ *deliver.Dispatcher) {
		s.set(429, "Retry-After", "600")
		store.publish("end_1", "first")
		pass(time.Second)
		if came, _ := s.seen(); len(came) != 1 {
			t.Fatalf("%d came", len(came))
		}
		store.publish("end_1", many(20)...)
		s.set(200)
		pass(598 * time.Second)
		if came, _ := s.seen(); len(came) != 0 {
			t.Fatalf("%d came before it was time", len(came))
		}
		pass(5 * time.Second)
		if n := store.count("end_1", hub.DeliveryDelivered); n != 21 {
			t.Errorf("%d delivered", n)
		}
	})
}

func TestQuotaOfTheEndpointIsKept(t *testing.T) {
	t.Parallel()
	inBubble(t, newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) { e.MaxConcurrency = 16 }), func(t *testing.T, store *fakeStore, s *script, _ *deliver.Dispatcher) {
		s.takes = 100 * time.Millisecond
		s.set(200, "RateLimit", `"p";r=3;t=60`)
		store.publish("end_1", "first")
		pass(time.Second)
		s.set(200)
		store.publish("end_1", many(20)...)
		pass(30 * time.Second)
		if came, most := s.seen(); len(came) != 4 || most > 3 {
			t.Fatalf("%d came, %d at once; three were left after the first", len(came), most)
		}
		pass(35 * time.Second)
		if n := store.count("end_1", hub.DeliveryDelivered); n != 21 {
			t.Errorf("%d delivered in the next period", n)
		}
	})
}

func TestRateLimitIsABucketOfOnePeriod(t *testing.T) {
	t.Parallel()
	e := newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) {
		e.MaxConcurrency = 64
		e.RateLimit = &hub.RateLimit{Limit: 10, Period: time.Second}
	})
	inBubble(t, e, func(t *testing.T, store *fakeStore, s *script, _ *deliver.Dispatcher) {
		began := time.Now()
		store.publish("end_1", many(60)...)
		pass(20 * time.Second)
		came, _ := s.seen()
		if len(came) != 60 {
			t.Fatalf("%d came", len(came))
		}
		// After t seconds no more than 10 + 10 t may have come, and little less.
		for i, at := range came {
			after := at.Sub(began).Seconds()
			if float64(i+1) > 10+10*after+0.001 {
				t.Fatalf("number %d came after %.3f s", i+1, after)
			}
		}
		if took := came[59].Sub(began); took > 6*time.Second {
			t.Errorf("the last came after %v", took)
		}
	})
}

func TestSlowEndpointGetsNoQueue(t *testing.T) {
	t.Parallel()
	inBubble(t, newEndpoint("end_1", "http://end_1"), func(t *testing.T, store *fakeStore, s *script, _ *deliver.Dispatcher) {
		s.takes = 5 * time.Second
		store.publish("end_1", many(4)...)
		pass(6 * time.Second)
		store.publish("end_1", many(50)...)
		pass(time.Second)
		store.mu.Lock()
		leased := 0
		for _, r := range store.rows {
			if r.token != "" {
				leased++
			}
		}
		store.mu.Unlock()
		if leased != 4 {
			t.Errorf("%d leases are held for 4 slots", leased)
		}
		pass(2 * time.Minute)
		if n := store.count("end_1", hub.DeliveryDelivered); n != 54 {
			t.Errorf("%d delivered", n)
		}
	})
}

func TestEndpointThatStallsGetsItsQueueTakenAway(t *testing.T) {
	t.Parallel()
	inBubble(t, newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) { e.MaxConcurrency = 1 }), func(t *testing.T, store *fakeStore, s *script, _ *deliver.Dispatcher) {
		for range 10 {
			store.publish("end_1", "quick")
			pass(time.Millisecond)
		}
		s.takes = 10 * time.Second
		store.publish("end_1", many(10)...)
		pass(5 * time.Second)
		store.mu.Lock()
		leased := 0
		for _, r := range store.rows {
			if r.token != "" {
				leased++
			}
		}
		returned := store.returned
		store.mu.Unlock()
		if leased != 1 || returned == 0 {
			t.Errorf("%d leases held, %d given back", leased, returned)
		}
	})
}

func TestIdleDispatcherAsksRarely(t *testing.T) {
	t.Parallel()
	inBubble(t, newEndpoint("end_1", "http://end_1"), func(t *testing.T, store *fakeStore, s *script, _ *deliver.Dispatcher) {
		store.publish("end_1", many(100)...)
		pass(10 * time.Second)
		store.mu.Lock()
		before := store.claims
		store.mu.Unlock()
		pass(10 * time.Minute)
		store.mu.Lock()
		defer store.mu.Unlock()
		if n := store.claims - before; n > 0 {
			t.Errorf("%d claims with nothing due", n)
		}
	})
}

// However many fresh deliveries come, those that wait in the database get through.
func TestFreshDeliveriesDoNotStarveTheOld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{status: 200, takes: time.Millisecond}
		store := newFakeStore(newEndpoint("end_1", "http://end_1"))
		old := store.publish("end_1", many(500)...)
		pass(time.Hour)
		newDispatcher(t, store, s)
		left := len(old)
		for round := 0; left > 0; round++ {
			if round == 1000 {
				t.Fatalf("%d of the old ones still wait", left)
			}
			store.publish("end_1", many(20)...) // five times what can be delivered
			pass(time.Millisecond)
			left = 0
			for _, id := range old {
				if store.delivery(id).Status == hub.DeliveryPending {
					left++
				}
			}
		}
	})
}

// A rate does not make a claim of each of its tokens.
func TestABacklogAtARateIsClaimedInBatches(t *testing.T) {
	t.Parallel()
	e := newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) {
		e.MaxConcurrency = 16
		e.RateLimit = &hub.RateLimit{Limit: 1000, Period: time.Second}
	})
	inBubble(t, e, func(t *testing.T, store *fakeStore, s *script, d *deliver.Dispatcher) {
		s.takes = time.Millisecond
		began := time.Now()
		store.taker = nil // as from another node
		store.publish("end_1", many(6000)...)
		d.Wake()
		pass(2 * time.Second) // the burst is over
		store.mu.Lock()
		before := store.claims
		store.mu.Unlock()
		pass(2 * time.Second)
		store.mu.Lock()
		claims := store.claims - before
		store.mu.Unlock()
		if claims > 100 { // 2000 tokens, 25 claimed at a time
			t.Errorf("%d claims for 2000 deliveries", claims)
		}
		pass(3 * time.Second)
		came, _ := s.seen()
		if len(came) != 6000 {
			t.Fatalf("%d came", len(came))
		}
		if took := came[5999].Sub(began); took < 5*time.Second-time.Millisecond || took > 5500*time.Millisecond {
			t.Errorf("the last came after %v, at the rate it is 5 s", took)
		}
	})
}
