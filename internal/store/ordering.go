package store

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/loghead"
	"github.com/hookgraph/hookgraph/ent/orderingmark"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Deliveries of a STRICT subscription that have one ordering key stand in a line. The one
// whose turn it is, FIRST, is a delivery like any other. Those behind it are LATER: their
// rows are due never, so neither claims nor looks at what is due come across them however
// many there are. A dead one that parks its line stays in its place as LATER, too.
//
// Who is FIRST changes under log_head alone, in the transaction that ends the one before or
// puts somebody into the line. It is always the one with the smallest sequence of those who
// stand there: what is retried or replayed takes its place again, but nobody is interrupted.
//
// Whoever holds log_head may not wait for rows of deliveries. One whose turn has come and
// who is locked by another transaction right now is therefore left out, and looked at again
// soon; so is, now and then, every line that nobody is FIRST of.
const (
	turnFirst = "FIRST"
	turnLater = "LATER"
)

// unkeyed is the line of deliveries of whose events no key could be made. They are LATER,
// with the reason, and nobody among them is ever FIRST: they get a line of their own once
// the key can be made.
const (
	unkeyed       = "?"
	reasonUnkeyed = "its ordering key is being made"
)

// position is what keeps a delivery in order. Its zero value is no order.
type position struct {
	line, mark string
	place      int64
	problem    string // why no key could be made
}

// positionOf says what keeps the delivery of an event to a subscription in order. The event has
// its payload, and its sequence or is given that by placed.
func (s *Store) positionOf(ev *hub.Event, sub *hub.Subscription, cfg *hub.Configuration) position {
	if !sub.Ordered() {
		return position{}
	}
	key := ev.OrderingKey
	if sub.OrderingKey != "" {
		var err error
		if key, err = s.orderingKey(ev, sub, cfg); err != nil {
			return position{line: unkeyed, problem: clean(err.Error())}
		}
	}
	if key == "" {
		return position{}
	}
	h := sha256.New()
	h.Write([]byte(sub.ID))
	h.Write([]byte{0})
	h.Write([]byte(key))
	name := base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:16])
	if sub.Ordering == hub.OrderingSkipStale {
		return position{mark: name, place: micros(happened(ev))}
	}
	return position{line: name}.placed(ev.Sequence)
}

func (s *Store) orderingKey(ev *hub.Event, sub *hub.Subscription, cfg *hub.Configuration) (key string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = errors.New("the ordering key could not be made: the hub failed while it evaluated the expression")
		}
	}()
	if s.cfg.OrderingKey == nil {
		return "", errors.New("the ordering key could not be made: this process evaluates none")
	}
	slug := ""
	if source := cfg.Senders[ev.SourceID]; source != nil {
		slug = source.Slug
	}
	if key, err = s.cfg.OrderingKey(sub.OrderingKey, ev, slug); err != nil {
		return "", fmt.Errorf("the ordering key could not be made: %w; the expression is %s", err, sub.OrderingKey)
	}
	return key, nil
}

// placed gives a place in a line. Beside a mark it is known from the start.
func (o position) placed(sequence hub.Sequence) position {
	if o.mark == "" {
		o.place = int64(sequence)
	}
	return o
}

// stands reports whether a delivery with this order stands in a line that moves on.
func (o position) stands() bool { return inLine(o.line) }

func inLine(line string) bool { return line != "" && line != unkeyed }

// happened is when an event occurred, or was received where its source does not say.
func happened(ev *hub.Event) time.Time {
	if ev.OccurredAt.IsZero() {
		return ev.ReceivedAt
	}
	return ev.OccurredAt
}

// front is who keeps a line from going on.
type front struct {
	id             string
	subscriptionID string
	status         hub.DeliveryStatus
	turn           string
}

// behind is why a delivery waits that is not the front of its line.
func (f front) behind() string {
	switch {
	case f.id == "":
		return "it waits for its turn among the deliveries with its ordering key"
	case f.status == hub.DeliveryDead:
		return "it waits behind " + f.id + ", which has the same ordering key and is dead: retry or cancel that one, or have the subscription skip it"
	}
	return "it waits behind " + f.id + ", which has the same ordering key"
}

// promotion is a delivery whose turn has come.
type promotion struct {
	id, line, endpointID, subscriptionID string
	attemptCount                         int
	due                                  column.Time
}

// ordering is a transaction that moves lines. It holds log_head.
type ordering interface {
	dialect() string
	// rows runs a statement and reads what it returns.
	rows(ctx context.Context, query string, args []any, read func(scan func(...any) error) error) error
}

// lineFronts are the statements that find who is at the front of each line: FIRST, or else
// the one with the smallest place.
var lineFronts = map[string]string{
	dialect.SQLite: `SELECT d.line, d.id, d.subscription_id, d.status, d.turn FROM json_each(?1) AS l CROSS JOIN deliveries AS d
		WHERE d.id = (SELECT f.id FROM deliveries AS f WHERE f.line = l.value AND f.turn <> '' ORDER BY f.turn, f.place, f.id LIMIT 1)`,
	dialect.Postgres: `SELECT d.line, d.id, d.subscription_id, d.status, d.turn FROM json_array_elements_text($1::json) AS l(value)
		CROSS JOIN LATERAL (SELECT * FROM deliveries AS f WHERE f.line = l.value AND f.turn <> '' ORDER BY f.turn, f.place, f.id LIMIT 1) AS d`,
}

const promoted = "id, line, endpoint_id, subscription_id, attempt_count, due_at"

// linePromotions make FIRST and due.
var linePromotions = map[string]string{
	dialect.SQLite: `UPDATE deliveries SET turn = 'FIRST', next_attempt_at = max(next_attempt_at, ?2), due_at = max(next_attempt_at, ?2)
		WHERE id IN (SELECT value FROM json_each(?1)) AND turn = 'LATER' AND status = 'PENDING' RETURNING ` + promoted,
	dialect.Postgres: `UPDATE deliveries SET turn = 'FIRST', next_attempt_at = greatest(next_attempt_at, $2::bigint), due_at = greatest(next_attempt_at, $2::bigint)
		WHERE id = ANY (ARRAY(SELECT d.id FROM deliveries AS d WHERE d.id = ANY (ARRAY(SELECT json_array_elements_text($1::json)))
			AND d.turn = 'LATER' AND d.status = 'PENDING' ORDER BY d.id FOR UPDATE SKIP LOCKED)) RETURNING ` + promoted,
}

// lineParking keeps dead deliveries in their places.
var lineParking = map[string]string{
	dialect.SQLite:   "UPDATE deliveries SET turn = 'LATER' WHERE id IN (SELECT value FROM json_each(?1)) AND status = 'DEAD' RETURNING id",
	dialect.Postgres: "UPDATE deliveries SET turn = 'LATER' WHERE id = ANY (ARRAY(SELECT json_array_elements_text($1::json))) AND status = 'DEAD' RETURNING id",
}

// moved is what became of lines.
type moved struct {
	fronts   map[string]front
	promoted []promotion
	missed   []string // lines whose next is locked by another transaction
}

// moveLines parks the dead and gives the turn to whoever is next in lines that nobody is
// FIRST of. Of a subscription that is gone nobody is: what waits for it is being canceled.
func moveLines(ctx context.Context, tx ordering, lines, parked []string, cfg *hub.Configuration, now time.Time) (m moved, err error) {
	m.fronts = make(map[string]front, len(lines))
	if len(parked) > 0 {
		if err := tx.rows(ctx, lineParking[tx.dialect()], []any{jsonList(parked)}, func(scan func(...any) error) error {
			var id string
			return scan(&id)
		}); err != nil {
			return m, fmt.Errorf("park lines: %w", err)
		}
	}
	if len(lines) == 0 {
		return m, nil
	}
	next := make(map[string]string) // line by delivery
	var ids []string
	err = tx.rows(ctx, lineFronts[tx.dialect()], []any{jsonList(lines)}, func(scan func(...any) error) error {
		var line string
		var f front
		if err := scan(&line, &f.id, &f.subscriptionID, (*string)(&f.status), &f.turn); err != nil {
			return err
		}
		m.fronts[line] = f
		if f.turn == turnLater && f.status == hub.DeliveryPending && cfg.Subscriptions[f.subscriptionID] != nil {
			ids = append(ids, f.id)
			next[f.id] = line
		}
		return nil
	})
	if err != nil {
		return m, fmt.Errorf("find who is next in line: %w", err)
	}
	if len(ids) == 0 {
		return m, nil
	}
	slices.Sort(ids)
	err = tx.rows(ctx, linePromotions[tx.dialect()], []any{jsonList(ids), micros(now)}, func(scan func(...any) error) error {
		var p promotion
		if err := scan(&p.id, &p.line, &p.endpointID, &p.subscriptionID, &p.attemptCount, (*int64)(&p.due)); err != nil {
			return err
		}
		m.promoted = append(m.promoted, p)
		f := m.fronts[p.line]
		f.turn = turnFirst
		m.fronts[p.line] = f
		delete(next, p.id)
		return nil
	})
	if err != nil {
		return m, fmt.Errorf("give the next in line its turn: %w", err)
	}
	for _, line := range next {
		m.missed = append(m.missed, line)
	}
	return m, nil
}

func jsonList(list []string) string {
	text, err := json.Marshal(list)
	if err != nil { // texts always encode
		return "[]"
	}
	return string(text)
}

// actedTx is a transaction outside the writer that moves lines.
type actedTx struct {
	tx   dialect.ExecQuerier
	name string
}

func (t actedTx) dialect() string { return t.name }

func (t actedTx) rows(ctx context.Context, query string, args []any, read func(scan func(...any) error) error) error {
	return each(ctx, t.tx, query, args, func(rows *entsql.Rows) error { return read(rows.Scan) })
}

// acted is what a transaction outside the writer has changed.
type acted struct {
	changes []changeRow
	dead    []*hub.Delivery
	moved   moved
}

func (a *acted) add(more acted) {
	a.changes = append(a.changes, more.changes...)
	a.dead = append(a.dead, more.dead...)
}

// moveOn moves the lines of what a transaction has changed, and has the log of changes say
// so. It locks log_head.
func (s *Store) moveOn(ctx context.Context, tx dialect.Tx, a *acted, now time.Time) error {
	var lines, dead []string
	for _, c := range a.changes {
		if inLine(c.line) {
			lines = append(lines, c.line)
			if c.status == hub.DeliveryDead {
				dead = append(dead, c.deliveryID)
			}
		}
	}
	if len(lines) == 0 {
		return nil
	}
	cfg, err := s.lockHead(ctx, tx)
	if err != nil {
		return err
	}
	return s.moveUnder(ctx, tx, a, lines, dead, cfg, now)
}

// moveUnder does so for whoever holds log_head, under which the configuration stands.
func (s *Store) moveUnder(ctx context.Context, tx dialect.ExecQuerier, a *acted, lines, dead []string, cfg *hub.Configuration, now time.Time) error {
	at := make(map[string]int, len(a.changes))
	for i, c := range a.changes {
		at[c.deliveryID] = i
	}
	parked := slices.DeleteFunc(dead, func(id string) bool {
		sub := cfg.Subscriptions[a.changes[at[id]].subscriptionID]
		return sub == nil || !sub.Parks()
	})
	slices.Sort(lines)
	m, err := moveLines(ctx, actedTx{tx, s.writes.Dialect()}, slices.Compact(lines), parked, cfg, now)
	if err != nil {
		return err
	}
	for i, c := range a.changes {
		if c.later && inLine(c.line) {
			a.changes[i].reason = m.fronts[c.line].behind()
		}
	}
	for _, p := range m.promoted {
		c := changeRow{
			deliveryID: p.id, line: p.line, subscriptionID: p.subscriptionID,
			deliveryState: p.state().shown(cfg.Endpoints[p.endpointID], s.health.of(p.endpointID), cfg.Subscriptions[p.subscriptionID], now),
		}
		if i, changed := at[p.id]; changed {
			a.changes[i] = c
		} else {
			a.changes = append(a.changes, c)
		}
	}
	a.moved = m
	return nil
}

// state is the state of a delivery whose turn has come.
func (p promotion) state() deliveryState {
	return deliveryState{status: hub.DeliveryPending, attemptCount: p.attemptCount, next: p.due}
}

// lockHead locks log_head and returns the configuration as it stands under it.
func (s *Store) lockHead(ctx context.Context, tx dialect.Tx) (*hub.Configuration, error) {
	selector := entsql.Dialect(s.writes.Dialect()).Select(loghead.FieldConfigRevision).From(entsql.Table(loghead.Table)).
		Where(entsql.EQ(loghead.FieldID, 1))
	if s.writes.Dialect() == dialect.Postgres {
		selector.ForUpdate()
	}
	query, args := selector.Query()
	var revision int64
	if err := scanOne(ctx, tx, query, args, &revision); err != nil {
		return nil, err
	}
	cfg := s.config.Load()
	if cfg.Revision != revision {
		return s.loadConfiguration(ctx)
	}
	return cfg, nil
}

// movedOn follows up the commit of moved lines: it wakes whoever works.
func (s *Store) movedOn(m moved) {
	if s.taker != nil {
		for _, p := range m.promoted {
			s.taker.Due(p.endpointID)
		}
	}
	if len(m.missed) > 0 {
		s.missed.add(m.missed)
		s.wakeSorter()
	}
}

// blocked fills in what deliveries wait behind.
func (s *Store) blocked(ctx context.Context, deliveries []*hub.Delivery) error {
	var lines []string
	for _, d := range deliveries {
		switch {
		case d.BlockedBy == unkeyed:
			d.BlockedBy = ""
			d.Reason = cmp.Or(d.Reason, reasonUnkeyed)
		case d.BlockedBy != "":
			lines = append(lines, d.Line)
		}
	}
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	fronts := make(map[string]front)
	err := inChunks(slices.Compact(lines), maxInList, func(part []string) error {
		return actedTx{s.reads, s.reads.Dialect()}.rows(ctx, lineFronts[s.reads.Dialect()], []any{jsonList(part)}, func(scan func(...any) error) error {
			var line string
			var f front
			err := scan(&line, &f.id, &f.subscriptionID, (*string)(&f.status), &f.turn)
			fronts[line] = f
			return err
		})
	})
	if err != nil {
		return err
	}
	for _, d := range deliveries {
		if d.BlockedBy == "" {
			continue
		}
		f := fronts[d.Line]
		if f.id == d.ID { // its turn has come a moment ago
			f = front{}
		}
		d.BlockedBy, d.Reason = f.id, cmp.Or(d.Reason, f.behind())
	}
	return nil
}

// Stale tells whether something newer than the event of a delivery was delivered to its
// subscription under its ordering key, and what.
func (s *Store) Stale(ctx context.Context, d *hub.Delivery, ev *hub.Event) (reason string, stale bool, err error) {
	if d.Mark == "" {
		return "", false, nil
	}
	rows, err := s.read.OrderingMark.Query().Where(orderingmark.ID(d.Mark)).All(ctx)
	if err != nil || len(rows) == 0 {
		return "", false, wrap("look for newer deliveries", err)
	}
	mark, at := rows[0], column.TimeOf(happened(ev))
	if mark.OccurredAt < at || mark.OccurredAt == at && mark.Sequence <= int64(ev.Sequence) {
		return "", false, nil
	}
	return "it is stale: " + mark.DeliveryID + ", which is newer and has the same ordering key, was delivered before", true, nil
}

// writeMarks are the statements that note the newest of what was delivered.
var writeMarks = func() map[string]string {
	const newer = ` ON CONFLICT (id) DO UPDATE SET occurred_at = excluded.occurred_at, sequence = excluded.sequence, delivery_id = excluded.delivery_id
		WHERE excluded.occurred_at > ordering_marks.occurred_at
		OR excluded.occurred_at = ordering_marks.occurred_at AND excluded.sequence > ordering_marks.sequence`
	const insert = "INSERT INTO ordering_marks (id, subscription_id, occurred_at, sequence, delivery_id) "
	return map[string]string{
		dialect.SQLite: insert + `SELECT d.mark, d.subscription_id, d.place, e.sequence, d.id FROM deliveries AS d JOIN events AS e ON e.id = d.event_id
			WHERE d.id IN (SELECT value FROM json_each(?1)) AND d.mark <> ''` + newer,
		dialect.Postgres: insert + `SELECT DISTINCT ON (d.mark) d.mark, d.subscription_id, d.place, e.sequence, d.id FROM deliveries AS d JOIN events AS e ON e.id = d.event_id
			WHERE d.id = ANY (ARRAY(SELECT json_array_elements_text($1::json))) AND d.mark <> '' ORDER BY d.mark, d.place DESC, e.sequence DESC` + newer,
	}
}()

// isLater restricts a query to deliveries that wait for their turn.
func isLater(sel *entsql.Selector) *entsql.Predicate {
	return written(sel, delivery.FieldTurn, " = 'LATER'")
}

// notLater restricts a query to those that do not.
func notLater(sel *entsql.Selector) { sel.Where(entsql.Not(isLater(sel))) }
