// Package wake says "look again" to whoever follows the log or the queue: within
// the process, and through NATS to the other nodes on the same database.
//
// A wake-up carries nothing and may be lost, doubled or early. Those who are
// woken look at the database, and look by themselves now and then, so that a lost
// wake-up costs latency and nothing else.
package wake

import "sync"

// Bus wakes its watchers. It is safe for concurrent use.
type Bus struct {
	network *network // nil: this process alone

	mu       sync.Mutex // guards all below
	watchers map[*watcher]struct{}
}

type watcher struct{ wake chan struct{} }

// NewLocal makes a Bus that reaches the watchers of this process.
func NewLocal() *Bus { return &Bus{watchers: make(map[*watcher]struct{})} }

// Notify wakes every watcher of this process and, if there is a network, those
// of the other nodes. It never blocks and never fails.
func (b *Bus) Notify() {
	b.notifyLocal()
	if b.network != nil {
		b.network.publish()
	}
}

func (b *Bus) notifyLocal() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.watchers {
		select {
		case w.wake <- struct{}{}:
		default: // it has not looked yet, and will see this as well
		}
	}
}

// Watch returns a channel that has something in it after a notification, one for
// all that came since it was last received from. Watch first and look afterwards,
// and nothing is missed in between. The channel is never closed; stop ends the
// watch, and stopping twice does no harm.
func (b *Bus) Watch() (wake <-chan struct{}, stop func()) {
	w := &watcher{wake: make(chan struct{}, 1)}
	b.mu.Lock()
	b.watchers[w] = struct{}{}
	b.mu.Unlock()
	return w.wake, func() {
		b.mu.Lock()
		delete(b.watchers, w)
		b.mu.Unlock()
	}
}

// Close leaves the network, if there is one. Notifications go on to reach the
// watchers of this process. Closing twice does no harm.
func (b *Bus) Close() {
	if b.network != nil {
		b.network.close()
	}
}
