package store_test

import (
	"database/sql"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// A claim gives each endpoint what is wanted of it, whatever waits for others, and
// reads no more rows than that.
func TestABacklogTakesNothingFromOthersClaims(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		endpoints, subs := make([]*hub.Endpoint, 4), make([]*hub.Subscription, 4)
		for i := range endpoints {
			endpoints[i] = newEndpoint(t, s, b)
			subs[i] = newSubscription(t, s, b, endpoints[i])
		}
		to := 0
		b.router.set(func(*hub.Event, *hub.Configuration) []string { return []string{subs[to].ID} })
		const backlog = 4000
		for range backlog / 100 {
			events := make([]*hub.Event, 100)
			for i := range events {
				events[i] = newEvent(b, src)
			}
			got[[]hub.Receipt](t)(s.Append(t.Context(), events))
		}
		b.clock.advance(time.Hour) // what comes now is due long after the backlog
		for to = 1; to < len(subs); to++ {
			for range 5 {
				add(t, s, newEvent(b, src))
			}
		}
		wants := make([]hub.Want, len(endpoints))
		for i, e := range endpoints {
			wants[i] = hub.Want{EndpointID: e.ID, Limit: 4, Lease: time.Minute}
		}
		readsNoMoreThanWanted(t, url, wants, b.clock.Now())
		for round, each := range []int{4, 1, 0} { // of the endpoints without a backlog
			leases := got[[]hub.Lease](t)(s.Claim(t.Context(), wants))
			for i, e := range endpoints {
				want := each
				if i == 0 {
					want = 4
				}
				n := 0
				for _, l := range leases {
					if l.Delivery.EndpointID == e.ID {
						n++
					}
				}
				if n != want {
					t.Errorf("claim %d leased %d of endpoint %d, want %d", round, n, i, want)
				}
			}
		}
	})
}

// readsNoMoreThanWanted asks the database how it makes a claim.
func readsNoMoreThanWanted(t *testing.T, url string, wants []hub.Want, now time.Time) {
	t.Helper()
	until := now.Add(time.Minute).UnixMicro()
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		db := got[*sql.DB](t)(sql.Open("sqlite3", "file:"+path))
		defer func() { _ = db.Close() }()
		var plan []string
		rows, err := db.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+store.SQLiteClaim, until, "token", wants[0].EndpointID, now.UnixMicro(), "[]", 4)
		must(t, err)
		defer func() { _ = rows.Close() }()
		for rows.Next() {
			var id, parent, unused int
			var detail string
			must(t, rows.Scan(&id, &parent, &unused, &detail))
			plan = append(plan, detail)
		}
		must(t, rows.Err())
		// The rows that are due are found in the order of the index, so that the limit ends
		// the search; of what is found, no table is walked and nothing is sorted but that.
		if !slices.ContainsFunc(plan, func(step string) bool {
			return strings.Contains(step, "delivery_pending (endpoint_id=? AND subscription_id=? AND due_at<?)")
		}) {
			t.Errorf("the due rows are not found by their index:\n%s", strings.Join(plan, "\n"))
		}
		for _, step := range plan {
			if strings.HasPrefix(step, "SCAN d") {
				t.Errorf("a claim walks a table:\n%s", strings.Join(plan, "\n"))
			}
		}
		return
	}
	conn := got[*pgx.Conn](t)(pgx.Connect(t.Context(), url))
	defer func() { _ = conn.Close(t.Context()) }()
	must(t, exec(t, conn, "ANALYZE deliveries"))
	tx := got[pgx.Tx](t)(conn.Begin(t.Context()))
	defer func() { _ = tx.Rollback(t.Context()) }()
	ids, limits, ends := make([]string, len(wants)), make([]int64, len(wants)), make([]int64, len(wants))
	most := 0
	for i, w := range wants {
		ids[i], limits[i], ends[i] = w.EndpointID, int64(w.Limit), until
		most += w.Limit
	}
	var raw []byte
	must(t, tx.QueryRow(t.Context(), "EXPLAIN (ANALYZE, FORMAT JSON) "+store.PostgresClaim, ids, limits, ends, now.UnixMicro(), []string{}, "token").Scan(&raw))
	var plans []struct{ Plan planNode }
	must(t, json.Unmarshal(raw, &plans))
	// Beside the rows wanted it reads one or two of each endpoint for its subscriptions,
	// and those that it changes once more.
	if read := plans[0].Plan.read(); read > float64(2*most+4*len(wants)) {
		t.Errorf("a claim of %d read %.0f rows:\n%s", most, read, raw)
	}
}

func exec(t *testing.T, conn *pgx.Conn, statement string) error {
	_, err := conn.Exec(t.Context(), statement)
	return err
}

// planNode is a step of what PostgreSQL did.
type planNode struct {
	Type    string  `json:"Node Type"`
	Table   string  `json:"Relation Name"`
	Rows    float64 `json:"Actual Rows"`
	Removed float64 `json:"Rows Removed by Filter"`
	Recheck float64 `json:"Rows Removed by Index Recheck"`
	Loops   float64 `json:"Actual Loops"`
	Plans   []planNode
}

// read counts the rows that were read of deliveries.
func (n planNode) read() float64 {
	total := 0.0
	if n.Table == "deliveries" && strings.Contains(n.Type, "Scan") {
		total = (n.Rows + n.Removed + n.Recheck) * n.Loops
	}
	for _, below := range n.Plans {
		total += below.read()
	}
	return total
}
