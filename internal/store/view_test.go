package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

func newPartner(t testing.TB, s *store.Store, b *bundle, eventTypes ...string) *hub.Partner {
	t.Helper()
	p := &hub.Partner{ID: hub.NewID(hub.PartnerPrefix, b.clock.Now()), Name: "Partner", EventTypes: eventTypes}
	must(t, s.CreatePartner(t.Context(), p))
	return p
}

// typesOf returns the types of events in order.
func typesOf(events []*hub.Event) []string {
	var types []string
	for _, ev := range events {
		types = append(types, ev.Type)
	}
	return types
}

func TestAViewHoldsWhatIsInSight(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		ctx := t.Context()
		src := newSource(t, s, b)
		one, two := newPartner(t, s, b, "invoice.*", "*.paid", "exact"), newPartner(t, s, b)
		mine := newEndpoint(t, s, b, func(e *hub.Endpoint) { e.PartnerID = one.ID })
		theirs := newEndpoint(t, s, b, func(e *hub.Endpoint) { e.PartnerID = two.ID })
		mySub, theirSub := newSubscription(t, s, b, mine), newSubscription(t, s, b, theirs)
		var events []*hub.Event
		for _, c := range []struct{ eventType, partner string }{
			{"invoice.paid", ""},
			{"invoice", ""},
			{"order.paid", ""},
			{"order.paid.late", ""},
			{"exact", ""},
			{"private", ""},
			{"private", one.ID},
			{"private", two.ID},
			{"invoice.paid", two.ID},
		} {
			ev := &hub.Event{
				ID: hub.NewID(hub.EventPrefix, b.clock.Now()), SourceID: src.ID, Type: c.eventType, PartnerID: c.partner, ReceivedAt: b.clock.Now(),
				Payload: &hub.Payload{Body: []byte(c.eventType)},
			}
			got[[]hub.Receipt](t)(s.Append(ctx, []*hub.Event{ev}))
			events = append(events, ev)
		}
		view, nobody := s.For(hub.PartnerSight(one.ID)), s.For(hub.Sight{})

		t.Run("the same events as hub.Sight", func(t *testing.T) {
			var ids []string
			for _, ev := range events {
				ids = append(ids, ev.ID)
			}
			for _, v := range []*store.View{view, nobody, s.For(hub.PartnerSight(two.ID)), s.For(hub.WholeSight())} {
				var want []string
				for _, ev := range events {
					if v.Sight().Sees(ev, s.Configuration()) {
						want = append(want, ev.Type)
					}
				}
				page := hub.Page{Size: 100}
				listed := got[hub.Slice[*hub.Event]](t)(v.Events(ctx, store.EventQuery{Page: page, OldestFirst: true}))
				all := func(*hub.Event) (bool, error) { return true, nil }
				scanned := got[hub.Slice[*hub.Event]](t)(v.Events(ctx, store.EventQuery{Page: page, OldestFirst: true, Admit: all}))
				ofSource := got[map[string]hub.Slice[*hub.Event]](t)(v.EventsOfSources(ctx, []string{src.ID}, hub.EventFilter{}, page))[src.ID].Items
				slices.Reverse(ofSource)
				for how, found := range map[string][]*hub.Event{"listed": listed.Items, "scanned": scanned.Items, "of the source": ofSource} {
					if !slices.Equal(typesOf(found), want) {
						t.Errorf("%s: %v, want %v", how, typesOf(found), want)
					}
				}
				counts := []int{
					got[int](t)(v.CountEvents(ctx, hub.EventFilter{})),
					got[int](t)(v.CountAdmitted(ctx, store.EventQuery{Admit: all})),
					got[map[string]int](t)(v.CountEventsOfSources(ctx, []string{src.ID}, hub.EventFilter{}))[src.ID],
					len(got[map[string]*hub.Event](t)(v.EventsByID(ctx, ids))),
					len(got[map[string]*hub.Payload](t)(v.Payloads(ctx, ids))),
				}
				if slices.Min(counts) != len(want) || slices.Max(counts) != len(want) {
					t.Errorf("counted %v, want %d", counts, len(want))
				}
			}
			if want := []string{"invoice.paid", "order.paid", "exact", "private"}; !slices.Equal(typesOf(got[hub.Slice[*hub.Event]](t)(view.Events(ctx, store.EventQuery{Page: hub.Page{Size: 9}, OldestFirst: true})).Items), want) {
				t.Errorf("the partner does not see %v", want)
			}
			if n := got[int](t)(s.CountEvents(ctx, hub.EventFilter{PartnerIDs: []string{two.ID, ""}})); n != 2 {
				t.Errorf("%d events are addressed to the other partner", n)
			}
		})

		t.Run("deliveries and attempts of its endpoints alone", func(t *testing.T) {
			for _, e := range []*hub.Endpoint{mine, theirs} {
				leases := got[[]hub.Lease](t)(s.Claim(ctx, []hub.Want{{EndpointID: e.ID, Limit: 2, Lease: time.Minute}}))
				for _, l := range leases {
					l.Delivery.NextAttemptAt = b.clock.Now().Add(time.Hour)
					s.Settle(hub.Settlement{LeaseToken: l.Token, Delivery: l.Delivery, Attempt: &hub.Attempt{
						ID: hub.NewID(hub.AttemptPrefix, b.clock.Now()), DeliveryID: l.Delivery.ID, StartedAt: b.clock.Now(), Outcome: hub.AttemptRefused,
					}})
				}
			}
			every := got[hub.Slice[*hub.Delivery]](t)(s.Deliveries(ctx, hub.DeliveryFilter{}, hub.Page{Size: 100})).Items
			var ids []string
			for _, d := range every {
				ids = append(ids, d.ID)
			}
			eventually(t, "the attempts are stored", func() bool {
				return len(got[map[string]int](t)(s.CountAttemptsOf(ctx, ids))) == 4
			})
			for partner, e := range map[string]*hub.Endpoint{one.ID: mine, two.ID: theirs} {
				counted := hub.StatsBucket{}
				now := b.clock.Now()
				for _, bucket := range got[[]*hub.StatsBucket](t)(s.For(hub.PartnerSight(partner)).Stats(ctx, store.StatsQuery{
					Since: now.Add(-time.Hour), Until: now.Add(time.Hour), Bucket: time.Hour,
				})) {
					counted.Attempts += bucket.Attempts
					counted.DeliveriesCreated += bucket.DeliveriesCreated
				}
				created := got[int](t)(s.CountDeliveries(ctx, hub.DeliveryFilter{EndpointIDs: []string{e.ID}}))
				if counted != (hub.StatsBucket{Attempts: 2, DeliveriesCreated: created}) {
					t.Errorf("the partner is told %+v of %d", counted, created)
				}
				probe := &hub.Attempt{
					ID: hub.NewID(hub.AttemptPrefix, now), DeliveryID: hub.NewID(hub.MessagePrefix, now), EndpointID: e.ID, StartedAt: now, Outcome: hub.AttemptSucceeded,
				}
				must(t, s.RecordAttempt(ctx, probe))
				for _, v := range []*store.View{view, nobody, s.For(hub.WholeSight())} {
					seen := got[map[string]*hub.Attempt](t)(v.AttemptsByID(ctx, []string{probe.ID}))[probe.ID] != nil
					if want := v.Sight().Owns(partner); seen != want {
						t.Errorf("a probe of %s is seen by %+v: %t", partner, v.Sight(), seen)
					}
				}
			}
			for _, change := range got[[]*hub.DeliveryChange](t)(s.ChangesAfter(ctx, 0, 100)) {
				want := map[string]string{mine.ID: one.ID, theirs.ID: two.ID}[change.Delivery.EndpointID]
				if change.Delivery.PartnerID != want {
					t.Errorf("a change is of %q, want %q", change.Delivery.PartnerID, want)
				}
			}
			seen := got[hub.Slice[*hub.Delivery]](t)(view.Deliveries(ctx, hub.DeliveryFilter{}, hub.Page{Size: 100})).Items
			for _, d := range seen {
				if d.PartnerID != one.ID || d.EndpointID != mine.ID {
					t.Errorf("saw %+v", d)
				}
			}
			both := []string{mine.ID, theirs.ID}
			counts := map[string]int{
				"listed":         len(seen),
				"counted":        got[int](t)(view.CountDeliveries(ctx, hub.DeliveryFilter{})),
				"by ID":          len(got[map[string]*hub.Delivery](t)(view.DeliveriesByID(ctx, ids))),
				"of partners":    got[int](t)(s.CountDeliveries(ctx, hub.DeliveryFilter{PartnerIDs: []string{one.ID}})),
				"of the backlog": got[map[string]int](t)(view.Backlog(ctx, both))[mine.ID],
			}
			for how, n := range counts {
				if n != len(every)/2 {
					t.Errorf("%s: %d of %d", how, n, len(every))
				}
			}
			if n := got[map[string]int](t)(view.Backlog(ctx, both))[theirs.ID]; n != 0 {
				t.Errorf("the backlog of the other is %d", n)
			}
			of := got[map[string]hub.Slice[*hub.Delivery]](t)(view.DeliveriesOf(ctx, store.OfEndpoints, both, hub.DeliveryFilter{}, hub.Page{Size: 100}))
			if len(of[mine.ID].Items) != len(every)/2 || len(of[theirs.ID].Items) != 0 {
				t.Errorf("of its endpoint %d, of the other's %d", len(of[mine.ID].Items), len(of[theirs.ID].Items))
			}
			attempts, total := 0, 0
			var tried []string
			for _, list := range got[map[string]hub.Slice[*hub.Attempt]](t)(view.AttemptsOf(ctx, ids, hub.Page{Size: 10})) {
				attempts += len(list.Items)
			}
			for _, list := range got[map[string]hub.Slice[*hub.Attempt]](t)(s.AttemptsOf(ctx, ids, hub.Page{Size: 10})) {
				for _, a := range list.Items {
					total, tried = total+1, append(tried, a.ID)
				}
			}
			byID := got[map[string]*hub.Attempt](t)(view.AttemptsByID(ctx, tried))
			if attempts != 2 || total != 4 || len(byID) != 2 || len(got[map[string]int](t)(view.CountAttemptsOf(ctx, ids))) != 2 {
				t.Errorf("saw %d and %d of %d attempts", attempts, len(byID), total)
			}
			if n := got[int](t)(nobody.CountDeliveries(ctx, hub.DeliveryFilter{})) + len(got[map[string]*hub.Attempt](t)(nobody.AttemptsByID(ctx, tried))); n != 0 {
				t.Errorf("nobody saw %d", n)
			}

			for _, d := range every {
				if d.PartnerID == one.ID {
					continue
				}
				_, retried := view.RetryDelivery(ctx, d.ID)
				_, canceled := view.CancelDelivery(ctx, d.ID)
				if hub.CodeOf(retried) != hub.CodeNotFound || hub.CodeOf(canceled) != hub.CodeNotFound {
					t.Errorf("got %v and %v", retried, canceled)
				}
			}
		})

		t.Run("changes to what is its own alone", func(t *testing.T) {
			_, endpoint := view.UpdateEndpoint(ctx, theirs.ID, func(*hub.Endpoint) error { return nil })
			_, subscription := view.UpdateSubscription(ctx, theirSub.ID, func(*hub.Subscription) error { return nil })
			_, moved := view.UpdateSubscription(ctx, mySub.ID, func(sub *hub.Subscription) error { sub.EndpointID = theirs.ID; return nil })
			_, source := view.UpdateSource(ctx, src.ID, func(*hub.Source) error { return nil })
			_, partner := view.UpdatePartner(ctx, one.ID, func(p *hub.Partner) error { p.EventTypes = []string{"*"}; return nil })
			for what, err := range map[string]error{
				"another's endpoint": endpoint, "another's subscription": subscription, "moving one to another": moved,
				"a source": source, "its own sharing": partner,
				"deleting another's endpoint":     view.DeleteEndpoint(ctx, theirs.ID),
				"deleting another's subscription": view.DeleteSubscription(ctx, theirSub.ID),
				"deleting a source":               view.DeleteSource(ctx, src.ID),
				"a subscription to another's":     view.CreateSubscription(ctx, &hub.Subscription{ID: "sub_x", EndpointID: theirs.ID}),
			} {
				if hub.CodeOf(err) != hub.CodeNotFound {
					t.Errorf("%s: %v", what, err)
				}
			}
			for what, err := range map[string]error{
				"an endpoint of the operator": view.CreateEndpoint(ctx, &hub.Endpoint{ID: "end_x"}),
				"an endpoint of another":      view.CreateEndpoint(ctx, &hub.Endpoint{ID: "end_x", PartnerID: two.ID}),
				"a source":                    view.CreateSource(ctx, &hub.Source{ID: "src_x"}),
				"a partner":                   view.CreatePartner(ctx, &hub.Partner{ID: "prt_x"}),
			} {
				if hub.CodeOf(err) != hub.CodeForbidden {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err := view.UpdateEndpoint(ctx, mine.ID, func(e *hub.Endpoint) error { e.Name, e.PartnerID = "renamed", two.ID; return nil })
			must(t, err)
			cfg := view.Configuration()
			if len(cfg.Endpoints) != 1 || cfg.Endpoints[mine.ID].Name != "renamed" || len(cfg.Subscriptions) != 1 || len(cfg.Sources) != 0 || len(cfg.Partners) != 1 {
				t.Errorf("sees %+v", cfg)
			}
		})

		t.Run("and outlives a deleted endpoint", func(t *testing.T) {
			before := got[int](t)(view.CountDeliveries(ctx, hub.DeliveryFilter{}))
			must(t, view.DeleteEndpoint(ctx, mine.ID))
			if n := got[int](t)(view.CountDeliveries(ctx, hub.DeliveryFilter{})); n != before || n == 0 {
				t.Errorf("%d of %d are left", n, before)
			}
		})
	})
}
