package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// inLine posts the numbers from first to last of an account and returns their events.
func (c *client) inLine(account string, first, last int) (events []string) {
	c.t.Helper()
	for n := first; n <= last; n++ {
		events = append(events, c.post("s", nil, fmt.Appendf(nil, `{"account":%q,"number":%d}`, account, n)).ID)
	}
	return events
}

func (c *client) all(events []string, status string) {
	c.t.Helper()
	for i, id := range events {
		c.only(id, fmt.Sprintf("number %d is %s", i, status), func(d delivery) bool { return d.Status == status })
	}
}

// mutate runs a mutation on one thing that must succeed.
func (c *client) mutate(name, arguments string) {
	c.t.Helper()
	var ignored any
	c.do(&ignored, `mutation { `+name+`(`+arguments+`) { userErrors { message } } }`, nil)
}

// numbers returns the numbers that came of an account.
func (rc *receiver) numbers(t *testing.T, account string) (came []int) {
	t.Helper()
	for _, a := range rc.got() {
		if body := number(t, a.Body); body.Account == account {
			came = append(came, body.Number)
		}
	}
	return came
}

func number(t *testing.T, raw []byte) (body numbered) {
	t.Helper()
	if err := json.Unmarshal(raw, &body); err != nil {
		t.Fatalf("%s: %v", raw, err)
	}
	return body
}

func TestStrictOrderOfWhatIsPublishedToAQueue(t *testing.T) {
	t.Parallel()
	address, _ := testkit.NATS(t)
	onBoth(t, func(t *testing.T, o config.Server) {
		const each = 8
		conn, err := nats.Connect(address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		subject := "hookgraph.test." + nats.NewInbox()[7:]
		c := start(t, o)
		c.source("s")
		var made struct {
			CreateEndpoint struct{ Endpoint struct{ ID string } }
		}
		c.do(&made, `mutation ($url: String!) { createEndpoint(input: {name: "Queue", kind: QUEUE, url: $url, retryPolicy: {schedule: ["PT0S", "PT1H"]}}) {
			endpoint { id } userErrors { field message } } }`, map[string]any{"url": address + "/" + subject})
		c.subscribe(made.CreateEndpoint.Endpoint.ID, `ordering: STRICT, orderingKey: "body.account"`)
		var events []string
		accounts := []string{"a", "b", "c"}
		for _, account := range accounts { // nobody listens, so that the first of each fails
			events = append(events, c.inLine(account, 0, each-1)...)
		}
		var heads []string
		for i := range accounts {
			heads = append(heads, c.only(events[i*each], "the head has failed", func(d delivery) bool { return d.AttemptCount == 1 }).ID)
		}
		held := c.only(events[1], "the next waits", func(d delivery) bool { return d.Status == "HELD" })
		if held.AttemptCount != 0 || !contains(held.Reason, heads[0]) {
			t.Errorf("the next is %+v", held)
		}
		listening, err := conn.SubscribeSync(subject)
		if err == nil {
			err = conn.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range heads {
			c.mutate("retryDelivery", `id: "`+id+`"`)
		}
		c.all(events, "DELIVERED")
		next := map[string]int{}
		for range events {
			m, err := listening.NextMsg(time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			body := number(t, m.Data)
			if body.Number != next[body.Account] {
				t.Fatalf("number %d of %s came when %d was next", body.Number, body.Account, next[body.Account])
			}
			next[body.Account]++
		}
	})
}

func TestWhatIsStaleIsNotPulled(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		var made struct {
			CreateEndpoint struct{ Endpoint struct{ ID string } }
		}
		c.do(&made, `mutation { createSource(input: {name: "s", slug: "s", allowUnverified: true, occurredAt: "body.at"}) { userErrors { field message } } }`, nil)
		c.do(&made, `mutation { createEndpoint(input: {name: "Pulled", kind: STREAM, retryPolicy: {schedule: ["PT0S", "PT1H"]}}) { endpoint { id } userErrors { field message } } }`, nil)
		endpoint := made.CreateEndpoint.Endpoint.ID
		c.subscribe(endpoint, `ordering: SKIP_STALE, orderingKey: "body.account"`)
		p := c.pull(endpoint, 10)
		send := func(account, at string) string {
			return c.post("s", nil, fmt.Appendf(nil, `{"account":%q,"at":%q}`, account, at)).ID
		}
		take := func(event, outcome string) leased {
			t.Helper()
			d := p.next()
			if d.Delivery.Event.ID != event {
				t.Fatalf("a delivery of %s came, want one of %s", d.Delivery.Event.ID, event)
			}
			if code := c.settle(d.Delivery.ID, d.LeaseToken, outcome, ""); code != "" {
				t.Fatalf("%s says %s", outcome, code)
			}
			return d
		}
		old := send("a", "2026-01-01T00:00:00Z")
		refused := take(old, "RETRY")
		newer := send("a", "2026-01-02T00:00:00Z")
		delivered := take(newer, "ACKNOWLEDGE")
		c.all([]string{newer}, "DELIVERED")
		c.mutate("retryDelivery", `id: "`+refused.Delivery.ID+`"`)
		late := send("a", "2026-01-01T12:00:00Z")
		for event, attempts := range map[string]int{old: 1, late: 0} {
			d := c.only(event, "it is stale", func(d delivery) bool { return d.Status == "CANCELED" })
			if d.AttemptCount != attempts || !contains(d.Reason, delivered.Delivery.ID) {
				t.Errorf("canceled: %+v", d)
			}
		}
		take(send("b", "2025-01-01T00:00:00Z"), "ACKNOWLEDGE") // and nothing came before it
		take(send("a", "2026-01-03T00:00:00Z"), "ACKNOWLEDGE")
	})
}

// What a replay makes or makes due again and has no key waits like anything else, and takes
// its place once it has one.
func TestKeysThatFailInReplays(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, nil)
		source := c.source("s")
		endpoint, _ := c.endpoint(owner.URL, `maxConcurrency: 8`)
		events := c.inLine("a", 0, 5) // nobody wants them yet
		subscription := c.subscribe(endpoint, `ordering: STRICT, orderingKey: "body.customer.id"`)
		again := `events: {sourceIds: ["` + source + `"]}, toSubscriptionId: "` + subscription + `", rate: 10000`
		first := c.replay(again).Replay.ID
		for _, id := range events {
			var d delivery
			testkit.Eventually(t, "it is held", func() bool {
				list := c.deliveries(id)
				if len(list) == 1 {
					d = list[0]
				}
				return d.Status == "HELD"
			})
			if d.AttemptCount != 0 || !contains(d.Reason, "ordering key") || !contains(d.Reason, "body.customer.id") {
				t.Fatalf("held: %+v", d)
			}
		}
		if waits := c.replay(again).Replay; waits.ID != first || waits.State != "RUNNING" {
			t.Errorf("while they wait the replay is %+v", waits)
		}
		c.mutate("updateSubscription", `input: {id: "`+subscription+`", orderingKey: "body.account"}`)
		c.all(events, "DELIVERED")
		if came := owner.numbers(t, "a"); !slices.Equal(came, []int{0, 1, 2, 3, 4, 5}) {
			t.Errorf("after the key is mended came %v", came)
		}

		if done := c.replayed(first); done.State != "COMPLETED" || done.Done != len(events) || done.Failed != 0 {
			t.Errorf("the replay is %+v", done)
		}

		// Tried again, a delivery keeps the place that it has, whatever the key would be now.
		c.mutate("updateSubscription", `input: {id: "`+subscription+`", orderingKey: "body.customer.id"}`)
		if done := c.replayed(c.replay(again).Replay.ID); done.State != "COMPLETED" || done.Done != len(events) || done.Failed != 0 {
			t.Errorf("the replay of what was delivered is %+v", done)
		}
		if came := owner.numbers(t, "a"); !slices.Equal(came[len(events):], []int{0, 1, 2, 3, 4, 5}) {
			t.Errorf("with the replay came %v", came)
		}
		c.all(events, "DELIVERED")
	})
}

func TestASubscriptionThatIsPointedElsewhereAmidALine(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		var mended atomic.Bool
		before := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			if !mended.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		after := listen(t, nil)
		c.source("s")
		first, _ := c.endpoint(before.URL, `retryPolicy: {schedule: ["PT0S", "PT1H"]}`)
		second, _ := c.endpoint(after.URL, "")
		subscription := c.subscribe(first, `ordering: STRICT, orderingKey: "body.account"`)
		old := c.inLine("a", 0, 2)
		gone := c.inLine("b", 0, 2)
		head := c.only(old[0], "the head has failed", func(d delivery) bool { return d.AttemptCount == 1 })
		c.only(gone[0], "the other one too", func(d delivery) bool { return d.AttemptCount == 1 })
		c.mutate("updateSubscription", `input: {id: "`+subscription+`", endpointId: "`+second+`"}`)
		c.all(c.inLine("c", 0, 2), "DELIVERED") // a line that begins there waits for nobody
		moved, left := c.inLine("a", 3, 5), c.inLine("b", 3, 5)
		for _, id := range append(moved, left...) {
			c.only(id, "it waits behind what goes to the old one", func(d delivery) bool { return d.Status == "HELD" && d.AttemptCount == 0 })
		}
		mended.Store(true)
		c.mutate("retryDelivery", `id: "`+head.ID+`"`)
		c.all(append(old, moved...), "DELIVERED")
		if came := before.numbers(t, "a"); !slices.Equal(came, []int{0, 0, 1, 2}) {
			t.Errorf("at the old one came %v", came)
		}
		if came := after.numbers(t, "a"); !slices.Equal(came, []int{3, 4, 5}) {
			t.Errorf("at the new one came %v", came)
		}

		// What goes to a deleted endpoint keeps nobody.
		c.mutate("deleteEndpoint", `input: {id: "`+first+`"}`)
		c.all(gone, "CANCELED")
		c.all(left, "DELIVERED")
		if came := after.numbers(t, "b"); !slices.Equal(came, []int{3, 4, 5}) {
			t.Errorf("after the deletion came %v", came)
		}
		c.all(c.inLine("b", 6, 6), "DELIVERED")
	})
}

func TestAnEndpointIsDeletedAmidALine(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		release := make(chan struct{})
		owner := listen(t, func(w http.ResponseWriter, r *http.Request, _ int) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
			w.WriteHeader(http.StatusServiceUnavailable)
		})
		t.Cleanup(func() { close(release) })
		c.source("s")
		endpoint, _ := c.endpoint(owner.URL, "")
		c.subscribe(endpoint, `ordering: STRICT, orderingKey: "body.account"`)
		events := c.inLine("a", 0, 5)
		testkit.Eventually(t, "the head is under way", func() bool { return len(owner.got()) == 1 })
		c.mutate("deleteEndpoint", `input: {id: "`+endpoint+`"}`)
		c.all(events, "CANCELED")
		for _, id := range events {
			if d := c.deliveries(id)[0]; d.Reason == "" {
				t.Errorf("canceled: %+v", d)
			}
		}
		if n := len(owner.got()); n != 1 {
			t.Errorf("%d requests came", n)
		}
	})
}

func TestAnEndpointIsDisabledAmidLines(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		for _, want := range []struct {
			choice    string
			delivered []int // of five
			came      []int // one more comes after it is resumed
		}{
			{"SEND_ALL", []int{0, 1, 2, 3, 4}, []int{0, 0, 1, 2, 3, 4, 5}},
			{"SEND_NEWEST_PER_KEY", []int{4}, []int{0, 4, 5}},
			{"CANCEL", nil, []int{0, 5}},
		} {
			var mended atomic.Bool
			owner := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
				if !mended.Load() {
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			endpoint, _ := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT1H"]}, maxConcurrency: 8`)
			subscription := c.subscribe(endpoint, `ordering: STRICT, orderingKey: "body.account"`)
			accounts, events := []string{"a", "b", "c"}, map[string][]string{}
			for _, account := range accounts {
				events[account] = c.inLine(account, 0, 2)
				c.only(events[account][0], "the head has failed", func(d delivery) bool { return d.AttemptCount == 1 })
			}
			c.mutate("disableEndpoint", `id: "`+endpoint+`"`)
			for _, account := range accounts {
				events[account] = append(events[account], c.inLine(account, 3, 4)...)
				c.all(events[account], "HELD")
			}
			mended.Store(true)
			c.mutate("resumeEndpoint", `id: "`+endpoint+`", backlog: `+want.choice)
			for _, account := range accounts {
				if want.choice == "SEND_ALL" { // the head keeps its time
					c.mutate("retryDelivery", `id: "`+c.deliveries(events[account][0])[0].ID+`"`)
				}
				for n, id := range events[account] {
					status := "CANCELED"
					if slices.Contains(want.delivered, n) {
						status = "DELIVERED"
					}
					d := c.only(id, want.choice+": it has ended", func(d delivery) bool { return d.Status == "DELIVERED" || d.Status == "CANCELED" })
					if d.Status != status || status == "CANCELED" && d.Reason == "" {
						t.Errorf("%s: number %d of %s is %s because %q, want %s", want.choice, n, account, d.Status, d.Reason, status)
					}
				}
				c.all(c.inLine(account, 5, 5), "DELIVERED")
				if came := owner.numbers(t, account); !slices.Equal(came, want.came) {
					t.Errorf("%s: of %s came %v, want %v", want.choice, account, came, want.came)
				}
			}
			c.mutate("deleteSubscription", `input: {id: "`+subscription+`"}`)
		}
	})
}
