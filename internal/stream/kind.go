package stream

import "github.com/hookgraph/hookgraph/internal/hub"

// Kind is what a log consists of.
type Kind[T any] struct {
	cursor   byte // begins its cursors
	position func(T) hub.Sequence
	size     func(T) int // in memory, about
	sees     func(hub.Sight, T, *hub.Configuration) bool
	gone     string // what a reader is told whose cursor is too old
}

// Events is the kind of the log of events.
var Events = &Kind[*hub.Event]{
	cursor: 1, position: func(ev *hub.Event) hub.Sequence { return ev.Sequence }, size: sizeOfEvent, sees: hub.Sight.Sees,
	gone: "events behind this cursor are not stored any more; read the stored ones with FROM EARLIEST, or go on with the latest",
}

// Changes is the kind of the log of what became of deliveries.
var Changes = &Kind[*hub.DeliveryChange]{
	cursor: 2, position: func(c *hub.DeliveryChange) hub.Sequence { return c.Sequence },
	size: func(c *hub.DeliveryChange) int { return overhead + len(c.Delivery.Reason) },
	sees: func(s hub.Sight, c *hub.DeliveryChange, _ *hub.Configuration) bool {
		return s.Owns(c.Delivery.PartnerID)
	},
	gone: "changes behind this cursor are not stored any more; leave it out to go on with the latest, and ask for the deliveries as they are now",
}

// overhead is about what an entry takes besides its texts.
const overhead = 512

func sizeOfEvent(ev *hub.Event) int {
	size := overhead
	if p := ev.Payload; p != nil {
		size += len(p.Body) + len(p.Query)
		for _, h := range p.Headers {
			size += len(h.Name) + len(h.Value) + 32
		}
	}
	return size
}
