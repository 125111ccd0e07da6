package store

import (
	"cmp"
	"context"
	"math"
	"time"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// settlement is a result on its way through the writer.
type settlement struct {
	hub.Settlement
	requestHeaders, responseHeaders []byte
	held                            bool      // by itself, until somebody acts
	sourceID                        string    // of the event
	receivedAt                      time.Time // likewise

	settlementOutcome

	loneFailures  int
	commitsBefore int // of the writer, at the last failure
}

// settlementOutcome is what became of a result within its transaction.
type settlementOutcome struct {
	recorded bool // the attempt is stored by this transaction
	applied  bool // the lease held, and the delivery is as the result says
	// state is the delivery's, where it has changed at all.
	state deliveryState
	// line and mark are the delivery's, where it was found.
	line, mark string
}

// Settle stores the result of a leased delivery soon. It blocks only while the
// queue is full; Stop waits until what was accepted is durable. If the lease has
// passed to another or the delivery has ended meanwhile, the attempt is recorded
// and the delivery's state is left as it is. The store counts attempts itself:
// Attempt.Number and Delivery.AttemptCount are not read.
func (s *Store) Settle(result hub.Settlement) {
	p := &settlement{Settlement: result}
	if ev := result.Event; ev != nil {
		p.sourceID, p.receivedAt = ev.SourceID, ev.ReceivedAt
		p.Event = nil // its payload need not wait for the commit
	}
	d := &p.Delivery
	if d.Status == hub.DeliveryHeld {
		d.Status, p.held = hub.DeliveryPending, true // the row says so by its reason
		d.Reason = cmp.Or(d.Reason, "held")
	}
	d.Reason = clean(d.Reason)
	if a := result.Attempt; a != nil {
		kept := *a
		kept.Error, kept.RequestURL = clean(a.Error), clean(a.RequestURL)
		kept.ResponseBody = append([]byte{}, a.ResponseBody[:min(len(a.ResponseBody), hub.MaxResponseBodyKept)]...)
		p.Attempt = &kept
		p.requestHeaders, p.responseHeaders = encodeHeaders(a.RequestHeaders), encodeHeaders(a.ResponseHeaders)
	}
	if !s.writing() || !s.queue.addSettlement(p) {
		p.stored(unavailable(errStopping))
		s.log.WarnContext(context.Background(), "result came after the store was stopped; the lease runs out and the delivery is attempted again",
			"delivery_id", d.ID)
	}
}

// stored tells whoever waits for the result what became of it: it may be durable and
// have changed nothing, because the delivery was canceled first.
func (p *settlement) stored(err error) {
	if p.Stored != nil {
		p.Stored(err == nil && p.applied, err)
	}
}

func tellStored(list []*settlement) {
	for _, s := range list {
		s.stored(nil)
	}
}

// neverDue is beyond all times: what is due then waits until somebody acts.
const neverDue = math.MaxInt64

// due returns when a worker may claim the delivery after this result.
func (p *settlement) due(now time.Time) int64 {
	switch {
	case p.Delivery.Status.Ended():
		return 0
	case p.held:
		return neverDue
	}
	return micros(cmp.Or(p.Delivery.NextAttemptAt, now))
}

// lockedDelivery is a delivery as a transaction finds it that has locked it.
type lockedDelivery struct {
	deliveryState
	token      string
	line, mark string
}

const lockedColumns = "status, reason, attempt_count, next_attempt_at, completed_at, lease_token, line, mark"

func (d *lockedDelivery) columns() []any {
	return []any{&d.status, &d.reason, &d.attemptCount, &d.next, &d.completed, &d.token, &d.line, &d.mark}
}

// judge says what becomes of a result, and of the delivery as it was found.
func (d *lockedDelivery) judge(s *settlement, now time.Time) {
	if s.recorded {
		d.attemptCount++
	}
	if d.status == hub.DeliveryPending && d.token == s.LeaseToken && d.token != "" {
		s.applied = true
		d.status, d.reason, d.token = s.Delivery.Status, s.Delivery.Reason, ""
		d.next, d.completed = column.Time(s.due(now)), column.TimeOf(s.Delivery.CompletedAt)
	}
	s.state, s.line, s.mark = d.deliveryState, d.line, d.mark
}
