package deliver

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Bounds of pulling.
const (
	MaxPulled        = 1000 // unsettled deliveries of one consumer
	MaxSettlings     = 500
	maxStep          = 100     // deliveries that a consumer is handed at a time
	maxStepBytes     = 4 << 20 // of their bodies; one may be larger
	maxReason        = 1000    // characters
	lookAfterHanding = time.Second
)

// ErrDraining ends a consumer because the hub stops.
var ErrDraining = errors.New("the hub is stopping")

// Pulling is what is done with a Consumer.
type Pulling interface {
	// Next waits for deliveries and returns them, oldest first.
	Next(ctx context.Context) ([]hub.Pulled, error)
	Close()
}

// Consumer pulls the deliveries of a STREAM endpoint. A delivery is leased to it until it
// is settled, at most as many as it wants at a time.
type Consumer struct {
	lane *lane
	most int

	ring chan struct{} // capacity 1: there is something to hand over, or it has ended

	// lane.mu guards everything below.
	unsettled int       // ready and handed over
	ready     []*handed // not handed over yet
	err       error     // why it has ended
}

// handed is a delivery that a consumer has, or will be handed next.
type handed struct {
	job      job
	consumer *Consumer
	at       time.Time // when it was handed over; zero: not yet
}

// Pull begins to pull the deliveries of a STREAM endpoint, most of them unsettled at a
// time. Several consumers of one endpoint share its deliveries. Close must be called.
func (d *Dispatcher) Pull(endpointID string, most int) (Pulling, error) {
	e := d.config.Store.Configuration().Endpoints[endpointID]
	switch {
	case e == nil:
		return nil, hub.ErrNotFound
	case e.Kind != hub.EndpointStream:
		return nil, hub.NewError(hub.CodeBadUserInput, "the deliveries of this endpoint are sent; only those of a STREAM endpoint are pulled")
	}
	l := d.lane(endpointID)
	if l == nil {
		return nil, ErrDraining
	}
	c := &Consumer{lane: l, most: most, ring: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ErrDraining
	}
	l.refresh(d.clock.Now())
	l.consumers = append(l.consumers, c)
	l.backlog = true
	d.agenda.at(l, d.clock.Now())
	return c, nil
}

// Next waits for deliveries and returns them, oldest first. It returns the error of ctx,
// ErrDraining where the hub stops, and hub.ErrNotFound once the endpoint is deleted.
func (c *Consumer) Next(ctx context.Context) ([]hub.Pulled, error) {
	for {
		step, err := c.take()
		if err != nil || len(step) > 0 {
			return step, err
		}
		select {
		case <-c.ring:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// take hands over what is ready, as much as one step may have.
func (c *Consumer) take() ([]hub.Pulled, error) {
	l := c.lane
	now := l.d.clock.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	var step []hub.Pulled
	size := 0
	for len(c.ready) > 0 && len(step) < maxStep {
		h := c.ready[0]
		lease := &h.job.lease
		if !pulledUntil(lease).After(now) { // it has waited for the consumer all the time
			c.ready = c.ready[1:]
			l.drop(h)
			l.d.returns.add(*lease)
			continue
		}
		m := messageOf(lease)
		if size += len(m.body); size > maxStepBytes && len(step) > 0 {
			break
		}
		c.ready = c.ready[1:]
		h.at = now
		shown := lease.Delivery
		step = append(step, hub.Pulled{
			Delivery: shown, Event: lease.Event, Body: m.body, ContentType: contentType(m.contentType),
			Token: pulledToken(lease), ExpiresAt: pulledUntil(lease),
		})
	}
	if len(c.ready) > 0 {
		ring(c.ring)
	}
	return step, nil
}

// Close ends the consumer. What it has not settled is free at once: an attempt that was
// interrupted, which is repeated and not held against the delivery.
func (c *Consumer) Close() { c.end(context.Canceled) }

func (c *Consumer) end(err error) {
	l := c.lane
	l.mu.Lock()
	if c.err != nil {
		l.mu.Unlock()
		return
	}
	c.err = err
	l.consumers = slices.DeleteFunc(l.consumers, func(o *Consumer) bool { return o == c })
	var open []*handed
	for _, h := range l.handed {
		if h.consumer != c {
			continue
		}
		l.drop(h)
		if h.at.IsZero() {
			l.d.returns.add(h.job.lease)
		} else {
			open = append(open, h)
		}
	}
	c.ready = nil
	l.mu.Unlock()
	ring(c.ring)
	for _, h := range open {
		l.d.conclude(&h.job, h.at, hub.AttemptInterrupted, "the stream was closed before the delivery was settled")
	}
}

// consumersNow returns the consumers of a lane.
func (l *lane) consumersNow() []*Consumer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.consumers)
}

// wanted is how many unsettled deliveries all consumers take.
func (l *lane) wanted() int {
	n := 0
	for _, c := range l.consumers {
		n += c.most
	}
	return n
}

// ready reports whether a job may be handed to a consumer as it is.
func (j *job) ready(now time.Time) bool {
	_, expired := j.lease.Delivery.Expired(j.template.endpoint, now)
	return !expired && j.lease.Delivery.Mark == "" && (j.lease.Delivery.BodyForm != hub.BodyUnshaped || j.lease.Body != nil)
}

// hand gives a job to the consumer that has the most room. If none has any, because one
// has gone meanwhile, the lease goes back.
func (l *lane) hand(j *job) {
	var best *Consumer
	for _, c := range l.consumers {
		if c.unsettled < c.most && (best == nil || c.most-c.unsettled > best.most-best.unsettled) {
			best = c
		}
	}
	if best == nil || l.closed {
		l.freeSlot(false)
		l.d.returns.add(j.lease)
		return
	}
	h := &handed{job: *j, consumer: best}
	if l.handed == nil {
		l.handed = make(map[string]*handed)
	}
	l.handed[j.lease.Delivery.ID] = h
	best.unsettled++
	// Those that are shaped first come in whatever order that ends; a step has them as they were due.
	at, _ := slices.BinarySearchFunc(best.ready, h, byDue)
	best.ready = slices.Insert(best.ready, at, h)
	ring(best.ring)
}

func byDue(a, b *handed) int {
	x, y := &a.job.lease.Delivery, &b.job.lease.Delivery
	return cmp.Or(x.NextAttemptAt.Compare(y.NextAttemptAt), cmp.Compare(x.ID, y.ID))
}

// drop takes a delivery off its consumer, which has room for another.
func (l *lane) drop(h *handed) {
	if id := h.job.lease.Delivery.ID; l.handed[id] == h {
		delete(l.handed, id)
		h.consumer.unsettled--
		l.freeSlot(true)
		if !l.closed {
			l.d.agenda.at(l, l.d.clock.Now())
		}
	}
}

// tendHanded ends what consumers have had for too long, takes off what has been settled
// by way of another node, canceled or taken over, and ends the consumers of an endpoint
// that is gone.
func (d *Dispatcher) tendHanded(ctx context.Context, l *lane, now time.Time) {
	var overdue []*handed
	var check []string
	l.mu.Lock()
	gone := l.pulled && l.endpoint == nil
	for id, h := range l.handed {
		switch {
		case !pulledUntil(&h.job.lease).After(now) && !h.at.IsZero():
			l.drop(h)
			overdue = append(overdue, h)
		case !h.at.IsZero() && now.Sub(h.at) > lookAfterHanding:
			check = append(check, id)
		}
	}
	l.mu.Unlock()
	for _, h := range overdue {
		d.conclude(&h.job, h.at, hub.AttemptTimedOut, "it was not settled before its lease ended")
	}
	if gone {
		for _, c := range l.consumersNow() {
			c.end(hub.ErrNotFound)
		}
		return
	}
	if len(check) == 0 {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, claimBound)
	defer cancel()
	leased, err := d.config.Store.Leased(bounded, check)
	if err != nil {
		d.logger.WarnContext(ctx, "leases.unknown", slog.Any("error", err))
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range check {
		if h := l.handed[id]; h != nil && leased[id].Token != h.job.lease.Token {
			l.drop(h)
		}
	}
}

// conclude settles an attempt that its consumer has not.
func (d *Dispatcher) conclude(j *job, since time.Time, outcome hub.AttemptOutcome, why string) {
	now := d.clock.Now()
	d.settle(j, result{attempt: pullAttempt(&j.lease, since, now, outcome, why)}, now, nil)
}

// pullAttempt records what came of a delivery that was pulled.
func pullAttempt(lease *hub.Lease, since, now time.Time, outcome hub.AttemptOutcome, why string) *hub.Attempt {
	return &hub.Attempt{
		ID: hub.NewID(hub.AttemptPrefix, now), DeliveryID: lease.Delivery.ID, Number: lease.Delivery.AttemptCount + 1,
		StartedAt: since, Duration: max(now.Sub(since), 0), Outcome: outcome, Error: why,
	}
}

// settle decides a result by the policy and hands it to the store.
func (d *Dispatcher) settle(j *job, r result, now time.Time, stored func(bool, error)) {
	l := j.lane
	l.settling.Lock()
	settlement, breaker := l.settle(j, r, now, d.config.Random())
	settlement.Stored = stored
	d.config.Store.Settle(settlement)
	l.settling.Unlock()
	d.report(&j.lease, settlement, breaker)
}

// pulledUntil is until when a consumer may settle. The lease itself lasts longer, so that
// what comes at the last moment is stored before another may have the delivery.
func pulledUntil(lease *hub.Lease) time.Time { return lease.ExpiresAt.Add(-leaseSlack) }

// pulledToken is what a consumer settles by. It is made of the lease's own token, which
// several deliveries may share, and tells nothing about it.
func pulledToken(lease *hub.Lease) string {
	sum := sha256.Sum256([]byte(lease.Token + " " + lease.Delivery.ID))
	return base64.RawURLEncoding.EncodeToString(sum[:18])
}

// SettlePulled settles deliveries that were pulled, by way of this node or any other, and
// returns for each what kept it from being settled: an error of hub.CodeConflict where
// its lease is not held any more, or the token is another's. It returns once all are
// durable.
func (d *Dispatcher) SettlePulled(ctx context.Context, settlings []hub.Settling) ([]error, error) {
	ids := make([]string, len(settlings))
	for i, s := range settlings {
		ids[i] = s.DeliveryID
	}
	leased, err := d.config.Store.Leased(ctx, ids)
	if err != nil {
		return nil, err
	}
	d.mu.RLock()
	open := d.started && !d.closed
	d.mu.RUnlock()
	if !open {
		return nil, hub.NewError(hub.CodeUnavailable, "the hub is stopping")
	}
	problems := make([]error, len(settlings))
	var waiting sync.WaitGroup
	for i, s := range settlings {
		lease, found := leased[s.DeliveryID]
		now := d.clock.Now()
		if !found || subtle.ConstantTimeCompare([]byte(pulledToken(&lease)), []byte(s.Token)) != 1 || !pulledUntil(&lease).After(now) {
			problems[i] = errNotHeld
			continue
		}
		delete(leased, s.DeliveryID) // once
		l := d.lane(lease.Delivery.EndpointID)
		if l == nil {
			problems[i] = errNotHeld
			continue
		}
		j, since, pulled := l.pulledJob(lease, now)
		if !pulled {
			problems[i] = errNotHeld
			continue
		}
		waiting.Add(1)
		d.settle(&j, resultOf(&j.lease, s, since, now), now, func(applied bool, err error) {
			if problems[i] = err; err == nil && !applied {
				problems[i] = errNotHeld
			}
			waiting.Done()
		})
	}
	stored := make(chan struct{})
	go func() {
		waiting.Wait()
		close(stored)
	}()
	select {
	case <-stored:
		return problems, nil
	case <-ctx.Done():
		return nil, hub.NewError(hub.CodeUnavailable, "the results could not be stored in time; settle them again")
	}
}

var errNotHeld = hub.NewError(hub.CodeConflict,
	"the delivery is not leased by this token any more: the lease has ended, or it was settled or canceled before")

// pulledJob returns the job of a lease that a consumer has, here or at another node, and
// since when about, and makes room for another where it is one of ours. It reports false
// where the lease is not a consumer's.
func (l *lane) pulledJob(lease hub.Lease, now time.Time) (j job, since time.Time, pulled bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refresh(now)
	if !l.pulled || l.endpoint == nil {
		return job{}, time.Time{}, false
	}
	if h := l.handed[lease.Delivery.ID]; h != nil && h.job.lease.Token == lease.Token {
		l.drop(h)
		return h.job, h.at, true
	}
	return job{lane: l, lease: lease, template: l.template}, pulledUntil(&lease).Add(-l.template.timeout), true
}

// resultOf is what a consumer's word means.
func resultOf(lease *hub.Lease, s hub.Settling, since, now time.Time) result {
	reason := strings.ToValidUTF8(s.Reason, "\uFFFD")
	if runes := []rune(reason); len(runes) > maxReason {
		reason = string(runes[:maxReason]) + "…"
	}
	said := func(text string) string {
		if reason == "" {
			return text
		}
		return text + ": " + reason
	}
	switch s.Outcome {
	case hub.SettleAcknowledge:
		return result{attempt: pullAttempt(lease, since, now, hub.AttemptSucceeded, "")}
	case hub.SettleReject:
		why := said("the consumer rejected it")
		return result{attempt: pullAttempt(lease, since, now, hub.AttemptRefused, why), final: why}
	case hub.SettleRetry:
	}
	return result{attempt: pullAttempt(lease, since, now, hub.AttemptRefused, said("the consumer wants it again"))}
}
