package deliver

import (
	"context"
	"log/slog"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	sweepEvery = time.Second            // give or take a quarter
	sweepGap   = 100 * time.Millisecond // between sweeps that wake-ups ask for
	claimMost  = 256                    // leases in one claim
	claimEach  = 32                     // of these, of one endpoint: others' events wait for the transaction
	claimBound = 10 * time.Second       // for one query
	claimRetry = time.Second            // after one that failed
	leaseSlack = 15 * time.Second       // beyond the endpoint's timeout: the wait in the queue and for the store
	behindFrom = time.Second            // due for longer than that is behind
)

// loop finds due deliveries for lanes that have room, until quit is closed.
func (d *Dispatcher) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var (
		swept, sweepAt time.Time // zero: at once
		seen           *hub.Configuration
	)
	for {
		now := d.clock.Now()
		if !sweepAt.After(now) {
			seen = d.sweep(ctx, now, seen)
			swept = now
			sweepAt = now.Add(time.Duration(float64(sweepEvery) * (0.75 + d.config.Random()/2)))
		}
		d.claim(ctx, now)

		next := sweepAt
		if at, ok := d.agenda.next(); ok && at.Before(next) {
			next = at
		}
		timer.Reset(max(next.Sub(d.clock.Now()), 0))
		select {
		case <-d.quit:
			return
		case <-timer.C:
		case <-d.agenda.ring:
		case <-d.wake:
			if at := swept.Add(sweepGap); at.Before(sweepAt) {
				sweepAt = at
			}
		}
	}
}

// sweep looks at everything: what the store says is due, what other nodes have
// learned, which endpoints are new or gone. It returns the configuration it saw.
func (d *Dispatcher) sweep(ctx context.Context, now time.Time, seen *hub.Configuration) *hub.Configuration {
	configuration := d.config.Store.Configuration()
	if configuration != seen {
		for endpointID := range configuration.Endpoints {
			d.lane(endpointID)
		}
		d.challengeNew(configuration)
	}
	for _, l := range d.all() {
		d.tend(l, now)
		d.tendHanded(ctx, l, now)
	}

	bounded, cancel := context.WithTimeout(ctx, claimBound)
	defer cancel()
	due, err := d.config.Store.NextDue(bounded)
	if err != nil {
		d.logger.WarnContext(ctx, "due.unknown", slog.Any("error", err))
		return configuration
	}
	for endpointID, at := range due {
		if l := d.lane(endpointID); l != nil {
			d.agenda.at(l, at)
		}
	}
	return configuration
}

// tend does for a lane what nothing else may get round to doing.
func (d *Dispatcher) tend(l *lane, now time.Time) {
	stored := d.config.Store.Health(l.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = l.state.Merge(stored)
	l.returnStale(now)
	for j, ok := l.next(now); ok; j, ok = l.next(now) {
		d.start(j)
	}
	// The store may not call deliveries due that an open breaker holds, and the
	// probe is one of them.
	if limit, _ := l.gate(now); limit > 0 && l.state.Health.Breaker == hub.BreakerOpen {
		d.agenda.at(l, now)
	}
	if l.endpoint == nil && l.held() == 0 {
		l.closed = true
		d.mu.Lock()
		delete(d.lanes, l.id)
		d.book.Forget(l.id)
		d.brokers.Forget(l.id)
		d.mu.Unlock()
	}
}

// claim leases due deliveries for every lane whose time has come and that has
// room, and repeats that while there are more.
func (d *Dispatcher) claim(ctx context.Context, now time.Time) {
	for {
		wants, rooms := d.wants(now)
		if len(wants) == 0 {
			return
		}
		bounded, cancel := context.WithTimeout(ctx, claimBound)
		leases, err := d.config.Store.Claim(bounded, wants)
		cancel()
		if err != nil {
			d.logger.WarnContext(ctx, "claim.failed", slog.Any("error", err))
		}
		now = d.clock.Now()
		for _, lease := range leases {
			l := rooms[lease.Delivery.EndpointID]
			if l == nil || l.left == 0 {
				d.returns.add(lease) // more than was asked for
				continue
			}
			l.left--
			l.filled++
			l.behind = l.behind || now.Sub(lease.Delivery.NextAttemptAt) > behindFrom
			d.accept(l.lane, lease)
		}
		for _, r := range rooms {
			r.close(now, err)
		}
		select {
		case <-d.quit:
			return
		default:
		}
	}
}

// room is what a lane was promised for one claim.
type room struct {
	lane   *lane
	left   int // not filled yet
	filled int
	behind bool // something that filled it has been due for long
}

// wants makes room in lanes whose time has come, up to what one claim takes. The
// rest stays on the agenda, where it has waited longer than whoever comes next.
func (d *Dispatcher) wants(now time.Time) ([]hub.Want, map[string]*room) {
	var wants []hub.Want
	rooms := make(map[string]*room)
	for total := 0; total < claimMost; {
		l, ok := d.agenda.pop(now)
		if !ok {
			break
		}
		if rooms[l.id] != nil { // it came back at once
			d.agenda.at(l, now)
			break
		}
		l.mu.Lock()
		for j, ok := l.next(now); ok; j, ok = l.next(now) {
			d.start(j) // it may have been its turn
		}
		n := l.room(now, min(claimEach, claimMost-total))
		var lease time.Duration
		if n > 0 {
			lease = policy.Timeout(l.endpoint) + leaseSlack
		}
		l.mu.Unlock()
		if n == 0 {
			continue
		}
		total += n
		rooms[l.id] = &room{lane: l, left: n}
		wants = append(wants, hub.Want{EndpointID: l.id, Limit: n, Lease: lease})
	}
	return wants, rooms
}

// close gives back the room that the claim did not fill, and arranges the next
// look at the lane.
func (r *room) close(now time.Time, err error) {
	l := r.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	for range r.left {
		l.release()
	}
	l.behind = r.behind && r.left == 0
	l.refused = max(l.refused-r.filled, 0)
	switch {
	case err != nil:
		l.d.agenda.at(l, now.Add(claimRetry))
	case r.left == 0: // there may be more
		l.backlog = true
		l.d.agenda.at(l, now)
	case l.refused > 0 && now.Sub(l.refusedAt) < refusalEcho:
		l.backlog = true
		l.d.agenda.at(l, now.Add(refusalRetry))
	default:
		l.backlog, l.refused = false, 0
	}
}
