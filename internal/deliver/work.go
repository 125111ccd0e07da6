package deliver

import (
	"context"
	"log/slog"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// maxIdle is how many workers wait for the next job. A worker that has run once
// has the stack it needs, so those are worth keeping.
const maxIdle = 256

func newState(store Store, endpointID string) policy.State {
	return policy.NewState(endpointID, store.Health(endpointID))
}

// start gives a job to a worker that waits, or to a new one. It is called with
// the lane locked, so that Stop sees either the lane closed or the worker.
func (d *Dispatcher) start(j job) {
	if j.lane.pulled && j.ready(d.clock.Now()) {
		j.lane.hand(&j) // in the order of the claim
		return
	}
	d.inFlight.Add(1)
	select {
	case d.work <- j:
	default:
		d.workers.Go(func() { d.worker(j) })
	}
}

// worker makes one attempt after another: the next of its lane while there is
// one, then whatever comes.
func (d *Dispatcher) worker(j job) {
	for {
		ended := d.perform(&j)
		now := d.clock.Now()
		l := j.lane
		l.mu.Lock()
		var next job
		var more bool
		if ended {
			next, more = l.finished(now)
		} else {
			l.hand(&j)
		}
		l.mu.Unlock()
		if more {
			j = next // it stays one attempt in flight
			continue
		}
		j = job{} // its payload may go while the worker waits
		d.inFlight.Add(-1)
		if d.idle.Add(1) > maxIdle {
			d.idle.Add(-1)
			return
		}
		select {
		case j = <-d.work:
			d.idle.Add(-1)
		case <-d.quit:
			d.idle.Add(-1)
			return
		}
	}
}

// perform makes an attempt and settles it. It reports false where the delivery is ready
// for a consumer, whose attempt it is.
func (d *Dispatcher) perform(j *job) (ended bool) {
	if reason, expired := j.lease.Delivery.Expired(j.template.endpoint, d.clock.Now()); expired {
		d.logger.InfoContext(d.base, "delivery.expired", slog.String("delivery_id", j.lease.Delivery.ID),
			slog.String("endpoint_id", j.lease.Delivery.EndpointID), slog.String("reason", reason))
		d.config.Store.Settle(hub.Settlement{LeaseToken: j.lease.Token, Event: j.lease.Event, Delivery: policy.Dead(j.lease.Delivery, reason, d.clock.Now())})
		return true
	}
	if d.skip(j) {
		return true
	}
	attempt, later := d.shape(j)
	if later {
		return true
	}
	if attempt == nil && j.lane.pulled {
		return false
	}
	var pacing policy.Pacing
	if attempt == nil && d.config.Store.Peers() == nil {
		d.returns.add(j.lease) // others may do without this node by now
		return true
	}
	if attempt == nil {
		m := messageOf(&j.lease)
		attempt, pacing = d.sender.send(d.base, j.template, &m)
	}
	l := j.lane
	l.settling.Lock()
	settlement, breaker := l.settle(j, result{attempt: attempt, pacing: pacing}, d.clock.Now(), d.config.Random())
	d.config.Store.Settle(settlement)
	l.settling.Unlock()
	d.report(&j.lease, settlement, breaker)
	return true
}

// skip cancels a delivery beside which a newer one with its ordering key was delivered, of a
// subscription that skips what is stale. It is asked as late as can be: before each attempt.
func (d *Dispatcher) skip(j *job) (ended bool) {
	lease := &j.lease
	if lease.Delivery.Mark == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(d.base, shapeBound)
	defer cancel()
	reason, stale, err := d.config.Store.Stale(ctx, &lease.Delivery, lease.Event)
	switch {
	case err != nil:
		d.putOff(j, "skipping.put_off", err)
		return true
	case !stale:
		return false
	}
	d.logger.InfoContext(d.base, "delivery.skipped", slog.String("delivery_id", lease.Delivery.ID),
		slog.String("endpoint_id", lease.Delivery.EndpointID), slog.String("reason", reason))
	d.config.Store.Settle(hub.Settlement{LeaseToken: lease.Token, Event: lease.Event, Delivery: policy.Canceled(lease.Delivery, reason, d.clock.Now())})
	return true
}

// result is an attempt with what it means besides what is recorded of it.
type result struct {
	attempt *hub.Attempt
	pacing  policy.Pacing
	final   string // see policy.Attempt
}

// settle decides what becomes of the delivery and of the endpoint.
func (l *lane) settle(j *job, r result, now time.Time, random float64) (hub.Settlement, hub.BreakerState) {
	attempt := r.attempt
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh(now)
	l.measureLatency(attempt.Duration)
	endpoint := l.endpoint
	if endpoint == nil {
		endpoint = j.template.endpoint // deleted meanwhile
	}
	verdict := policy.Decide(policy.Case{
		Now: now, Endpoint: endpoint, State: l.state, Delivery: j.lease.Delivery, Random: random,
		Attempt: policy.Attempt{
			StartedAt: attempt.StartedAt, Outcome: attempt.Outcome, StatusCode: attempt.StatusCode,
			Error: attempt.Error, Pacing: r.pacing, Final: r.final,
		},
	})
	l.state = verdict.State
	settlement := hub.Settlement{LeaseToken: j.lease.Token, Attempt: attempt, Event: j.lease.Event, Delivery: verdict.Delivery, Transform: j.transform}
	if l.endpoint == nil {
		return settlement, verdict.State.Health.Breaker
	}
	health := verdict.State.Health
	settlement.Health = &health
	if verdict.Disable != "" && endpoint.State == hub.EndpointActive && !l.stopped.After(now) {
		settlement.Disable = verdict.Disable
		l.stopped, l.stoppedAs = now.Add(stopAtOnce), endpoint.UpdatedAt
	}
	if verdict.Delivery.Status == hub.DeliveryPending && !l.closed {
		l.d.agenda.at(l, verdict.Delivery.NextAttemptAt)
	}
	return settlement, health.Breaker
}
