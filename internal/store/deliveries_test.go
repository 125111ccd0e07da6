package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// started opens, migrates and starts a store with a taker.
func started(t *testing.T, url string, slots int) (*store.Store, *bundle, *taker) {
	t.Helper()
	s, b := open(t, url)
	k := &taker{slots: slots}
	must(t, s.Start(t.Context(), k))
	return s, b, k
}

func TestRouting(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b, k := started(t, url, 2)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		sub := newSubscription(t, s, b, e)

		t.Run("hands over what a free slot is reserved for, leased, and leaves the rest due", func(t *testing.T) {
			events := []*hub.Event{newEvent(b, src), newEvent(b, src), newEvent(b, src)}
			receipts := got[[]hub.Receipt](t)(s.Append(t.Context(), events))
			leases := k.taken()
			if len(leases) != 2 {
				t.Fatalf("%d deliveries were handed over, want 2", len(leases))
			}
			l := leases[0]
			if l.Event.ID != events[0].ID || l.Event.Sequence != receipts[0].Sequence || string(l.Event.Payload.Body) != `{"n":1}` ||
				l.Delivery.SubscriptionID != sub.ID || l.Token == "" || !l.ExpiresAt.Equal(b.clock.Now().Add(e.Timeout+store.LeaseMargin)) {
				t.Fatalf("lease is %+v", l)
			}
			claimed := claim(t, s, e, 10)
			if len(claimed) != 1 || claimed[0].Delivery.EventID != events[2].ID || string(claimed[0].Event.Payload.Body) != `{"n":1}` {
				t.Fatalf("claimed %+v, want the third alone", claimed)
			}
			d := delivery(t, s, l.Delivery.ID)
			if d.Status != hub.DeliveryPending || d.EventID != events[0].ID || d.EndpointID != e.ID || d.AttemptCount != 0 || !d.CreatedAt.Equal(b.clock.Now()) {
				t.Fatalf("delivery is %+v", d)
			}
		})

		t.Run("holds and does not reserve for what is stopped", func(t *testing.T) {
			k.mu.Lock()
			k.slots = 1000
			k.mu.Unlock()
			before := len(k.taken())
			got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
				sub.State = hub.SubscriptionPaused
				return nil
			}))
			ev := newEvent(b, src)
			add(t, s, ev)
			d := deliveriesOf(t, s, ev.ID)
			if len(d) != 1 || d[0].Status != hub.DeliveryHeld || d[0].Reason == "" || len(k.taken()) != before {
				t.Fatalf("deliveries are %+v, %d handed over", d, len(k.taken())-before)
			}
			if claimed := claim(t, s, e, 10); len(claimed) != 0 {
				t.Fatalf("claimed %d of a paused subscription", len(claimed))
			}
			got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
				sub.State = hub.SubscriptionActive
				return nil
			}))
			if claimed := claim(t, s, e, 10); len(claimed) != 1 || claimed[0].Event.ID != ev.ID {
				t.Fatalf("claimed %+v after resuming", claimed)
			}
		})

		t.Run("waits as long as the schedule's first step says", func(t *testing.T) {
			late := newEndpoint(t, s, b, func(e *hub.Endpoint) { e.RetryPolicy.Schedule = []time.Duration{time.Minute} })
			newSubscription(t, s, b, late)
			add(t, s, newEvent(b, src))
			if claimed := claim(t, s, late, 10); len(claimed) != 0 {
				t.Fatalf("claimed %d at once", len(claimed))
			}
			due := got[map[string]time.Time](t)(s.NextDue(t.Context()))
			if !due[late.ID].Equal(b.clock.Now().Add(time.Minute)) {
				t.Fatalf("next due at %v", due[late.ID])
			}
			b.clock.advance(time.Minute)
			if claimed := claim(t, s, late, 10); len(claimed) != 1 {
				t.Fatalf("claimed %d after a minute", len(claimed))
			}
		})
	})
}

func TestClaiming(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e, other := newSource(t, s, b), newEndpoint(t, s, b), newEndpoint(t, s, b)
		newSubscription(t, s, b, e)
		newSubscription(t, s, b, other)
		var want []string
		for range 5 {
			ev := newEvent(b, src)
			add(t, s, ev)
			want = append(want, ev.ID)
			b.clock.advance(time.Second)
		}
		of := func(leases []hub.Lease) []string {
			return ids(leases, func(l hub.Lease) string { return l.Delivery.EventID })
		}

		first := claim(t, s, e, 2)
		if !slices.Equal(of(first), want[:2]) {
			t.Fatalf("claimed %v, want the two that are due longest", of(first))
		}
		second := claim(t, s, e, 100)
		if !slices.Equal(of(second), want[2:]) {
			t.Fatalf("claimed %v, want the rest", of(second))
		}
		both := got[[]hub.Lease](t)(s.Claim(t.Context(), []hub.Want{
			{EndpointID: e.ID, Limit: 10, Lease: time.Minute}, {EndpointID: other.ID, Limit: 3, Lease: time.Minute}, {EndpointID: "end_none", Limit: 5},
		}))
		if !slices.Equal(of(both), want[:3]) || both[0].Delivery.EndpointID != other.ID {
			t.Fatalf("claimed %v of the other endpoint, want 3", of(both))
		}

		t.Run("a lease that ran out can be claimed again, and the old one is fenced", func(t *testing.T) {
			b.clock.advance(time.Minute - time.Microsecond)
			if again := claim(t, s, e, 100); len(again) != 0 {
				t.Fatalf("claimed %d while leased", len(again))
			}
			b.clock.advance(time.Microsecond)
			again := claim(t, s, e, 1)
			if len(again) != 1 || again[0].Token == first[0].Token {
				t.Fatalf("claimed %+v", again)
			}
			stale := first[slices.IndexFunc(append(first, second...), func(l hub.Lease) bool { return l.Delivery.ID == again[0].Delivery.ID })]
			d := settled(t, s, attempt(b, stale, hub.AttemptSucceeded, hub.DeliveryDelivered))
			if d.Status != hub.DeliveryPending || d.AttemptCount != 1 {
				t.Fatalf("after a stale result the delivery is %+v", d)
			}
			d = settled(t, s, attempt(b, again[0], hub.AttemptSucceeded, hub.DeliveryDelivered))
			if d.Status != hub.DeliveryDelivered || d.AttemptCount != 2 || !d.CompletedAt.Equal(b.clock.Now()) || !d.NextAttemptAt.IsZero() {
				t.Fatalf("after the result the delivery is %+v", d)
			}
		})

		t.Run("what a person has stopped is neither claimed nor due", func(t *testing.T) {
			got[*hub.Endpoint](t)(s.UpdateEndpoint(t.Context(), other.ID, func(e *hub.Endpoint) error {
				e.State = hub.EndpointPaused
				return nil
			}))
			if leases := claim(t, s, other, 100); len(leases) != 0 {
				t.Fatalf("claimed %d of a paused endpoint", len(leases))
			}
			due := got[map[string]time.Time](t)(s.NextDue(t.Context()))
			if _, ok := due[other.ID]; ok || due[e.ID].IsZero() {
				t.Fatalf("due are %v", due)
			}
		})
	})
}

func TestClaimingOfSeveralSubscriptions(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e, other := newSource(t, s, b), newEndpoint(t, s, b), newEndpoint(t, s, b)
		subs := make([]*hub.Subscription, 4)
		for i := range subs {
			subs[i] = newSubscription(t, s, b, e)
		}
		// Events go to one subscription after the other: 1 is paused, 2 moves away.
		turn := 0
		b.router.set(func(*hub.Event, *hub.Configuration) []string { return []string{subs[turn%len(subs)].ID} })
		begun := b.clock.Now()
		var owed []*hub.Event
		for range 24 {
			ev := newEvent(b, src)
			add(t, s, ev)
			owed = append(owed, ev)
			turn++
			b.clock.advance(time.Second)
		}
		setState := func(state hub.SubscriptionState) func(*hub.Subscription) error {
			return func(sub *hub.Subscription) error {
				sub.State = state
				return nil
			}
		}
		for _, i := range []int{0, 1} {
			got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), subs[i].ID, setState(hub.SubscriptionPaused)))
		}
		got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), subs[2].ID, func(sub *hub.Subscription) error {
			sub.EndpointID = other.ID
			return nil
		}))
		due := func() time.Time { return got[map[string]time.Time](t)(s.NextDue(t.Context()))[e.ID] }
		claimed := func(limit int) (owners []int) {
			t.Helper()
			for _, l := range claim(t, s, e, limit) {
				owners = append(owners, slices.IndexFunc(owed, func(ev *hub.Event) bool { return ev.ID == l.Event.ID }))
			}
			return owners
		}

		if at := due(); !at.Equal(begun.Add(2 * time.Second)) {
			t.Fatalf("next due after %v", at.Sub(begun))
		}
		if is := claimed(5); !slices.Equal(is, []int{2, 3, 6, 7, 10}) {
			t.Fatalf("claimed %v", is)
		}
		got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), subs[0].ID, setState(hub.SubscriptionActive)))
		if at := due(); !at.Equal(begun) {
			t.Fatalf("next due after %v once resumed", at.Sub(begun))
		}
		if is := claimed(4); !slices.Equal(is, []int{0, 4, 8, 11}) {
			t.Fatalf("claimed %v once resumed", is)
		}
		if is := claimed(100); !slices.Equal(is, []int{12, 14, 15, 16, 18, 19, 20, 22, 23}) {
			t.Fatalf("claimed %v of the rest", is)
		}
		if is := claimed(100); len(is) != 0 {
			t.Fatalf("claimed %v again", is)
		}
		if at := due(); !at.Equal(b.clock.Now().Add(time.Minute)) {
			t.Fatalf("next due after %v while all is leased", at.Sub(begun))
		}
	})
}

func TestSettling(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		newSubscription(t, s, b, e)
		lease := func(t *testing.T) hub.Lease {
			t.Helper()
			add(t, s, newEvent(b, src))
			leases := claim(t, s, e, 1)
			if len(leases) != 1 {
				t.Fatalf("claimed %d", len(leases))
			}
			return leases[0]
		}

		t.Run("a retry waits for its time and keeps its place", func(t *testing.T) {
			l := lease(t)
			r := attempt(b, l, hub.AttemptRefused, hub.DeliveryPending)
			r.Attempt.Error, r.Attempt.StatusCode = "503 \x00", 503
			r.Attempt.RequestHeaders = []hub.Header{{Name: "webhook-id", Value: l.Delivery.ID}}
			r.Attempt.ResponseHeaders = []hub.Header{{Name: "Server", Value: "\xff"}}
			r.Attempt.ResponseBody = []byte{0, 1, 0xff}
			d := settled(t, s, r)
			if d.Status != hub.DeliveryPending || d.SchedulePosition != 1 || !d.NextAttemptAt.Equal(b.clock.Now().Add(time.Hour)) {
				t.Fatalf("delivery is %+v", d)
			}
			page := got[map[string]hub.Slice[*hub.Attempt]](t)(s.AttemptsOf(t.Context(), []string{d.ID, "dlv_none"}, hub.Page{Size: 10}))
			if len(page["dlv_none"].Items) != 0 || len(page[d.ID].Items) != 1 {
				t.Fatalf("attempts are %+v", page)
			}
			a := page[d.ID].Items[0]
			if a.Number != 1 || a.StatusCode != 503 || string(a.ResponseBody) != "\x00\x01\xff" || a.Duration != 12*time.Millisecond ||
				!slices.Equal(a.RequestHeaders, r.Attempt.RequestHeaders) || !a.StartedAt.Equal(b.clock.Now()) || a.ID != r.Attempt.ID {
				t.Fatalf("attempt is %+v", a)
			}
			if leases := claim(t, s, e, 10); len(leases) != 0 {
				t.Fatal("claimed before its time")
			}
			b.clock.advance(time.Hour)
			again := claim(t, s, e, 10)
			if len(again) != 1 || again[0].Delivery.AttemptCount != 1 || again[0].Delivery.SchedulePosition != 1 {
				t.Fatalf("claimed %+v", again)
			}
			r = attempt(b, again[0], hub.AttemptRefused, hub.DeliveryDead)
			r.Delivery.Reason = "ten attempts failed"
			d = settled(t, s, r)
			if d.Status != hub.DeliveryDead || d.Reason != "ten attempts failed" || d.AttemptCount != 2 {
				t.Fatalf("delivery is %+v", d)
			}
			counts := got[map[string]int](t)(s.CountAttemptsOf(t.Context(), []string{d.ID, "dlv_none"}))
			byID := got[map[string]*hub.Attempt](t)(s.AttemptsByID(t.Context(), []string{r.Attempt.ID}))
			if len(counts) != 1 || counts[d.ID] != 2 || byID[r.Attempt.ID].Number != 2 {
				t.Fatalf("counts %v, attempt %+v", counts, byID[r.Attempt.ID])
			}
		})

		t.Run("a lease that is given back is due again, and nothing is recorded", func(t *testing.T) {
			l := lease(t)
			s.Settle(hub.Settlement{LeaseToken: l.Token, Delivery: l.Delivery})
			eventually(t, "the delivery can be claimed again", func() bool {
				leases := claim(t, s, e, 10)
				return len(leases) == 1 && leases[0].Delivery.ID == l.Delivery.ID && leases[0].Delivery.AttemptCount == 0
			})
		})

		t.Run("the same result twice counts once", func(t *testing.T) {
			r := attempt(b, lease(t), hub.AttemptSucceeded, hub.DeliveryDelivered)
			settled(t, s, r)
			s.Settle(r)
			settled(t, s, attempt(b, lease(t), hub.AttemptSucceeded, hub.DeliveryDelivered)) // later in the same queue
			if d := delivery(t, s, r.Delivery.ID); d.AttemptCount != 1 {
				t.Fatalf("counted %d attempts", d.AttemptCount)
			}
		})

		t.Run("many results of one delivery at once are numbered in order", func(t *testing.T) {
			l := lease(t)
			for range 4 {
				s.Settle(attempt(b, l, hub.AttemptInterrupted, hub.DeliveryPending))
			}
			eventually(t, "all are recorded", func() bool { return delivery(t, s, l.Delivery.ID).AttemptCount == 4 })
			page := got[map[string]hub.Slice[*hub.Attempt]](t)(s.AttemptsOf(t.Context(), []string{l.Delivery.ID}, hub.Page{Size: 2, After: "0000000001"}))
			list := page[l.Delivery.ID]
			if len(list.Items) != 2 || list.Items[0].Number != 2 || list.Items[1].Number != 3 || !list.HasNext || !list.HasPrevious {
				t.Fatalf("attempts are %+v", list)
			}
		})

		t.Run("health is kept and shown", func(t *testing.T) {
			r := attempt(b, lease(t), hub.AttemptTimedOut, hub.DeliveryPending)
			until := b.clock.Now().Add(30 * time.Second)
			r.Health = &hub.EndpointHealth{
				EndpointID: e.ID, Breaker: hub.BreakerOpen, BreakerUntil: until, Probes: 1, ConsecutiveFailures: 10,
				FailingSince: b.clock.Now(), LastFailureAt: b.clock.Now(),
			}
			settled(t, s, r)
			eventually(t, "health is known", func() bool { return s.Health(e.ID) != nil })
			must(t, s.Refresh(t.Context()))
			if h := s.Health(e.ID); *h != *r.Health {
				t.Fatalf("health is %+v", h)
			}
			if d := delivery(t, s, r.Delivery.ID); d.Status != hub.DeliveryHeld {
				t.Fatalf("with the breaker open the delivery is %s", d.Status)
			}
			r = attempt(b, lease(t), hub.AttemptSucceeded, hub.DeliveryDelivered)
			r.Health = &hub.EndpointHealth{EndpointID: e.ID, Breaker: hub.BreakerClosed}
			settled(t, s, r)
			eventually(t, "health is good again", func() bool { return s.Health(e.ID).Breaker == hub.BreakerClosed })
		})

		t.Run("an endpoint is disabled with its reason", func(t *testing.T) {
			revision := s.Configuration().Revision
			r := attempt(b, lease(t), hub.AttemptRefused, hub.DeliveryDead)
			r.Disable = "it answered 410 Gone"
			settled(t, s, r)
			eventually(t, "the endpoint is disabled", func() bool {
				now := s.Configuration().Endpoints[e.ID]
				return now.State == hub.EndpointDisabled && now.StateReason == "it answered 410 Gone" && s.Configuration().Revision > revision
			})
		})
	})
}

func TestRetryAndCancel(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		newSubscription(t, s, b, e)
		ev := newEvent(b, src)
		add(t, s, ev)
		id := deliveriesOf(t, s, ev.ID)[0].ID

		_, err := s.RetryDelivery(t.Context(), "dlv_none")
		wantCode(t, err, hub.CodeNotFound)
		_, err = s.CancelDelivery(t.Context(), "dlv_none")
		wantCode(t, err, hub.CodeNotFound)

		l := claim(t, s, e, 1)[0]
		_, err = s.RetryDelivery(t.Context(), id)
		wantCode(t, err, hub.CodeConflict)

		settled(t, s, attempt(b, l, hub.AttemptRefused, hub.DeliveryPending))
		if len(claim(t, s, e, 1)) != 0 {
			t.Fatal("due before its time")
		}
		d := got[*hub.Delivery](t)(s.RetryDelivery(t.Context(), id))
		if !d.NextAttemptAt.Equal(b.clock.Now()) || d.SchedulePosition != 1 {
			t.Fatalf("retried while waiting it is %+v", d)
		}
		l = claim(t, s, e, 1)[0]
		settled(t, s, attempt(b, l, hub.AttemptSucceeded, hub.DeliveryDelivered))
		_, err = s.CancelDelivery(t.Context(), id)
		wantCode(t, err, hub.CodeConflict)
		d = got[*hub.Delivery](t)(s.RetryDelivery(t.Context(), id))
		if d.Status != hub.DeliveryPending || d.SchedulePosition != 0 || !d.CompletedAt.IsZero() || d.AttemptCount != 2 {
			t.Fatalf("retried after its end it is %+v", d)
		}

		l = claim(t, s, e, 1)[0]
		d = got[*hub.Delivery](t)(s.CancelDelivery(t.Context(), id))
		if d.Status != hub.DeliveryCanceled || d.Reason != "canceled by request" || !d.CompletedAt.Equal(b.clock.Now()) || !d.NextAttemptAt.IsZero() {
			t.Fatalf("canceled it is %+v", d)
		}
		d = settled(t, s, attempt(b, l, hub.AttemptSucceeded, hub.DeliveryDelivered))
		if d.Status != hub.DeliveryCanceled || d.AttemptCount != 3 {
			t.Fatalf("after the attempt under way it is %+v", d)
		}
		if len(claim(t, s, e, 1)) != 0 {
			t.Fatal("a canceled delivery was claimed")
		}
	})
}
