package store

import (
	"context"

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

// EventsAfter returns the events that follow a sequence, in order and whole. Since
// the order of sequences is the order of commits, nothing is ever added before what
// it has returned.
func (s *Store) EventsAfter(ctx context.Context, after hub.Sequence, limit int) ([]*hub.Event, error) {
	events, err := readAll(ctx, s.read.Event.Query().Where(event.SequenceGT(int64(after))).
		Order(ent.Asc(event.FieldSequence)).Limit(limit), toWholeEvent)
	return events, wrap("read the log", err)
}
