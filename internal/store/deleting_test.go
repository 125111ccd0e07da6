package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestDeletingWhatDeliveriesWaitFor(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, kept, gone := newSource(t, s, b), newEndpoint(t, s, b), newEndpoint(t, s, b)
		keptSub, goneSub, lone := newSubscription(t, s, b, kept), newSubscription(t, s, b, gone), newSubscription(t, s, b, kept)
		var events []*hub.Event
		for range 1200 { // several chunks of a cancellation
			events = append(events, newEvent(b, src))
		}
		got[[]hub.Receipt](t)(s.Append(t.Context(), events))

		must(t, s.DeleteEndpoint(t.Context(), gone.ID))
		must(t, s.DeleteSubscription(t.Context(), lone.ID))
		if cfg := s.Configuration(); cfg.Endpoints[gone.ID] != nil || cfg.Subscriptions[goneSub.ID] != nil || len(cfg.Subscriptions) != 1 {
			t.Fatalf("configuration still holds %d subscriptions", len(cfg.Subscriptions))
		}
		count := func(sub *hub.Subscription, status hub.DeliveryStatus) int {
			return got[int](t)(s.CountDeliveries(t.Context(), hub.DeliveryFilter{
				SubscriptionIDs: []string{sub.ID}, Statuses: []hub.DeliveryStatus{status},
			}))
		}
		if n := count(goneSub, hub.DeliveryCanceled); n != 1200 {
			t.Fatalf("%d deliveries of the deleted endpoint are canceled", n)
		}
		if n := count(lone, hub.DeliveryCanceled); n != 1200 {
			t.Fatalf("%d deliveries of the deleted subscription are canceled", n)
		}
		if n := count(keptSub, hub.DeliveryPending); n != 1200 {
			t.Fatalf("%d deliveries of the other subscription wait", n)
		}
		for _, d := range deliveriesOf(t, s, events[0].ID) {
			if d.SubscriptionID == goneSub.ID && !strings.Contains(d.Reason, "endpoint was deleted") {
				t.Fatalf("the reason is %q", d.Reason)
			}
		}
		for sub, noun := range map[*hub.Subscription]string{goneSub: "endpoint", lone: "subscription"} {
			list := deliveriesOf(t, s, events[0].ID)
			id := list[slices.IndexFunc(list, func(d *hub.Delivery) bool { return d.SubscriptionID == sub.ID })].ID
			_, err := s.RetryDelivery(t.Context(), id)
			wantCode(t, err, hub.CodeConflict)
			if !strings.Contains(err.Error(), "the "+noun+" of the delivery does not exist any more") {
				t.Errorf("the error is %q", err)
			}
			if d := delivery(t, s, id); d.Status != hub.DeliveryCanceled || d.CompletedAt.IsZero() {
				t.Errorf("after the retry it is %+v", d)
			}
		}
		must(t, s.DeleteSource(t.Context(), src.ID))
		if found := got[map[string]*hub.Event](t)(s.EventsByID(t.Context(), []string{events[0].ID})); len(found) != 1 {
			t.Fatal("the events went with their source")
		}
		for _, err := range []error{
			s.DeleteSource(t.Context(), src.ID), s.DeleteEndpoint(t.Context(), gone.ID), s.DeleteSubscription(t.Context(), lone.ID),
		} {
			wantCode(t, err, hub.CodeNotFound)
		}
		backlog := got[map[string]int](t)(s.Backlog(t.Context(), []string{kept.ID, gone.ID}))
		if len(backlog) != 1 || backlog[kept.ID] != 1200 {
			t.Fatalf("backlog is %v", backlog)
		}
	})
}

func TestNothingWaitsForWhatIsGone(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		// moved makes two deliveries in one line to an endpoint, whose subscription goes to another then.
		moved := func(before, after *hub.Endpoint) (list []*hub.Delivery) {
			t.Helper()
			sub := newSubscription(t, s, b, before, inOrder(hub.OrderingStrict, hub.PoisonPark))
			for range 2 {
				list = append(list, onlyOf(made2(t, s, newEvent(b, src, ofKey("k"))), sub))
			}
			got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
				sub.EndpointID = after.ID
				return nil
			}))
			return list
		}
		wantCanceled := func(list []*hub.Delivery, reason string) {
			t.Helper()
			for _, one := range list {
				if d := delivery(t, s, one.ID); d.Status != hub.DeliveryCanceled || d.Reason != reason {
					t.Errorf("it is %s because %q, want CANCELED because %q", d.Status, d.Reason, reason)
				}
			}
		}

		stays, gone := newEndpoint(t, s, b), newEndpoint(t, s, b)
		list := moved(stays, gone)
		must(t, s.DeleteEndpoint(t.Context(), gone.ID)) // and its subscription, which the other endpoint still waits for
		wantCanceled(list, "the subscription was deleted")

		// A process is killed between the deletion of an endpoint and that of what waits for it.
		cut, next := newEndpoint(t, s, b), newEndpoint(t, s, b)
		list = moved(cut, next)
		must(t, s.Close())
		db, _ := connect(t, url)
		if _, err := db.ExecContext(t.Context(), "DELETE FROM endpoints WHERE id = '"+cut.ID+"'"); err != nil {
			t.Fatal(err)
		}
		s, _ = start(t, url)
		wantCanceled(list, "the endpoint was deleted")
	})
}

func TestAReplayGoesWhereItsSubscriptionHasGone(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		before, after := newEndpoint(t, s, b), newEndpoint(t, s, b)
		sub := newSubscription(t, s, b, before)
		delivered, missed := made(t, s, newEvent(b, src)), made(t, s, newEvent(b, src))
		for _, lease := range claim(t, s, before, 10) {
			if lease.Delivery.ID == delivered.ID {
				settled(t, s, attempt(b, lease, hub.AttemptSucceeded, hub.DeliveryDelivered))
			} else {
				settled(t, s, attempt(b, lease, hub.AttemptRefused, hub.DeliveryDead))
			}
		}
		got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
			sub.EndpointID = after.ID
			return nil
		}))
		must(t, s.DeleteEndpoint(t.Context(), before.ID))

		run := func(selection hub.ReplaySelection, want int) {
			t.Helper()
			if n := got[int](t)(s.CountReplay(t.Context(), selection)); n != want {
				t.Fatalf("it selects %d, want %d", n, want)
			}
			got[*hub.Replay](t)(s.StartReplay(t.Context(), &hub.Replay{Selection: selection, Rate: hub.MaxReplayRate}))
			var leases []hub.Lease
			eventually(t, "what it sends is due", func() bool {
				b.clock.advance(100 * time.Millisecond)
				leases = append(leases, claim(t, s, after, 10)...)
				return len(leases) >= want
			})
			for _, lease := range leases {
				settled(t, s, attempt(b, lease, hub.AttemptSucceeded, hub.DeliveryDelivered))
			}
			eventually(t, "the replay is over", func() bool {
				page := got[hub.Slice[*hub.Replay]](t)(s.Replays(t.Context(), hub.ReplayFilter{}, hub.Page{Size: 1}))
				return page.Items[0].State == hub.ReplayCompleted && page.Items[0].Done == want
			})
		}
		run(hub.ReplaySelection{MissedBy: &hub.MissedBy{EndpointID: after.ID}}, 1)
		if n := len(deliveriesOf(t, s, missed.EventID)); n != 2 {
			t.Errorf("%d deliveries of what was missed, want the dead one and the new one", n)
		}
		run(hub.ReplaySelection{Events: &hub.EventFilter{}, SubscriptionID: sub.ID}, 2)
		run(hub.ReplaySelection{Events: &hub.EventFilter{}, SubscriptionID: sub.ID}, 2) // again: the same deliveries
		for _, id := range []string{delivered.EventID, missed.EventID} {
			if n := len(deliveriesOf(t, s, id)); n != 2 {
				t.Errorf("%d deliveries of one event, want 2", n)
			}
		}
	})
}
