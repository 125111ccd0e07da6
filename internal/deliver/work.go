package deliver

import (
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
		d.perform(&j)
		now := d.clock.Now()
		l := j.lane
		l.mu.Lock()
		next, more := l.finished(now)
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

// perform makes an attempt and settles it.
func (d *Dispatcher) perform(j *job) {
	attempt, pacing := d.sender.send(d.base, j.template, &j.lease)
	l := j.lane
	l.settling.Lock()
	settlement, breaker := l.settle(j, attempt, pacing, d.clock.Now(), d.config.Random())
	d.config.Store.Settle(settlement)
	l.settling.Unlock()
	d.report(&j.lease, settlement, breaker)
}

// settle decides what becomes of the delivery and of the endpoint.
func (l *lane) settle(j *job, attempt *hub.Attempt, pacing policy.Pacing, now time.Time, random float64) (hub.Settlement, hub.BreakerState) {
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
			Error: attempt.Error, Pacing: pacing,
		},
	})
	l.state = verdict.State
	settlement := hub.Settlement{LeaseToken: j.lease.Token, Attempt: attempt, Delivery: verdict.Delivery}
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
