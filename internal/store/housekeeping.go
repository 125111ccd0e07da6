package store

import (
	"context"
	"time"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// tidyEvery is how often what has become too old is looked for, and what another
// node left half-sorted.
const (
	tidyEvery = 5 * time.Second
	tidyShare = 20 // looking takes no more than this part of the time
)

// housekeep sorts out backlogs and ends what has become too old, until ctx ends. It
// writes chunk by chunk, so that others get their turn, and where it fails it comes
// back: what is to be done is in the database.
func (s *Store) housekeep(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	expireAt := time.Now()
	lines := newLineTender(s)
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.sorting:
		}
		if err := s.sortBacklogs(ctx); err != nil {
			s.complain(ctx, err)
		}
		missed, err := lines.tend(ctx)
		if err != nil {
			s.complain(ctx, err)
		}
		if began := time.Now(); !began.Before(expireAt) {
			if err := s.expire(ctx); err != nil {
				s.complain(ctx, err)
			}
			expireAt = time.Now().Add(max(tidyEvery, tidyShare*time.Since(began)))
			timer.Reset(time.Until(expireAt))
		}
		if missed {
			timer.Reset(missedLinger)
		}
	}
}

func (s *Store) complain(ctx context.Context, err error) {
	if ctx.Err() == nil {
		s.log.WarnContext(ctx, "housekeeping failed and is tried again", "error", err)
	}
}

// sortBacklogs carries out what was chosen for the backlogs of resumed endpoints.
func (s *Store) sortBacklogs(ctx context.Context) error {
	for id, e := range s.config.Load().Endpoints {
		if e.Backlog == nil {
			continue
		}
		if err := s.sortBacklog(ctx, id, *e.Backlog); err != nil {
			return err
		}
	}
	return nil
}

// Why a backlog's deliveries are canceled.
const (
	reasonBacklogCanceled   = "what had waited was canceled when the endpoint was resumed"
	reasonBacklogSuperseded = "a newer delivery with the same ordering key had waited too when the endpoint was resumed"
)

// sortBacklog carries out one choice. Until it is noted as done the endpoint gets
// nothing, so nothing of the backlog is sent before its turn. Doing it twice, or on
// two nodes at once, changes nothing.
func (s *Store) sortBacklog(ctx context.Context, endpointID string, order hub.BacklogOrder) error {
	before := column.TimeOf(order.Before)
	chosen := []predicate.Delivery{delivery.EndpointID(endpointID), delivery.CreatedAtLTE(before)}
	if order.Choice != hub.BacklogSendNewest {
		if err := s.cancelWaiting(ctx, reasonBacklogCanceled, delivery.And(chosen...)); err != nil {
			return err
		}
	} else {
		// One after the other: the newest of a key always stays. As alternatives of one
		// statement, PostgreSQL would look each delivery's rivals up by itself.
		for _, rule := range s.superseded(before) {
			if err := s.cancelWaiting(ctx, reasonBacklogSuperseded, delivery.And(append(chosen, rule)...)); err != nil {
				return err
			}
		}
	}
	_, err := s.UpdateEndpoint(ctx, endpointID, func(e *hub.Endpoint) error {
		if e.Backlog != nil && *e.Backlog == order {
			e.Backlog = nil
		}
		return nil
	})
	if hub.CodeOf(err) == hub.CodeNotFound {
		return nil // deleted, with all that waited
	}
	return err
}

// superseded returns conditions of deliveries beside which a newer one with the same
// ordering key waits for the same subscription and endpoint, too. Where the subscription
// keeps an order, that is its key and its idea of what is newer; else it is the event's own
// key, and its place in the log.
func (s *Store) superseded(before column.Time) []predicate.Delivery {
	var ordered []any
	for id, sub := range s.config.Load().Subscriptions {
		if sub.Ordered() {
			ordered = append(ordered, id)
		}
	}
	return []predicate.Delivery{
		func(sel *entsql.Selector) {
			sel.Where(supersededBy(sel, before, delivery.FieldLine, "rival.turn <> '' AND rival.turn IN ('FIRST', 'LATER')"))
		},
		func(sel *entsql.Selector) {
			sel.Where(supersededBy(sel, before, delivery.FieldMark, "rival.mark <> ''"))
		},
		func(sel *entsql.Selector) {
			sel.Where(entsql.And(entsql.EQ(sel.C(delivery.FieldLine), ""), entsql.EQ(sel.C(delivery.FieldMark), "")))
			if len(ordered) > 0 {
				sel.Where(entsql.NotIn(sel.C(delivery.FieldSubscriptionID), ordered...))
			}
			sel.Where(supersededByEvent(sel, before))
		},
	}
}

// supersededBy says so by what the rivals have in common, with the condition of its index.
// Of those that happened at the same moment, the one that was made later is the newer.
func supersededBy(sel *entsql.Selector, before column.Time, common, indexed string) *entsql.Predicate {
	id, value, place, endpoint := sel.C(delivery.FieldID), sel.C(common), sel.C(delivery.FieldPlace), sel.C(delivery.FieldEndpointID)
	return entsql.P(func(b *entsql.Builder) {
		b.Ident(value).WriteString(" <> '' AND ").Ident(value).WriteString(" <> ").Arg(unkeyed).
			WriteString(" AND EXISTS (SELECT 1 FROM deliveries AS rival WHERE rival.status = 'PENDING' AND " + indexed + " AND rival." + common + " = ").
			Ident(value).WriteString(" AND rival.endpoint_id = ").Ident(endpoint).
			WriteString(" AND (rival.place > ").Ident(place).WriteString(" OR rival.place = ").Ident(place).WriteString(" AND rival.id > ").Ident(id).
			WriteString(") AND rival.created_at <= ").Arg(int64(before)).WriteString(")")
	})
}

// supersededByEvent says so by the event's own ordering key.
func supersededByEvent(sel *entsql.Selector, before column.Time) *entsql.Predicate {
	d := entsql.Dialect(sel.Dialect())
	mine, theirs := d.Table(event.Table).As("mine"), d.Table(event.Table).As("theirs")
	rival := d.Table(delivery.Table).As("rival")
	return entsql.Exists(
		d.Select(rival.C(delivery.FieldID)).From(mine).
			Join(theirs).On(mine.C(event.FieldOrderingKey), theirs.C(event.FieldOrderingKey)).
			Join(rival).On(rival.C(delivery.FieldEventID), theirs.C(event.FieldID)).
			Where(entsql.And(
				entsql.ColumnsEQ(mine.C(event.FieldID), sel.C(delivery.FieldEventID)),
				entsql.NEQ(mine.C(event.FieldOrderingKey), ""),
				entsql.ColumnsGT(theirs.C(event.FieldSequence), mine.C(event.FieldSequence)),
				entsql.LTE(theirs.C(event.FieldReceivedAt), before),
				entsql.ColumnsEQ(rival.C(delivery.FieldEndpointID), sel.C(delivery.FieldEndpointID)),
				entsql.ColumnsEQ(rival.C(delivery.FieldSubscriptionID), sel.C(delivery.FieldSubscriptionID)),
				entsql.EQ(rival.C(delivery.FieldStatus), hub.DeliveryPending),
				entsql.LTE(rival.C(delivery.FieldCreatedAt), before),
			)),
	)
}

// expire ends deliveries that wait beyond the maximum age of their endpoint, held
// ones included.
func (s *Store) expire(ctx context.Context) error {
	for _, e := range s.config.Load().Endpoints {
		if e.MaxAge <= 0 {
			continue
		}
		if err := s.expireOf(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) expireOf(ctx context.Context, e *hub.Endpoint) error {
	now := s.clock.Now()
	for {
		// As hub.Delivery.Expired has it. The order is that of the index of what waits.
		waiting, err := s.listDeliveries(ctx,
			pending, delivery.EndpointID(e.ID), delivery.CreatedAtLTE(column.TimeOf(now.Add(-e.MaxAge))),
			delivery.Or(delivery.AttemptCount(0), delivery.SchedulePositionGT(0)),
			delivery.Or(delivery.LeaseToken(""), delivery.DueAtLTE(column.TimeOf(now))), // what is being attempted may yet be delivered
			func(selector *entsql.Selector) {
				selector.OrderBy(selector.C(delivery.FieldSubscriptionID), selector.C(delivery.FieldDueAt)).Limit(cancelChunk)
			},
		)
		if err != nil {
			return wrap("find expired deliveries", err)
		}
		var ids []string
		var reason string
		for _, d := range waiting {
			if why, expired := d.Expired(e, now); expired {
				ids, reason = append(ids, d.ID), why
			}
		}
		if len(ids) == 0 {
			return nil
		}
		if _, err := s.act(ctx, s.ending(hub.DeliveryDead, reason, now), delivery.IDIn(ids...), delivery.StatusEQ(hub.DeliveryPending),
			delivery.Or(delivery.LeaseToken(""), delivery.DueAtLTE(column.TimeOf(now)))); err != nil {
			return wrap("end expired deliveries", err)
		}
	}
}

// wakeSorter says that there is a backlog to be sorted out.
func (s *Store) wakeSorter() {
	select {
	case s.sorting <- struct{}{}:
	default:
	}
}
