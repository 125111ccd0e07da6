package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// lineModel is what STRICT promises, said as simply as can be.
type lineModel struct {
	list  []*modelDelivery // in their order
	first map[string]*modelDelivery
	skip  bool
}

type modelDelivery struct {
	id, key string
	status  hub.DeliveryStatus
	stands  bool // in its line
	leased  bool
}

func (m *lineModel) enter(d *modelDelivery) {
	d.status, d.leased = hub.DeliveryPending, false
	if d.stands = d.key != ""; d.stands {
		m.goOn(d.key)
	}
}

func (m *lineModel) end(d *modelDelivery, status hub.DeliveryStatus) {
	d.status, d.leased = status, false
	if d.key == "" {
		return
	}
	d.stands = status == hub.DeliveryDead && !m.skip
	if m.first[d.key] == d {
		m.first[d.key] = nil
	}
	m.goOn(d.key)
}

func (m *lineModel) goOn(key string) {
	if m.first[key] != nil {
		return
	}
	if d := m.front(key); d != nil && d.status == hub.DeliveryPending {
		m.first[key] = d
	}
}

// front is who keeps a key from going on.
func (m *lineModel) front(key string) *modelDelivery {
	if d := m.first[key]; d != nil {
		return d
	}
	for _, d := range m.list {
		if d.key == key && d.stands {
			return d
		}
	}
	return nil
}

func (m *lineModel) rule(skip bool) {
	if m.skip = skip; !skip {
		return
	}
	for _, d := range m.list {
		if d.status == hub.DeliveryDead {
			d.stands = false
		}
	}
	for _, d := range m.list {
		if d.key != "" {
			m.goOn(d.key)
		}
	}
}

// behind is whom a delivery waits behind, "" where it does not.
func (m *lineModel) behind(d *modelDelivery) string {
	if d.status != hub.DeliveryPending || d.key == "" || m.first[d.key] == d {
		return ""
	}
	return m.front(d.key).id
}

// differs says how the store differs from the model, "" where it does not.
func (m *lineModel) differs(t testing.TB, s *store.Store) string {
	found := got[map[string]*hub.Delivery](t)(s.DeliveriesByID(t.Context(), ids(m.list, func(d *modelDelivery) string { return d.id })))
	for i, d := range m.list {
		want := d.status
		if m.behind(d) != "" {
			want = hub.DeliveryHeld
		}
		if is := found[d.id]; is == nil || is.Status != want || is.BlockedBy != m.behind(d) {
			return fmt.Sprintf("number %d with key %q is %+v, want %s behind %q", i, d.key, is, want, m.behind(d))
		}
	}
	return ""
}

// TestTheStoreKeepsStrictOrderLikeItsModel drives both with the same random story, crashes
// included.
func TestTheStoreKeepsStrictOrderLikeItsModel(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		db, _ := connect(t, url)
		parked := func(subscriptionID string) (n int) {
			t.Helper()
			must(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM deliveries WHERE subscription_id = $1 AND status = 'DEAD' AND turn <> ''", subscriptionID).Scan(&n))
			return n
		}
		rapid.Check(t, func(rt *rapid.T) {
			e := newEndpoint(t, s, b)
			sub := newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark))
			b.router.set(func(*hub.Event, *hub.Configuration) []string { return []string{sub.ID} })
			m := &lineModel{first: make(map[string]*modelDelivery)}
			leases := make(map[string]hub.Lease)
			draw := func(name string, n int) int { return rapid.IntRange(0, n-1).Draw(rt, name) }
			any := func() *modelDelivery {
				if len(m.list) == 0 {
					return nil
				}
				return m.list[draw("which", len(m.list))]
			}
			receive := func(keys ...string) {
				var events []*hub.Event
				for _, key := range keys {
					events = append(events, newEvent(b, src, ofKey(key)))
				}
				got[[]hub.Receipt](t)(s.Append(t.Context(), events))
				for _, ev := range events {
					d := &modelDelivery{id: deliveriesOf(t, s, ev.ID)[0].ID, key: ev.OrderingKey}
					m.list = append(m.list, d)
					m.enter(d)
				}
			}
			for range 5 + draw("steps", 15) {
				switch draw("step", 9) {
				case 0, 1, 2: // events
					var keys []string
					for range 1 + draw("events", 4) {
						keys = append(keys, []string{"a", "a", "b", ""}[draw("key", 4)])
					}
					receive(keys...)
				case 3, 4: // claims
					var want, have []string
					for _, d := range m.list {
						if d.status == hub.DeliveryPending && m.behind(d) == "" && !d.leased {
							want = append(want, d.id)
						}
					}
					for _, l := range claim(t, s, e, 100) {
						leases[l.Delivery.ID] = l
						have = append(have, l.Delivery.ID)
					}
					slices.Sort(want)
					slices.Sort(have)
					if !slices.Equal(have, want) {
						rt.Fatalf("claimed %v, want %v", have, want)
					}
					for _, d := range m.list {
						d.leased = d.leased || slices.Contains(have, d.id)
					}
				case 5: // results
					for _, d := range m.list {
						if !d.leased {
							continue
						}
						switch draw("result", 4) {
						case 0, 1:
							settled(t, s, attempt(b, leases[d.id], hub.AttemptSucceeded, hub.DeliveryDelivered))
							m.end(d, hub.DeliveryDelivered)
						case 2:
							settled(t, s, attempt(b, leases[d.id], hub.AttemptRefused, hub.DeliveryDead))
							m.end(d, hub.DeliveryDead)
						case 3:
							r := attempt(b, leases[d.id], hub.AttemptTimedOut, hub.DeliveryPending)
							r.Delivery.NextAttemptAt = b.clock.Now()
							settled(t, s, r)
							d.leased = false
						}
					}
				case 6: // somebody cancels
					if d := any(); d != nil {
						_, err := s.CancelDelivery(t.Context(), d.id)
						can := !d.status.Ended() || d.status == hub.DeliveryDead && d.stands
						if (err == nil) != can {
							rt.Fatalf("canceling %+v says %v", d, err)
						}
						if can {
							m.end(d, hub.DeliveryCanceled)
						}
					}
				case 7: // somebody retries
					if d := any(); d != nil {
						_, err := s.RetryDelivery(t.Context(), d.id)
						can := d.status.Ended() || !d.leased && m.behind(d) == ""
						if (err == nil) != can {
							rt.Fatalf("retrying %+v says %v", d, err)
						}
						if d.status.Ended() {
							m.enter(d)
						}
					}
				case 8: // another rule, or a crash
					if draw("crash", 2) == 0 {
						skip := !m.skip
						got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
							sub.Poison = map[bool]hub.PoisonRule{false: hub.PoisonPark, true: hub.PoisonSkip}[skip]
							return nil
						}))
						m.rule(skip)
						// That a line is parked no more is seen, and so waited for, by who comes next,
						// unless another goes before the dead one: the rule must not come back too soon.
						receive("a", "b")
						for deadline := time.Now().Add(2 * time.Minute); (m.differs(t, s) != "" || skip && parked(sub.ID) > 0) && time.Now().Before(deadline); {
							time.Sleep(time.Millisecond)
						}
					} else {
						must(t, s.Close())
						b.clock.advance(5 * time.Minute) // leases of other nodes end by time
						s, _ = start(t, url, func(cfg *store.Config) { cfg.Clock, cfg.Router = b.clock, b.router })
						for _, d := range m.list {
							d.leased = false
						}
					}
				}
				if differs := m.differs(t, s); differs != "" {
					rt.Fatal(differs)
				}
			}
		})
	})
}
