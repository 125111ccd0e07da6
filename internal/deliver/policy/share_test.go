package policy_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// drawLimited draws an endpoint with limits that are often fewer than there are nodes.
func drawLimited(t *rapid.T) *hub.Endpoint {
	e := endpoint(func(e *hub.Endpoint) {
		e.ID = rapid.StringMatching(`end_[a-z0-9]{8}`).Draw(t, "endpoint")
		e.MaxConcurrency = rapid.IntRange(0, 20).Draw(t, "concurrency")
	})
	if rapid.Bool().Draw(t, "limited") {
		e.RateLimit = &hub.RateLimit{Limit: rapid.IntRange(1, 20).Draw(t, "rate"), Period: time.Second}
	}
	return e
}

func drawNodes(t *rapid.T, least int) []string {
	return rapid.SliceOfNDistinct(rapid.StringMatching(`[A-Z2-7]{6}`), least, 9, rapid.ID[string]).Draw(t, "nodes")
}

// view is what one of the nodes knows, where all count it.
func view(self string, nodes []string) *hub.Peers {
	p := &hub.Peers{Self: self}
	for _, id := range nodes {
		if id != self {
			p.Others = append(p.Others, hub.Peer{ID: id, Counts: true})
		}
	}
	return p
}

func slotsOf(e *hub.Endpoint) int {
	if e.MaxConcurrency == 0 {
		return hub.DefaultMaxConcurrency
	}
	return e.MaxConcurrency
}

func rateOf(r *hub.RateLimit) int {
	if r == nil {
		return 0
	}
	return r.Limit
}

func TestSharesAddUpToTheLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e, nodes := drawLimited(t), drawNodes(t, 1)
		slots, rate := 0, 0
		for _, id := range nodes {
			share := policy.ShareOf(e, view(id, nodes))
			part := rateOf(share.Rate(e))
			if e.RateLimit != nil && (share.Slots(e) > 0) != (part > 0) {
				t.Fatalf("%+v has %d slots and %d calls", share, share.Slots(e), part)
			}
			slots += share.Slots(e)
			rate += part
		}
		if slots != slotsOf(e) || rate != rateOf(e.RateLimit) {
			t.Fatalf("%d nodes have %d slots and %d calls of %+v", len(nodes), slots, rate, e)
		}
	})
}

// However much more some of the nodes know of than others, together they keep to the limits
// as long as each knows of all that make attempts.
func TestSharesOfDifferentViewsKeepToTheLimits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e, nodes := drawLimited(t), drawNodes(t, 1)
		working := nodes[:rapid.IntRange(1, len(nodes)).Draw(t, "working")]
		slots, rate := 0, 0
		for _, id := range working {
			knows := slices.Clone(working)
			for _, other := range nodes[len(working):] {
				if rapid.Bool().Draw(t, "known") {
					knows = append(knows, other)
				}
			}
			share := policy.ShareOf(e, view(id, knows))
			slots += share.Slots(e)
			rate += rateOf(share.Rate(e))
		}
		if slots > slotsOf(e) || e.RateLimit != nil && rate > e.RateLimit.Limit {
			t.Fatalf("%d slots and %d calls of %+v", slots, rate, e)
		}
	})
}

// Nobody's share changes while the nodes stay the same, in whichever order they are known,
// and nobody loses anything when another goes.
func TestSharesStay(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		e, nodes := drawLimited(t), drawNodes(t, 2)
		share := policy.ShareOf(e, view(nodes[0], nodes))
		if again := policy.ShareOf(e, view(nodes[0], rapid.Permutation(nodes).Draw(t, "permuted"))); again != share {
			t.Fatalf("%+v, then %+v", share, again)
		}
		gone := rapid.IntRange(1, len(nodes)-1).Draw(t, "gone")
		after := policy.ShareOf(e, view(nodes[0], slices.Delete(slices.Clone(nodes), gone, gone+1)))
		if after.Slots(e) < share.Slots(e) || rateOf(after.Rate(e)) < rateOf(share.Rate(e)) {
			t.Fatalf("%+v, and without another node %+v", share, after)
		}
	})
}

func TestSharesAreSpreadOverTheNodes(t *testing.T) {
	t.Parallel()
	nodes := []string{"A", "B", "C"}
	got := map[string]int{}
	for i := range 3000 {
		e := endpoint(func(e *hub.Endpoint) { e.ID, e.MaxConcurrency = fmt.Sprint("end_", i), 1 })
		for _, id := range nodes {
			got[id] += policy.ShareOf(e, view(id, nodes)).Slots(e)
		}
	}
	for _, id := range nodes {
		if got[id] < 800 || got[id] > 1200 {
			t.Errorf("of 3000 endpoints with one slot: %v", got)
		}
	}
}

func TestWhoIsCountedForHowLong(t *testing.T) {
	t.Parallel()
	e := endpoint(func(e *hub.Endpoint) { e.Timeout, e.MaxConcurrency = 20*time.Second, 2 })
	e.RateLimit = &hub.RateLimit{Limit: 4, Period: time.Second}
	cases := []struct {
		name  string
		other hub.Peer
		want  int // slots
		waits bool
	}{
		{"a node that is there", hub.Peer{Counts: true}, 1, false},
		{"a node that does not know of this one yet", hub.Peer{}, 1, true},
		{"a node whose connection has just ended", hub.Peer{Ended: true}, 1, true},
		{"a node whose connection has ended", hub.Peer{Ended: true, Silent: 3 * time.Second}, 2, false},
		{"a silent node whose attempts may go on", hub.Peer{Silent: 29 * time.Second, Counts: true}, 1, false},
		{"a node that was silent for long", hub.Peer{Silent: 30 * time.Second}, 2, false},
	}
	for _, c := range cases {
		c.other.ID = "other"
		share := policy.ShareOf(e, &hub.Peers{Self: "self", Others: []hub.Peer{c.other}})
		rate := 2 * c.want
		if c.waits {
			rate = 0
		}
		if share.Slots(e) != c.want || share.Waits != c.waits || share.Rate(e).Limit != rate {
			t.Errorf("%s: %+v", c.name, share)
		}
		state := policy.NewState(e.ID, nil)
		if limit, opens := state.Gate(e, share, start); (limit == 0) != c.waits || !opens.IsZero() {
			t.Errorf("%s: %d in flight, asked again at %v", c.name, limit, opens)
		}
	}
	if share := policy.ShareOf(e, nil); share.Slots(e) != 0 || share.Rate(e).Limit != 0 {
		t.Errorf("a node that has lost touch has %+v", share)
	}
	e.Kind = hub.EndpointStream
	if share := policy.ShareOf(e, nil); share != policy.Whole {
		t.Errorf("of what consumers pull it has %+v", share)
	}
}

// Of an endpoint that is in trouble one node tries again, and the slow start is its as long
// as it lasts.
func TestOneNodeProbes(t *testing.T) {
	t.Parallel()
	e := endpoint()
	probing := policy.NewState(e.ID, &hub.EndpointHealth{EndpointID: e.ID, Breaker: hub.BreakerOpen, LastFailureAt: start})
	rising := policy.NewState(e.ID, &hub.EndpointHealth{EndpointID: e.ID, Breaker: hub.BreakerHalfOpen, LastFailureAt: start})
	e.UpdatedAt = start.Add(-time.Hour)
	nodes := []string{"A", "B", "C"}
	for _, state := range []policy.State{probing, rising} {
		sum := 0
		for _, id := range nodes {
			limit, _ := state.Gate(e, policy.ShareOf(e, view(id, nodes)), start.Add(time.Minute))
			sum += limit
		}
		if sum != 1 {
			t.Errorf("%s: %d in flight", state.Health.Breaker, sum)
		}
	}
}
