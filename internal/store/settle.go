package store

import (
	"cmp"
	"context"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// settlement is a result on its way through the writer.
type settlement struct {
	hub.Settlement
	requestHeaders, responseHeaders []byte

	loneFailures  int
	commitsBefore int // of the writer, at the last failure
}

// Settle stores the result of a leased delivery soon. It blocks only while the
// queue is full; Stop waits until what was accepted is durable. If the lease has
// passed to another or the delivery has ended meanwhile, the attempt is recorded
// and the delivery's state is left as it is. The store counts attempts itself:
// Attempt.Number and Delivery.AttemptCount are not read.
func (s *Store) Settle(result hub.Settlement) {
	p := &settlement{Settlement: result}
	d := &p.Delivery
	if d.Status == hub.DeliveryHeld {
		d.Status = hub.DeliveryPending // held is derived, never stored
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
		s.log.WarnContext(context.Background(), "result came after the store was stopped; the lease runs out and the delivery is attempted again",
			"delivery_id", d.ID)
	}
}

// due returns when a worker may claim the delivery after this result.
func (p *settlement) due(now time.Time) int64 {
	if p.Delivery.Status.Ended() {
		return 0
	}
	return micros(cmp.Or(p.Delivery.NextAttemptAt, now))
}
