package stream

import (
	"cmp"
	"slices"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// ring holds the newest entries of the log: every one with a sequence above
// floor and up to head. It is guarded by the lock of the Tail that owns it.
type ring[T any] struct {
	kind  *Kind[T]
	items []T
	bytes int

	maxItems, maxBytes int

	floor, head hub.Sequence
}

// reset makes the ring empty and has it begin behind a position.
func (r *ring[T]) reset(at hub.Sequence) {
	r.items, r.bytes, r.floor, r.head = nil, 0, at, at
}

// add appends what follows the ring's head in the log and drops the oldest
// entries until the bounds hold again.
func (r *ring[T]) add(items []T) {
	for _, item := range items {
		r.items = append(r.items, item)
		r.bytes += r.kind.size(item)
		r.head = r.kind.position(item)
	}
	drop := 0
	var none T
	for len(r.items)-drop > r.maxItems || r.bytes > r.maxBytes {
		r.bytes -= r.kind.size(r.items[drop])
		r.floor = r.kind.position(r.items[drop])
		r.items[drop] = none // the array outlives the slice for a while
		drop++
	}
	r.items = r.items[drop:]
}

// What a reader takes from the ring at once. A slow reader keeps that much from
// being freed, so it is bounded in bytes too.
const (
	takenItems = 512
	takenBytes = 1 << 20
)

// after returns some of the entries that follow a position, and false where the
// ring does not reach back that far.
func (r *ring[T]) after(position hub.Sequence) ([]T, bool) {
	if position < r.floor {
		return nil, false
	}
	from, _ := slices.BinarySearchFunc(r.items, position+1, func(item T, s hub.Sequence) int {
		return cmp.Compare(r.kind.position(item), s)
	})
	to, bytes := from, 0
	for to < len(r.items) && to-from < takenItems && bytes < takenBytes {
		bytes += r.kind.size(r.items[to])
		to++
	}
	return slices.Clone(r.items[from:to]), true
}

// pager adapts the number of entries that are read at once to their size, so
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

// learn looks at a page that was read, of so many entries and so many bytes.
func (p *pager) learn(count, size int) {
	if count > 0 {
		p.limit = min(max(pageBytes*count/max(size, 1), 1), maxPage, 4*p.next())
	}
}

// sizeOf returns the size of a page.
func (k *Kind[T]) sizeOf(items []T) int {
	size := 0
	for _, item := range items {
		size += k.size(item)
	}
	return size
}
