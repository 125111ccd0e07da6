package store_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// faults makes the database itself refuse: an event of type "fails" at its insert,
// one of type "fails at commit" at the commit, an attempt with the error "fails".
var faults = map[string][]string{
	"sqlite": {
		`CREATE TRIGGER fail_insert BEFORE INSERT ON events WHEN NEW.type = 'fails' BEGIN SELECT RAISE(ABORT, 'injected'); END`,
		`CREATE TABLE fault_parent (id text PRIMARY KEY)`,
		`CREATE TABLE fault_child (id text REFERENCES fault_parent (id) DEFERRABLE INITIALLY DEFERRED)`,
		`CREATE TRIGGER fail_commit AFTER INSERT ON events WHEN NEW.type = 'fails at commit' BEGIN INSERT INTO fault_child VALUES ('none'); END`,
		`CREATE TRIGGER fail_attempt BEFORE INSERT ON attempts WHEN NEW.error = 'fails' BEGIN SELECT RAISE(ABORT, 'injected'); END`,
	},
	"postgres": {
		`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'injected'; END $$`,
		`CREATE TRIGGER fail_insert BEFORE INSERT ON events FOR EACH ROW WHEN (NEW.type = 'fails') EXECUTE FUNCTION fail()`,
		`CREATE CONSTRAINT TRIGGER fail_commit AFTER INSERT ON events DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW WHEN (NEW.type = 'fails at commit') EXECUTE FUNCTION fail()`,
		`CREATE TRIGGER fail_attempt BEFORE INSERT ON attempts FOR EACH ROW WHEN (NEW.error = 'fails') EXECUTE FUNCTION fail()`,
	},
}

// startFaulty starts a store on a database with faults, that logs nothing of them.
func startFaulty(t *testing.T, url string) (*store.Store, *bundle, *taker) {
	t.Helper()
	s, b := open(t, url, func(cfg *store.Config) { cfg.Logger = nil })
	db, _ := connect(t, url)
	scheme, _, _ := strings.Cut(url, ":")
	for _, statement := range faults[scheme] {
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	k := &taker{slots: 1_000_000}
	must(t, s.Start(t.Context(), k))
	return s, b, k
}

func TestTransactionsThatFail(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"fails", "fails at commit"} {
		t.Run("an event that "+fault, func(t *testing.T) {
			t.Parallel()
			eachDatabase(t, func(t *testing.T, url string) {
				s, b, k := startFaulty(t, url)
				src, e := newSource(t, s, b), newEndpoint(t, s, b)
				newSubscription(t, s, b, e)

				_, err := s.Append(t.Context(), []*hub.Event{newEvent(b, src), newEvent(b, src, typed(fault))})
				wantCode(t, err, hub.CodeUnavailable)
				if head := got[hub.Sequence](t)(s.Head(t.Context())); head != 0 {
					t.Fatalf("the head moved to %d", head)
				}

				var wg sync.WaitGroup
				var mu sync.Mutex
				acknowledged := make(map[string]bool)
				for i := range 200 {
					ev := newEvent(b, src, keyed(fmt.Sprint("key", i)))
					if i%20 == 0 {
						ev.Type = fault
					}
					wg.Go(func() {
						_, err := s.Append(t.Context(), []*hub.Event{ev})
						mu.Lock()
						defer mu.Unlock()
						acknowledged[ev.ID] = err == nil
						if err != nil && hub.CodeOf(err) != hub.CodeUnavailable {
							t.Errorf("the error is %v", err)
						}
					})
				}
				wg.Wait()
				var all []string
				for id := range acknowledged {
					all = append(all, id)
				}
				found := got[map[string]*hub.Event](t)(s.EventsByID(t.Context(), all))
				for id, ok := range acknowledged {
					if stored := found[id] != nil; stored != ok {
						t.Errorf("event %s: acknowledged %v, stored %v", id, ok, stored)
					}
				}
				if head := got[hub.Sequence](t)(s.Head(t.Context())); int(head) != len(found) {
					t.Errorf("the head is %d after %d events", head, len(found))
				}
				k.mu.Lock()
				defer k.mu.Unlock()
				if len(k.leases) != len(found) || k.reserved != len(k.leases) {
					t.Errorf("%d reserved, %d handed over, %d stored", k.reserved, len(k.leases), len(found))
				}
				checkCounted(t, s, b)
			})
		})
	}
}

func TestResultsThatCannotBeStoredAtFirst(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b, k := startFaulty(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		newSubscription(t, s, b, e)
		for range 20 {
			add(t, s, newEvent(b, src))
		}
		leases := k.taken()

		// Results that share a transaction with an event that fails are kept.
		for i, l := range leases {
			r := attempt(b, l, hub.AttemptSucceeded, hub.DeliveryDelivered)
			if i == 7 {
				r.Attempt.Error = "fails" // and this one cannot be stored at all
			}
			s.Settle(r)
			if i%5 == 0 {
				_, err := s.Append(t.Context(), []*hub.Event{newEvent(b, src, typed("fails"))})
				wantCode(t, err, hub.CodeUnavailable)
			}
		}
		eventually(t, "all but one result are stored", func() bool {
			add(t, s, newEvent(b, src)) // life goes on meanwhile
			n := got[int](t)(s.CountDeliveries(t.Context(), hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryDelivered}}))
			return n == len(leases)-1
		})
		if d := delivery(t, s, leases[7].Delivery.ID); d.Status != hub.DeliveryPending || d.AttemptCount != 0 {
			t.Fatalf("the delivery whose result cannot be stored is %+v", d)
		}
		b.clock.advance(e.Timeout + store.LeaseMargin + time.Second)
		claimed := claim(t, s, e, 100)
		if len(claimed) == 0 || claimed[0].Delivery.ID != leases[7].Delivery.ID {
			t.Fatalf("it is not attempted again: claimed %d", len(claimed))
		}
		must(t, s.Stop(t.Context()))
		checkCounted(t, s, b)
	})
}

func TestConnectionsThatBreak(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	s, b, k := startFaulty(t, url)
	src, e := newSource(t, s, b), newEndpoint(t, s, b)
	newSubscription(t, s, b, e)
	db, _ := connect(t, url)

	var wg sync.WaitGroup
	var mu sync.Mutex
	var acknowledged []string
	var done atomic.Bool
	for range 8 {
		wg.Go(func() {
			for !done.Load() {
				ev := newEvent(b, src)
				_, err := s.Append(t.Context(), []*hub.Event{ev})
				if err == nil {
					mu.Lock()
					acknowledged = append(acknowledged, ev.ID)
					mu.Unlock()
				} else if hub.CodeOf(err) != hub.CodeUnavailable {
					t.Errorf("the error is %v", err)
				}
			}
		})
	}
	for range 15 {
		before := len(k.taken())
		eventually(t, "events are stored again", func() bool { return len(k.taken()) > before })
		_, err := db.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
		must(t, err)
	}
	done.Store(true)
	wg.Wait()

	var events []*hub.Event
	for after := hub.Sequence(0); ; {
		more, err := s.EventsAfter(t.Context(), after, 1000)
		if err != nil {
			continue // the pool may still hold a connection that was cut
		}
		if len(more) == 0 {
			break
		}
		events = append(events, more...)
		after = more[len(more)-1].Sequence
	}
	stored := make(map[string]bool)
	for i, ev := range events {
		stored[ev.ID] = true
		if ev.Sequence != hub.Sequence(i+1) {
			t.Fatalf("sequence %d stands at place %d", ev.Sequence, i+1)
		}
	}
	for _, id := range acknowledged {
		if !stored[id] {
			t.Errorf("%s was acknowledged and is not stored", id)
		}
	}
	if len(acknowledged) != len(k.taken()) {
		t.Errorf("%d acknowledged, %d handed over", len(acknowledged), len(k.taken()))
	}
	for _, l := range k.taken() {
		s.Settle(attempt(b, l, hub.AttemptSucceeded, hub.DeliveryDelivered))
	}
	must(t, s.Stop(t.Context()))
	n := got[int](t)(s.CountDeliveries(t.Context(), hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryDelivered}}))
	if n != len(acknowledged) {
		t.Errorf("%d results are stored, want %d", n, len(acknowledged))
	}
	checkCounted(t, s, b)
}

func TestAResultThatComesLateDoesNotTakeHealthBack(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		newSubscription(t, s, b, e)
		add(t, s, newEvent(b, src))
		add(t, s, newEvent(b, src))
		leases := claim(t, s, e, 2)
		early := attempt(b, leases[0], hub.AttemptRefused, hub.DeliveryPending)
		early.Health = &hub.EndpointHealth{EndpointID: e.ID, Breaker: hub.BreakerOpen, LastFailureAt: b.clock.Now()}
		b.clock.advance(time.Second)
		late := attempt(b, leases[1], hub.AttemptSucceeded, hub.DeliveryDelivered)
		late.Health = &hub.EndpointHealth{EndpointID: e.ID, Breaker: hub.BreakerClosed, LastSuccessAt: b.clock.Now()}
		settled(t, s, late)
		settled(t, s, early)
		must(t, s.Refresh(t.Context()))
		if h := s.Health(e.ID); h.Breaker != hub.BreakerClosed {
			t.Errorf("the breaker is %s, as it was before", h.Breaker)
		}
	})
}

func TestAPoolOfOneConnectionDoesNotStandStill(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	one, b := start(t, url)
	narrow := url + "?pool_max_conns=1"
	if strings.Contains(url, "?") {
		narrow = url + "&pool_max_conns=1"
	}
	two, _ := start(t, narrow, func(cfg *store.Config) { cfg.Clock = b.clock })
	src := newSource(t, one, b)
	must(t, two.Refresh(t.Context()))
	newEndpoint(t, one, b) // so that the next batch has to read the configuration
	add(t, two, newEvent(b, src))
}
