package store_test

import (
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestAResultIsToldWhetherItsLeaseHeld(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b, _ := started(t, url, 0)
		partner := &hub.Partner{ID: hub.NewID(hub.PartnerPrefix, b.clock.Now()), Name: "One", CreatedAt: b.clock.Now(), UpdatedAt: b.clock.Now()}
		must(t, s.CreatePartner(t.Context(), partner))
		e := newEndpoint(t, s, b, func(e *hub.Endpoint) {
			e.Kind, e.URL, e.Signing, e.PartnerID = hub.EndpointStream, "", hub.SigningNone, partner.ID
		})
		newSubscription(t, s, b, e)
		src := newSource(t, s, b)
		addressed := func(ev *hub.Event) { ev.PartnerID = partner.ID }
		add(t, s, newEvent(b, src, addressed))
		add(t, s, newEvent(b, src, addressed))
		claimed := claim(t, s, e, 10)
		if len(claimed) != 2 {
			t.Fatalf("claimed %+v", claimed)
		}
		kept, canceled := claimed[0].Delivery.ID, claimed[1].Delivery.ID
		leased := got[map[string]hub.Lease](t)(s.Leased(t.Context(), []string{kept, canceled, "dlv_none"}))
		if l := leased[kept]; len(leased) != 2 || l.Delivery.PartnerID != partner.ID || l.Token != claimed[0].Token ||
			!l.ExpiresAt.Equal(claimed[0].ExpiresAt) || l.Event.SourceID != src.ID || !l.Event.ReceivedAt.Equal(claimed[0].Event.ReceivedAt) {
			t.Errorf("leased are %+v", leased)
		}

		// The delivery is canceled after its lease was read and before it is settled.
		got[*hub.Delivery](t)(s.CancelDelivery(t.Context(), canceled))
		for id, want := range map[string]bool{kept: true, canceled: false} {
			d := leased[id].Delivery
			d.Status, d.CompletedAt = hub.DeliveryDelivered, b.clock.Now()
			told := make(chan bool, 1)
			s.Settle(hub.Settlement{
				LeaseToken: leased[id].Token, Event: leased[id].Event, Delivery: d,
				Attempt: &hub.Attempt{ID: hub.NewID(hub.AttemptPrefix, b.clock.Now()), DeliveryID: id, StartedAt: b.clock.Now(), Outcome: hub.AttemptSucceeded},
				Stored: func(applied bool, err error) {
					if err != nil {
						t.Error(err)
					}
					told <- applied
				},
			})
			select {
			case applied := <-told:
				if applied != want {
					t.Errorf("of %+v it was told %t", delivery(t, s, id), applied)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("nothing was told")
			}
		}
		if d := delivery(t, s, canceled); d.Status != hub.DeliveryCanceled || d.AttemptCount != 1 {
			t.Errorf("the canceled one is %+v", d)
		}
		if leased := got[map[string]hub.Lease](t)(s.Leased(t.Context(), []string{kept, canceled})); len(leased) != 0 {
			t.Errorf("leased are %+v", leased)
		}
	})
}
