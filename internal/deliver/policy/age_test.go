package policy_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// No attempt is planned at or beyond the maximum age, none is given up for its age
// before the last moment at which another could be made, and without a maximum age
// nothing is.
func TestMaximumAge(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		age := time.Duration(rapid.Int64Range(0, int64(48*time.Hour)).Draw(t, "age"))
		e := endpoint(func(e *hub.Endpoint) { e.MaxAge = age })
		state := policy.NewState("end_1", nil)
		d := hub.Delivery{ID: "dlv_1", Status: hub.DeliveryPending, CreatedAt: start, NextAttemptAt: start}
		for now := start; d.Status == hub.DeliveryPending; {
			now = now.Add(d.NextAttemptAt.Sub(now) + time.Duration(rapid.Int64Range(0, int64(time.Second)).Draw(t, "late")))
			if _, expired := d.Expired(e, now); expired {
				return // by a moment's delay; the dispatcher ends it without an attempt
			}
			a := drawAttempt(t, now)
			a.Outcome, a.StatusCode = hub.AttemptRefused, 503
			random := rapid.Float64Range(0, 0.999).Draw(t, "random")
			v := policy.Decide(policy.Case{Now: now, Endpoint: e, State: state, Delivery: d, Attempt: a, Random: random})
			limitless := *e
			limitless.MaxAge = 0
			without := policy.Decide(policy.Case{Now: now, Endpoint: &limitless, State: state, Delivery: d, Attempt: a, Random: random})
			tooLate := age > 0 && !without.Delivery.NextAttemptAt.Before(start.Add(age)) && without.Delivery.Status == hub.DeliveryPending
			forItsAge := strings.Contains(v.Delivery.Reason, "maximum age")
			switch {
			case forItsAge != tooLate:
				t.Fatalf("age %v at %v: %+v, without a bound %+v", age, now.Sub(start), v.Delivery, without.Delivery)
			case v.Delivery.Status == hub.DeliveryPending && age > 0 && !v.Delivery.NextAttemptAt.Before(start.Add(age)):
				t.Fatalf("an attempt is planned at %v beyond %v", v.Delivery.NextAttemptAt.Sub(start), age)
			case forItsAge && (v.Delivery.Status != hub.DeliveryDead || !v.Delivery.NextAttemptAt.IsZero() || v.Delivery.CompletedAt.IsZero()):
				t.Fatalf("given up as %+v", v.Delivery)
			}
			d, state = v.Delivery, v.State
		}
	})
}

func TestARetryByHandIsAttemptedWhateverItsAge(t *testing.T) {
	t.Parallel()
	e := endpoint(func(e *hub.Endpoint) { e.MaxAge = time.Hour })
	now := start.Add(24 * time.Hour)
	fresh := hub.Delivery{CreatedAt: start}
	if _, expired := fresh.Expired(e, now); !expired {
		t.Error("one that was never attempted gets no older")
	}
	again := hub.Delivery{CreatedAt: start, AttemptCount: 3}
	if _, expired := again.Expired(e, now); expired {
		t.Error("a retry by hand is not attempted")
	}
	v := policy.Decide(policy.Case{Now: now, Endpoint: e, State: policy.NewState("end_1", nil), Delivery: again, Attempt: refused(500)})
	if v.Delivery.Status != hub.DeliveryDead {
		t.Errorf("after that it is %+v", v.Delivery)
	}
}
