package deliver

import (
	"container/heap"
	"sync"
	"time"
)

// agenda tells the recovery loop which lanes to look at, and when. A lane is on
// it at most once, at the earliest of the times asked for.
type agenda struct {
	ring chan struct{} // capacity 1: the first entry has changed

	mu      sync.Mutex
	entries laneHeap // guarded by mu, and so are the lanes' lookAt and place
}

func newAgenda() *agenda { return &agenda{ring: make(chan struct{}, 1)} }

// at asks for a look at the lane no later than the given time.
func (a *agenda) at(l *lane, when time.Time) {
	a.mu.Lock()
	switch {
	case l.place == 0:
		l.lookAt = when
		heap.Push(&a.entries, l)
	case when.Before(l.lookAt):
		l.lookAt = when
		heap.Fix(&a.entries, l.place-1)
	default:
		a.mu.Unlock()
		return
	}
	first := a.entries[0] == l
	a.mu.Unlock()
	if first {
		ring(a.ring)
	}
}

// pop takes a lane off the agenda whose time has come.
func (a *agenda) pop(now time.Time) (*lane, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.entries) == 0 || a.entries[0].lookAt.After(now) {
		return nil, false
	}
	return heap.Pop(&a.entries).(*lane), true
}

// next returns the time of the first entry.
func (a *agenda) next() (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.entries) == 0 {
		return time.Time{}, false
	}
	return a.entries[0].lookAt, true
}

// ring wakes the receiver of a channel of capacity 1, at once or at its next
// look.
func ring(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// laneHeap implements heap.Interface over lanes by lookAt. place is the index
// plus one, so that a lane's zero value is on no agenda.
type laneHeap []*lane

func (h laneHeap) Len() int           { return len(h) }
func (h laneHeap) Less(i, j int) bool { return h[i].lookAt.Before(h[j].lookAt) }

func (h laneHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i+1, j+1
}

func (h *laneHeap) Push(x any) {
	l := x.(*lane)
	*h = append(*h, l)
	l.place = len(*h)
}

func (h *laneHeap) Pop() any {
	old := *h
	l := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	l.place = 0
	return l
}
