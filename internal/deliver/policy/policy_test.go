package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func endpoint(change ...func(*hub.Endpoint)) *hub.Endpoint {
	e := &hub.Endpoint{
		ID: "end_1", Kind: hub.EndpointHTTP, State: hub.EndpointActive,
		Timeout: hub.DefaultTimeout, MaxConcurrency: hub.DefaultMaxConcurrency,
		RetryPolicy: hub.RetryPolicy{Schedule: hub.DefaultSchedule, Jitter: hub.DefaultJitter},
		CreatedAt:   start.Add(-time.Hour), UpdatedAt: start.Add(-time.Hour),
	}
	for _, c := range change {
		c(e)
	}
	return e
}

// world is one endpoint over time: what a dispatcher would do with the verdicts.
type world struct {
	now      time.Time
	endpoint *hub.Endpoint
	state    policy.State
}

func newWorld(change ...func(*hub.Endpoint)) *world {
	return &world{now: start, endpoint: endpoint(change...), state: policy.NewState("end_1", nil)}
}

func (w *world) attempt(d hub.Delivery, a policy.Attempt) policy.Verdict {
	if a.StartedAt.IsZero() {
		a.StartedAt = w.now
	}
	v := policy.Decide(policy.Case{Now: w.now, Endpoint: w.endpoint, State: w.state, Delivery: d, Attempt: a, Random: 0.5})
	w.state = v.State
	return v
}

func (w *world) limit() int {
	limit, _ := w.state.Gate(w.endpoint, policy.Whole, w.now)
	return limit
}

func succeeded() policy.Attempt {
	return policy.Attempt{Outcome: hub.AttemptSucceeded, StatusCode: 200}
}

func refused(status int) policy.Attempt {
	return policy.Attempt{Outcome: hub.AttemptRefused, StatusCode: status, Error: fmt.Sprintf("the endpoint answered %d", status)}
}

func pending() hub.Delivery {
	return hub.Delivery{ID: "dlv_1", EndpointID: "end_1", Status: hub.DeliveryPending, NextAttemptAt: start, CreatedAt: start}
}

func TestSuccessDelivers(t *testing.T) {
	t.Parallel()
	v := newWorld().attempt(pending(), succeeded())
	if d := v.Delivery; d.Status != hub.DeliveryDelivered || d.AttemptCount != 1 || !d.CompletedAt.Equal(start) || !d.NextAttemptAt.IsZero() || d.Reason != "" {
		t.Errorf("got %+v", d)
	}
	if h := v.State.Health; h.ConsecutiveFailures != 0 || !h.LastSuccessAt.Equal(start) {
		t.Errorf("got %+v", h)
	}
}

func TestFailureFollowsTheSchedule(t *testing.T) {
	t.Parallel()
	w, d := newWorld(), pending()
	for i := 1; i < len(hub.DefaultSchedule); i++ {
		d = w.attempt(d, refused(500)).Delivery
		if d.Status != hub.DeliveryPending || d.SchedulePosition != i || d.AttemptCount != i {
			t.Fatalf("after attempt %d: %+v", i, d)
		}
		if want := w.now.Add(hub.DefaultSchedule[i]); !d.NextAttemptAt.Equal(want) {
			t.Fatalf("attempt %d is due at %v, want %v", i+1, d.NextAttemptAt, want)
		}
		w.now = d.NextAttemptAt
	}
	d = w.attempt(d, refused(503)).Delivery
	if d.Status != hub.DeliveryDead || d.AttemptCount != 10 || !strings.Contains(d.Reason, "attempt 10") || !strings.Contains(d.Reason, "503") {
		t.Errorf("got %+v", d)
	}
	if spent := w.now.Sub(start).Hours(); spent < 75 || spent > 76 {
		t.Errorf("the default schedule took %v hours", spent)
	}
}

func TestFinalStatuses(t *testing.T) {
	t.Parallel()
	w := newWorld(func(e *hub.Endpoint) { e.RetryPolicy.FinalStatuses = []string{"404", "400-403", "nonsense", "599-500"} })
	for status, final := range map[int]bool{399: false, 400: true, 401: true, 403: true, 404: true, 405: false, 500: false, 550: false} {
		d := w.attempt(pending(), refused(status)).Delivery
		if (d.Status == hub.DeliveryDead) != final {
			t.Errorf("%d: %s %s", status, d.Status, d.Reason)
		}
	}
	for _, bad := range []string{"", "x", "99", "600", "404-400", "400-", "-400", "400-600", "4xx"} {
		if _, _, err := policy.ParseStatuses(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestGoneDisablesAndKeepsTheDelivery(t *testing.T) {
	t.Parallel()
	d := pending()
	d.SchedulePosition, d.AttemptCount = 9, 9 // even where the schedule has no more
	v := newWorld(func(e *hub.Endpoint) { e.RetryPolicy.FinalStatuses = []string{"400-499"} }).attempt(d, refused(410))
	if v.Disable == "" || v.Delivery.Status != hub.DeliveryPending || v.Delivery.SchedulePosition != 9 || v.Delivery.AttemptCount != 10 {
		t.Errorf("got %+v", v)
	}
}

func TestBlockedAddressIsFinal(t *testing.T) {
	t.Parallel()
	v := newWorld().attempt(pending(), policy.Attempt{Outcome: hub.AttemptAddressBlocked, Error: "the address is private"})
	if v.Delivery.Status != hub.DeliveryDead || !strings.Contains(v.Delivery.Reason, "private") {
		t.Errorf("got %+v", v.Delivery)
	}
}

func TestInterruptionCostsNothing(t *testing.T) {
	t.Parallel()
	w, d := newWorld(), pending()
	d.SchedulePosition = 3
	before := w.state
	v := w.attempt(d, policy.Attempt{Outcome: hub.AttemptInterrupted, Error: "the hub stopped"})
	if v.Delivery.Status != hub.DeliveryPending || v.Delivery.SchedulePosition != 3 || !v.Delivery.NextAttemptAt.Equal(w.now) || v.Delivery.AttemptCount != 1 {
		t.Errorf("got %+v", v.Delivery)
	}
	if v.State != before {
		t.Errorf("the endpoint was charged: %+v", v.State)
	}
}

func TestAFailedTransformHoldsAndCostsNothingElse(t *testing.T) {
	t.Parallel()
	w, d := newWorld(), pending()
	d.SchedulePosition = 2
	v := w.attempt(d, policy.Attempt{Outcome: hub.AttemptTransformFailed, Error: "no such key: a"})
	if got := v.Delivery; got.Status != hub.DeliveryHeld || !strings.Contains(got.Reason, "no such key: a") || got.AttemptCount != 1 ||
		got.SchedulePosition != 2 || !got.NextAttemptAt.IsZero() || !got.CompletedAt.IsZero() {
		t.Errorf("got %+v", got)
	}
	if h := v.State.Health; h.ConsecutiveFailures != 0 || !h.LastFailureAt.IsZero() || v.Disable != "" {
		t.Errorf("the endpoint paid for it: %+v %q", h, v.Disable)
	}
}

func TestPacingHoldsTheWholeEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld()
	a := refused(429)
	a.Pacing.NotBefore = start.Add(10 * time.Minute)
	if d := w.attempt(pending(), a).Delivery; !d.NextAttemptAt.Equal(start.Add(10 * time.Minute)) {
		t.Errorf("due at %v", d.NextAttemptAt)
	}
	if limit, opens := w.state.Gate(w.endpoint, policy.Whole, start.Add(9*time.Minute)); limit != 0 || !opens.Equal(start.Add(10*time.Minute)) {
		t.Errorf("limit %d until %v", limit, opens)
	}
	if limit, _ := w.state.Gate(w.endpoint, policy.Whole, start.Add(10*time.Minute)); limit != hub.DefaultMaxConcurrency {
		t.Errorf("limit %d afterwards", limit)
	}
	// A shorter wait asked for by an answer that was overtaken changes nothing.
	a.Pacing.NotBefore = start.Add(time.Minute)
	w.attempt(pending(), a)
	if w.state.Health.PacedUntil != start.Add(10*time.Minute) {
		t.Errorf("paced until %v", w.state.Health.PacedUntil)
	}
}

func TestQuotaCapsWhatIsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld()
	a := succeeded()
	a.Pacing.Quota = policy.Quota{Left: 3, Until: start.Add(time.Minute)}
	w.attempt(pending(), a)
	if got := w.limit(); got != 3 {
		t.Errorf("limit %d, want 3", got)
	}
	a.Pacing.Quota.Left = 5 // overtaken
	w.attempt(pending(), a)
	if got := w.limit(); got != 3 {
		t.Errorf("limit %d, want 3 still", got)
	}
	for range 3 {
		w.attempt(pending(), succeeded()) // says nothing about it
	}
	limit, opens := w.state.Gate(w.endpoint, policy.Whole, w.now)
	if limit != 0 || !opens.Equal(start.Add(time.Minute)) {
		t.Errorf("limit %d until %v", limit, opens)
	}
	w.now = start.Add(time.Minute)
	if got := w.limit(); got != hub.DefaultMaxConcurrency {
		t.Errorf("limit %d in the next period", got)
	}
}

func TestStoppedEndpointsHaveNoSlots(t *testing.T) {
	t.Parallel()
	for _, state := range []hub.EndpointState{hub.EndpointPaused, hub.EndpointDisabled} {
		w := newWorld(func(e *hub.Endpoint) { e.State = state })
		if limit, opens := w.state.Gate(w.endpoint, policy.Whole, w.now); limit != 0 || !opens.IsZero() {
			t.Errorf("%s: limit %d until %v", state, limit, opens)
		}
	}
	if limit, _ := policy.NewState("x", nil).Gate(nil, policy.Whole, start); limit != 0 {
		t.Errorf("a deleted endpoint has %d", limit)
	}
}

var outcomes = []hub.AttemptOutcome{
	hub.AttemptSucceeded, hub.AttemptRefused, hub.AttemptTimedOut, hub.AttemptConnectionFailed,
	hub.AttemptTLSFailed, hub.AttemptAddressBlocked, hub.AttemptInterrupted,
	// More often than the others, so that histories grow long.
	hub.AttemptRefused, hub.AttemptRefused, hub.AttemptTimedOut, hub.AttemptTimedOut, hub.AttemptTimedOut, hub.AttemptTimedOut,
}

func drawAttempt(t *rapid.T, now time.Time) policy.Attempt {
	a := policy.Attempt{StartedAt: now, Outcome: rapid.SampledFrom(outcomes).Draw(t, "outcome"), Error: "what went wrong"}
	switch a.Outcome {
	case hub.AttemptSucceeded:
		a.StatusCode, a.Error = 200, ""
	case hub.AttemptRefused:
		a.StatusCode = rapid.SampledFrom([]int{301, 400, 404, 410, 429, 500, 503}).Draw(t, "status")
	default:
	}
	if rapid.Bool().Draw(t, "paced") {
		a.Pacing.NotBefore = now.Add(time.Duration(rapid.Int64Range(1, int64(24*time.Hour)).Draw(t, "wait")))
	}
	return a
}

// Whatever the endpoint does: an attempt is never due earlier than the schedule
// less its jitter or than the endpoint asked, never later than both allow, and
// each delivery ends, or waits for a time or for somebody to enable the endpoint.
func TestEveryDeliveryEndsOrWaitsForAStatedReason(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var schedule []time.Duration
		for _, n := range rapid.SliceOfN(rapid.Int64Range(0, int64(48*time.Hour)), 0, hub.MaxScheduleLength).Draw(t, "schedule") {
			schedule = append(schedule, time.Duration(n))
		}
		jitter := rapid.Float64Range(0, 1).Draw(t, "jitter")
		e := endpoint(func(e *hub.Endpoint) {
			e.RetryPolicy = hub.RetryPolicy{Schedule: schedule, Jitter: jitter, FinalStatuses: []string{"400-404"}}
			e.MaxConcurrency = rapid.IntRange(0, 300).Draw(t, "concurrency")
		})
		schedule = policy.Schedule(e.RetryPolicy)
		now, state, d := start, policy.NewState(e.ID, nil), pending()
		charged := 0
		for step := 0; ; step++ {
			a := drawAttempt(t, now)
			v := policy.Decide(policy.Case{
				Now: now, Endpoint: e, State: state, Delivery: d, Attempt: a,
				Random: rapid.Float64Range(0, 0.999999).Draw(t, "random"),
			})
			if v.Delivery.AttemptCount != d.AttemptCount+1 {
				t.Fatalf("attempt %d was counted as %d", d.AttemptCount+1, v.Delivery.AttemptCount)
			}
			if limit, opens := v.State.Gate(e, policy.Whole, now); limit < 0 || limit > hub.MaxMaxConcurrency || (limit == 0) != opens.After(now) {
				t.Fatalf("gate: %d until %v", limit, opens)
			}
			if until := v.State.Health.PacedUntil; until.Sub(now) > 24*time.Hour {
				t.Fatalf("paced until %v at %v", until, now)
			}
			gone := a.StatusCode == 410
			interrupted := a.Outcome == hub.AttemptInterrupted
			if !gone && !interrupted {
				charged++
			}
			if v.Delivery.Status.Ended() {
				if v.Delivery.CompletedAt != now || !v.Delivery.NextAttemptAt.IsZero() {
					t.Fatalf("ended as %+v", v.Delivery)
				}
				if (v.Delivery.Status == hub.DeliveryDead) != (v.Delivery.Reason != "") {
					t.Fatalf("%s for the reason %q", v.Delivery.Status, v.Delivery.Reason)
				}
				if charged > len(schedule) {
					t.Fatalf("%d attempts on a schedule of %d", charged, len(schedule))
				}
				return
			}
			if v.Delivery.Status != hub.DeliveryPending || !v.Delivery.CompletedAt.IsZero() {
				t.Fatalf("waits as %+v", v.Delivery)
			}
			wait := v.Delivery.NextAttemptAt.Sub(now)
			switch {
			case interrupted:
				if wait != 0 || v.State != state || v.Delivery.SchedulePosition != d.SchedulePosition {
					t.Fatalf("an interruption was charged: %+v", v)
				}
			case gone:
				if v.Disable == "" || v.Delivery.SchedulePosition != d.SchedulePosition {
					t.Fatalf("gone: %+v", v)
				}
			default:
				base := float64(schedule[v.Delivery.SchedulePosition])
				low, high := time.Duration(base*(1-jitter))-time.Microsecond, time.Duration(base*(1+jitter))+time.Microsecond
				if wait < 0 || wait < low || wait > max(high, 24*time.Hour) {
					t.Fatalf("waits %v of %v with a jitter of %v", wait, time.Duration(base), jitter)
				}
				if v.Delivery.NextAttemptAt.Before(v.State.Health.PacedUntil) {
					t.Fatalf("due %v, paced until %v", v.Delivery.NextAttemptAt, v.State.Health.PacedUntil)
				}
				if v.Delivery.SchedulePosition != d.SchedulePosition+1 {
					t.Fatalf("the schedule went from %d to %d", d.SchedulePosition, v.Delivery.SchedulePosition)
				}
			}
			d, state = v.Delivery, v.State
			if opens := d.NextAttemptAt; opens.After(now) {
				now = opens
			}
		}
	})
}
