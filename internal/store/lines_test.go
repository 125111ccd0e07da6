package store_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// A claim does not come across what waits behind the head of its line, and who is next is
// found without a look at the others.
func TestALongLineCostsClaimsNothing(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark))
		const line = 4000
		head := made(t, s, newEvent(b, src, ofKey("long")))
		settled(t, s, attempt(b, claimOne(t, s, e, head.ID), hub.AttemptRefused, hub.DeliveryDead))
		for range line / 100 {
			events := make([]*hub.Event, 100)
			for i := range events {
				events[i] = newEvent(b, src, ofKey("long"))
			}
			got[[]hub.Receipt](t)(s.Append(t.Context(), events))
		}
		last := made(t, s, newEvent(b, src, ofKey("long")))
		other := made(t, s, newEvent(b, src, ofKey("other")))
		wantBehind(t, s, last.ID, head.ID)
		readsNoMoreThanWanted(t, url, []hub.Want{{EndpointID: e.ID, Limit: 4, Lease: time.Minute}}, b.clock.Now())
		claimOne(t, s, e, other.ID)
		if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
			plan := queryPlan(t, path, store.LineFronts["sqlite3"], `["a","b"]`)
			if !strings.Contains(plan, "USING COVERING INDEX delivery_line (line=?)") || strings.Contains(plan, "SCAN d") || strings.Contains(plan, "TEMP B-TREE") {
				t.Errorf("who is next is found so:\n%s", plan)
			}
			return
		}
		conn := got[*pgx.Conn](t)(pgx.Connect(t.Context(), url))
		defer func() { _ = conn.Close(t.Context()) }()
		must(t, exec(t, conn, "ANALYZE deliveries"))
		var name string
		must(t, conn.QueryRow(t.Context(), "SELECT line FROM deliveries WHERE id = $1", last.ID).Scan(&name))
		var raw []byte
		must(t, conn.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+store.LineFronts["postgres"], `["`+name+`"]`).Scan(&raw))
		var plans []struct{ Plan planNode }
		must(t, json.Unmarshal(raw, &plans))
		if read := plans[0].Plan.read(); read > 1 {
			t.Errorf("to find who is next it reads %.0f rows:\n%s", read, raw)
		}
	})
}

// queryPlan asks SQLite how it runs a statement.
func queryPlan(t *testing.T, path, statement string, args ...any) string {
	t.Helper()
	db := got[*sql.DB](t)(sql.Open("sqlite3", "file:"+path))
	defer func() { _ = db.Close() }()
	rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+statement, args...)
	must(t, err)
	defer func() { _ = rows.Close() }()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		must(t, rows.Scan(&id, &parent, &unused, &detail))
		plan = append(plan, detail)
	}
	must(t, rows.Err())
	return strings.Join(plan, "\n")
}

// On PostgreSQL the next in line may be locked by a transaction that then comes to nothing.
func TestALineGoesOnThoughItsNextWasLocked(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	s, b := start(t, url)
	src, e := newSource(t, s, b), newEndpoint(t, s, b)
	newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark))
	head, next, third := made(t, s, newEvent(b, src, ofKey("k"))), made(t, s, newEvent(b, src, ofKey("k"))), made(t, s, newEvent(b, src, ofKey("k")))
	lease := claimOne(t, s, e, head.ID)
	db, _ := connect(t, url)
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	_, err = tx.ExecContext(t.Context(), "SELECT id FROM deliveries WHERE id = $1 FOR UPDATE", next.ID)
	must(t, err)
	settled(t, s, attempt(b, lease, hub.AttemptSucceeded, hub.DeliveryDelivered))
	if claimed := claim(t, s, e, 10); len(claimed) != 0 {
		t.Fatalf("claimed %v while the next was locked", claimed[0].Delivery.ID)
	}
	late := made(t, s, newEvent(b, src, ofKey("k")))
	must(t, tx.Rollback())
	eventually(t, "the next has its turn", func() bool { return delivery(t, s, next.ID).Status == hub.DeliveryPending })
	wantBehind(t, s, third.ID, next.ID)
	wantBehind(t, s, late.ID, next.ID)

	// If the process ends before it has looked again, the next one does.
	lease = claimOne(t, s, e, next.ID)
	tx, err = db.BeginTx(t.Context(), nil)
	must(t, err)
	_, err = tx.ExecContext(t.Context(), "SELECT id FROM deliveries WHERE id = $1 FOR UPDATE", third.ID)
	must(t, err)
	settled(t, s, attempt(b, lease, hub.AttemptSucceeded, hub.DeliveryDelivered))
	must(t, s.Close())
	must(t, tx.Rollback())
	s, _ = start(t, url, func(cfg *store.Config) { cfg.Clock = b.clock })
	eventually(t, "it has its turn after a restart", func() bool { return delivery(t, s, third.ID).Status == hub.DeliveryPending })
}

// Whoever lets parked lines go has read the rule a while before.
func TestALineStaysParkedWhereTheRuleHasComeBack(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		sub := newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark))
		head, next := made(t, s, newEvent(b, src, ofKey("k"))), made(t, s, newEvent(b, src, ofKey("k")))
		settled(t, s, attempt(b, claimOne(t, s, e, head.ID), hub.AttemptRefused, hub.DeliveryDead))
		if left, err := s.Leave(t.Context(), sub.ID, head.ID); left || err != nil {
			t.Errorf("it left the line: %t, %v", left, err)
		}
		wantBehind(t, s, next.ID, head.ID)
		got[*hub.Subscription](t)(s.UpdateSubscription(t.Context(), sub.ID, func(sub *hub.Subscription) error {
			sub.Poison = hub.PoisonSkip
			return nil
		}))
		eventually(t, "the line goes on", func() bool { return delivery(t, s, next.ID).Status == hub.DeliveryPending })
	})
}

func TestTwoNodesKeepStrictOrder(t *testing.T) {
	t.Parallel()
	one, two, b := twoNodes(t)
	src, e := newSource(t, one, b), newEndpoint(t, one, b)
	newSubscription(t, one, b, e, inOrder(hub.OrderingStrict, hub.PoisonSkip))
	must(t, two.Refresh(t.Context()))
	const writers, each, keys = 4, 60, 5

	var mu sync.Mutex // guards sent and touched
	sent := make(map[string][]hub.Sequence)
	touched := make(map[string]bool) // deliveries that somebody cancels, perhaps while they are attempted
	var writing, working sync.WaitGroup
	stop := make(chan struct{})
	for w := range writers {
		s := []*store.Store{one, two}[w%2]
		writing.Go(func() {
			for i := range each {
				ev := newEvent(b, src, ofKey(fmt.Sprint(i%keys)))
				if _, err := s.Append(t.Context(), []*hub.Event{ev}); err != nil {
					t.Error(err)
					return
				}
				if i%17 == 0 { // somebody else's hands on rows of the lines
					list := deliveriesOf(t, s, ev.ID)
					mu.Lock()
					touched[list[0].ID] = true
					mu.Unlock()
					_, _ = s.CancelDelivery(t.Context(), list[0].ID) // it may have been delivered first
				}
			}
		})
	}
	for w := range 4 {
		s := []*store.Store{one, two}[w%2]
		working.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				leases, err := s.Claim(t.Context(), []hub.Want{{EndpointID: e.ID, Limit: 3, Lease: time.Hour}})
				if err != nil {
					t.Error(err)
					return
				}
				for _, l := range leases {
					key := l.Event.OrderingKey
					mu.Lock()
					if !touched[l.Delivery.ID] {
						sent[key] = append(sent[key], l.Event.Sequence)
					}
					mu.Unlock()
					status := hub.DeliveryDelivered
					if l.Event.Sequence%13 == 0 {
						status = hub.DeliveryDead
					}
					s.Settle(attempt(b, l, hub.AttemptSucceeded, status))
				}
			}
		})
	}
	writing.Wait()
	open := hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryPending, hub.DeliveryHeld}}
	eventually(t, "everything has ended", func() bool { return got[int](t)(one.CountDeliveries(t.Context(), open)) == 0 })
	close(stop)
	working.Wait()
	total := 0
	for key, list := range sent {
		total += len(list)
		if !slices.IsSorted(list) {
			t.Errorf("key %s was sent in the order %v", key, list)
		}
	}
	if total < writers*each*3/4 {
		t.Errorf("%d were sent", total)
	}
}
