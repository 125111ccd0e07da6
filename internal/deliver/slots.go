package deliver

import (
	"sync"
	"time"
)

// slots bounds the attempts in flight to all endpoints together, and shares them
// out so that no lane starves.
//
// Half of them are first slots: one for each lane that has none. The rest is
// common, and a lane gets no more of it than remains for all others, so that
// endpoints which hang, each within its own limit, leave some. When a lane that
// has none finds none, it waits, first come first served, and as long as one
// waits, nobody gets a second slot: what is released goes to the next in turn.
type slots struct {
	ring func(*lane) // tells a lane that it is its turn

	mu      sync.Mutex
	first   pool
	common  pool
	waiting []*lane
}

type pool struct{ size, used int }

func (p *pool) take(mine int) bool {
	if mine >= p.size-p.used {
		return false
	}
	p.used++
	return true
}

// hold is what a lane has of the slots. It changes with the lane locked, except
// for turn and queued.
type hold struct {
	n      int
	first  bool // one of them, or the one it is offered, is a first slot
	turn   bool // it is offered a slot; guarded by slots.mu
	queued bool // it is among the waiting; guarded by slots.mu
}

func newSlots(limit int, ring func(*lane)) *slots {
	return &slots{ring: ring, first: pool{size: limit / 2}, common: pool{size: limit - limit/2}}
}

// take takes one more slot for a lane, or lets the lane wait for its first.
func (s *slots) take(l *lane) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &l.slots
	switch {
	case h.turn:
		h.turn = false
	case len(s.waiting) > 0:
		s.wait(l)
		return false
	case h.n == 0 && s.first.take(0):
		h.first = true
	case !s.common.take(h.n):
		s.wait(l)
		return false
	}
	h.n++
	return true
}

func (s *slots) wait(l *lane) {
	if h := &l.slots; h.n == 0 && !h.queued {
		h.queued = true
		s.waiting = append(s.waiting, l)
	}
}

// release gives one of a lane's slots back, its first slot last.
func (s *slots) release(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.slots.n--
	s.pass(l, l.slots.n == 0 && l.slots.first)
}

// decline gives back a slot that a lane was offered and does not want.
func (s *slots) decline(l *lane) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.slots.turn {
		l.slots.turn = false
		s.pass(l, l.slots.first)
	}
}

// pass gives a slot of a lane to the next in turn, or back to its pool.
func (s *slots) pass(from *lane, first bool) {
	if first {
		from.slots.first = false
	}
	if len(s.waiting) > 0 {
		next := s.waiting[0]
		s.waiting[0] = nil
		s.waiting = s.waiting[1:]
		next.slots.queued, next.slots.turn, next.slots.first = false, true, first
		s.ring(next)
		return
	}
	s.waiting = nil
	if first {
		s.first.used--
	} else {
		s.common.used--
	}
}

// crowded reports whether a lane waits for its first slot.
func (s *slots) crowded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.waiting) > 0
}

// slotRetry is how soon a lane that found no further slot, or no token, looks
// again.
const slotRetry = 50 * time.Millisecond
