package deliver_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// apart returns two nodes as each of them knows them: the first has the only slot of the
// endpoint, the second has none.
func apart(e *hub.Endpoint) (first, second *hub.Peers) {
	for i := 0; ; i++ {
		a, b := fmt.Sprint("a", i), fmt.Sprint("b", i)
		first = &hub.Peers{Self: a, Others: []hub.Peer{{ID: b, Counts: true}}}
		second = &hub.Peers{Self: b, Others: []hub.Peer{{ID: a, Counts: true}}}
		if policy.ShareOf(e, first).Slots(e) == 1 {
			return first, second
		}
	}
}

func TestAShareThatIsLostIsGivenUpOnceAttemptsHaveEnded(t *testing.T) {
	t.Parallel()
	e := newEndpoint("end_1", "http://owner", func(e *hub.Endpoint) { e.MaxConcurrency = 1 })
	first, second := apart(e)
	k := newSink()
	release := make(chan struct{})
	k.hang["owner"] = release
	s := newFakeStore(e)
	d := newDispatcher(t, s, k)
	ids := s.publish("end_1", "1")
	s.await(t, "the attempt is under way", func() bool { return k.read(k.now, "owner") == 1 })
	if !d.Within() {
		t.Error("the only node has more under way than it may")
	}

	s.meet(second)
	if d.Within() {
		t.Error("an attempt is under way that is another node's")
	}
	if d.Reserve("end_1") {
		t.Error("a delivery is taken that is another node's")
		d.Release("end_1")
	}
	k.mu.Lock()
	delete(k.hang, "owner")
	k.mu.Unlock()
	close(release)
	s.awaitAttempts(t, ids[0], 1)
	s.await(t, "nothing is under way", d.Within)

	waiting := s.publish("end_1", "2")[0]
	s.meet(nil)
	if d.Reserve("end_1") {
		t.Error("a delivery is taken by a node that has lost touch")
		d.Release("end_1")
	}
	if n := len(s.attemptsOf(waiting)); n != 0 {
		t.Errorf("%d attempts were made without a share", n)
	}
	s.meet(first)
	d.Wake()
	s.awaitAttempts(t, waiting, 1)
}

// What was made room for while the node had a share, and comes when it has none, goes back.
func TestALeaseThatComesAfterTheShareIsGivenBack(t *testing.T) {
	t.Parallel()
	e := newEndpoint("end_1", "http://owner", func(e *hub.Endpoint) { e.MaxConcurrency = 1 })
	_, second := apart(e)
	k := newSink()
	s := newFakeStore(e)
	d := newDispatcher(t, s, k)
	s.await(t, "there is room", func() bool { return d.Reserve("end_1") })
	d.Release("end_1")
	if !d.Reserve("end_1") {
		t.Fatal("there is no room")
	}
	s.meet(second)
	id := s.publishVia(nil, "end_1", "1")[0]
	s.mu.Lock()
	lease := s.lease(s.rows[id], s.clock.Now().Add(hub.DefaultTimeout))
	s.mu.Unlock()
	d.Take(lease)
	s.await(t, "the lease is given back", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.returned == 1 })
	if !d.Within() || len(s.attemptsOf(id)) != 0 {
		t.Error("it was attempted")
	}
}

// A node that comes when the others know it already, as one that is slow to start does, has
// the part of the rate that they give up, and not besides what they have used of it.
func TestAnInheritedRateIsNotUsedUpTwice(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		others []hub.Peer
		made   time.Duration // how long after the node has started the endpoint is
		atOnce int
	}{
		"beside another node":              {[]hub.Peer{{ID: "other", Counts: true}}, -time.Minute, 0},
		"beside one that has ended":        {[]hub.Peer{{ID: "other", Silent: hub.PeerEnded, Ended: true}}, -time.Minute, 10},
		"alone":                            {nil, -time.Minute, 10},
		"an endpoint that was made for it": {[]hub.Peer{{ID: "other", Counts: true}}, time.Minute, 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				e := newEndpoint("end_1", "http://end_1", func(e *hub.Endpoint) {
					e.CreatedAt = time.Now().Add(one.made)
					e.RateLimit = &hub.RateLimit{Limit: 10, Period: 10 * time.Second}
				})
				s, store := &script{status: 200}, newFakeStore(e)
				store.meet(&hub.Peers{Self: "this", Others: one.others})
				d := newDispatcher(t, store, s)
				d.Wake()
				pass(time.Millisecond)
				store.publish("end_1", many(20)...)
				pass(time.Millisecond)
				if came, _ := s.seen(); len(came) != one.atOnce {
					t.Errorf("%d came at once, want %d", len(came), one.atOnce)
				}
				pass(4*time.Second + 10*time.Millisecond)
				part := 4
				if one.atOnce < 10 && len(one.others) > 0 {
					part = 2
				}
				if came, _ := s.seen(); len(came) != part {
					t.Errorf("%d came in four seconds, want %d", len(came), part)
				}
			})
		})
	}
}
