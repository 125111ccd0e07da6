package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestBreaker(t *testing.T) {
	t.Parallel()
	fail := func(w *world, times int) {
		for range times {
			w.attempt(pending(), refused(500))
		}
	}
	t.Run("opens after ten failures in a row and not after nine", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		fail(w, 9)
		if w.limit() != 16 {
			t.Fatalf("open after nine: %+v", w.state.Health)
		}
		fail(w, 1)
		if w.limit() != 0 || w.state.Health.Breaker != hub.BreakerOpen || !w.state.Health.BreakerUntil.Equal(start.Add(30*time.Second)) {
			t.Errorf("got %+v", w.state.Health)
		}
	})
	t.Run("opens at 70 % of twenty within five minutes", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		for range 6 {
			w.attempt(pending(), succeeded())
		}
		fail(w, 9)
		w.attempt(pending(), succeeded()) // 7 of 16 succeeded, the row is broken
		fail(w, 7)                        // 16 of 23: 69.6 %
		if w.state.Health.Breaker != hub.BreakerClosed {
			t.Fatalf("open too early: %+v", w.state.Health)
		}
		fail(w, 1) // 17 of 24: 70.8 %
		if w.state.Health.Breaker != hub.BreakerOpen {
			t.Errorf("got %+v", w.state.Health)
		}
	})
	t.Run("forgets what is older than five minutes", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		fail(w, 9)
		w.attempt(pending(), succeeded())
		fail(w, 9)
		w.now = w.now.Add(5*time.Minute + time.Second)
		w.attempt(pending(), succeeded())
		fail(w, 1)
		if w.state.Health.Breaker != hub.BreakerClosed {
			t.Errorf("got %+v", w.state.Health)
		}
	})
	t.Run("probes after 30 s, doubling to 15 min", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		fail(w, 10)
		for _, wait := range []time.Duration{30, 60, 120, 240, 480, 900, 900, 900} {
			wait *= time.Second
			w.now = w.now.Add(wait - time.Microsecond)
			if w.limit() != 0 {
				t.Fatalf("a probe before %v", wait)
			}
			w.now = w.now.Add(time.Microsecond)
			if w.limit() != 1 {
				t.Fatalf("%d probes after %v", w.limit(), wait)
			}
			fail(w, 1)
		}
	})
	t.Run("rises by doubling and closes", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		fail(w, 10)
		w.now = w.now.Add(30 * time.Second)
		var seen []int
		for range 15 {
			if w.state.Health.Breaker == hub.BreakerClosed {
				t.Fatal("closed too early")
			}
			seen = append(seen, w.limit())
			w.attempt(pending(), succeeded())
		}
		if got, want := fmt.Sprint(seen), "[1 2 2 4 4 4 4 8 8 8 8 8 8 8 8]"; got != want {
			t.Errorf("in flight %s, want %s", got, want)
		}
		if w.state.Health.Breaker != hub.BreakerClosed || w.limit() != 16 {
			t.Errorf("got %+v", w.state.Health)
		}
	})
	t.Run("halves the slow start on failure and opens at the bottom", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		fail(w, 10)
		w.now = w.now.Add(30 * time.Second)
		for range 7 {
			w.attempt(pending(), succeeded())
		}
		for _, want := range []int{8, 4, 2, 1} {
			if got := w.limit(); got != want {
				t.Fatalf("limit %d, want %d", got, want)
			}
			fail(w, 1)
		}
		if w.state.Health.Breaker != hub.BreakerOpen || w.limit() != 0 {
			t.Errorf("got %+v", w.state.Health)
		}
	})
	t.Run("does not hear those who were under way when it opened", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		fail(w, 10)
		before := w.state.Health
		late := refused(500)
		late.StartedAt = start.Add(-time.Second)
		w.now = w.now.Add(10 * time.Second)
		w.attempt(pending(), late)
		if h := w.state.Health; h.BreakerUntil != before.BreakerUntil || h.Probes != 0 || h.Breaker != hub.BreakerOpen {
			t.Errorf("got %+v", h)
		}
	})
	t.Run("probes at once when somebody has changed the endpoint", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		fail(w, 10)
		w.now = w.now.Add(time.Second)
		w.endpoint.UpdatedAt = w.now
		if w.limit() != 1 {
			t.Errorf("limit %d", w.limit())
		}
	})
	t.Run("survives a restart", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		fail(w, 10)
		stored := w.state.Health
		w.state = policy.NewState("end_1", &stored)
		if w.limit() != 0 {
			t.Error("closed by a restart")
		}
		w.now = w.now.Add(30 * time.Second)
		w.attempt(pending(), succeeded())
		stored = w.state.Health
		w.state = policy.NewState("end_1", &stored)
		if w.limit() != 1 {
			t.Errorf("the slow start begins anew with one, not %d", w.limit())
		}
	})
	t.Run("takes over what another node has learned", func(t *testing.T) {
		t.Parallel()
		ours, theirs := newWorld(), newWorld()
		theirs.now = theirs.now.Add(time.Second)
		fail(theirs, 10)
		ours.attempt(pending(), succeeded())
		ours.state = ours.state.Merge(&theirs.state.Health)
		if ours.state.Health.Breaker != hub.BreakerOpen {
			t.Error("not taken over")
		}
		old := hub.EndpointHealth{Breaker: hub.BreakerClosed, LastSuccessAt: start.Add(-time.Hour)}
		if ours.state.Merge(&old) != ours.state || ours.state.Merge(nil) != ours.state {
			t.Error("took over something older")
		}
	})
}

func TestDisabledAfterFiveDaysOfFailure(t *testing.T) {
	t.Parallel()
	t.Run("of nothing but failures", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		for w.now.Sub(start) < 5*24*time.Hour {
			if v := w.attempt(pending(), refused(500)); v.Disable != "" {
				t.Fatalf("disabled after %v", w.now.Sub(start))
			}
			w.now = w.now.Add(15 * time.Minute)
		}
		if v := w.attempt(pending(), refused(500)); !strings.Contains(v.Disable, "since 2026-03-01T12:00:00Z") {
			t.Errorf("not disabled: %q", v.Disable)
		}
		w.endpoint.UpdatedAt = w.now // somebody enables it again
		if v := w.attempt(pending(), refused(500)); v.Disable != "" {
			t.Error("disabled again at once")
		}
	})
	t.Run("but not if one got through", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		w.attempt(pending(), refused(500))
		w.now = w.now.Add(3 * 24 * time.Hour)
		w.attempt(pending(), succeeded())
		w.now = w.now.Add(3 * 24 * time.Hour)
		for range 20 {
			if v := w.attempt(pending(), refused(500)); v.Disable != "" {
				t.Fatal("disabled")
			}
		}
	})
	t.Run("nor for two failures a week apart", func(t *testing.T) {
		t.Parallel()
		w := newWorld()
		w.attempt(pending(), refused(500))
		w.now = w.now.Add(7 * 24 * time.Hour)
		if v := w.attempt(pending(), refused(500)); v.Disable != "" {
			t.Error("disabled")
		}
	})
}
