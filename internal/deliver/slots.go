package deliver

import "sync/atomic"

// slots bounds the attempts in flight to all endpoints together, and shares them
// out so that endpoints that hang, each within its own limit, leave some for the
// others. Half of them are first slots: one for each lane that has none. The rest
// is common, and a lane gets no more of it than remains for all others.
type slots struct {
	first, common pool
}

func newSlots(limit int) slots {
	return slots{first: pool{size: int64(limit / 2)}, common: pool{size: int64(limit - limit/2)}}
}

// hold is what a lane has of the slots.
type hold struct {
	n     int
	first bool // one of them is a first slot
}

// take takes one more slot for a lane.
func (s *slots) take(h *hold) bool {
	switch {
	case h.n == 0 && s.first.take(0):
		h.first = true
	case !s.common.take(h.n):
		return false
	}
	h.n++
	return true
}

// release gives one of a lane's slots back, its first slot last.
func (s *slots) release(h *hold) {
	h.n--
	if h.n == 0 && h.first {
		h.first = false
		s.first.release()
		return
	}
	s.common.release()
}

type pool struct {
	size int64
	used atomic.Int64
}

// take takes one if more than mine are left.
func (p *pool) take(mine int) bool {
	for {
		used := p.used.Load()
		if int64(mine) >= p.size-used {
			return false
		}
		if p.used.CompareAndSwap(used, used+1) {
			return true
		}
	}
}

func (p *pool) release() { p.used.Add(-1) }
