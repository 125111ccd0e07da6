package store

import (
	"context"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Head returns the sequence of the newest event, 0 before the first.
func (s *Store) Head(ctx context.Context) (hub.Sequence, error) {
	head, err := s.read.LogHead.Get(ctx, 1)
	if err != nil {
		return 0, wrap("read the head of the log", err)
	}
	return hub.Sequence(head.Sequence), nil
}

// Oldest returns the sequence of the oldest event that is still stored, 0 where
// there is none.
func (s *Store) Oldest(ctx context.Context) (hub.Sequence, error) {
	first, err := s.read.Event.Query().Order(ent.Asc(event.FieldSequence)).Limit(1).Select(event.FieldSequence).Ints(ctx)
	if err != nil || len(first) == 0 {
		return 0, wrap("read the start of the log", err)
	}
	return hub.Sequence(first[0]), nil
}

// logPage is how many bytes of bodies EventsAfter reads before it stops.
const logPage = 8 << 20

// EventsAfter returns the events that follow a sequence, in order and whole: at most
// limit of them, and fewer where their bodies come to 8 MiB before. Since the order of
// sequences is the order of commits, nothing is ever added before what it has returned.
func (s *Store) EventsAfter(ctx context.Context, after hub.Sequence, limit int) ([]*hub.Event, error) {
	events, err := readAll(ctx, s.read.Event.Query().Where(event.SequenceGT(int64(after)), light(after, limit)).
		Order(ent.Asc(event.FieldSequence)).Limit(limit), toWholeEvent)
	return events, wrap("read the log", err)
}

// light restricts a page of the log to the event with which it reaches logPage. The
// length of a body is known without reading it.
func light(after hub.Sequence, limit int) condition {
	return func(sel *entsql.Selector) {
		sequence := sel.C(event.FieldSequence)
		sel.Where(entsql.P(func(b *entsql.Builder) {
			b.Ident(sequence).WriteString(` <= (SELECT max(sequence) FROM (
				SELECT sequence, sum(size) OVER (ORDER BY sequence) - size AS before FROM (
					SELECT sequence, length(body) AS size FROM events WHERE sequence > `).Arg(int64(after)).
				WriteString(" ORDER BY sequence LIMIT ").Arg(limit).
				WriteString(") AS sizes) AS sums WHERE before < ").Arg(logPage).WriteString(")")
		}))
	}
}
