package model

import (
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Event is an event as GraphQL shows it.
type Event struct {
	*hub.Event
	Siblings *Group // the events that were fetched together with it
	Types    *Group // the types of all siblings

	snapshot *Snapshot
	sources  *Group // the sources of all siblings
}

// NewEvents shows events that were fetched together.
func NewEvents(snapshot *Snapshot, events []*hub.Event) []*Event {
	group := NewGroup(events, func(e *hub.Event) string { return e.ID })
	sources := NewGroup(events, func(e *hub.Event) string { return e.SourceID })
	types := NewGroup(events, func(e *hub.Event) string { return e.Type })
	out, all := make([]*Event, len(events)), make([]Event, len(events))
	for i, e := range events {
		all[i] = Event{Event: e, Siblings: group, Types: types, snapshot: snapshot, sources: sources}
		out[i] = &all[i]
	}
	return out
}

// Source returns where the event came in, nil once that is deleted.
func (e *Event) Source() *Source { return sourceOf(e.snapshot, e.SourceID, e.sources) }

// Partner returns whom it is addressed to, nil where that is nobody in particular.
func (e *Event) Partner() *Partner { return PartnerOf(e.snapshot, e.PartnerID) }

// Sequence returns the event's place in the total order, as text.
func (e *Event) Sequence() string { return e.Event.Sequence.String() }

// DedupeKey returns what the source calls it.
func (e *Event) DedupeKey() *string { return optional(e.Event.DedupeKey) }

// OrderingKey returns what it is about.
func (e *Event) OrderingKey() *string { return optional(e.Event.OrderingKey) }
