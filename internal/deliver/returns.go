package deliver

import (
	"sync"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// returns gives leases back to the store that were not used. It has a goroutine
// of its own, because those who find a lease unusable must not block, and the
// store may be the one who is waiting for them.
type returns struct {
	ring chan struct{} // capacity 1

	mu     sync.Mutex
	leases []hub.Lease
	closed bool // nobody gives back any more: leases end by themselves
}

func newReturns() *returns { return &returns{ring: make(chan struct{}, 1)} }

func (r *returns) add(lease hub.Lease) {
	r.mu.Lock()
	if !r.closed {
		r.leases = append(r.leases, lease)
	}
	r.mu.Unlock()
	ring(r.ring)
}

// run gives back what is added until quit is closed, and what is there then.
func (r *returns) run(settle func(hub.Settlement), quit <-chan struct{}) {
	for {
		r.mu.Lock()
		leases := r.leases
		r.leases = nil
		select {
		case <-quit:
			r.closed = len(leases) == 0
		default:
		}
		closed := r.closed
		r.mu.Unlock()
		for _, lease := range leases {
			settle(hub.Settlement{LeaseToken: lease.Token, Delivery: lease.Delivery})
		}
		if closed {
			return
		}
		if len(leases) > 0 {
			continue
		}
		select {
		case <-r.ring:
		case <-quit:
		}
	}
}
