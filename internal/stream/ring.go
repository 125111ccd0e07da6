package stream

import (
	"cmp"
	"slices"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// ring holds the newest events of the log: every event with a sequence above
// floor and up to head. It is guarded by the lock of the Tail that owns it.
type ring struct {
	events []*hub.Event
	bytes  int

	maxEvents, maxBytes int

	floor, head hub.Sequence
}

// reset makes the ring empty and has it begin behind a position.
func (r *ring) reset(at hub.Sequence) {
	r.events, r.bytes, r.floor, r.head = nil, 0, at, at
}

// add appends what follows the ring's head in the log and drops the oldest
// events until the bounds hold again.
func (r *ring) add(events []*hub.Event) {
	for _, ev := range events {
		r.events = append(r.events, ev)
		r.bytes += sizeOf(ev)
		r.head = ev.Sequence
	}
	drop := 0
	for len(r.events)-drop > r.maxEvents || r.bytes > r.maxBytes {
		r.bytes -= sizeOf(r.events[drop])
		r.floor = r.events[drop].Sequence
		r.events[drop] = nil // the array outlives the slice for a while
		drop++
	}
	r.events = r.events[drop:]
}

// What a reader takes from the ring at once. A slow reader keeps that much from
// being freed, so it is bounded in bytes too.
const (
	takenEvents = 512
	takenBytes  = 1 << 20
)

// after returns some of the events that follow a position, and false where the
// ring does not reach back that far.
func (r *ring) after(position hub.Sequence) ([]*hub.Event, bool) {
	if position < r.floor {
		return nil, false
	}
	from, _ := slices.BinarySearchFunc(r.events, position+1, func(ev *hub.Event, s hub.Sequence) int {
		return cmp.Compare(ev.Sequence, s)
	})
	to, bytes := from, 0
	for to < len(r.events) && to-from < takenEvents && bytes < takenBytes {
		bytes += sizeOf(r.events[to])
		to++
	}
	return slices.Clone(r.events[from:to]), true
}

// eventOverhead is about what an event takes besides its texts.
const eventOverhead = 512

func sizeOf(ev *hub.Event) int {
	size := eventOverhead
	if p := ev.Payload; p != nil {
		size += len(p.Body) + len(p.Query)
		for _, h := range p.Headers {
			size += len(h.Name) + len(h.Value) + 32
		}
	}
	return size
}

// pager adapts the number of events that are read at once to their size, so
// that a page of large ones does not fill the memory.
type pager struct{ limit int }

// Pages aim at pageBytes. The first is small, as nothing is known yet.
const (
	firstPage = 16
	maxPage   = 512
	pageBytes = 4 << 20
)

func (p *pager) next() int {
	if p.limit == 0 {
		p.limit = firstPage
	}
	return p.limit
}

// learn looks at a page that was read and returns its size.
func (p *pager) learn(events []*hub.Event) int {
	if len(events) == 0 {
		return 0
	}
	size := 0
	for _, ev := range events {
		size += sizeOf(ev)
	}
	p.limit = min(max(pageBytes*len(events)/size, 1), maxPage, 4*p.next())
	return size
}
