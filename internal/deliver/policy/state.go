package policy

import (
	"fmt"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// The numbers of the breaker.
const (
	failuresToOpen = 10
	windowMinimum  = 20
	windowPercent  = 70
	firstProbe     = 30 * time.Second
	lastProbe      = 15 * time.Minute
	failingLimit   = 5 * 24 * time.Hour
)

// State is what is remembered of one endpoint. Health outlives restarts; the
// rest is learned anew.
type State struct {
	Health hub.EndpointHealth
	window window
	quota  Quota
	// ramp is how many may be in flight in the slow start, climb how many
	// successes are missing to the next step. Both are 0 outside of it.
	ramp, climb int
}

// NewState begins with what was stored of an endpoint, or afresh where nothing
// was.
func NewState(endpointID string, stored *hub.EndpointHealth) State {
	s := State{Health: hub.EndpointHealth{EndpointID: endpointID, Breaker: hub.BreakerClosed}}
	if stored != nil {
		s.Health = *stored
	}
	return s
}

// Merge takes over what other nodes have stored of the endpoint since.
func (s State) Merge(stored *hub.EndpointHealth) State {
	if stored == nil || !lastHeard(*stored).After(lastHeard(s.Health)) {
		return s
	}
	paced := latest(s.Health.PacedUntil, stored.PacedUntil)
	if stored.Breaker != s.Health.Breaker {
		s.ramp, s.climb = 0, 0
	}
	s.Health = *stored
	s.Health.PacedUntil = paced
	return s
}

func lastHeard(h hub.EndpointHealth) time.Time { return latest(h.LastSuccessAt, h.LastFailureAt) }

// Gate tells how many attempts may be in flight to the endpoint now. Where it is
// none, opens is when to ask again; zero means that only somebody's doing will
// change it. Of a probe, a slow start and a quota, too, this node has its share alone.
func (s State) Gate(e *hub.Endpoint, share Share, now time.Time) (limit int, opens time.Time) {
	if e == nil {
		return 0, time.Time{}
	}
	if _, stopped := e.Stopped(); stopped {
		return 0, time.Time{}
	}
	limit = concurrency(e)
	switch s.Health.Breaker {
	case hub.BreakerOpen:
		limit, opens = 1, s.probeAt(e)
	case hub.BreakerHalfOpen:
		limit = min(limit, max(s.ramp, 1))
	case hub.BreakerClosed:
	}
	opens = latest(opens, s.Health.PacedUntil)
	if s.quota.Until.After(now) {
		limit = min(limit, s.quota.Left)
		if s.quota.Left == 0 {
			opens = latest(opens, s.quota.Until)
		}
	}
	switch {
	case opens.After(now):
		return 0, opens
	case share.Waits:
		return 0, time.Time{}
	}
	return share.Part(limit), time.Time{}
}

// probeAt is when an open breaker lets the next probe through. Somebody who
// changes the endpoint has perhaps mended it, and need not wait.
func (s State) probeAt(e *hub.Endpoint) time.Time {
	if e.UpdatedAt.After(s.Health.LastFailureAt) {
		return e.UpdatedAt
	}
	return s.Health.BreakerUntil
}

// after returns the state once an attempt has ended.
func (s State) after(c Case, succeeded bool) State {
	h := &s.Health
	probing := h.Breaker == hub.BreakerOpen && !c.Attempt.StartedAt.Before(s.probeAt(c.Endpoint))
	s.window.add(c.Now, !succeeded)
	s.quota = s.quota.after(c.Attempt, c.Now)
	h.PacedUntil = latest(h.PacedUntil, c.Attempt.Pacing.NotBefore)
	if succeeded {
		h.ConsecutiveFailures, h.FailingSince, h.LastSuccessAt = 0, time.Time{}, c.Now
	} else {
		if h.ConsecutiveFailures == 0 || h.FailingSince.IsZero() {
			h.FailingSince = c.Now
		}
		h.ConsecutiveFailures++
		h.LastFailureAt = c.Now
	}
	switch {
	case probing && succeeded:
		s = s.rise(c.Endpoint, 2)
	case probing:
		s = s.open(c.Now, h.Probes+1)
	case h.Breaker == hub.BreakerHalfOpen && succeeded:
		s.climb--
		if s.climb <= 0 {
			s = s.rise(c.Endpoint, 2*max(s.ramp, 1))
		}
	case h.Breaker == hub.BreakerHalfOpen && s.ramp > 1:
		s.ramp /= 2
		s.climb = s.ramp
	case h.Breaker == hub.BreakerHalfOpen:
		s = s.open(c.Now, 0)
	case c.Endpoint.Kind == hub.EndpointStream:
		// Its consumers take what they want when they want it; there is nothing to spare them.
	case h.Breaker != hub.BreakerOpen && !succeeded:
		if h.ConsecutiveFailures >= failuresToOpen || s.window.failing(c.Now) {
			s = s.open(c.Now, 0)
		}
	}
	// What was under way when the breaker opened changes nothing about it.
	return s
}

// open opens the breaker after so many failed probes in a row.
func (s State) open(now time.Time, probes int) State {
	wait := lastProbe
	if probes < 10 { // beyond, the doubling is long past the bound
		wait = min(firstProbe<<probes, lastProbe)
	}
	s.Health.Breaker, s.Health.BreakerUntil, s.Health.Probes = hub.BreakerOpen, now.Add(wait), probes
	s.ramp, s.climb, s.window = 0, 0, window{}
	return s
}

// rise takes the slow start to a step, or ends it where that is all there is.
func (s State) rise(e *hub.Endpoint, ramp int) State {
	s.Health.Breaker, s.Health.BreakerUntil, s.Health.Probes = hub.BreakerHalfOpen, time.Time{}, 0
	s.ramp, s.climb = ramp, ramp
	if ramp >= concurrency(e) {
		s.Health.Breaker = hub.BreakerClosed
		s.ramp, s.climb, s.window = 0, 0, window{}
	}
	return s
}

// giveUp returns why the endpoint is to be disabled, "" if it is not: after five
// days of nothing but failures, and not for the two failures of an endpoint that
// is hardly ever called. A change to the endpoint begins the days anew.
func (s State) giveUp(e *hub.Endpoint, now time.Time) string {
	since := latest(s.Health.FailingSince, e.UpdatedAt)
	if s.Health.ConsecutiveFailures < failuresToOpen || now.Sub(since) < failingLimit {
		return ""
	}
	return fmt.Sprintf("nothing but failures since %s, %d in a row",
		s.Health.FailingSince.UTC().Format(time.RFC3339), s.Health.ConsecutiveFailures)
}

func concurrency(e *hub.Endpoint) int {
	if e.MaxConcurrency <= 0 {
		return hub.DefaultMaxConcurrency
	}
	return min(e.MaxConcurrency, hub.MaxMaxConcurrency)
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
