package model

import "github.com/hookgraph/hookgraph/internal/hub"

// EventType is an entry of the catalogue as GraphQL shows it.
type EventType struct {
	*hub.EventType
	Siblings *Group // the event types that were fetched together with it
}

// NewEventTypes shows event types that were fetched together.
func NewEventTypes(types []*hub.EventType) []*EventType {
	group := NewGroup(types, func(t *hub.EventType) string { return t.ID })
	out := make([]*EventType, len(types))
	for i, t := range types {
		out[i] = &EventType{EventType: t, Siblings: group}
	}
	return out
}

// Description returns what somebody has written, nil where nobody has.
func (t *EventType) Description() *string { return optional(t.EventType.Description) }

// Example returns the body that somebody has given, nil where nobody has.
func (t *EventType) Example() JSON { return JSON(t.EventType.Example) }
