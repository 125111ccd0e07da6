package store_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// TestReplaysKeepTheirRate looks at any moments, however long apart: no span has more
// than its share and what may be saved up, and whoever looks often gets all of it.
func TestReplaysKeepTheirRate(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.IntRange(1, 10_000).Draw(t, "rate")
		began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		now, usedUp, taken := began, began, 0
		for range rapid.IntRange(1, 50).Draw(t, "looks") {
			now = now.Add(time.Duration(rapid.IntRange(0, 3_000_000).Draw(t, "wait")) * time.Microsecond)
			n, then := store.Allowance(usedUp, now, rate)
			n = rapid.IntRange(0, n).Draw(t, "taken")
			usedUp = then(n)
			taken += n
			if most := now.Sub(began).Seconds()*float64(rate)*1.0001 + 1; float64(taken) > most {
				t.Fatalf("%d at %d a second in %s", taken, rate, now.Sub(began))
			}
			if saved, _ := store.Allowance(usedUp, now.Add(time.Hour), rate); saved > max(1, rate/4+1) {
				t.Fatalf("%d saved up at %d a second", saved, rate)
			}
		}
	})
}

// What is live is claimed first, even where it has come later.
func TestLiveDeliveriesAreClaimedBeforeReplayedOnes(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		const n = 5
		past := make(map[string]bool)
		for range n {
			ev := newEvent(b, src)
			add(t, s, ev)
			past[ev.ID] = true
		}
		first, second := newSubscription(t, s, b, e), newSubscription(t, s, b, e)
		for _, sub := range []*hub.Subscription{first, second} {
			got[*hub.Replay](t)(s.StartReplay(t.Context(), &hub.Replay{
				Selection: hub.ReplaySelection{Events: &hub.EventFilter{}, SubscriptionID: sub.ID}, Rate: hub.MaxReplayRate,
			}))
		}
		b.clock.advance(time.Second) // which the rate goes by
		eventually(t, "the replays have made everything due", func() bool {
			return got[int](t)(s.CountDeliveries(t.Context(), hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryPending}})) == 2*n
		})
		b.clock.advance(time.Hour)
		for range n {
			add(t, s, newEvent(b, src))
		}
		for claimed, wantPast := range []bool{false, false, true, true} { // of two subscriptions each
			leases := claim(t, s, e, n)
			if len(leases) != n {
				t.Fatalf("claim %d leased %d", claimed, len(leases))
			}
			for _, l := range leases {
				if past[l.Delivery.EventID] != wantPast {
					t.Errorf("claim %d leased what was replayed: %t", claimed, !wantPast)
				}
			}
		}
	})
}
