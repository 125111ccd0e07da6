package deliver

import (
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// queued is a lease that waits for a slot.
type queued struct {
	lease hub.Lease
	since time.Time
}

// fifo is a queue that keeps its memory while it is in use. The zero value is
// empty.
type fifo struct {
	items []queued
	head  int
}

func (f *fifo) len() int       { return len(f.items) - f.head }
func (f *fifo) first() *queued { return &f.items[f.head] }

func (f *fifo) push(q queued) {
	if f.head > 0 && len(f.items) == cap(f.items) {
		n := copy(f.items, f.items[f.head:])
		clear(f.items[n:])
		f.items, f.head = f.items[:n], 0
	}
	f.items = append(f.items, q)
}

func (f *fifo) pop() queued {
	q := f.items[f.head]
	f.items[f.head] = queued{} // its payload may go
	f.head++
	if f.head == len(f.items) {
		f.items, f.head = f.items[:0], 0
	}
	return q
}
