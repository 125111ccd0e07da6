package policy

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Share is this node's part of what an endpoint permits to all nodes of the hub: it is
// number Rank, from 0, of Of nodes that work for the endpoint. The zero value has no part.
//
// The parts of all add up to what is permitted, and nobody's part gets smaller when
// another node goes. So as long as each node counts all that make attempts, they keep to
// the limits together, also while they do not know the same nodes.
type Share struct {
	Rank, Of int
	Waits    bool // others do not know of it yet: it begins nothing
}

// Whole is the share of whoever shares with nobody.
var Whole = Share{Of: 1}

// ShareOf returns this node's part of an endpoint; none where peers is nil, which is when
// the node cannot say that it is there. The order of the nodes differs from endpoint to
// endpoint, and stays when others come and go. No more nodes work for an endpoint than
// each can have a slot and a call of. What consumers pull is not shared out: a consumer
// has one node, and says how many it takes.
func ShareOf(e *hub.Endpoint, peers *hub.Peers) Share {
	switch {
	case e.Kind == hub.EndpointStream:
		return Whole
	case peers == nil:
		return Share{}
	}
	s := Whole
	mine := place(e.ID, peers.Self)
	for _, other := range peers.Others {
		if other.Gone(Timeout(e)) {
			continue
		}
		s.Of++
		if cmp.Or(cmp.Compare(place(e.ID, other.ID), mine), cmp.Compare(other.ID, peers.Self)) < 0 {
			s.Rank++
		}
		s.Waits = s.Waits || !other.Counts
	}
	s.Of = min(s.Of, concurrency(e))
	if limited(e.RateLimit) {
		s.Of = min(s.Of, e.RateLimit.Limit)
	}
	return s
}

// place is where a node stands among those that work for an endpoint.
func place(endpointID, nodeID string) uint64 {
	sum := sha256.Sum256([]byte(endpointID + "/" + nodeID))
	return binary.BigEndian.Uint64(sum[:])
}

// Part is this node's part of a number of calls.
func (s Share) Part(limit int) int {
	if s.Rank >= s.Of || s.Rank >= limit {
		return 0
	}
	return (limit - s.Rank + s.Of - 1) / s.Of
}

// Slots is how many attempts this node may have in flight to the endpoint, if it begins any.
func (s Share) Slots(e *hub.Endpoint) int { return s.Part(concurrency(e)) }

// Rate is how often this node may call the endpoint, nil: as often as it answers. While
// nothing begins the limit is 0, so that no calls are saved up that others make meanwhile.
func (s Share) Rate(e *hub.Endpoint) *hub.RateLimit {
	if !limited(e.RateLimit) {
		return nil
	}
	part := hub.RateLimit{Limit: s.Part(e.RateLimit.Limit), Period: e.RateLimit.Period}
	if s.Waits {
		part.Limit = 0
	}
	return &part
}

func limited(l *hub.RateLimit) bool { return l != nil && l.Limit > 0 && l.Period > 0 }

// Timeout is how long an attempt takes at most.
func Timeout(e *hub.Endpoint) time.Duration {
	return min(cmp.Or(max(e.AttemptTime(), 0), hub.DefaultTimeout), hub.MaxTimeout)
}
