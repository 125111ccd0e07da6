package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/event"
	entrollup "github.com/hookgraph/hookgraph/ent/rollup"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// rollupKey is what a rollup counts, and when.
type rollupKey struct {
	start                                   column.Time
	source, endpoint, subscription, partner string
}

// counters are exact. Their order is that of the columns.
type counters struct {
	received, duplicates, rejected     int64
	deliveriesCreated, delivered, dead int64
	attempts, failedAttempts           int64
}

func (c *counters) add(o counters) {
	c.received += o.received
	c.duplicates += o.duplicates
	c.rejected += o.rejected
	c.deliveriesCreated += o.deliveriesCreated
	c.delivered += o.delivered
	c.dead += o.dead
	c.attempts += o.attempts
	c.failedAttempts += o.failedAttempts
}

// fields lists them for scanning.
func (c *counters) fields() []any {
	return []any{
		&c.received, &c.duplicates, &c.rejected, &c.deliveriesCreated, &c.delivered, &c.dead, &c.attempts, &c.failedAttempts,
	}
}

// rollup is one row as it stands in memory.
type rollup struct {
	rollupKey
	id                string
	width             time.Duration
	counters          counters
	latency, endToEnd *sketch // nil while empty
}

// Bounds of a book.
const (
	bookAge  = 10 * time.Minute // must stay far below grains[0].kept
	bookRows = 20_000
)

// rollupBook is what this process has counted lately. The writer's goroutine alone
// uses it. Rows are written as they stand here, without reading them, so each book has
// rows of its own: their IDs begin with its name. After a transaction of which nobody
// knows whether it was committed, the book is closed and another opened: whatever the
// database has of the old one is right, and stays.
type rollupBook struct {
	name   string
	opened time.Time
	rows   map[rollupKey]*rollup
	count  int
}

func (b *rollupBook) open(now time.Time) {
	*b = rollupBook{name: rand.Text()[:16], opened: now, rows: make(map[rollupKey]*rollup)}
}

// turn opens a new book where this one has none, is full or was opened long ago. Rows
// of a closed book are never written again, so they can be merged.
func (b *rollupBook) turn(now time.Time) {
	age := now.Sub(b.opened)
	if b.rows == nil || age > bookAge || age < 0 || len(b.rows) > bookRows {
		b.open(now)
	}
}

// close makes the next turn open a new book.
func (b *rollupBook) close() { b.rows = nil }

// at returns the row of a key.
func (b *rollupBook) at(key rollupKey) *rollup {
	row, ok := b.rows[key]
	if !ok {
		b.count++
		row = &rollup{rollupKey: key, width: grains[0].width, id: fmt.Sprintf("%s%d", b.name, b.count)}
		b.rows[key] = row
	}
	return row
}

// rollupColumns are all columns in the order of values.
var rollupColumns = append([]string{entrollup.FieldID, entrollup.FieldWidth}, storedColumns...)

func (r *rollup) values() []any {
	c := r.counters
	return []any{
		r.id, int64(r.width / time.Second), int64(r.start), r.source, r.endpoint, r.subscription, r.partner,
		c.received, c.duplicates, c.rejected, c.deliveriesCreated, c.delivered, c.dead, c.attempts, c.failedAttempts,
		r.latency.encode(), r.endToEnd.encode(),
	}
}

// rollupUpdate is what an upsert sets anew of a row that is there.
var rollupUpdate = func() string {
	var set []string
	for _, name := range storedColumns[5:] {
		set = append(set, name+" = excluded."+name)
	}
	return "ON CONFLICT (id) DO UPDATE SET " + strings.Join(set, ", ")
}()

func join(columns []string) string { return strings.Join(columns, ", ") }

// forget drops rows of the past that have been written: such a row may be merged at any
// time, after which it must not be written again.
func (b *rollupBook) forget(written []*rollup, now time.Time) {
	for _, row := range written {
		if now.Sub(row.start.Time()) > bookAge {
			delete(b.rows, row.rollupKey)
		}
	}
}

// tally counts for one transaction.
type tally struct {
	book    *rollupBook
	now     time.Time
	touched map[*rollup]struct{}
}

// at returns the row in which to count something that happened at a moment.
func (t *tally) at(moment time.Time, source, endpoint, subscription, partner string) *rollup {
	if moment.IsZero() {
		moment = t.now
	}
	row := t.book.at(rollupKey{
		start: column.TimeOf(moment.Truncate(grains[0].width)), source: source, endpoint: endpoint,
		subscription: subscription, partner: partner,
	})
	t.touched[row] = struct{}{}
	return row
}

// written lists what has been counted in, in the order of IDs.
func (t *tally) written() []*rollup {
	rows := make([]*rollup, 0, len(t.touched))
	for row := range t.touched {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b *rollup) int { return cmp.Compare(a.id, b.id) })
	return rows
}

// event counts an event that was stored, or seen again.
func (t *tally) event(ev *hub.Event, duplicate bool) {
	row := t.at(ev.ReceivedAt, ev.SourceID, "", "", ev.PartnerID)
	if duplicate {
		row.counters.duplicates++
		return
	}
	row.counters.received++
}

func (t *tally) rejection(r *hub.Rejection) {
	t.at(r.ReceivedAt, r.SourceID, "", "", "").counters.rejected += int64(max(r.Requests, 1))
}

func (t *tally) created(d *hub.Delivery, ev *hub.Event) {
	t.at(d.CreatedAt, ev.SourceID, d.EndpointID, d.SubscriptionID, d.PartnerID).counters.deliveriesCreated++
}

// countDead counts deliveries that are given up outside the writer, in rows of their own
// like those of a book.
func (s *Store) countDead(ctx context.Context, tx dialect.Tx, dead []*hub.Delivery, now time.Time) error {
	if len(dead) == 0 {
		return nil
	}
	ids := make([]string, len(dead))
	for i, d := range dead {
		ids[i] = d.EventID
	}
	sources, err := s.sourcesOf(ctx, tx, ids)
	if err != nil {
		return err
	}
	t := newTally(now)
	var announcements []*hub.Announcement
	for _, d := range dead {
		t.at(now, sources[d.EventID], d.EndpointID, d.SubscriptionID, d.PartnerID).counters.dead++
		if sources[d.EventID] != hub.BuiltInHubID {
			announcements = append(announcements, deadAnnouncement(d, deliveryState{reason: d.Reason, attemptCount: d.AttemptCount}, now))
		}
	}
	if err := s.writeTally(ctx, tx, t); err != nil {
		return err
	}
	return s.announce(ctx, tx, announcements...)
}

// newTally counts outside the writer, in a book of its own.
func newTally(now time.Time) *tally {
	var book rollupBook
	book.open(now)
	return &tally{book: &book, now: now, touched: make(map[*rollup]struct{})}
}

// writeTally stores what was counted outside the writer.
func (s *Store) writeTally(ctx context.Context, tx dialect.Tx, t *tally) error {
	insert := entsql.Dialect(s.writes.Dialect()).Insert(entrollup.Table).Columns(rollupColumns...)
	for _, row := range t.written() {
		insert.Values(row.values()...)
	}
	query, args := insert.Query()
	return tx.Exec(ctx, query, args, nil)
}

// sourcesOf returns the sources of events by the events' IDs.
func (s *Store) sourcesOf(ctx context.Context, tx dialect.Tx, eventIDs []string) (map[string]string, error) {
	build := entsql.Dialect(s.writes.Dialect())
	sel := build.Select(event.FieldID, event.FieldSourceID).From(build.Table(event.Table))
	anyOf(event.FieldID, eventIDs)(sel)
	query, args := sel.Query()
	rows := &entsql.Rows{}
	if err := tx.Query(ctx, query, args, rows); err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	sources := make(map[string]string, len(eventIDs))
	for rows.Next() {
		var id, source string
		if err := rows.Scan(&id, &source); err != nil {
			return nil, err
		}
		sources[id] = source
	}
	return sources, rows.Err()
}

// settled counts what a result has changed.
func (t *tally) settled(s *settlement) {
	d := &s.Delivery
	at := func(moment time.Time) *rollup {
		return t.at(moment, s.sourceID, d.EndpointID, d.SubscriptionID, d.PartnerID)
	}
	if a := s.Attempt; a != nil && s.recorded {
		row := at(a.StartedAt.Add(a.Duration))
		row.counters.attempts++
		if a.Outcome != hub.AttemptSucceeded && a.Outcome != hub.AttemptInterrupted {
			row.counters.failedAttempts++
		}
		if row.latency == nil {
			row.latency = newSketch()
		}
		row.latency.add(a.Duration)
	}
	if !s.applied {
		return
	}
	switch d.Status {
	case hub.DeliveryDelivered:
		row := at(d.CompletedAt)
		row.counters.delivered++
		if !s.receivedAt.IsZero() && !d.CompletedAt.IsZero() {
			if row.endToEnd == nil {
				row.endToEnd = newSketch()
			}
			row.endToEnd.add(d.CompletedAt.Sub(s.receivedAt))
		}
	case hub.DeliveryDead:
		at(d.CompletedAt).counters.dead++
	case hub.DeliveryPending, hub.DeliveryHeld, hub.DeliveryCanceled:
	}
}
