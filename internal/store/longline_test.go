package store_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	entdelivery "github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// 100,000 deliveries behind a parked head: what goes on beside them takes the statements
// and the rows that it took before they came, and so does letting them go.
func TestAHugeParkedLineDelaysNobody(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		const line, drained = 100_000, 60
		s, b := start(t, url)
		src, e, other := newSource(t, s, b), newEndpoint(t, s, b), newEndpoint(t, s, b)
		strict := newSubscription(t, s, b, e, inOrder(hub.OrderingStrict, hub.PoisonPark))
		plain := newSubscription(t, s, b, other)
		b.router.set(func(ev *hub.Event, _ *hub.Configuration) []string {
			if ev.Type == "other" {
				return []string{plain.ID}
			}
			return []string{strict.ID}
		})
		head := made(t, s, newEvent(b, src, ofKey("long")))
		settled(t, s, attempt(b, claimOne(t, s, e, head.ID), hub.AttemptRefused, hub.DeliveryDead))
		next := made(t, s, newEvent(b, src, ofKey("long")))
		wantBehind(t, s, next.ID, head.ID)
		wants := []hub.Want{{EndpointID: e.ID, Limit: 8, Lease: time.Minute}, {EndpointID: other.ID, Limit: 8, Lease: time.Minute}}
		live := func() (statements int) {
			t.Helper()
			return len(b.trace.askedBy(t, func(ctx context.Context) error {
				fresh := []*hub.Event{newEvent(b, src, ofKey("live")), newEvent(b, src, ofKey("lively")), newEvent(b, src, typed("other"))}
				got[[]hub.Receipt](t)(s.Append(ctx, fresh))
				due := got[map[string]time.Time](t)(s.NextDue(ctx))
				for _, id := range []string{e.ID, other.ID} {
					if due[id].After(b.clock.Now()) {
						t.Errorf("%s is due at %s, now is %s", id, due[id], b.clock.Now())
					}
				}
				leases := got[[]hub.Lease](t)(s.Claim(ctx, wants))
				if len(leases) != len(fresh) {
					t.Fatalf("%d were claimed of %d", len(leases), len(fresh))
				}
				for _, l := range leases {
					stored := make(chan struct{})
					r := attempt(b, l, hub.AttemptSucceeded, hub.DeliveryDelivered)
					r.Stored = func(bool, error) { close(stored) }
					s.Settle(r)
					<-stored
				}
				return nil
			}))
		}
		before := live()

		columns := strings.Join(entdelivery.Columns, ", ")
		values := strings.NewReplacer(" id,", " 'dlv_0copy' || CAST(i AS text),", " place,", " place + i,").Replace(" " + columns + ",")
		db, _ := connect(t, url)
		_, err := db.ExecContext(t.Context(), `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO deliveries (`+columns+`) SELECT `+strings.TrimSuffix(values, ",")+` FROM n CROSS JOIN deliveries WHERE id = $2`, line-1, next.ID)
		must(t, err)
		if after := live(); before == 0 || after != before {
			t.Errorf("beside the line %d statements are made, before it came %d", after, before)
		}
		readsNoMoreThanWanted(t, url, wants, b.clock.Now())
		if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
			if plan := queryPlan(t, path, store.FirstWaiting); strings.Contains(plan, "TEMP B-TREE") || strings.Contains(plan, "SCAN d\n") || strings.Contains(plan, "SCAN d ") || strings.Contains(plan, "SCAN next") || strings.Contains(plan, "SCAN deliveries\n") {
				t.Errorf("what is due next is found so:\n%s", plan)
			}
		} else {
			conn := got[*pgx.Conn](t)(pgx.Connect(t.Context(), url))
			defer func() { _ = conn.Close(t.Context()) }()
			var name string
			must(t, conn.QueryRow(t.Context(), "SELECT line FROM deliveries WHERE id = $1", next.ID).Scan(&name))
			for statement, args := range map[string][]any{store.FirstWaiting: nil, store.LineFronts["postgres"]: {`["` + name + `"]`}} {
				var raw []byte
				must(t, conn.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+statement, args...).Scan(&raw))
				var plans []struct{ Plan planNode }
				must(t, json.Unmarshal(raw, &plans))
				if read := plans[0].Plan.read(); read > 8 {
					t.Errorf("it reads %.0f rows:\n%s", read, raw)
				}
			}
		}

		// The head is let go, and what is behind it follows one by one.
		got[*hub.Delivery](t)(s.CancelDelivery(t.Context(), head.ID))
		settled(t, s, attempt(b, claimOne(t, s, e, next.ID), hub.AttemptSucceeded, hub.DeliveryDelivered))
		place := int64(0)
		for range drained {
			leases := claim(t, s, e, 10)
			if len(leases) != 1 {
				t.Fatalf("%d of the line were claimed at once", len(leases))
			}
			var at int64
			must(t, db.QueryRowContext(t.Context(), "SELECT place FROM deliveries WHERE id = $1", leases[0].Delivery.ID).Scan(&at))
			if place != 0 && at != place+1 {
				t.Fatalf("after place %d came %d", place, at)
			}
			place = at
			settled(t, s, attempt(b, leases[0], hub.AttemptSucceeded, hub.DeliveryDelivered))
		}
		last := made(t, s, newEvent(b, src, ofKey("live")))
		if leases := claim(t, s, e, 10); len(leases) != 2 || leases[0].Delivery.ID != last.ID && leases[1].Delivery.ID != last.ID {
			t.Errorf("%d are claimed beside the line", len(leases))
		}
	})
}
