package policy

import (
	"cmp"
	"fmt"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Case is everything that a decision depends on.
type Case struct {
	Now      time.Time
	Endpoint *hub.Endpoint // its settings
	State    State         // what is remembered of it
	Delivery hub.Delivery  // as it was when the attempt began
	Attempt  Attempt
	Random   float64 // uniform in [0, 1), for the jitter
}

// Attempt is what a decision needs to know of the attempt that was made.
type Attempt struct {
	StartedAt  time.Time
	Outcome    hub.AttemptOutcome
	StatusCode int    // 0 where there was no answer
	Error      string // what went wrong, in words; "" on success
	Pacing     Pacing // what the answer asked of its callers
	// Final, where not "", says that the receiver has looked at the delivery and wants
	// no further attempt, for this reason. That is no fault of the endpoint.
	Final string
}

// Verdict is what becomes of the delivery and of the endpoint.
type Verdict struct {
	Delivery hub.Delivery
	State    State
	Disable  string // where not "", the endpoint is to be disabled for this reason
}

// Decide judges one finished attempt.
func Decide(c Case) Verdict {
	v := Verdict{Delivery: c.Delivery, State: c.State}
	v.Delivery.Status, v.Delivery.Reason = hub.DeliveryPending, ""
	v.Delivery.AttemptCount++
	if c.Attempt.Outcome == hub.AttemptInterrupted {
		// The hub's own doing: neither the schedule nor the endpoint pays for it.
		v.Delivery.NextAttemptAt = c.Now
		return v
	}
	if c.Attempt.Outcome == hub.AttemptTransformFailed {
		// Nothing was sent, and trying again changes nothing: a person must look.
		v.Delivery.Status, v.Delivery.Reason = hub.DeliveryHeld, "the body could not be made: "+c.Attempt.Error
		v.Delivery.NextAttemptAt = time.Time{}
		return v
	}
	if c.Attempt.Final != "" {
		v.Delivery = ended(v.Delivery, hub.DeliveryDead, c.Attempt.Final, c.Now)
		return v
	}
	succeeded := c.Attempt.Outcome == hub.AttemptSucceeded
	v.State = v.State.after(c, succeeded)
	switch {
	case succeeded:
		v.Delivery = ended(v.Delivery, hub.DeliveryDelivered, "", c.Now)
	case c.Attempt.Outcome == hub.AttemptAddressBlocked:
		v.Delivery = ended(v.Delivery, hub.DeliveryDead, "blocked: "+c.Attempt.Error, c.Now)
	case c.Attempt.StatusCode == statusGone:
		// What is owed to the endpoint stays owed. Held until somebody enables
		// the endpoint again, it then goes out at once, at the same place of the
		// schedule.
		v.Disable = "it answered 410 Gone, so it wants no more deliveries"
		v.Delivery.NextAttemptAt = c.Now
	case isFinal(c.Endpoint.RetryPolicy.FinalStatuses, c.Attempt.StatusCode):
		v.Delivery = ended(v.Delivery, hub.DeliveryDead,
			fmt.Sprintf("the endpoint answered %d, which its retry policy calls final", c.Attempt.StatusCode), c.Now)
	default:
		v.Delivery = c.retry(v)
	}
	if v.Disable == "" && !succeeded {
		v.Disable = v.State.giveUp(c.Endpoint, c.Now)
	}
	return v
}

const statusGone = 410

// ended returns the delivery with nothing left to do.
func ended(d hub.Delivery, status hub.DeliveryStatus, reason string, now time.Time) hub.Delivery {
	d.Status, d.Reason = status, reason
	d.NextAttemptAt, d.CompletedAt = time.Time{}, now
	return d
}

// retry returns the failed delivery with its next attempt, or dead if the
// schedule has none.
func (c Case) retry(v Verdict) hub.Delivery {
	d := v.Delivery
	next := max(d.SchedulePosition, 0) + 1
	schedule := Schedule(c.Endpoint.RetryPolicy)
	if next >= len(schedule) {
		reason := fmt.Sprintf("the retry schedule ended with attempt %d: %s", d.AttemptCount,
			cmp.Or(c.Attempt.Error, string(c.Attempt.Outcome)))
		return ended(d, hub.DeliveryDead, reason, c.Now)
	}
	d.SchedulePosition = next
	d.NextAttemptAt = c.Now.Add(spread(schedule[next], c.Endpoint.RetryPolicy.Jitter, c.Random))
	if paced := v.State.Health.PacedUntil; paced.After(d.NextAttemptAt) {
		d.NextAttemptAt = paced
	}
	if _, expired := d.Expired(c.Endpoint, d.NextAttemptAt); expired {
		// Nothing would be tried any more before it is too old, so it need not wait.
		reason := fmt.Sprintf("its next attempt would be beyond the endpoint's maximum age of %s: %s", c.Endpoint.MaxAge,
			cmp.Or(c.Attempt.Error, string(c.Attempt.Outcome)))
		return ended(d, hub.DeliveryDead, reason, c.Now)
	}
	return d
}

// Dead returns a delivery that is given up without a further attempt.
func Dead(d hub.Delivery, reason string, now time.Time) hub.Delivery {
	return ended(d, hub.DeliveryDead, reason, now)
}

// Canceled returns a delivery that is not wanted any more, without a further attempt.
func Canceled(d hub.Delivery, reason string, now time.Time) hub.Delivery {
	return ended(d, hub.DeliveryCanceled, reason, now)
}
