package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// bucket is what statistics say.
type bucket struct {
	Start                                                                                        time.Time
	Received, Duplicates, Rejected, DeliveriesCreated, Delivered, Dead, Attempts, FailedAttempts int
	LatencyP50, EndToEndP50                                                                      *float64
}

const bucketFields = `start received duplicates rejected deliveriesCreated delivered dead attempts failedAttempts latencyP50 endToEndP50`

// counts sums up what a filter admits since an hour ago.
func (c *client) counts(filter string) (all bucket) {
	c.t.Helper()
	var got struct{ Stats []bucket }
	c.do(&got, `query ($since: DateTime!) { stats(since: $since, bucket: "PT1M", filter: `+filter+`) { `+bucketFields+` } }`,
		map[string]any{"since": time.Now().Add(-time.Hour)})
	if n := len(got.Stats); n < 60 || n > 62 {
		c.t.Fatalf("%d buckets", n)
	}
	for _, one := range got.Stats {
		all.Received += one.Received
		all.Duplicates += one.Duplicates
		all.Rejected += one.Rejected
		all.DeliveriesCreated += one.DeliveriesCreated
		all.Delivered += one.Delivered
		all.Dead += one.Dead
		all.Attempts += one.Attempts
		all.FailedAttempts += one.FailedAttempts
		if one.Delivered > 0 && (one.LatencyP50 == nil || *one.LatencyP50 <= 0 || *one.EndToEndP50 <= 0) || one.Attempts == 0 && one.LatencyP50 != nil {
			c.t.Errorf("the percentiles of %+v", one)
		}
	}
	return all
}

func TestStatistics(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		source, other := c.source("s"), c.source("other")
		owner := listen(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n == 0 {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		endpoint, _ := c.endpoint(owner.URL, `, retryPolicy: {schedule: ["PT0S", "PT0S"]}`)
		subscription := c.subscribe(endpoint, fmt.Sprintf("sourceIds: [%q]", source))
		for n := range 20 {
			c.post("s", nil, fmt.Appendf(nil, `{"n":%d}`, n))
			c.post("other", nil, fmt.Appendf(nil, `{"n":%d}`, n))
		}
		c.send(http.MethodDelete, "/in/s", nil, nil)

		want := bucket{Received: 20, DeliveriesCreated: 20, Delivered: 20, Attempts: 21, FailedAttempts: 1}
		filter := fmt.Sprintf("{sourceIds: [%q]}", source)
		testkit.Eventually(t, "all is delivered and counted", func() bool { return c.counts(filter).Delivered == 20 })
		c.stop()
		c = start(t, o)
		got := c.counts(filter)
		got.Rejected = 0 // what is refused by its method need not be recorded
		if got != want {
			t.Errorf("of the source %+v, want %+v", got, want)
		}
		if got := c.counts("{}"); got.Received != 40 || got.Delivered != 20 {
			t.Errorf("of all %+v", got)
		}
		want.Received = 0
		if got := c.counts(fmt.Sprintf("{endpointIds: [%q], subscriptionIds: [%q]}", endpoint, subscription)); got != want {
			t.Errorf("of the endpoint %+v, want %+v", got, want)
		}

		var of struct {
			Sources struct {
				Nodes []struct {
					ID    string
					Stats bucket
				}
			}
			Endpoints struct{ Nodes []struct{ Stats bucket } }
		}
		c.do(&of, `query ($since: DateTime!) { sources { nodes { id stats(since: $since) { `+bucketFields+` } } }
			endpoints { nodes { stats(since: $since) { `+bucketFields+` } } } }`, map[string]any{"since": time.Now().Add(-time.Hour)})
		for _, node := range of.Sources.Nodes {
			if want := map[string]int{source: 20, other: 20}[node.ID]; node.Stats.Received != want {
				t.Errorf("source %s received %d, want %d", node.ID, node.Stats.Received, want)
			}
		}
		if e := of.Endpoints.Nodes[0].Stats; e.Delivered != 20 || e.FailedAttempts != 1 || e.Received != 0 {
			t.Errorf("the endpoint's are %+v", e)
		}
		for _, args := range []string{`since: "2026-01-01T00:00:00Z", until: "2025-01-01T00:00:00Z", bucket: "PT1H"`, `since: "2000-01-01T00:00:00Z", bucket: "PT1H"`,
			`since: "2026-01-01T00:00:00Z", bucket: "PT0S"`, `since: "2026-01-01T00:00:00Z", until: "2026-01-01T00:00:05Z", bucket: "PT1S"`} {
			if a := c.ask(`{ stats(`+args+`) { start } }`, nil); len(a.Errors) != 1 || a.Errors[0].Extensions["code"] != "BAD_USER_INPUT" {
				t.Errorf("%s was answered %s %+v", args, a.Data, a.Errors)
			}
		}
	})
}

func TestLiveStatistics(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	c.source("s")
	const live = `subscription { statsUpdates(interval: "PT1S", bucket: "PT1H") { ` + bucketFields + ` } }`
	first, second := c.dial(), c.dial()
	first.subscribe(live, nil)
	second.subscribe(live, nil)
	next := func(s *socket) bucket {
		t.Helper()
		f, err := s.read()
		var got struct {
			Data struct{ StatsUpdates bucket }
		}
		if err == nil {
			err = json.Unmarshal(f.Payload, &got)
		}
		if err != nil || f.Type != "next" {
			t.Fatalf("%+v, %v", f, err)
		}
		return got.Data.StatsUpdates
	}
	for _, s := range []*socket{first, second} {
		if at := next(s); at.Received != 0 || at.Start.IsZero() {
			t.Fatalf("it begins with %+v", at)
		}
	}
	for n := range 5 {
		c.post("s", nil, fmt.Appendf(nil, `{"n":%d}`, n))
	}
	for _, s := range []*socket{first, second} {
		buckets := make(map[time.Time]int) // two, should the hour turn
		received := 0
		for received < 5 {
			at := next(s)
			buckets[at.Start], received = at.Received, 0
			for _, n := range buckets {
				received += n
			}
		}
		if received != 5 {
			t.Errorf("received %d", received)
		}
	}
	for _, args := range []string{`interval: "PT0.5S"`, `bucket: "PT15S"`, `bucket: "PT24H"`} {
		s := c.dial()
		s.subscribe(`subscription { statsUpdates(`+args+`) { start } }`, nil)
		if f, err := s.read(); err != nil || !strings.Contains(string(f.Payload), "BAD_USER_INPUT") {
			t.Errorf("%s was answered %s %s, %v", args, f.Type, f.Payload, err)
		}
	}
}

// update is one step of deliveryUpdates.
type update struct {
	Cursor     string
	Deliveries []struct {
		ID, Status   string
		AttemptCount int
		Event        struct{ ID string }
	}
}

const deliveryUpdates = `subscription ($after: String, $filter: DeliveryFilter, $size: Int) {
	deliveryUpdates(after: $after, filter: $filter, batchSize: $size) { cursor deliveries { id status attemptCount event { id } } } }`

func (s *socket) update() (update, error) {
	f, err := s.read()
	if err != nil {
		return update{}, err
	}
	var next struct {
		Data   struct{ DeliveryUpdates update }
		Errors json.RawMessage
	}
	if f.Type != "next" {
		return update{}, fmt.Errorf("frame %s %s", f.Type, f.Payload)
	}
	if err := json.Unmarshal(f.Payload, &next); err != nil || next.Errors != nil {
		return update{}, fmt.Errorf("payload %s: %w", f.Payload, err)
	}
	return next.Data.DeliveryUpdates, nil
}

func TestDeliveryUpdatesGoOnBehindTheirCursor(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		owner := listen(t, refusing(3))
		endpoint, _ := c.endpoint(owner.URL, `, retryPolicy: {schedule: ["PT0S", "PT0S", "PT0S", "PT0S", "PT0S", "PT0S", "PT0S", "PT0S"]}`)
		c.subscribe(endpoint, "")

		s := c.dial()
		s.subscribe(deliveryUpdates, map[string]any{"size": 7})
		first, err := s.update()
		if err != nil || first.Cursor == "" || len(first.Deliveries) != 0 {
			t.Fatalf("the first step is %+v, %v", first, err)
		}
		cursor := first.Cursor
		_ = s.conn.CloseNow()

		const total = 60
		seen := make(map[string][]string) // status and attempt count of each change, by delivery
		done := 0
		send := func(n int) {
			for range n {
				c.post("s", nil, []byte(`{}`))
			}
		}
		send(total / 2)
		for connection := 0; done < total; connection++ {
			if connection == 3 { // another process takes over in the middle
				c.stop()
				c = start(t, o)
				send(total / 2)
			}
			s := c.dial()
			s.subscribe(deliveryUpdates, map[string]any{"after": cursor, "size": 7})
			for steps := 0; done < total && (steps < 4 || connection > 3); steps++ {
				u, err := s.update()
				if err != nil {
					t.Fatal(err)
				}
				cursor = u.Cursor
				for _, d := range u.Deliveries {
					seen[d.ID] = append(seen[d.ID], fmt.Sprint(d.Status, " ", d.AttemptCount))
					if d.Status == "DELIVERED" {
						done++
					}
				}
			}
			_ = s.conn.CloseNow()
		}
		for id, changes := range seen {
			for i, change := range changes {
				want := fmt.Sprint("PENDING ", i)
				if i == len(changes)-1 {
					want = fmt.Sprint("DELIVERED ", i)
				}
				if change != want && change != fmt.Sprint("HELD ", i) {
					t.Errorf("the changes of %s are %q", id, changes)
					break
				}
			}
		}
		if len(seen) != total {
			t.Errorf("%d deliveries were seen", len(seen))
		}

		s = c.dial()
		var at update
		s.subscribe(deliveryUpdates, map[string]any{"after": first.Cursor, "filter": map[string]any{"statuses": []string{"DELIVERED"}}, "size": 500})
		var delivered []string
		for len(delivered) < total {
			if at, err = s.update(); err != nil {
				t.Fatal(err)
			}
			for _, d := range at.Deliveries {
				delivered = append(delivered, d.ID)
			}
		}
		slices.Sort(delivered)
		if len(slices.Compact(delivered)) != total {
			t.Errorf("the filter admits %d", len(delivered))
		}

		events := c.dial()
		events.subscribe(eventStream, map[string]any{"after": cursor})
		if f, err := events.read(); err != nil || !strings.Contains(string(f.Payload), "BAD_USER_INPUT") {
			t.Errorf("a cursor of deliveryUpdates was answered %s, %v", f.Payload, err)
		}
	})
}
