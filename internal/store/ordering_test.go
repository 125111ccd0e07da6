package store_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// ofKey gives an event an ordering key.
func ofKey(key string) func(*hub.Event) { return func(ev *hub.Event) { ev.OrderingKey = key } }

// inOrder makes a subscription keep an order.
func inOrder(mode hub.OrderingMode, poison hub.PoisonRule) func(*hub.Subscription) {
	return func(sub *hub.Subscription) { sub.Ordering, sub.Poison = mode, poison }
}

// made stores an event and returns the one delivery of it.
func made(t testing.TB, s *store.Store, ev *hub.Event) *hub.Delivery {
	t.Helper()
	add(t, s, ev)
	list := deliveriesOf(t, s, ev.ID)
	if len(list) != 1 {
		t.Fatalf("%d deliveries of %s", len(list), ev.ID)
	}
	return list[0]
}

// claimOne claims what is due and wants it to be one delivery alone.
func claimOne(t testing.TB, s *store.Store, e *hub.Endpoint, id string) hub.Lease {
	t.Helper()
	leases := claim(t, s, e, 10)
	if len(leases) != 1 || leases[0].Delivery.ID != id {
		t.Fatalf("claimed %v, want %s alone", ids(leases, func(l hub.Lease) string { return l.Delivery.ID }), id)
	}
	return leases[0]
}

func wantBehind(t testing.TB, s *store.Store, id, head string) {
	t.Helper()
	d := delivery(t, s, id)
	if d.Status != hub.DeliveryHeld || d.BlockedBy != head || !strings.Contains(d.Reason, head) || !d.NextAttemptAt.IsZero() {
		t.Fatalf("%s is %s by %q because %q, want it to wait behind %s", id, d.Status, d.BlockedBy, d.Reason, head)
	}
}

func wantStatus(t testing.TB, s *store.Store, id string, status hub.DeliveryStatus) {
	t.Helper()
	if d := delivery(t, s, id); d.Status != status || d.BlockedBy != "" {
		t.Fatalf("%s is %s behind %q because %q, want %s", id, d.Status, d.BlockedBy, d.Reason, status)
	}
}

func TestStrictOrder(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b, k := started(t, url, 0)
		src := newSource(t, s, b)

		t.Run("the next of a key is attempted once the one before has ended", func(t *testing.T) {
			e := newEndpoint(t, s, b)
			newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark))
			k.mu.Lock()
			k.slots = 3
			k.mu.Unlock()
			events := []*hub.Event{newEvent(b, src, ofKey("a")), newEvent(b, src, ofKey("a")), newEvent(b, src, ofKey("b")), newEvent(b, src)}
			got[[]hub.Receipt](t)(s.Append(t.Context(), events))
			var list []*hub.Delivery
			for _, ev := range events {
				list = append(list, deliveriesOf(t, s, ev.ID)...)
			}
			leases := k.taken()
			if handed := ids(leases, func(l hub.Lease) string { return l.Delivery.ID }); !slices.Equal(handed, []string{list[0].ID, list[2].ID, list[3].ID}) {
				t.Fatalf("handed over %v of %v", handed, ids(list, deliveryID))
			}
			wantBehind(t, s, list[1].ID, list[0].ID)
			third := made(t, s, newEvent(b, src, ofKey("a")))
			wantBehind(t, s, third.ID, list[0].ID)
			if due := got[map[string]time.Time](t)(s.NextDue(t.Context()))[e.ID]; due.Before(b.clock.Now().Add(time.Second)) {
				t.Fatalf("what waits is due at %v", due)
			}

			failed := attempt(b, leases[0], hub.AttemptTimedOut, hub.DeliveryPending)
			settled(t, s, failed) // its retry is due in an hour, and the others go on waiting
			if claimed := claim(t, s, e, 10); len(claimed) != 0 {
				t.Fatalf("claimed %d before the retry", len(claimed))
			}
			b.clock.advance(time.Hour)
			again := claim(t, s, e, 10)
			i := slices.IndexFunc(again, func(l hub.Lease) bool { return l.Delivery.ID == list[0].ID })
			if i < 0 || slices.ContainsFunc(again, func(l hub.Lease) bool { return l.Delivery.ID == list[1].ID }) {
				t.Fatalf("claimed %v", ids(again, func(l hub.Lease) string { return l.Delivery.ID }))
			}
			settled(t, s, attempt(b, again[i], hub.AttemptSucceeded, hub.DeliveryDelivered))
			wantStatus(t, s, list[1].ID, hub.DeliveryPending)
			wantBehind(t, s, third.ID, list[1].ID)

			var reasons []string
			for _, c := range got[[]*hub.DeliveryChange](t)(s.ChangesAfter(t.Context(), 0, 100)) {
				if c.Delivery.ID == third.ID || c.Delivery.ID == list[1].ID {
					reasons = append(reasons, string(c.Delivery.Status)+" "+c.Delivery.Reason)
				}
			}
			if len(reasons) != 3 || !strings.Contains(reasons[0], list[0].ID) || !strings.Contains(reasons[1], list[0].ID) || reasons[2] != "PENDING " {
				t.Errorf("the log of changes has %q", reasons)
			}

			if _, err := s.RetryDelivery(t.Context(), third.ID); hub.CodeOf(err) != hub.CodeConflict || !strings.Contains(err.Error(), list[1].ID) {
				t.Errorf("retrying what waits for its turn says %v", err)
			}
			got[*hub.Delivery](t)(s.CancelDelivery(t.Context(), list[1].ID))
			claimOne(t, s, e, third.ID)
		})

		t.Run("a dead head parks its key until somebody acts", func(t *testing.T) {
			e := newEndpoint(t, s, b)
			sub := newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark))
			var list []*hub.Delivery
			for range 5 {
				list = append(list, onlyOf(made2(t, s, newEvent(b, src, ofKey("p"))), sub))
			}
			settled(t, s, attempt(b, claimOne(t, s, e, list[0].ID), hub.AttemptRefused, hub.DeliveryDead))
			wantBehind(t, s, list[1].ID, list[0].ID)
			if d := delivery(t, s, list[1].ID); !strings.Contains(d.Reason, "dead") {
				t.Errorf("the reason is %q", d.Reason)
			}
			got[*hub.Delivery](t)(s.RetryDelivery(t.Context(), list[0].ID))
			settled(t, s, attempt(b, claimOne(t, s, e, list[0].ID), hub.AttemptRefused, hub.DeliveryDead))
			got[*hub.Delivery](t)(s.CancelDelivery(t.Context(), list[0].ID))
			wantStatus(t, s, list[0].ID, hub.DeliveryCanceled)
			settled(t, s, attempt(b, claimOne(t, s, e, list[1].ID), hub.AttemptRefused, hub.DeliveryDead))
			wantBehind(t, s, list[2].ID, list[1].ID)

			got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
				sub.Poison = hub.PoisonSkip
				return nil
			}))
			eventually(t, "the key goes on", func() bool { return delivery(t, s, list[2].ID).Status == hub.DeliveryPending })
			settled(t, s, attempt(b, claimOne(t, s, e, list[2].ID), hub.AttemptRefused, hub.DeliveryDead))
			settled(t, s, attempt(b, claimOne(t, s, e, list[3].ID), hub.AttemptSucceeded, hub.DeliveryDelivered))

			// What is retried comes before those that have waited longer.
			got[*hub.Delivery](t)(s.CancelDelivery(t.Context(), list[4].ID))
			got[*hub.Delivery](t)(s.RetryDelivery(t.Context(), list[4].ID))
			got[*hub.Delivery](t)(s.RetryDelivery(t.Context(), list[2].ID))
			wantBehind(t, s, list[2].ID, list[4].ID) // whose turn it was already
			settled(t, s, attempt(b, claimOne(t, s, e, list[4].ID), hub.AttemptSucceeded, hub.DeliveryDelivered))
			claimOne(t, s, e, list[2].ID)
		})

		t.Run("what is too old ends in its place", func(t *testing.T) {
			e := newEndpoint(t, s, b, func(e *hub.Endpoint) { e.MaxAge = time.Hour })
			sub := newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonSkip))
			first := onlyOf(made2(t, s, newEvent(b, src, ofKey("old"))), sub)
			b.clock.advance(50 * time.Minute)
			second := onlyOf(made2(t, s, newEvent(b, src, ofKey("old"))), sub)
			b.clock.advance(20 * time.Minute)
			eventually(t, "it is dead and the next has its turn", func() bool {
				return delivery(t, s, first.ID).Status == hub.DeliveryDead && delivery(t, s, second.ID).Status == hub.DeliveryPending
			})
			claimOne(t, s, e, second.ID)
		})

		t.Run("a deletion sends nothing of what waits", func(t *testing.T) {
			e := newEndpoint(t, s, b)
			sub := newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark))
			var list []*hub.Delivery
			for range 3 {
				list = append(list, onlyOf(made2(t, s, newEvent(b, src, ofKey("gone"))), sub))
			}
			must(t, s.DeleteSubscription(t.Context(), sub.ID))
			for _, d := range list {
				wantStatus(t, s, d.ID, hub.DeliveryCanceled)
			}
		})
	})
}

// made2 stores an event and returns its deliveries.
func made2(t testing.TB, s *store.Store, ev *hub.Event) []*hub.Delivery {
	t.Helper()
	add(t, s, ev)
	return deliveriesOf(t, s, ev.ID)
}

// onlyOf returns the delivery that is of a subscription.
func onlyOf(list []*hub.Delivery, sub *hub.Subscription) *hub.Delivery {
	return list[slices.IndexFunc(list, func(d *hub.Delivery) bool { return d.SubscriptionID == sub.ID })]
}

// keysByType takes the event's type for the key, and fails over the types that begin with bad.
func keysByType(cfg *store.Config) {
	cfg.OrderingKey = func(expression string, ev *hub.Event, _ string) (string, error) {
		if expression == "strictly" && strings.HasPrefix(ev.Type, "bad") {
			return "", errors.New("no such key: customer")
		}
		return ev.Type, nil
	}
}

func TestAKeyThatFailsHoldsTheDelivery(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url, keysByType)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		sub := newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark), func(sub *hub.Subscription) { sub.OrderingKey = "strictly" })
		good := made(t, s, newEvent(b, src, typed("good")))
		one, two := made(t, s, newEvent(b, src, typed("bad"))), made(t, s, newEvent(b, src, typed("bad")))
		canceled := made(t, s, newEvent(b, src, typed("bad2")))
		claimOne(t, s, e, good.ID)
		for _, d := range []*hub.Delivery{one, two, canceled} {
			if d.Status != hub.DeliveryHeld || !strings.Contains(d.Reason, "no such key: customer") || d.BlockedBy != "" {
				t.Fatalf("it is %s because %q", d.Status, d.Reason)
			}
		}
		held := hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryHeld}}
		if n := got[int](t)(s.CountDeliveries(t.Context(), held)); n != 3 {
			t.Errorf("%d are held", n)
		}
		if _, err := s.RetryDelivery(t.Context(), one.ID); hub.CodeOf(err) != hub.CodeConflict || !strings.Contains(err.Error(), "no such key") {
			t.Errorf("retrying says %v", err)
		}
		got[*hub.Delivery](t)(s.CancelDelivery(t.Context(), canceled.ID))
		if d, err := s.RetryDelivery(t.Context(), canceled.ID); err != nil || d.Status != hub.DeliveryHeld || !strings.Contains(d.Reason, "no such key") {
			t.Errorf("what was canceled is %+v %v", d, err)
		}
		// A transform that is changed lets nothing go of this.
		change := func(edit func(*hub.Subscription)) {
			got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
				edit(sub)
				return nil
			}))
		}
		change(func(sub *hub.Subscription) { sub.Transform = &hub.Transform{Kind: hub.TransformCEL, Expression: "1"} })
		if claimed := claim(t, s, e, 10); len(claimed) != 0 {
			t.Fatalf("claimed %d", len(claimed))
		}
		change(func(sub *hub.Subscription) { sub.OrderingKey = "otherwise" })
		eventually(t, "they have keys", func() bool {
			return delivery(t, s, one.ID).Status == hub.DeliveryPending && delivery(t, s, canceled.ID).Status == hub.DeliveryPending
		})
		eventually(t, "they are in line", func() bool { return delivery(t, s, two.ID).BlockedBy == one.ID })
		if claimed := claim(t, s, e, 10); len(claimed) != 2 {
			t.Fatalf("claimed %d", len(claimed))
		}
	})
}

func TestSkippingWhatIsStale(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		sub := newSubscription(t, s, b, e, inOrder(hub.OrderingSkipStale, hub.PoisonPark))
		noon := b.clock.Now()
		at := func(key string, minute int) *hub.Event {
			return newEvent(b, src, ofKey(key), func(ev *hub.Event) { ev.OccurredAt = noon.Add(time.Duration(minute) * time.Minute) })
		}
		stale := func(l hub.Lease) string {
			t.Helper()
			reason, is, err := s.Stale(t.Context(), &l.Delivery, l.Event)
			must(t, err)
			if is != (reason != "") {
				t.Fatalf("stale %v, %q", is, reason)
			}
			return reason
		}
		for _, minute := range []int{5, 3, 7, 5} {
			made(t, s, at("k", minute))
		}
		made(t, s, at("other", 1))
		made(t, s, at("", 1))
		leases := claim(t, s, e, 10)
		if len(leases) != 6 {
			t.Fatalf("claimed %d: nothing waits for anything", len(leases))
		}
		for _, l := range leases {
			if reason := stale(l); reason != "" {
				t.Errorf("before anything is delivered: %s", reason)
			}
		}
		byMinute := func(minute, nth int) hub.Lease {
			for _, l := range leases {
				if l.Event.OrderingKey == "k" && l.Event.OccurredAt.Equal(noon.Add(time.Duration(minute)*time.Minute)) {
					if nth--; nth < 0 {
						return l
					}
				}
			}
			t.Fatalf("no lease of minute %d", minute)
			return hub.Lease{}
		}
		first, second := byMinute(5, 0), byMinute(5, 1)
		if first.Event.Sequence > second.Event.Sequence {
			first, second = second, first
		}
		settled(t, s, attempt(b, second, hub.AttemptSucceeded, hub.DeliveryDelivered))
		for l, want := range map[*hub.Lease]bool{&first: true, ptr(byMinute(3, 0)): true, ptr(byMinute(7, 0)): false, &second: false} {
			if reason := stale(*l); strings.Contains(reason, second.Delivery.ID) != want {
				t.Errorf("of minute %d: %q", l.Event.OccurredAt.Minute(), reason)
			}
		}
		// A later result of something older changes nothing about that, nor does a restart.
		settled(t, s, attempt(b, byMinute(3, 0), hub.AttemptSucceeded, hub.DeliveryDelivered))
		must(t, s.Close())
		s, _ = start(t, url, func(cfg *store.Config) { cfg.Clock = b.clock })
		if reason := stale(first); !strings.Contains(reason, second.Delivery.ID) {
			t.Errorf("after a restart: %q", reason)
		}
		must(t, s.DeleteSubscription(t.Context(), sub.ID))
		if reason := stale(first); reason != "" {
			t.Errorf("the mark outlives its subscription: %s", reason)
		}
	})
}

func ptr[T any](v T) *T { return &v }

func TestABacklogIsSortedByTheKeysOfItsSubscription(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url, keysByType)
		src := newSource(t, s, b)
		e := newEndpoint(t, s, b, func(e *hub.Endpoint) { e.State = hub.EndpointPaused })
		byType := func(sub *hub.Subscription) { sub.OrderingKey = "type" }
		strict := newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark), byType)
		skip := newSubscription(t, s, b, e, inOrder(hub.OrderingSkipStale, hub.PoisonPark), byType)
		type pair struct{ strict, skip *hub.Delivery }
		var list []pair
		for i, name := range []string{"a", "a", "b", "a"} {
			made := made2(t, s, newEvent(b, src, typed(name), ofKey(fmt.Sprint(i)), func(ev *hub.Event) {
				ev.OccurredAt = b.clock.Now().Add(-time.Duration(i) * time.Minute) // the later, the older
			}))
			list = append(list, pair{onlyOf(made, strict), onlyOf(made, skip)})
		}
		got[*hub.Endpoint](t)(s.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error {
			e.State, e.Backlog = hub.EndpointActive, &hub.BacklogOrder{Choice: hub.BacklogSendNewest, Before: b.clock.Now()}
			return nil
		}))
		eventually(t, "the backlog is sorted out", func() bool { return s.Configuration().Endpoints[e.ID].Backlog == nil })
		for i, want := range []pair{{nil, list[0].skip}, {}, {list[2].strict, list[2].skip}, {list[3].strict, nil}} {
			for _, one := range [][2]*hub.Delivery{{list[i].strict, want.strict}, {list[i].skip, want.skip}} {
				status := hub.DeliveryCanceled
				if one[1] != nil {
					status = hub.DeliveryPending
				}
				if d := delivery(t, s, one[0].ID); d.Status != status {
					t.Errorf("number %d of %s is %s %q", i, d.SubscriptionID, d.Status, d.Reason)
				}
			}
		}
	})
}

func TestReplaysKeepTheOrder(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		var events []*hub.Event
		for range 4 {
			events = append(events, newEvent(b, src, ofKey("k")))
		}
		got[[]hub.Receipt](t)(s.Append(t.Context(), events[:3]))
		e := newEndpoint(t, s, b)
		sub := newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark))
		live := made(t, s, events[3])
		lease := claimOne(t, s, e, live.ID)

		run := func(selection hub.ReplaySelection) {
			t.Helper()
			got[*hub.Replay](t)(s.StartReplay(t.Context(), &hub.Replay{Selection: selection, Rate: hub.MaxReplayRate}))
		}
		run(hub.ReplaySelection{Events: &hub.EventFilter{}, SubscriptionID: sub.ID})
		b.clock.advance(time.Second)
		eventually(t, "the past events have deliveries", func() bool {
			b.clock.advance(100 * time.Millisecond)
			return len(deliveriesOf(t, s, events[2].ID)) == 1
		})
		var order []string
		for _, ev := range events[:3] {
			order = append(order, deliveriesOf(t, s, ev.ID)[0].ID)
			wantBehind(t, s, order[len(order)-1], live.ID)
		}
		settled(t, s, attempt(b, lease, hub.AttemptSucceeded, hub.DeliveryDelivered))
		for i, id := range order {
			for _, later := range order[i+1:] {
				wantBehind(t, s, later, id)
			}
			settled(t, s, attempt(b, claimOne(t, s, e, id), hub.AttemptSucceeded, hub.DeliveryDelivered))
		}
		eventually(t, "the replay is over", func() bool {
			page := got[hub.Slice[*hub.Replay]](t)(s.Replays(t.Context(), hub.ReplayFilter{}, hub.Page{Size: 1}))
			return page.Items[0].State == hub.ReplayCompleted
		})

		// The same deliveries again.
		order = append(order, live.ID)
		run(hub.ReplaySelection{Deliveries: &hub.DeliveryFilter{SubscriptionIDs: []string{sub.ID}}})
		eventually(t, "they wait again", func() bool {
			b.clock.advance(100 * time.Millisecond)
			return delivery(t, s, order[3]).Status == hub.DeliveryHeld
		})
		for _, id := range order {
			settled(t, s, attempt(b, claimOne(t, s, e, id), hub.AttemptSucceeded, hub.DeliveryDelivered))
		}
	})
}
