package store

import (
	"context"
	"slices"
	"sync"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/orderingmark"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/subscription"
	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	lineChunk    = 200         // deliveries or lines that one transaction tends
	lineSweep    = time.Minute // how often lines are looked for that nobody is FIRST of, and what waits for nothing
	missedLinger = 20 * time.Millisecond
)

// missedLines are those whose next one another transaction had locked when its turn came.
type missedLines struct {
	mu    sync.Mutex
	lines []string
}

func (m *missedLines) add(lines []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lines = append(m.lines, lines...)
}

func (m *missedLines) take() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	lines := m.lines
	m.lines = nil
	return lines
}

// lineTender does for lines what no result and no request does. All of it may be done twice
// and on two nodes at once.
type lineTender struct {
	*Store
	reads   dialect.Driver // its looks at what there is to do are nobody's statements
	read    *ent.Client
	keyed   map[string]hub.Subscription // as they were when what waits for a key of theirs was last tried
	sweepAt time.Time
}

func newLineTender(s *Store) *lineTender {
	reads := s.engine.readDriver()
	return &lineTender{Store: s, reads: reads, read: ent.NewClient(ent.Driver(reads)), keyed: make(map[string]hub.Subscription)}
}

// tend goes on with lines that were missed, lets go those that are parked no more, and
// gives a line to what has waited for a key. It reports whether some are missed again.
func (t *lineTender) tend(ctx context.Context) (again bool, err error) {
	if err := t.moveMissed(ctx, t.missed.take()); err != nil {
		return true, err
	}
	if err := t.unpark(ctx); err != nil {
		return false, err
	}
	began := time.Now()
	sweeps := !began.Before(t.sweepAt)
	if err := t.rekey(ctx, t.unkeyed.Swap(false) || sweeps); err != nil {
		t.unkeyed.Store(true)
		return false, err
	}
	if sweeps {
		if err := t.cancelOrphans(ctx, t.reads); err != nil { // nobody is FIRST of a line that belongs to nothing
			return false, err
		}
		if err := t.sweep(ctx); err != nil {
			return false, err
		}
		t.sweepAt = time.Now().Add(max(lineSweep, tidyShare*time.Since(began)))
	}
	t.missed.mu.Lock()
	defer t.missed.mu.Unlock()
	return len(t.missed.lines) > 0, nil
}

func (t *lineTender) moveMissed(ctx context.Context, lines []string) error {
	slices.Sort(lines)
	lines = slices.Compact(lines)
	for i := 0; i < len(lines); i += lineChunk {
		if err := t.moveIdle(ctx, lines[i:min(i+lineChunk, len(lines))]); err != nil {
			t.missed.add(lines[i:])
			return wrap("go on with lines", err)
		}
	}
	return nil
}

// moveIdle gives the turn in lines that nobody is FIRST of.
func (s *Store) moveIdle(ctx context.Context, lines []string) (err error) {
	now := s.clock.Now()
	tx, err := s.writes.Tx(ctx)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			_ = tx.Rollback() // the first error tells more
		}
	}()
	cfg, err := s.lockHead(ctx, tx)
	if err != nil {
		return err
	}
	var a acted
	if err := s.moveUnder(ctx, tx, &a, lines, nil, cfg, now); err != nil {
		return err
	}
	if err := s.logChanges(ctx, tx, a.changes, now); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	done = true
	if len(a.changes) > 0 {
		s.notifyChanges()
	}
	s.movedOn(a.moved)
	return nil
}

// idleLines finds lines whose front waits, stepping from one line to the next. That is so
// where a transaction that kept it from its turn has ended without giving it that.
const idleLines = `WITH RECURSIVE lines (line) AS (
		SELECT min(line) FROM deliveries WHERE turn <> ''
		UNION ALL
		SELECT (SELECT min(d.line) FROM deliveries AS d WHERE d.turn <> '' AND d.line > lines.line) FROM lines WHERE lines.line IS NOT NULL
	)
	SELECT line FROM lines WHERE line <> '?' AND (SELECT CASE WHEN f.turn = 'LATER' THEN f.status ELSE '' END FROM deliveries AS f
		WHERE f.line = lines.line AND f.turn <> '' ORDER BY f.turn, f.place, f.id LIMIT 1) = 'PENDING'`

func (t *lineTender) sweep(ctx context.Context) error {
	var lines []string
	err := actedTx{t.reads, t.reads.Dialect()}.rows(ctx, idleLines, []any{}, func(scan func(...any) error) error {
		var line string
		err := scan(&line)
		lines = append(lines, line)
		return err
	})
	if err != nil {
		return wrap("look for idle lines", err)
	}
	return t.moveMissed(ctx, lines)
}

// unpark lets lines go on that a dead delivery keeps from it and that the rule of their
// subscription does not park any more.
func (t *lineTender) unpark(ctx context.Context) error {
	for last := ""; ; {
		first, err := t.read.Delivery.Query().Where(isParked, delivery.SubscriptionIDGT(last)).
			Order(ent.Asc(delivery.FieldSubscriptionID)).Limit(1).Select(delivery.FieldSubscriptionID).Strings(ctx)
		if err != nil || len(first) == 0 {
			return wrap("look for parked lines", err)
		}
		last = first[0]
		for sub := t.config.Load().Subscriptions[last]; sub == nil || !sub.Parks(); {
			ids, err := t.read.Delivery.Query().Where(isParked, delivery.SubscriptionID(last)).Limit(lineChunk).IDs(ctx)
			if err != nil {
				return wrap("let parked lines go", err)
			}
			if len(ids) == 0 {
				break
			}
			// The row says no more than before, so the log of changes need not hear of it.
			left, err := t.leave(ctx, last, ids)
			if err != nil {
				return wrap("let parked lines go", err)
			}
			if !left {
				break
			}
		}
	}
}

// isParked restricts a query to the dead that keep their lines from going on, as their
// index says it.
func isParked(sel *entsql.Selector) {
	status, turn := sel.C(delivery.FieldStatus), sel.C(delivery.FieldTurn)
	sel.Where(entsql.P(func(b *entsql.Builder) {
		b.Ident(status).WriteString(" = 'DEAD' AND ").Ident(turn).WriteString(" <> ''")
	}))
}

// leave takes dead deliveries of a subscription out of their lines, which go on. It reports
// false, and has done nothing, where the rule of the subscription parks them by now.
func (s *Store) leave(ctx context.Context, subscriptionID string, ids []string) (left bool, err error) {
	tx, err := s.writes.Tx(ctx)
	if err != nil {
		return false, err
	}
	done := false
	defer func() {
		if !done {
			_ = tx.Rollback() // the first error tells more
		}
	}()
	query, args := s.updateDeliveries().Set(delivery.FieldTurn, "").
		Where(entsql.And(entsql.In(delivery.FieldID, anys(ids)...), entsql.EQ(delivery.FieldStatus, string(hub.DeliveryDead)))).
		Returning(delivery.FieldLine).Query()
	var lines []string
	if err := each(ctx, tx, query, args, func(rows *entsql.Rows) error {
		var line string
		err := rows.Scan(&line)
		if inLine(line) {
			lines = append(lines, line)
		}
		return err
	}); err != nil {
		return false, err
	}
	cfg, err := s.lockHead(ctx, tx)
	if err != nil {
		return false, err
	}
	if sub := cfg.Subscriptions[subscriptionID]; sub != nil && sub.Parks() {
		return false, nil
	}
	now := s.clock.Now()
	var a acted
	if err := s.moveUnder(ctx, tx, &a, lines, nil, cfg, now); err != nil {
		return false, err
	}
	if err := s.logChanges(ctx, tx, a.changes, now); err != nil {
		return false, err
	}
	if err := tx.Commit(); err != nil {
		return false, err
	}
	done = true
	s.notifyChanges()
	s.movedOn(a.moved)
	return true, nil
}

// rekey makes keys for those that have none, where they have not been tried since their
// subscription orders otherwise, or since a replay has made them due again: for those it
// looks where it is told to.
func (t *lineTender) rekey(ctx context.Context, look bool) error {
	cfg := t.config.Load()
	var changed []string
	for id, sub := range cfg.Subscriptions {
		if was, known := t.keyed[id]; !known || was.Ordering != sub.Ordering || was.OrderingKey != sub.OrderingKey {
			changed = append(changed, id)
		}
	}
	if len(changed) == 0 && !look {
		return nil
	}
	which := []predicate.Delivery{delivery.Reason("")}
	if len(changed) > 0 {
		which = append(which, delivery.SubscriptionIDIn(changed...))
	}
	for place, last := int64(-1), ""; ; {
		rows, err := t.read.Delivery.Query().Where(delivery.Line(unkeyed), stands, delivery.StatusEQ(hub.DeliveryPending), delivery.Or(which...),
			delivery.Or(delivery.PlaceGT(place), delivery.And(delivery.Place(place), delivery.IDGT(last)))).
			Order(ent.Asc(delivery.FieldPlace), ent.Asc(delivery.FieldID)).Limit(lineChunk).Select(delivery.FieldID, delivery.FieldPlace).All(ctx)
		if err != nil {
			return wrap("look for deliveries without a key", err)
		}
		for _, row := range rows {
			if _, err := t.rekeyOne(ctx, row.ID); err != nil {
				return wrap("give a key to "+row.ID, err)
			}
		}
		if len(rows) < lineChunk {
			break
		}
		place, last = rows[len(rows)-1].Place, rows[len(rows)-1].ID
	}
	clear(t.keyed)
	for id, sub := range cfg.Subscriptions {
		t.keyed[id] = *sub
	}
	return nil
}

// stands restricts a query to those that wait in a line, as its index says it.
func stands(sel *entsql.Selector) {
	sel.Where(entsql.And(isLater(sel), written(sel, delivery.FieldTurn, " <> ''")))
}

// rekeyOne makes the key of a delivery that waits for one, which then takes its place, and
// reports whether it could.
func (s *Store) rekeyOne(ctx context.Context, id string) (keyed bool, err error) {
	found, err := s.DeliveriesByID(ctx, []string{id})
	if err != nil || found[id] == nil || found[id].Line != unkeyed {
		return false, err
	}
	d := found[id]
	cfg := s.config.Load()
	sub := cfg.Subscriptions[d.SubscriptionID]
	if sub == nil {
		return false, nil // it is being canceled
	}
	events, err := s.eventsWithPayload(ctx, []string{d.EventID})
	if err != nil || events[d.EventID] == nil {
		return false, err
	}
	now := column.TimeOf(s.clock.Now())
	which := []condition{
		delivery.ID(id), delivery.StatusEQ(hub.DeliveryPending), delivery.Line(unkeyed),
		stands,
	}
	o := s.positionOf(events[d.EventID], sub, cfg)
	if o.line == unkeyed {
		if o.problem != d.Reason {
			_, err = s.act(ctx, s.updateDeliveries().Set(delivery.FieldReason, o.problem), which...)
		}
		return false, err
	}
	update := s.dueAt(now).Set(delivery.FieldLine, o.line).Set(delivery.FieldMark, o.mark).Set(delivery.FieldPlace, o.place).Set(delivery.FieldTurn, "")
	if o.stands() {
		update.Set(delivery.FieldTurn, turnLater).Set(delivery.FieldDueAt, int64(neverDue))
	}
	n, err := s.act(ctx, update, which...)
	if n > 0 && s.taker != nil && !o.stands() {
		s.taker.Due(d.EndpointID)
	}
	return n > 0, err
}

// forgetMarks deletes the marks of subscriptions that are gone: of the given ones, or of
// whatever is left over.
func (s *Store) forgetMarks(ctx context.Context, subscriptionIDs ...string) error {
	gone := orderingmark.SubscriptionIDIn(subscriptionIDs...)
	if len(subscriptionIDs) == 0 {
		gone = func(sel *entsql.Selector) {
			sel.Where(entsql.NotIn(sel.C(orderingmark.FieldSubscriptionID),
				entsql.Dialect(sel.Dialect()).Select(subscription.FieldID).From(entsql.Table(subscription.Table))))
		}
	}
	for {
		ids, err := s.read.OrderingMark.Query().Where(gone).Limit(cancelChunk).IDs(ctx)
		if err != nil || len(ids) == 0 {
			return wrap("forget what was delivered", err)
		}
		if _, err := s.write.OrderingMark.Delete().Where(orderingmark.IDIn(ids...)).Exec(ctx); err != nil {
			return wrap("forget what was delivered", err)
		}
	}
}
