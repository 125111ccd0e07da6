package hub

import "time"

// How long nodes wait for one another. A node that cannot say that it is there begins no
// attempt from PeerFence on, which is before the others do without it.
const (
	PeerFence = 8 * time.Second
	// PeerSilence is after which silence nothing begins on a node any more, by the clock of
	// the database. What it had begun may go on for as long as the endpoint's timeout.
	PeerSilence = 10 * time.Second
	// PeerEnded is after which silence a node is gone whose connection has ended: a process
	// that is alive has noticed by then, and has taken a new place.
	PeerEnded = 3 * time.Second
)

// Peer is another node of the hub.
type Peer struct {
	ID     string
	Silent time.Duration // in whole seconds; 0 below PeerEnded
	Ended  bool          // its connection to the database has ended
	Counts bool          // it shares with this node what endpoints permit
}

// Gone reports whether nothing of the node can be under way any more that takes no longer
// than the timeout.
func (p Peer) Gone(timeout time.Duration) bool {
	if p.Ended {
		return p.Silent >= PeerEnded
	}
	return p.Silent >= PeerSilence+timeout
}

// Peers is this node and the others, as it knows them. It is never changed.
type Peers struct {
	Self   string
	Others []Peer
}

// Count is how many nodes there are, this one included, as far as it knows.
func (p *Peers) Count() int {
	if p == nil {
		return 0
	}
	n := 1
	for _, other := range p.Others {
		if !other.Gone(0) {
			n++
		}
	}
	return n
}
