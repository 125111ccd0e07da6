package store_test

import (
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func shapedBy(expression string) func(*hub.Subscription) {
	return func(sub *hub.Subscription) {
		sub.Transform = &hub.Transform{Kind: hub.TransformCEL, Expression: expression}
	}
}

// transformFailed is the result of a lease whose body could not be made.
func transformFailed(b *bundle, l hub.Lease, transform *hub.Transform) hub.Settlement {
	s := attempt(b, l, hub.AttemptTransformFailed, hub.DeliveryHeld)
	s.Transform = transform
	s.Delivery.Reason, s.Delivery.NextAttemptAt = "it failed", time.Time{}
	return s
}

func TestShapedBodies(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		plain := newSubscription(t, s, b, e)
		shaped := newSubscription(t, s, b, e, shapedBy("body.n"))
		if got := s.Configuration().Subscriptions[shaped.ID].Transform; !got.Equal(shaped.Transform) {
			t.Fatalf("the configuration has the transform %v", got)
		}
		add(t, s, newEvent(b, src))
		leases := map[string]hub.Lease{}
		for _, l := range claim(t, s, e, 10) {
			leases[l.Delivery.SubscriptionID] = l
		}
		if l := leases[plain.ID]; l.Delivery.BodyForm != hub.BodyReceived || l.Body != nil {
			t.Fatalf("without a transform: %+v", l.Delivery)
		}
		l := leases[shaped.ID]
		if l.Delivery.BodyForm != hub.BodyUnshaped {
			t.Fatalf("with a transform: %+v", l.Delivery)
		}

		void := l
		void.Token = "void"
		wantCode(t, s.KeepBody(t.Context(), void, hub.Body{Bytes: []byte("1")}), hub.CodeConflict)
		wantCode(t, s.KeepBody(t.Context(), leases[plain.ID], hub.Body{Bytes: []byte("1")}), hub.CodeConflict)
		must(t, s.KeepBody(t.Context(), l, hub.Body{ContentType: "application/json", Bytes: []byte("1")}))
		wantCode(t, s.KeepBody(t.Context(), l, hub.Body{Bytes: []byte("2")}), hub.CodeConflict)

		s.Settle(hub.Settlement{LeaseToken: l.Token, Delivery: l.Delivery}) // as after a crash: never sent
		var again []hub.Lease
		eventually(t, "it can be claimed again", func() bool {
			again = claim(t, s, e, 10)
			return len(again) == 1
		})
		if body := again[0].Body; body == nil || string(body.Bytes) != "1" || body.ContentType != "application/json" {
			t.Fatalf("claimed again with %+v", body)
		}
		found := got[map[string]*hub.Body](t)(s.ShapedBodies(t.Context(), []string{l.Delivery.ID, leases[plain.ID].Delivery.ID}))
		if len(found) != 1 || string(found[l.Delivery.ID].Bytes) != "1" {
			t.Fatalf("stored are %v", found)
		}
	})
}

func TestHeldByItself(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		sub := newSubscription(t, s, b, e, shapedBy("body.x"))
		hold := func() *hub.Delivery {
			add(t, s, newEvent(b, src))
			var leases []hub.Lease
			eventually(t, "it can be claimed", func() bool {
				leases = claim(t, s, e, 1)
				return len(leases) == 1
			})
			return settled(t, s, transformFailed(b, leases[0], s.Configuration().Subscriptions[sub.ID].Transform))
		}
		status := func(d *hub.Delivery) hub.DeliveryStatus { return delivery(t, s, d.ID).Status }
		count := func(status hub.DeliveryStatus) int {
			return got[int](t)(s.CountDeliveries(t.Context(), hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{status}}))
		}

		d := hold()
		if d.Status != hub.DeliveryHeld || d.Reason != "it failed" || !d.NextAttemptAt.IsZero() || d.AttemptCount != 1 {
			t.Fatalf("held: %+v", d)
		}
		b.clock.advance(1000 * time.Hour)
		if again := claim(t, s, e, 10); len(again) != 0 {
			t.Fatalf("what is held was claimed: %+v", again)
		}
		if count(hub.DeliveryHeld) != 1 || count(hub.DeliveryPending) != 0 {
			t.Fatalf("%d held, %d pending", count(hub.DeliveryHeld), count(hub.DeliveryPending))
		}

		_, err := s.RetryDelivery(t.Context(), d.ID)
		must(t, err)
		if status(d) != hub.DeliveryPending {
			t.Fatalf("retried: %+v", delivery(t, s, d.ID))
		}
		lease := claim(t, s, e, 1)[0]
		settled(t, s, transformFailed(b, lease, sub.Transform))

		change := func(expression string) {
			_, err := s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
				shapedBy(expression)(sub)
				return nil
			})
			must(t, err)
		}
		_, err = s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error { sub.Name = "another"; return nil })
		must(t, err)
		if status(d) != hub.DeliveryHeld {
			t.Fatal("a new name let it go")
		}
		change("body.n")
		if status(d) != hub.DeliveryPending {
			t.Fatal("a new transform did not let it go")
		}

		lease = claim(t, s, e, 1)[0]
		old := s.Configuration().Subscriptions[sub.ID].Transform
		change("body") // while the old one is failing
		if got := settled(t, s, transformFailed(b, lease, old)); got.Status != hub.DeliveryPending {
			t.Fatalf("held for a transform that is gone: %+v", got)
		}

		other := hold()
		canceled := got[*hub.Delivery](t)(s.CancelDelivery(t.Context(), other.ID))
		if canceled.Status != hub.DeliveryCanceled {
			t.Fatalf("canceled: %+v", canceled)
		}
	})
}

func TestRulesAsTheyStood(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		sequence := func() hub.Sequence { return add(t, s, newEvent(b, src)).Sequence }
		filters := func(at hub.Sequence) map[string]string {
			out := make(map[string]string)
			for _, r := range got[[]hub.Rule](t)(s.RulesAt(t.Context(), at, 10)) {
				out[r.SubscriptionID] = r.Filter
			}
			return out
		}
		edit := func(id string, do func(*hub.Subscription)) {
			_, err := s.UpdateSubscription(t.Context(), id, func(sub *hub.Subscription) error { do(sub); return nil })
			must(t, err)
		}

		before := sequence()
		one := newSubscription(t, s, b, e, func(sub *hub.Subscription) { sub.Filter = "1" })
		two := newSubscription(t, s, b, e)
		first := sequence()
		edit(one.ID, func(sub *hub.Subscription) { sub.Filter = "2" })
		edit(one.ID, func(sub *hub.Subscription) { sub.Filter = "3" })
		edit(one.ID, func(sub *hub.Subscription) { sub.State = hub.SubscriptionPaused })
		second := sequence()
		must(t, s.DeleteSubscription(t.Context(), two.ID))
		third := sequence()
		must(t, s.DeleteEndpoint(t.Context(), e.ID))
		fourth := sequence()

		for _, c := range []struct {
			at   hub.Sequence
			want map[string]string
		}{
			{before, map[string]string{}},
			{first, map[string]string{one.ID: "1", two.ID: ""}},
			{second, map[string]string{one.ID: "3", two.ID: ""}},
			{third, map[string]string{one.ID: "3"}},
			{fourth, map[string]string{}},
		} {
			have := filters(c.at)
			if len(have) != len(c.want) {
				t.Errorf("at %s: %v, want %v", c.at, have, c.want)
			}
			for id, filter := range c.want {
				if got, ok := have[id]; !ok || got != filter {
					t.Errorf("at %s: %v, want %v", c.at, have, c.want)
				}
			}
		}
		if rules := got[[]hub.Rule](t)(s.RulesAt(t.Context(), second, 1)); len(rules) != 1 || rules[0].SubscriptionID != one.ID || rules[0].Name != one.Name {
			t.Errorf("the first rule alone: %+v", rules)
		}
	})
}

// PostgreSQL refuses a statement that both clears a column and sets it.
func TestChangingWhatMayBeNull(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b, func(src *hub.Source) { src.Verification = &hub.Verification{AllowNetworks: []string{"10.0.0.0/8"}} })
		e := newEndpoint(t, s, b, func(e *hub.Endpoint) { e.RateLimit = &hub.RateLimit{Limit: 1, Period: time.Second} })
		renamed, err := s.UpdateSource(t.Context(), src.ID, func(src *hub.Source) error { src.Name = "another"; return nil })
		if err != nil || renamed.Verification == nil {
			t.Errorf("source: %+v, %v", renamed, err)
		}
		changed, err := s.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error { e.Name = "another"; return nil })
		if err != nil || changed.RateLimit == nil {
			t.Errorf("endpoint: %+v, %v", changed, err)
		}
		changed, err = s.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error { e.RateLimit = nil; return nil })
		if err != nil || changed.RateLimit != nil || s.Configuration().Endpoints[e.ID].RateLimit != nil {
			t.Errorf("endpoint without: %+v, %v", changed, err)
		}
	})
}
