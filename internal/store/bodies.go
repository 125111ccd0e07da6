package store

import (
	"context"
	"maps"
	"slices"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/deliverybody"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// bodyRequest is a body to be kept, on its way through the writer.
type bodyRequest struct {
	ticket
	deliveryID, token string
	body              hub.Body
	kept              bool
}

// errLeaseLost is the answer to whoever comes with a lease that is void.
var errLeaseLost = hub.NewError(hub.CodeConflict, "the lease of the delivery has passed to another")

// KeepBody stores the body that was made for a leased delivery, and returns once it is
// durable: from then on every lease of the delivery carries these bytes. It is
// CodeConflict where the lease is void or there is a body already, and CodeUnavailable
// where it cannot be stored now.
func (s *Store) KeepBody(ctx context.Context, lease hub.Lease, body hub.Body) error {
	body.ContentType = clean(body.ContentType)
	r := &bodyRequest{ticket: newTicket(), deliveryID: lease.Delivery.ID, token: lease.Token, body: body}
	if !s.writing() {
		return unavailable(errStopping)
	}
	if err := s.queue.addBody(r); err != nil {
		return unavailable(err)
	}
	if !r.wait(ctx.Done()) {
		return ctx.Err()
	}
	switch {
	case r.err != nil:
		return r.err
	case !r.kept:
		return errLeaseLost
	}
	return nil
}

// ShapedBodies returns the bodies that were made for those of the deliveries that have
// one.
func (v *View) ShapedBodies(ctx context.Context, deliveryIDs []string) (map[string]*hub.Body, error) {
	found := make(map[string]*hub.Body, len(deliveryIDs))
	err := inChunks(deliveryIDs, maxInList, func(part []string) error {
		if !v.sight.Whole() {
			seen, err := v.DeliveriesByID(ctx, part)
			if err != nil {
				return err
			}
			part = slices.Collect(maps.Keys(seen))
		}
		rows, err := readAll(ctx, v.store.read.DeliveryBody.Query().Where(deliverybody.IDIn(part...)),
			func(row *ent.DeliveryBody) (*ent.DeliveryBody, error) { return row, nil })
		for _, row := range rows {
			found[row.ID] = &hub.Body{ContentType: row.ContentType, Bytes: row.Body}
		}
		return err
	})
	return found, wrap("read bodies of deliveries", err)
}
