package store_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// Whoever changes configuration holds the row that orders all commits; whoever changes
// deliveries comes to it last. A new transform does both.
func TestReleasingWhatIsHeldWaitsForNobodyWhoWaitsForIt(t *testing.T) {
	t.Parallel()
	s, b := start(t, testkit.Postgres(t))
	src, e := newSource(t, s, b), newEndpoint(t, s, b)
	sub := newSubscription(t, s, b, e, shapedBy("0"))
	reshape := func(n int) error {
		_, err := s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
			shapedBy(fmt.Sprint(n))(sub)
			return nil
		})
		return err
	}
	const count = 40
	var ids []string
	for range count {
		add(t, s, newEvent(b, src))
	}
	for round := range 8 {
		var leases []hub.Lease
		eventually(t, "all can be claimed", func() bool {
			leases = append(leases, claim(t, s, e, count)...)
			return len(leases) == count
		})
		ids = ids[:0]
		for _, l := range leases {
			ids = append(ids, l.Delivery.ID)
			settled(t, s, transformFailed(b, l, s.Configuration().Subscriptions[sub.ID].Transform))
		}
		var acting sync.WaitGroup
		var reshaped atomic.Bool
		for at := range 4 {
			acting.Go(func() {
				for i := at; i < len(ids); i += 4 {
					if _, err := s.RetryDelivery(t.Context(), ids[i]); err != nil {
						t.Errorf("retry: %v", err)
					}
				}
				for !reshaped.Load() { // those who act may be ever so busy
					if _, err := s.RetryDelivery(t.Context(), ids[at]); err != nil {
						t.Errorf("retry again: %v", err)
					}
				}
			})
		}
		began := time.Now()
		if err := reshape(round + 1); err != nil {
			t.Errorf("a new transform: %v", err)
		}
		reshaped.Store(true)
		acting.Wait()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %s", took)
		}
		for _, id := range ids {
			if d := delivery(t, s, id); d.Status != hub.DeliveryPending {
				t.Fatalf("it is %s for %q", d.Status, d.Reason)
			}
		}
		if t.Failed() {
			return
		}
	}
}

// A body is kept by the writer, which holds that row for the events beside it.
func TestKeepingBodiesWaitsForNobodyWhoWaitsForIt(t *testing.T) {
	t.Parallel()
	s, b := start(t, testkit.Postgres(t))
	src, e := newSource(t, s, b), newEndpoint(t, s, b)
	newSubscription(t, s, b, e, shapedBy("body"))
	for range 8 {
		const count = 25
		for range count {
			add(t, s, newEvent(b, src))
		}
		var leases []hub.Lease
		eventually(t, "all can be claimed", func() bool {
			leases = append(leases, claim(t, s, e, count)...)
			return len(leases) == count
		})
		var all sync.WaitGroup
		for _, l := range leases {
			all.Go(func() {
				err := s.KeepBody(t.Context(), l, hub.Body{ContentType: "text/plain", Bytes: []byte("x")})
				if err != nil && hub.CodeOf(err) != hub.CodeConflict { // canceled before
					t.Errorf("keep a body: %v", err)
				}
			})
			all.Go(func() {
				if _, err := s.CancelDelivery(t.Context(), l.Delivery.ID); err != nil {
					t.Errorf("cancel: %v", err)
				}
			})
			all.Go(func() { add(t, s, newEvent(b, src)) })
		}
		all.Wait()
		if t.Failed() {
			return
		}
		for _, l := range claim(t, s, e, 1000) {
			_, err := s.CancelDelivery(t.Context(), l.Delivery.ID)
			must(t, err)
		}
	}
}
