package store

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	beatEvery = time.Second
	beatRetry = 250 * time.Millisecond
	beatBound = 5 * time.Second // for one statement
)

// presence is which nodes there are, and until when this one may act on it.
type presence struct {
	peers *hub.Peers
	until time.Time // zero: for ever
}

// Peers returns the nodes of the hub, without a query; nil while this one has not said for
// so long that it is there that the others may do without it. Then it must begin nothing.
// The answer must not be changed.
func (s *Store) Peers() *hub.Peers {
	p := s.present.Load()
	if p == nil || !p.until.IsZero() && time.Now().After(p.until) {
		return nil
	}
	return p.peers
}

// seat is this node's place among the nodes, and what it takes to keep one. A node that
// comes counts nobody and is counted by nobody. Each of the others counts it from the
// moment at which it reads its row, and says so in its own row once no more is under way
// than what is left to it; then the new one begins. So at every moment each node that
// makes attempts is counted by all that do. One that was silent for too long does not come
// back to its place but takes a new one.
type seat struct {
	store   *Store
	place   place // nil where there is none, or the last one is lost
	before  string
	counted []string
	beaten  time.Time // when the last beat that succeeded began
	moving  bool      // some do not count others yet, so it is looked again soon

	complained time.Time
}

// takeSeat makes this node one of the nodes, before anything can be under way.
func (s *Store) takeSeat(ctx context.Context) (*seat, error) {
	t := &seat{store: s}
	var err error
	if t.place, err = s.engine.enrol(ctx, ""); err != nil {
		return nil, err
	}
	if t.place == nil {
		s.present.Store(&presence{peers: &hub.Peers{}})
		return t, nil
	}
	if err := t.beat(ctx); err != nil {
		t.lose()
		return nil, err
	}
	return t, nil
}

// keep says that the node is there until ctx ends.
func (t *seat) keep(ctx context.Context) {
	if t.place == nil {
		return
	}
	timer := time.NewTimer(beatEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := t.beat(context.WithoutCancel(ctx)) // to cut it off would cost the connection, over which to say goodbye
		if err != nil {
			if time.Since(t.complained) >= complainEvery {
				t.complained = time.Now()
				t.store.log.WarnContext(ctx, "this node has lost touch with the others and begins no attempts until it has a new place among them", "error", err)
			}
			t.lose()
		}
		if err != nil || t.moving {
			timer.Reset(beatRetry)
		} else {
			timer.Reset(beatEvery)
		}
	}
}

// beat says that the node is there, in a new place where the last one is lost, and takes
// over what the others say. It says so again where it counts more nodes than it has said.
func (t *seat) beat(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beatBound)
	defer cancel()
	began := time.Now()
	if t.place != nil && !t.beaten.IsZero() && began.Sub(t.beaten) > hub.PeerFence {
		t.lose()
	}
	if t.place == nil {
		place, err := t.store.engine.enrol(ctx, t.before)
		if err != nil {
			return err
		}
		t.place, t.counted = place, nil
	}
	for {
		began = time.Now()
		others, err := t.place.beat(ctx, t.counted)
		if err != nil {
			return err
		}
		t.beaten = began
		t.know(ctx, others)
		ids := make([]string, len(others))
		said := true
		t.moving = false
		for i, other := range others {
			ids[i] = other.ID
			said = said && slices.Contains(t.counted, other.ID)
			t.moving = t.moving || !other.Counts && other.Silent == 0
		}
		switch {
		case said:
			return nil
		case t.store.taker != nil && !t.store.taker.Within():
			t.moving = true
			return nil
		}
		t.counted = ids
	}
}

// know takes over which nodes there are.
func (t *seat) know(ctx context.Context, others []hub.Peer) {
	s := t.store
	peers := &hub.Peers{Self: t.place.id(), Others: others}
	changed := true
	if before := s.present.Load(); before != nil && before.peers != nil && before.peers.Self == peers.Self && slices.Equal(before.peers.Others, others) {
		peers, changed = before.peers, false
	}
	last := s.Peers()
	s.present.Store(&presence{peers: peers, until: t.beaten.Add(hub.PeerFence)})
	if changed {
		s.wakeTaker()
	}
	if last.Count() != peers.Count() {
		s.log.InfoContext(ctx, "the number of nodes has changed", slog.Int("count", peers.Count()))
	}
}

// lose gives a place up of which nobody knows whether it is still this node's.
func (t *seat) lose() {
	t.store.present.Store(nil)
	if t.place != nil {
		t.before = t.place.id()
		t.place.close()
		t.place = nil
	}
}

// leave gives the place up for good: nothing is under way any more.
func (t *seat) leave() {
	if t.place == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), placeClose)
	defer cancel()
	if err := t.place.leave(ctx); err != nil {
		t.store.log.WarnContext(ctx, "the other nodes were not told that this one has stopped, and find out by themselves", "error", err)
	}
	t.store.present.Store(nil)
	t.place.close()
}
