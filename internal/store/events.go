package store

import (
	"context"
	"errors"
	"time"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func toEvent(row *ent.Event) *hub.Event {
	return &hub.Event{
		ID: row.ID, Sequence: hub.Sequence(row.Sequence), SourceID: row.SourceID, PartnerID: row.PartnerID, Type: row.Type,
		DedupeKey: row.DedupeKey, OrderingKey: row.OrderingKey,
		OccurredAt: row.OccurredAt.Time(), ReceivedAt: row.ReceivedAt.Time(), ContentType: row.ContentType,
		DuplicateCount: row.DuplicateCount, LastDuplicateAt: row.LastDuplicateAt.Time(), Recovered: row.Recovered, OutOfOrder: row.OutOfOrder,
	}
}

func toPayload(row *ent.Event) (*hub.Payload, error) {
	headers, err := decodeHeaders(row.Headers)
	if err != nil {
		return nil, err
	}
	return &hub.Payload{Body: row.Body, Headers: headers, Query: string(row.Query)}, nil
}

func toWholeEvent(row *ent.Event) (*hub.Event, error) {
	payload, err := toPayload(row)
	if err != nil {
		return nil, err
	}
	ev := toEvent(row)
	ev.Payload = payload
	return ev, nil
}

// EventQuery asks for a page of events.
type EventQuery struct {
	Filter      hub.EventFilter
	Page        hub.Page
	OldestFirst bool
	// Admit judges each event, with its payload, by Filter.Expression. It is asked of
	// the newest MaxScanned events that the rest of the filter admits.
	Admit func(*hub.Event) (bool, error)
}

// MaxScanned is how many events a query with an expression looks at.
const MaxScanned = 10_000

// scanChunk is how many payloads are in memory at once while a query scans.
const scanChunk = 200

var errNoAdmit = errors.New("a filter with an expression needs Admit")

// Events returns a page of events, newest first unless asked otherwise. They come
// without payloads, except where an expression had to read them.
func (v *View) Events(ctx context.Context, q EventQuery) (hub.Slice[*hub.Event], error) {
	p, err := bySequence(q.OldestFirst).pager(q.Page)
	if err != nil {
		return hub.Slice[*hub.Event]{}, err
	}
	if q.Admit != nil {
		return v.scanEvents(ctx, q, p)
	}
	if q.Filter.Expression != "" {
		return hub.Slice[*hub.Event]{}, errNoAdmit
	}
	rows, err := v.listEvents(ctx, append(v.store.eventConditions(q.Filter), p.single)...)
	if err != nil {
		return hub.Slice[*hub.Event]{}, wrap("list events", err)
	}
	return slice(p, rows), nil
}

// all puts conditions into ent's form, in order.
func all[P ~func(*entsql.Selector)](conditions []condition, more ...condition) []P {
	out := make([]P, 0, len(conditions)+len(more))
	for _, c := range append(conditions, more...) {
		out = append(out, P(c))
	}
	return out
}

// scanEvents reads on, chunk by chunk, until the page is full.
func (v *View) scanEvents(ctx context.Context, q EventQuery, p *pager) (hub.Slice[*hub.Event], error) {
	var found []*hub.Event
	err := v.scan(ctx, q, p, func(ev *hub.Event) bool {
		found = append(found, ev)
		return len(found) < p.limit()
	})
	if err != nil {
		return hub.Slice[*hub.Event]{}, wrap("search events", err)
	}
	return slice(p, found), nil
}

// scan hands every event that q admits to found, in the page's direction, until it
// returns false.
func (v *View) scan(ctx context.Context, q EventQuery, p *pager, found func(*hub.Event) bool) error {
	conditions := v.store.eventConditions(q.Filter)
	floor, err := v.scanFloor(ctx, conditions)
	if err != nil {
		return err
	}
	at := *p
	at.page.Size = scanChunk - 1
	for {
		rows, err := v.events().
			Where(all[predicate.Event](conditions, condition(event.SequenceGTE(floor)), at.single)...).All(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			ev, err := toWholeEvent(row)
			if err != nil {
				return err
			}
			switch admitted, err := q.Admit(ev); {
			case err != nil:
				return err
			case admitted && !found(ev):
				return nil
			}
		}
		if len(rows) < scanChunk {
			return nil
		}
		if last := rows[len(rows)-1].Sequence; at.page.Backward {
			at.before = last
		} else {
			at.after = last
		}
	}
}

// scanFloor returns the sequence of the oldest event that an expression is asked of.
func (v *View) scanFloor(ctx context.Context, conditions []condition) (int64, error) {
	row, err := v.events().Where(all[predicate.Event](conditions)...).
		Order(ent.Desc(event.FieldSequence)).Offset(MaxScanned - 1).Limit(1).Select(event.FieldSequence).Ints(ctx)
	if err != nil || len(row) == 0 {
		return 0, err
	}
	return int64(row[0]), nil
}

// CountEvents counts the events that a filter admits. A filter with an expression
// is counted by CountAdmitted.
func (v *View) CountEvents(ctx context.Context, f hub.EventFilter) (int, error) {
	if f.Expression != "" {
		return 0, errNoAdmit
	}
	n, err := v.events().Where(all[predicate.Event](v.store.eventConditions(f))...).Count(ctx)
	return n, wrap("count events", err)
}

// CountAdmitted counts the events that q admits, of the newest MaxScanned that the
// rest of its filter admits. It does not regard the page.
func (v *View) CountAdmitted(ctx context.Context, q EventQuery) (int, error) {
	if q.Admit == nil {
		return 0, errNoAdmit
	}
	n := 0
	err := v.scan(ctx, q, &pager{order: bySequence(false)}, func(*hub.Event) bool {
		n++
		return true
	})
	return n, wrap("count events", err)
}

// EventsByID returns those of the events that exist, without payloads.
func (v *View) EventsByID(ctx context.Context, ids []string) (map[string]*hub.Event, error) {
	found := make(map[string]*hub.Event, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		events, err := v.listEvents(ctx, anyOf(event.FieldID, part))
		for _, ev := range events {
			found[ev.ID] = ev
		}
		return err
	})
	return found, wrap("read events", err)
}

// Payloads returns the payloads of those of the events that exist.
func (v *View) Payloads(ctx context.Context, ids []string) (map[string]*hub.Payload, error) {
	found := make(map[string]*hub.Payload, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		rows, err := v.events().Where(event.IDIn(part...)).
			Select(event.FieldID, event.FieldHeaders, event.FieldQuery, event.FieldBody).All(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if found[row.ID], err = toPayload(row); err != nil {
				return err
			}
		}
		return nil
	})
	return found, wrap("read payloads", err)
}

// eventsWithPayload returns those of the events that exist, whole.
func (s *Store) eventsWithPayload(ctx context.Context, ids []string) (map[string]*hub.Event, error) {
	found := make(map[string]*hub.Event, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		events, err := readAll(ctx, s.read.Event.Query().Where(event.IDIn(part...)), toWholeEvent)
		for _, ev := range events {
			found[ev.ID] = ev
		}
		return err
	})
	return found, err
}

// EventsOfSources returns a page of the events of each source, newest first, in one
// statement for up to 200 sources. The filter must have no expression.
func (v *View) EventsOfSources(ctx context.Context, sourceIDs []string, f hub.EventFilter, page hub.Page) (map[string]hub.Slice[*hub.Event], error) {
	if f.Expression != "" {
		return nil, errNoAdmit
	}
	p, err := bySequence(false).pager(page)
	if err != nil {
		return nil, err
	}
	var events []*hub.Event
	err = inChunks(sourceIDs, maxArms, func(part []string) error {
		more, err := v.listEvents(ctx, p.each(event.FieldSourceID, part, v.ofEvents, v.store.eventConditions(f)))
		events = append(events, more...)
		return err
	})
	if err != nil {
		return nil, wrap("list events of sources", err)
	}
	return slicesOf(p, sourceIDs, events, func(ev *hub.Event) string { return ev.SourceID }), nil
}

// CountEventsOfSources counts the events of each source that a filter admits, in
// one statement. The filter must have no expression.
func (v *View) CountEventsOfSources(ctx context.Context, sourceIDs []string, f hub.EventFilter) (map[string]int, error) {
	if f.Expression != "" {
		return nil, errNoAdmit
	}
	conditions := all[predicate.Event](v.store.eventConditions(f), anyOf(event.FieldSourceID, sourceIDs))
	counts, err := countBy(ctx, v.events().Where(conditions...).
		GroupBy(event.FieldSourceID).Aggregate(countOf(event.FieldSourceID)))
	return counts, wrap("count events of sources", err)
}

// LastEventAt returns when each source's newest event was received. Sources without
// events are left out.
func (v *View) LastEventAt(ctx context.Context, sourceIDs []string) (map[string]time.Time, error) {
	newest, err := v.EventsOfSources(ctx, sourceIDs, hub.EventFilter{}, hub.Page{Size: 1})
	if err != nil {
		return nil, err
	}
	last := make(map[string]time.Time, len(newest))
	for id, one := range newest {
		if len(one.Items) > 0 {
			last[id] = one.Items[0].ReceivedAt
		}
	}
	return last, nil
}
