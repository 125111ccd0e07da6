package store

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	entsql "entgo.io/ent/dialect/sql"

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

// deriveHeld makes a delivery that waits HELD where, as things stand, it has to.
func (s *Store) deriveHeld(d *hub.Delivery) {
	if d.Status != hub.DeliveryPending {
		return
	}
	if d.Reason != "" || d.BlockedBy != "" {
		d.Status, d.NextAttemptAt = hub.DeliveryHeld, time.Time{} // by itself, until somebody acts
		return
	}
	cfg := s.config.Load()
	hold, held := hub.Holds(cfg.Endpoints[d.EndpointID], s.health.of(d.EndpointID), cfg.Subscriptions[d.SubscriptionID], s.clock.Now())
	if held {
		d.Status, d.Reason, d.NextAttemptAt = hub.DeliveryHeld, hold.Reason, hold.Next(d.NextAttemptAt)
	}
}

// Deliveries returns a page of deliveries, newest first.
func (v *View) Deliveries(ctx context.Context, f hub.DeliveryFilter, page hub.Page) (hub.Slice[*hub.Delivery], error) {
	p, err := newestID().pager(page)
	if err != nil {
		return hub.Slice[*hub.Delivery]{}, err
	}
	list, err := v.listDeliveries(ctx, append(v.store.deliveryConditions(f), p.single)...)
	if err != nil {
		return hub.Slice[*hub.Delivery]{}, wrap("list deliveries", err)
	}
	return slice(p, list), nil
}

// CountDeliveries counts the deliveries that a filter admits.
func (v *View) CountDeliveries(ctx context.Context, f hub.DeliveryFilter) (int, error) {
	n, err := v.deliveries().Where(all[predicate.Delivery](v.store.deliveryConditions(f))...).Count(ctx)
	return n, wrap("count deliveries", err)
}

// DeliveriesByID returns those of the deliveries that exist.
func (v *View) DeliveriesByID(ctx context.Context, ids []string) (map[string]*hub.Delivery, error) {
	found := make(map[string]*hub.Delivery, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		list, err := v.listDeliveries(ctx, anyOf(delivery.FieldID, part))
		for _, d := range list {
			found[d.ID] = d
		}
		return err
	})
	return found, wrap("read deliveries", err)
}

// DeliveriesOf returns a page of the deliveries of each parent, newest first, in
// one statement for up to 10,000 events or 200 endpoints or subscriptions. Events with
// very many deliveries take a second one.
func (v *View) DeliveriesOf(ctx context.Context, parent Parent, ids []string, f hub.DeliveryFilter, page hub.Page) (map[string]hub.Slice[*hub.Delivery], error) {
	p, err := newestID().pager(page)
	if err != nil {
		return nil, err
	}
	size := maxArms
	if parent.few() {
		size = maxInList
	}
	var found []*hub.Delivery
	err = inChunks(ids, size, func(part []string) error {
		more, err := v.deliveriesOf(ctx, parent, part, v.store.deliveryConditions(f), p)
		found = append(found, more...)
		return err
	})
	if err != nil {
		return nil, wrap("list deliveries by parent", err)
	}
	return slicesOf(p, ids, found, parent.of), nil
}

// plainRows is how many rows are read and sorted here sooner than the database would
// rank them.
const plainRows = 1000

func (v *View) deliveriesOf(ctx context.Context, parent Parent, ids []string, conditions []condition, p *pager) ([]*hub.Delivery, error) {
	if !parent.few() {
		return v.listDeliveries(ctx, p.each(string(parent), ids, v.ofDeliveries, conditions))
	}
	conditions = append(conditions, anyOf(string(parent), ids))
	bound := max(plainRows, len(ids)*p.limit())
	all := append(slices.Clip(conditions), p.bound, func(s *entsql.Selector) { s.Limit(bound + 1) })
	found, err := v.listDeliveries(ctx, all...)
	if err != nil {
		return nil, err
	}
	if len(found) > bound {
		return v.listDeliveries(ctx, append(conditions, p.ranked(string(parent)))...)
	}
	slices.SortFunc(found, func(a, b *hub.Delivery) int {
		if p.descending() {
			a, b = b, a
		}
		return strings.Compare(a.ID, b.ID)
	})
	return found, nil
}

// CountDeliveriesOf counts the deliveries of each parent that a filter admits, in
// one statement for up to 10,000 parents. A parent without any is left out.
func (v *View) CountDeliveriesOf(ctx context.Context, parent Parent, ids []string, f hub.DeliveryFilter) (map[string]int, error) {
	counts := make(map[string]int, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		conditions := all[predicate.Delivery](v.store.deliveryConditions(f), anyOf(string(parent), part))
		more, err := countBy(ctx, v.deliveries().Where(conditions...).
			GroupBy(string(parent)).Aggregate(countOf(string(parent))))
		maps.Copy(counts, more)
		return err
	})
	return counts, wrap("count deliveries by parent", err)
}

// Backlog counts the deliveries of each endpoint that have not ended. An endpoint
// without any is left out.
func (v *View) Backlog(ctx context.Context, endpointIDs []string) (map[string]int, error) {
	waiting := hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryPending, hub.DeliveryHeld}}
	return v.CountDeliveriesOf(ctx, OfEndpoints, endpointIDs, waiting)
}

// RetryDelivery makes a delivery due now. One that has ended starts its schedule
// over; one that waits keeps its place, and one that was held by itself is let go; one that is being attempted is a conflict, as
// is one whose endpoint or subscription is gone, and one that others with its ordering key come before. One that has ended
// takes its place among those again.
func (v *View) RetryDelivery(ctx context.Context, id string) (*hub.Delivery, error) {
	now := column.TimeOf(v.store.clock.Now())
	which := []condition{
		delivery.ID(id), v.ofDeliveries, refersTo(delivery.FieldEndpointID, endpoint.Table), refersTo(delivery.FieldSubscriptionID, subscription.Table),
	}
	n, err := v.store.act(ctx, v.store.dueAt(now), append(which, delivery.StatusEQ(hub.DeliveryPending), notLater,
		delivery.Or(delivery.LeaseToken(""), delivery.DueAtLTE(now)))...)
	if err == nil && n == 0 {
		n, err = v.store.act(ctx, v.store.dueAgain(now), append(which, delivery.StatusNEQ(hub.DeliveryPending))...)
	}
	if err != nil {
		return nil, wrap("retry delivery", err)
	}
	if n, err = v.rekeyed(ctx, id, n); err != nil {
		return nil, wrap("retry delivery", err)
	}
	if n == 0 {
		conflict, err := v.whyNotRetried(ctx, id)
		if err != nil {
			return nil, wrap("retry delivery", err)
		}
		return v.afterAction(ctx, id, n, conflict)
	}
	v.store.notify() // it may be another node that has a slot free
	v.store.wakeTaker()
	return v.afterAction(ctx, id, n, "")
}

// rekeyed makes the ordering key of a delivery that waits for one, and returns how many have
// been retried then.
func (v *View) rekeyed(ctx context.Context, id string, retried int) (int, error) {
	found, err := v.DeliveriesByID(ctx, []string{id})
	if err != nil || found[id] == nil || found[id].Line != unkeyed || found[id].Status.Ended() {
		return retried, err
	}
	keyed, err := v.store.rekeyOne(ctx, id)
	if keyed {
		retried = 1
	}
	return retried, err
}

// dueAt is the update that makes deliveries due, and lets go what was held by itself.
func (s *Store) dueAt(at column.Time) *entsql.UpdateBuilder {
	return s.updateDeliveries().Set(delivery.FieldNextAttemptAt, int64(at)).Set(delivery.FieldDueAt, int64(at)).
		Set(delivery.FieldLeaseToken, "").Set(delivery.FieldReason, "")
}

// dueAgain is the update that has deliveries which have ended start their schedules over.
// Those that belong into a line take their places in it again, and wait for their turn.
func (s *Store) dueAgain(at column.Time) *entsql.UpdateBuilder {
	return s.dueAt(at).Set(delivery.FieldStatus, string(hub.DeliveryPending)).
		Set(delivery.FieldSchedulePosition, 0).Set(delivery.FieldCompletedAt, 0).
		Set(delivery.FieldDueAt, entsql.P(func(b *entsql.Builder) {
			b.WriteString("CASE WHEN line <> '' THEN ").WriteString(strconv.FormatInt(neverDue, 10)).WriteString(" ELSE ").Arg(int64(at)).WriteString(" END")
		})).
		Set(delivery.FieldTurn, entsql.Raw("CASE WHEN line <> '' THEN 'LATER' ELSE '' END"))
}

// refersTo restricts a query to rows whose column names a row of the table.
func refersTo(column, table string) condition {
	return func(s *entsql.Selector) {
		s.Where(entsql.In(s.C(column), entsql.Dialect(s.Dialect()).Select("id").From(entsql.Table(table))))
	}
}

// whyNotRetried tells what keeps a delivery, if there is one, from being retried.
func (v *View) whyNotRetried(ctx context.Context, id string) (string, error) {
	for _, needed := range []struct{ noun, column, table string }{
		{"endpoint", delivery.FieldEndpointID, endpoint.Table}, {"subscription", delivery.FieldSubscriptionID, subscription.Table},
	} {
		found, err := v.deliveries().Where(delivery.ID(id), refersTo(needed.column, needed.table)).Exist(ctx)
		if err != nil {
			return "", err
		}
		if !found {
			return "the " + needed.noun + " of the delivery does not exist any more", nil
		}
	}
	found, err := v.DeliveriesByID(ctx, []string{id})
	if d := found[id]; err == nil && d != nil && (d.BlockedBy != "" || d.Line == unkeyed && d.Status == hub.DeliveryHeld) {
		return d.Reason, nil
	}
	return "the delivery is being attempted right now", err
}

// CancelDelivery ends a delivery that waits. An attempt under way is recorded when
// it ends and changes nothing. A delivery that has ended is a conflict, but for a dead one
// that others with its ordering key wait behind: they go on.
func (v *View) CancelDelivery(ctx context.Context, id string) (*hub.Delivery, error) {
	n, err := v.store.cancelDeliveries(ctx, reasonCanceled, delivery.ID(id), v.ofDeliveries)
	if err == nil && n == 0 {
		n, err = v.store.act(ctx, v.store.ending(hub.DeliveryCanceled, reasonCanceled, v.store.clock.Now()), delivery.ID(id), v.ofDeliveries, isParked)
	}
	if err != nil {
		return nil, wrap("cancel delivery", err)
	}
	return v.afterAction(ctx, id, n, "the delivery has already ended")
}

// afterAction returns the delivery that an action changed, or why it changed none.
func (v *View) afterAction(ctx context.Context, id string, changed int, conflict string) (*hub.Delivery, error) {
	found, err := v.DeliveriesByID(ctx, []string{id})
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
