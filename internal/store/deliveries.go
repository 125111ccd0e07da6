package store

import (
	"context"
	"fmt"
	"maps"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/endpoint"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/subscription"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Parent names what nested deliveries are nested in.
type Parent string

// The parents of deliveries.
const (
	OfEvents        Parent = delivery.FieldEventID
	OfEndpoints     Parent = delivery.FieldEndpointID
	OfSubscriptions Parent = delivery.FieldSubscriptionID
)

// few reports whether one parent has so few deliveries that all can be read.
func (p Parent) few() bool { return p == OfEvents }

// of returns the parent's ID.
func (p Parent) of(d *hub.Delivery) string {
	switch p {
	case OfEvents:
		return d.EventID
	case OfEndpoints:
		return d.EndpointID
	case OfSubscriptions:
		return d.SubscriptionID
	}
	return ""
}

// toDelivery maps a row and derives HELD, as things stand, where it waits.
func (s *Store) toDelivery(row *ent.Delivery) *hub.Delivery {
	d := &hub.Delivery{
		ID: row.ID, EventID: row.EventID, SubscriptionID: row.SubscriptionID, EndpointID: row.EndpointID,
		Status: row.Status, Reason: row.Reason, AttemptCount: row.AttemptCount, SchedulePosition: row.SchedulePosition,
		NextAttemptAt: row.NextAttemptAt.Time(), CreatedAt: row.CreatedAt.Time(), CompletedAt: row.CompletedAt.Time(),
	}
	if d.Status == hub.DeliveryPending {
		cfg := s.config.Load()
		reason, held := hub.Hold(cfg.Endpoints[d.EndpointID], s.health.of(d.EndpointID), cfg.Subscriptions[d.SubscriptionID], s.clock.Now())
		if held {
			d.Status, d.Reason = hub.DeliveryHeld, reason
		}
	}
	return d
}

func (s *Store) listDeliveries(ctx context.Context, q *ent.DeliveryQuery) ([]*hub.Delivery, error) {
	rows, err := q.All(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]*hub.Delivery, len(rows))
	for i, row := range rows {
		list[i] = s.toDelivery(row)
	}
	return list, nil
}

// Deliveries returns a page of deliveries, newest first.
func (s *Store) Deliveries(ctx context.Context, f hub.DeliveryFilter, page hub.Page) (hub.Slice[*hub.Delivery], error) {
	p, err := newestID().pager(page)
	if err != nil {
		return hub.Slice[*hub.Delivery]{}, err
	}
	list, err := s.listDeliveries(ctx, s.read.Delivery.Query().Where(all[predicate.Delivery](s.deliveryConditions(f), p.single)...))
	if err != nil {
		return hub.Slice[*hub.Delivery]{}, wrap("list deliveries", err)
	}
	return slice(p, list), nil
}

// CountDeliveries counts the deliveries that a filter admits.
func (s *Store) CountDeliveries(ctx context.Context, f hub.DeliveryFilter) (int, error) {
	n, err := s.read.Delivery.Query().Where(all[predicate.Delivery](s.deliveryConditions(f))...).Count(ctx)
	return n, wrap("count deliveries", err)
}

// DeliveriesByID returns those of the deliveries that exist.
func (s *Store) DeliveriesByID(ctx context.Context, ids []string) (map[string]*hub.Delivery, error) {
	found := make(map[string]*hub.Delivery, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		list, err := s.listDeliveries(ctx, s.read.Delivery.Query().Where(delivery.IDIn(part...)))
		for _, d := range list {
			found[d.ID] = d
		}
		return err
	})
	return found, wrap("read deliveries", err)
}

// DeliveriesOf returns a page of the deliveries of each parent, newest first, in
// one statement for up to 10,000 events or 200 endpoints or subscriptions.
func (s *Store) DeliveriesOf(ctx context.Context, parent Parent, ids []string, f hub.DeliveryFilter, page hub.Page) (map[string]hub.Slice[*hub.Delivery], error) {
	p, err := newestID().pager(page)
	if err != nil {
		return nil, err
	}
	size := maxArms
	if parent.few() {
		size = maxInList
	}
	var list []*hub.Delivery
	err = inChunks(ids, size, func(part []string) error {
		pages := []predicate.Delivery{p.each(string(parent), part, s.deliveryConditions(f))}
		if parent.few() {
			pages = all[predicate.Delivery](s.deliveryConditions(f), anyOf(string(parent), part), p.ranked(string(parent)))
		}
		more, err := s.listDeliveries(ctx, s.read.Delivery.Query().Where(pages...))
		list = append(list, more...)
		return err
	})
	if err != nil {
		return nil, wrap("list deliveries by parent", err)
	}
	return slicesOf(p, ids, list, parent.of), nil
}

// CountDeliveriesOf counts the deliveries of each parent that a filter admits, in
// one statement for up to 10,000 parents. A parent without any is left out.
func (s *Store) CountDeliveriesOf(ctx context.Context, parent Parent, ids []string, f hub.DeliveryFilter) (map[string]int, error) {
	counts := make(map[string]int, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		conditions := all[predicate.Delivery](s.deliveryConditions(f), anyOf(string(parent), part))
		more, err := countBy(ctx, s.read.Delivery.Query().Where(conditions...).
			GroupBy(string(parent)).Aggregate(countOf(string(parent))))
		maps.Copy(counts, more)
		return err
	})
	return counts, wrap("count deliveries by parent", err)
}

// Backlog counts the deliveries of each endpoint that have not ended. An endpoint
// without any is left out.
func (s *Store) Backlog(ctx context.Context, endpointIDs []string) (map[string]int, error) {
	waiting := hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryPending, hub.DeliveryHeld}}
	return s.CountDeliveriesOf(ctx, OfEndpoints, endpointIDs, waiting)
}

// RetryDelivery makes a delivery due now. One that has ended starts its schedule
// over; one that waits keeps its place; one that is being attempted is a conflict, as
// is one whose endpoint or subscription is gone.
func (s *Store) RetryDelivery(ctx context.Context, id string) (*hub.Delivery, error) {
	now := column.TimeOf(s.clock.Now())
	due := func() *ent.DeliveryUpdate {
		return s.write.Delivery.Update().SetNextAttemptAt(now).SetDueAt(now).SetLeaseToken("").
			Where(refersTo(delivery.FieldEndpointID, endpoint.Table), refersTo(delivery.FieldSubscriptionID, subscription.Table))
	}
	n, err := due().Where(delivery.ID(id), delivery.StatusEQ(hub.DeliveryPending),
		delivery.Or(delivery.LeaseToken(""), delivery.DueAtLTE(now))).Save(ctx)
	if err == nil && n == 0 {
		n, err = due().SetStatus(hub.DeliveryPending).SetReason("").SetSchedulePosition(0).SetCompletedAt(0).
			Where(delivery.ID(id), delivery.StatusNEQ(hub.DeliveryPending)).Save(ctx)
	}
	if err != nil {
		return nil, wrap("retry delivery", err)
	}
	if n == 0 {
		conflict, err := s.whyNotRetried(ctx, id)
		if err != nil {
			return nil, wrap("retry delivery", err)
		}
		return s.afterAction(ctx, id, n, conflict)
	}
	s.notify() // it may be another node that has a slot free
	s.wakeTaker()
	return s.afterAction(ctx, id, n, "")
}

// refersTo restricts a query to rows whose column names a row of the table.
func refersTo(column, table string) condition {
	return func(s *entsql.Selector) {
		s.Where(entsql.In(s.C(column), entsql.Dialect(s.Dialect()).Select("id").From(entsql.Table(table))))
	}
}

// whyNotRetried tells what keeps a delivery, if there is one, from being retried.
func (s *Store) whyNotRetried(ctx context.Context, id string) (string, error) {
	for _, needed := range []struct{ noun, column, table string }{
		{"endpoint", delivery.FieldEndpointID, endpoint.Table}, {"subscription", delivery.FieldSubscriptionID, subscription.Table},
	} {
		found, err := s.read.Delivery.Query().Where(delivery.ID(id), refersTo(needed.column, needed.table)).Exist(ctx)
		if err != nil {
			return "", err
		}
		if !found {
			return "the " + needed.noun + " of the delivery does not exist any more", nil
		}
	}
	return "the delivery is being attempted right now", nil
}

// CancelDelivery ends a delivery that waits. An attempt under way is recorded when
// it ends and changes nothing. A delivery that has ended is a conflict.
func (s *Store) CancelDelivery(ctx context.Context, id string) (*hub.Delivery, error) {
	n, err := cancelation(s.write, reasonCanceled, s.clock.Now()).Where(delivery.ID(id)).Save(ctx)
	if err != nil {
		return nil, wrap("cancel delivery", err)
	}
	return s.afterAction(ctx, id, n, "the delivery has already ended")
}

// afterAction returns the delivery that an action changed, or why it changed none.
func (s *Store) afterAction(ctx context.Context, id string, changed int, conflict string) (*hub.Delivery, error) {
	found, err := s.DeliveriesByID(ctx, []string{id})
	switch {
	case err != nil:
		return nil, err
	case found[id] == nil:
		return nil, hub.ErrNotFound
	case changed == 0:
		return nil, hub.NewError(hub.CodeConflict, fmt.Sprintf("%s (it is %s)", conflict, found[id].Status))
	}
	return found[id], nil
}
