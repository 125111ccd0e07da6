package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/deliverychange"
	"github.com/hookgraph/hookgraph/ent/loghead"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// How much of the log of changes is kept; the narrower bound holds.
const (
	MaxChanges   = 2_000_000
	MaxChangeAge = 24 * time.Hour
)

// deliveryState is what changes of a delivery, as people see it.
type deliveryState struct {
	status          hub.DeliveryStatus
	reason          string
	attemptCount    int
	next, completed column.Time
}

// changeRow is one entry of the log of changes.
type changeRow struct {
	deliveryID string
	deliveryState

	// What moves lines, of changes outside the writer.
	line, subscriptionID string
	later                bool // it waits for its turn
}

// changed plans an entry. A delivery that waits is shown as held where something holds
// it as of this commit.
func (p *planner) changed(deliveryID, endpointID, subscriptionID string, state deliveryState) {
	if state.status == hub.DeliveryPending {
		health := p.store.health.of(endpointID)
		for _, h := range p.plan.health {
			if h.EndpointID == endpointID {
				health = h
			}
		}
		state = state.shown(p.cfg.Endpoints[endpointID], health, p.cfg.Subscriptions[subscriptionID], p.plan.now)
	}
	p.plan.changes = append(p.plan.changes, changeRow{deliveryID: deliveryID, deliveryState: state})
}

// shown derives HELD.
func (d deliveryState) shown(e *hub.Endpoint, h *hub.EndpointHealth, sub *hub.Subscription, now time.Time) deliveryState {
	if d.status != hub.DeliveryPending {
		return d
	}
	if d.reason != "" { // by itself, until somebody acts
		d.status, d.next = hub.DeliveryHeld, 0
	} else if hold, held := hub.Holds(e, h, sub, now); held {
		d.status, d.reason, d.next = hub.DeliveryHeld, hold.Reason, column.TimeOf(hold.Next(d.next.Time()))
	}
	return d
}

// ChangeHead returns the sequence of the newest change of a delivery, 0 before the first.
func (s *Store) ChangeHead(ctx context.Context) (hub.Sequence, error) {
	head, err := s.read.LogHead.Get(ctx, 1)
	if err != nil {
		return 0, wrap("read the head of the log of changes", err)
	}
	return hub.Sequence(head.ChangeSequence), nil
}

// OldestChange returns the sequence of the oldest change that is still stored, 0 where
// there is none.
func (s *Store) OldestChange(ctx context.Context) (hub.Sequence, error) {
	first, err := s.read.DeliveryChange.Query().Order(deliverychange.ByID()).Limit(1).IDs(ctx)
	if err != nil || len(first) == 0 {
		return 0, wrap("read the start of the log of changes", err)
	}
	return hub.Sequence(first[0]), nil
}

// ChangesAfter returns the changes of deliveries that follow a sequence, in order, at
// most limit of them. Like that of events, their order is the order of commits.
func (s *Store) ChangesAfter(ctx context.Context, after hub.Sequence, limit int) ([]*hub.DeliveryChange, error) {
	build := entsql.Dialect(s.reads.Dialect())
	c, d := build.Table(deliverychange.Table).As("c"), build.Table(delivery.Table).As("d")
	query, args := build.Select(
		c.C(deliverychange.FieldID), c.C(deliverychange.FieldDeliveryID), c.C(deliverychange.FieldStatus), c.C(deliverychange.FieldReason),
		c.C(deliverychange.FieldAttemptCount), c.C(deliverychange.FieldNextAttemptAt), c.C(deliverychange.FieldCompletedAt),
		d.C(delivery.FieldEventID), d.C(delivery.FieldSubscriptionID), d.C(delivery.FieldEndpointID), d.C(delivery.FieldPartnerID), d.C(delivery.FieldCreatedAt), d.C(delivery.FieldBodyForm),
	).From(c).LeftJoin(d).On(c.C(deliverychange.FieldDeliveryID), d.C(delivery.FieldID)).
		Where(entsql.GT(c.C(deliverychange.FieldID), int64(after))).OrderBy(c.C(deliverychange.FieldID)).Limit(limit).Query()
	rows := &entsql.Rows{}
	if err := s.reads.Query(ctx, query, args, rows); err != nil {
		return nil, wrap("read the log of changes", err)
	}
	defer func() { _ = rows.Close() }()
	var list []*hub.DeliveryChange
	for rows.Next() {
		change := &hub.DeliveryChange{}
		var next, completed column.Time
		var created *int64
		var eventID, subscriptionID, endpointID, partnerID, bodyForm *string // null where the delivery is gone
		d := &change.Delivery
		if err := rows.Scan(&change.Sequence, &d.ID, &d.Status, &d.Reason, &d.AttemptCount, &next, &completed,
			&eventID, &subscriptionID, &endpointID, &partnerID, &created, &bodyForm); err != nil {
			return nil, wrap("read the log of changes", err)
		}
		d.NextAttemptAt, d.CompletedAt = next.Time(), completed.Time()
		if created != nil {
			d.EventID, d.SubscriptionID, d.EndpointID, d.PartnerID = *eventID, *subscriptionID, *endpointID, *partnerID
			d.CreatedAt, d.BodyForm = column.Time(*created).Time(), hub.BodyForm(*bodyForm)
		}
		list = append(list, change)
	}
	return list, wrap("read the log of changes", rows.Err())
}

func (s *Store) updateDeliveries() *entsql.UpdateBuilder {
	return entsql.Dialect(s.writes.Dialect()).Update(delivery.Table)
}

// ending is the update that ends deliveries and fences their leases.
func (s *Store) ending(status hub.DeliveryStatus, reason string, now time.Time) *entsql.UpdateBuilder {
	return s.updateDeliveries().Set(delivery.FieldStatus, string(status)).Set(delivery.FieldReason, reason).Set(delivery.FieldTurn, "").
		Set(delivery.FieldLeaseToken, "").Set(delivery.FieldDueAt, 0).Set(delivery.FieldNextAttemptAt, 0).
		Set(delivery.FieldCompletedAt, micros(now))
}

// act changes deliveries outside the writer, logs it, and counts and announces those
// that it gives up, in one transaction, and returns how many it changed. Like the writer it touches deliveries first and then
// log_head, so that the two never wait for one another.
func (s *Store) act(ctx context.Context, update *entsql.UpdateBuilder, which ...condition) (changed int, err error) {
	now := s.clock.Now()
	tx, err := s.writes.Tx(ctx)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil || changed == 0 {
			_ = tx.Rollback() // the first error tells more
		}
	}()
	build := entsql.Dialect(s.writes.Dialect())
	chosen := build.Select().From(build.Table(delivery.Table))
	for _, condition := range which {
		condition(chosen)
	}
	if err := s.lockInOrder(ctx, tx, chosen); err != nil {
		return 0, err
	}
	query, args := update.FromSelect(chosen).Returning(changedColumns...).Query()
	a, err := s.updated(ctx, tx, query, args, now)
	if err != nil || len(a.changes) == 0 {
		return 0, err
	}
	n := len(a.changes)
	if err := s.countDead(ctx, tx, a.dead, now); err != nil {
		return 0, err
	}
	if err := s.moveOn(ctx, tx, &a, now); err != nil {
		return 0, err
	}
	if err := s.logChanges(ctx, tx, a.changes, now); err != nil {
		return 0, err
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	s.notifyChanges()
	s.movedOn(a.moved)
	if len(a.dead) > 0 {
		s.announced()
	}
	return n, nil
}

// lockInOrder locks the deliveries that a selector chooses, in the order of their IDs as
// the writer does, and has it choose no others. Without that two who change many
// deliveries at once on PostgreSQL could each wait for the other; SQLite has one writer.
func (s *Store) lockInOrder(ctx context.Context, tx dialect.Tx, chosen *entsql.Selector) error {
	if s.writes.Dialect() != dialect.Postgres {
		return nil
	}
	query, args := chosen.Clone().Select(chosen.C(delivery.FieldID)).OrderBy(chosen.C(delivery.FieldID)).ForUpdate().Query()
	var ids []any
	err := each(ctx, tx, query, args, func(rows *entsql.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	})
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		chosen.Where(entsql.False())
		return nil
	}
	chosen.Where(entsql.In(chosen.C(delivery.FieldID), ids...))
	return nil
}

// changed runs an update of deliveries in a transaction and returns how they are now.
func (s *Store) changed(ctx context.Context, tx dialect.Tx, update *entsql.UpdateBuilder, now time.Time) (acted, error) {
	query, args := update.Returning(changedColumns...).Query()
	return s.updated(ctx, tx, query, args, now)
}

// changedColumns are what updated reads.
var changedColumns = []string{
	delivery.FieldID, delivery.FieldEventID, delivery.FieldEndpointID, delivery.FieldSubscriptionID, delivery.FieldPartnerID,
	delivery.FieldStatus, delivery.FieldReason, delivery.FieldAttemptCount, delivery.FieldNextAttemptAt, delivery.FieldCompletedAt,
	delivery.FieldLine, delivery.FieldTurn,
}

// logChanges appends to the log of changes. It locks log_head, so it comes last.
func (s *Store) logChanges(ctx context.Context, tx dialect.Tx, changes []changeRow, now time.Time) error {
	if len(changes) == 0 {
		return nil
	}
	build := entsql.Dialect(s.writes.Dialect())
	head := 0
	query, args := build.Update(loghead.Table).Add(loghead.FieldChangeSequence, len(changes)).
		Where(entsql.EQ(loghead.FieldID, 1)).Returning(loghead.FieldChangeSequence).Query()
	if err := scanOne(ctx, tx, query, args, &head); err != nil {
		return err
	}
	insert := build.Insert(deliverychange.Table).Columns(deliverychange.Columns...)
	for i, c := range changes {
		insert.Values(head-len(changes)+1+i, c.deliveryID, string(c.status), c.reason, c.attemptCount, int64(c.next), int64(c.completed), micros(now))
	}
	query, args = insert.Query()
	return tx.Exec(ctx, query, args, nil)
}

// updated runs an update and returns the rows as they are now, and those of them that
// were given up.
func (s *Store) updated(
	ctx context.Context, tx dialect.Tx, query string, args []any, now time.Time,
) (a acted, err error) {
	rows := &entsql.Rows{}
	if err := tx.Query(ctx, query, args, rows); err != nil {
		return a, err
	}
	defer func() { _ = rows.Close() }()
	cfg := s.config.Load()
	for rows.Next() {
		var c changeRow
		var turn string
		d := &hub.Delivery{}
		if err := rows.Scan(&d.ID, &d.EventID, &d.EndpointID, &d.SubscriptionID, &d.PartnerID,
			&c.status, &c.reason, &c.attemptCount, &c.next, &c.completed, &c.line, &turn); err != nil {
			return a, err
		}
		c.deliveryID, c.subscriptionID = d.ID, d.SubscriptionID
		if turn == turnLater && c.status == hub.DeliveryPending {
			c.later, c.status, c.next = true, hub.DeliveryHeld, 0
			if c.line == unkeyed {
				c.reason = cmp.Or(c.reason, reasonUnkeyed)
			}
		}
		c.deliveryState = c.shown(cfg.Endpoints[d.EndpointID], s.health.of(d.EndpointID), cfg.Subscriptions[d.SubscriptionID], now)
		a.changes = append(a.changes, c)
		if c.status == hub.DeliveryDead {
			d.Reason, d.AttemptCount = c.reason, c.attemptCount
			a.dead = append(a.dead, d)
		}
	}
	return a, rows.Err()
}

// scanOne reads the one value of a statement.
func scanOne(ctx context.Context, tx dialect.Tx, query string, args []any, value any) error {
	rows := &entsql.Rows{}
	if err := tx.Query(ctx, query, args, rows); err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	if !rows.Next() {
		return cmp.Or(rows.Err(), fmt.Errorf("no row: %s", query))
	}
	return rows.Scan(value)
}

// trimChunk keeps one deletion from holding up the writer.
const trimChunk = 5000

// trimChanges deletes one chunk of the oldest changes beyond the bounds, and reports
// whether there may be more. It takes away the front of the log alone, so that a reader
// can tell by the oldest entry whether it has missed any.
func (s *Store) trimChanges(ctx context.Context) (more bool, err error) {
	head, err := s.ChangeHead(ctx)
	if err != nil {
		return false, err
	}
	oldest, err := s.OldestChange(ctx)
	if err != nil || oldest == 0 {
		return false, err
	}
	end := oldest + trimChunk // everything before it may go
	surplus := head - hub.Sequence(s.cfg.maxChanges) + 1
	young, err := s.read.DeliveryChange.Query().
		Where(deliverychange.IDGTE(int64(max(oldest, surplus))), deliverychange.IDLT(int64(end)),
			deliverychange.ChangedAtGTE(column.TimeOf(s.clock.Now().Add(-MaxChangeAge)))).
		Order(deliverychange.ByID()).Limit(1).IDs(ctx)
	if err != nil {
		return false, wrap("trim the log of changes", err)
	}
	if len(young) > 0 {
		end = hub.Sequence(young[0])
	}
	if end <= oldest {
		return false, nil
	}
	n, err := s.write.DeliveryChange.Delete().Where(deliverychange.IDLT(int64(end))).Exec(ctx)
	return n >= trimChunk, wrap("trim the log of changes", err)
}
