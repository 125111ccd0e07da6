package deliver

import "sync/atomic"

// slots bounds the attempts in flight to all endpoints together.
type slots struct {
	limit int64
	used  atomic.Int64
}

// take takes one slot for a lane that already holds mine. A lane gets no more
// than what remains for all others, so however many endpoints hang, each at its
// own limit, slots are left for the next one.
func (s *slots) take(mine int) bool {
	for {
		used := s.used.Load()
		if int64(mine) >= s.limit-used {
			return false
		}
		if s.used.CompareAndSwap(used, used+1) {
			return true
		}
	}
}

func (s *slots) release() { s.used.Add(-1) }
