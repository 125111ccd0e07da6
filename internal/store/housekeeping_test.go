package store_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

func TestCredentialsAreKept(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		want := &hub.EndpointAuth{
			Kind: hub.AuthJWT, Secret: "a-private-key", Header: "H", Username: "u", TokenURL: "https://a.example", ClientID: "c",
			Scopes: []string{"a", "b"}, Audience: "aud", Algorithm: "HS256", KeyID: "k", Claims: json.RawMessage(`{"n":1}`),
			Lifetime: time.Minute, Certificate: "cert", CACertificate: "ca",
		}
		e := newEndpoint(t, s, b, func(e *hub.Endpoint) {
			e.RateLimit = &hub.RateLimit{Limit: 1, Period: time.Second}
			e.Auth, e.MaxAge, e.VerifiedAt = want, time.Hour, b.clock.Now()
		})
		got := s.Configuration().Endpoints[e.ID]
		if !reflect.DeepEqual(got.Auth, want) || got.MaxAge != time.Hour || !got.VerifiedAt.Equal(b.clock.Now()) || got.MustVerify {
			t.Errorf("got %+v of %+v", got.Auth, got)
		}
		_, err := s.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error { e.Auth = nil; return nil })
		must(t, err)
		if got := s.Configuration().Endpoints[e.ID].Auth; got != nil {
			t.Errorf("what was removed is %+v", got)
		}
		db, _ := connect(t, url)
		var sealed []byte
		_, err = s.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error { e.Auth = want; return nil })
		must(t, err)
		must(t, db.QueryRowContext(t.Context(), "SELECT auth FROM endpoints").Scan(&sealed))
		if len(sealed) == 0 || strings.Contains(string(sealed), "private") {
			t.Errorf("stored as %q", sealed)
		}
	})
}

func TestWhatIsOptionalIsChangedInPlace(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		want := &hub.Verification{APIKey: &hub.APIKeyVerification{Header: "X-Key"}}
		for range 2 {
			_, err := s.UpdateSource(t.Context(), src.ID, func(src *hub.Source) error { src.Verification = want; return nil })
			must(t, err)
		}
		if got := s.Configuration().Sources[src.ID].Verification; !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v", got)
		}
	})
}

// waiting makes so many deliveries that are held, of events with a key each, and
// returns them in order.
func waiting(t *testing.T, s *store.Store, b *bundle, src *hub.Source, n int, key func(int) string) []*hub.Delivery {
	t.Helper()
	var events []*hub.Event
	for i := range n {
		events = append(events, newEvent(b, src, func(ev *hub.Event) { ev.OrderingKey = key(i) }))
	}
	var list []*hub.Delivery
	for len(events) > 0 {
		part := events[:min(len(events), 200)]
		events = events[len(part):]
		for _, r := range got[[]hub.Receipt](t)(s.Append(t.Context(), part)) {
			list = append(list, deliveriesOf(t, s, r.EventID)...)
		}
	}
	return list
}

func TestABacklogIsSortedOutThoughAProcessEnds(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		const many, keys = 1300, 7 // more than two chunks
		s, b := start(t, url)
		src := newSource(t, s, b)
		e := newEndpoint(t, s, b, func(e *hub.Endpoint) { e.State = hub.EndpointPaused })
		newSubscription(t, s, b, e)
		list := waiting(t, s, b, src, many, func(i int) string { return []string{"", "a", "b", "c", "d", "e", "f"}[i%keys] })
		must(t, s.Stop(t.Context()))
		must(t, s.Close())

		// The choice is stored, and the process ends before anything is done about it.
		before := b.clock.Now()
		tool, _ := open(t, url, func(c *store.Config) { c.Tool = true })
		must(t, tool.Start(t.Context(), nil))
		_, err := tool.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error {
			e.State, e.Backlog = hub.EndpointActive, &hub.BacklogOrder{Choice: hub.BacklogSendNewest, Before: before}
			return nil
		})
		must(t, err)
		if d := delivery(t, tool, list[0].ID); d.Status != hub.DeliveryHeld || !strings.Contains(d.Reason, "sorted out") {
			t.Errorf("meanwhile it is %s %q", d.Status, d.Reason)
		}
		must(t, tool.Close())

		s, _ = start(t, url)
		eventually(t, "the backlog is sorted out", func() bool { return s.Configuration().Endpoints[e.ID].Backlog == nil })
		for i, d := range list {
			want := hub.DeliveryCanceled
			if i%keys == 0 || i >= many-keys {
				want = hub.DeliveryPending // without a key, or the last of its key
			}
			if now := delivery(t, s, d.ID); now.Status != want || (now.Reason == "") != (want == hub.DeliveryPending) {
				t.Fatalf("number %d is %s %q, not %s", i, now.Status, now.Reason, want)
			}
		}
		if n := len(claim(t, s, e, many)); n != many/keys+1+keys-1 {
			t.Errorf("%d can be claimed", n)
		}
	})
}

func TestAChoiceConcernsWhatWaitedThen(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		e := newEndpoint(t, s, b)
		newSubscription(t, s, b, e)
		other := newEndpoint(t, s, b)
		newSubscription(t, s, b, other)
		old := waiting(t, s, b, src, 3, func(int) string { return "k" })
		before := b.clock.Now()
		b.clock.advance(time.Second)
		fresh := waiting(t, s, b, src, 3, func(int) string { return "k" })
		_, err := s.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error {
			e.Backlog = &hub.BacklogOrder{Choice: hub.BacklogCancel, Before: before}
			return nil
		})
		must(t, err)
		eventually(t, "it is done", func() bool { return s.Configuration().Endpoints[e.ID].Backlog == nil })
		for _, list := range [][]*hub.Delivery{old, fresh} {
			for i, d := range list {
				want := hub.DeliveryPending
				if d.EndpointID == e.ID && &list[0] == &old[0] {
					want = hub.DeliveryCanceled
				}
				if now := delivery(t, s, d.ID); now.Status != want {
					t.Errorf("number %d to %s is %s, not %s", i, d.EndpointID, now.Status, want)
				}
			}
		}
		checkCounted(t, s, b)
	})
}

func TestHeldDeliveriesExpire(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		owner := newPartner(t, s, b)
		e := newEndpoint(t, s, b, func(e *hub.Endpoint) { e.State, e.PartnerID = hub.EndpointPaused, owner.ID })
		newSubscription(t, s, b, e)
		list := waiting(t, s, b, src, 700, func(i int) string { return fmt.Sprint(i) })
		b.clock.advance(time.Hour)
		young := waiting(t, s, b, src, 1, func(int) string { return "" })[0]
		must(t, s.Stop(t.Context()))
		must(t, s.Close())

		s, again := open(t, url)
		again.clock.advance(time.Hour)
		must(t, s.Start(t.Context(), nil))
		_, err := s.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error { e.MaxAge = time.Hour; return nil })
		must(t, err)
		eventually(t, "all that is too old is dead", func() bool {
			n, err := s.CountDeliveries(t.Context(), hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryDead}})
			return err == nil && n == len(list)
		})
		if d := delivery(t, s, list[0].ID); d.Reason != "it was not delivered within 1h0m0s, the endpoint's maximum age" || d.CompletedAt.IsZero() {
			t.Errorf("%+v", d)
		}
		if d := delivery(t, s, young.ID); d.Status != hub.DeliveryHeld {
			t.Errorf("a younger one is %s", d.Status)
		}
		again.url = url
		if n := total(t, s, again, hub.StatsFilter{SourceIDs: []string{src.ID}, EndpointIDs: []string{e.ID}, PartnerIDs: []string{owner.ID}}).Dead; n != len(list) {
			t.Errorf("%d are counted as dead", n)
		}
		checkCounted(t, s, again)
	})
}
