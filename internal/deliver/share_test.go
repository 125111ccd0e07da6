package deliver_test

import (
	"fmt"
	"testing"

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
