package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/hookgraph/hookgraph/internal/config"
)

// numbered is the body of an event that says which one of its account it is.
type numbered struct {
	Account string
	Number  int
}

func TestStrictDeliveriesArriveInOrder(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		const accounts, each = 3, 12
		c := start(t, o)
		owner := listen(t, refusing(3))
		c.source("s")
		endpoint, _ := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT0.03S", "PT0.03S", "PT0.03S", "PT0.03S"]}`)
		subscription := c.subscribe(endpoint, `ordering: STRICT, orderingKey: "body.account"`)
		var sent []string
		for n := range each {
			for account := range accounts {
				sent = append(sent, c.post("s", nil, fmt.Appendf(nil, `{"account":"a%d","number":%d}`, account, n)).ID)
			}
		}
		for _, id := range sent {
			c.only(id, "everything is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
		}
		seen := make(map[string]int)
		for _, a := range owner.got() {
			var body numbered
			if err := json.Unmarshal(a.Body, &body); err != nil {
				t.Fatal(err)
			}
			if body.Number != seen[body.Account] && body.Number != seen[body.Account]-1 {
				t.Fatalf("number %d of %s came when %d had come", body.Number, body.Account, seen[body.Account])
			}
			seen[body.Account] = body.Number + 1
		}
		if len(owner.got()) == len(sent) {
			t.Error("nothing had to be retried")
		}

		var shown struct {
			Subscription struct {
				Ordering, Poison string
				OrderingKey      *string
			}
		}
		c.do(&shown, `query ($id: ID!) { subscription(id: $id) { ordering poison orderingKey } }`, map[string]any{"id": subscription})
		if s := shown.Subscription; s.Ordering != "STRICT" || s.Poison != "PARK_KEY" || s.OrderingKey == nil || *s.OrderingKey != "body.account" {
			t.Errorf("the subscription is shown as %+v", s)
		}
	})
}

func TestAParkedKeyShowsItsHeadAndGoesOnAfterARetry(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		var mended atomic.Bool
		owner := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			if !mended.Load() {
				w.WriteHeader(http.StatusUnprocessableEntity)
			}
		})
		c.source("s")
		endpoint, _ := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT1H"], finalStatuses: ["422"]}`)
		c.subscribe(endpoint, `ordering: STRICT, orderingKey: "body.account"`)
		head := c.post("s", nil, []byte(`{"account":"a"}`))
		dead := c.only(head.ID, "the head is dead", func(d delivery) bool { return d.Status == "DEAD" })
		next := c.post("s", nil, []byte(`{"account":"a"}`))
		held := c.only(next.ID, "the next is held", func(d delivery) bool { return d.Status == "HELD" })
		if !contains(held.Reason, dead.ID) {
			t.Errorf("it is held because %q", held.Reason)
		}
		var shown struct {
			Delivery struct {
				BlockedBy struct{ ID, Status string }
				Event     struct {
					Trace []struct{ Step, Detail string }
				}
			}
		}
		c.do(&shown, `query ($id: ID!) { delivery(id: $id) { blockedBy { id status blockedBy { id } } event { trace { step detail } } } }`, map[string]any{"id": held.ID})
		if d := shown.Delivery; d.BlockedBy.ID != dead.ID || d.BlockedBy.Status != "DEAD" {
			t.Errorf("blocked by %+v", d.BlockedBy)
		}
		trace := shown.Delivery.Event.Trace
		if last := trace[len(trace)-1]; last.Step != "HELD" || !contains(last.Detail, dead.ID) {
			t.Errorf("the trace is %+v", trace)
		}
		mended.Store(true)
		c.do(&shown, `mutation ($id: ID!) { retryDelivery(id: $id) { delivery { status } userErrors { message } } }`, map[string]any{"id": dead.ID})
		for _, id := range []string{head.ID, next.ID} {
			c.only(id, "both are delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
		}
		got := owner.got()
		if n := len(got); n != 3 || got[1].Header.Get("Webhook-Id") != dead.ID || got[2].Header.Get("Webhook-Id") != held.ID {
			t.Errorf("%d requests came", n)
		}
	})
}

func TestStaleDeliveriesAreSkipped(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		var made struct{}
		c.do(&made, `mutation { createSource(input: {name: "s", slug: "s", allowUnverified: true, occurredAt: "body.at"}) { source { id } userErrors { field message } } }`, nil)
		endpoint, _ := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT1H"]}`)
		c.subscribe(endpoint, `ordering: SKIP_STALE, orderingKey: "body.account"`)
		old := c.post("s", nil, []byte(`{"account":"a","at":"2026-01-01T00:00:00Z"}`))
		d := c.only(old.ID, "the first attempt failed", func(d delivery) bool { return d.AttemptCount == 1 })
		other := c.post("s", nil, []byte(`{"account":"b","at":"2025-01-01T00:00:00Z"}`))
		c.only(other.ID, "another key goes out", func(d delivery) bool { return d.Status == "DELIVERED" })
		newer := c.post("s", nil, []byte(`{"account":"a","at":"2026-01-02T00:00:00Z"}`))
		delivered := c.only(newer.ID, "the newer one does not wait", func(d delivery) bool { return d.Status == "DELIVERED" })

		retry := func() {
			t.Helper()
			c.do(&made, `mutation ($id: ID!) { retryDelivery(id: $id) { delivery { status } userErrors { message } } }`, map[string]any{"id": d.ID})
			d = c.only(old.ID, "it is stale", func(d delivery) bool { return d.Status == "CANCELED" })
			if !contains(d.Reason, delivered.ID) || d.AttemptCount != 1 {
				t.Errorf("canceled because %q after %d attempts", d.Reason, d.AttemptCount)
			}
		}
		retry()
		retry() // what was canceled is stale all the same
		fresh := c.post("s", nil, []byte(`{"account":"a","at":"2026-01-01T12:00:00Z"}`))
		c.only(fresh.ID, "one that comes late is not sent at all", func(d delivery) bool { return d.Status == "CANCELED" && d.AttemptCount == 0 })
		c.do(&made, `mutation ($id: ID!) { retryDelivery(id: $id) { delivery { status } userErrors { message } } }`, map[string]any{"id": delivered.ID})
		c.only(newer.ID, "the newest itself can be sent again", func(d delivery) bool { return d.Status == "DELIVERED" && d.AttemptCount == 2 })

		var shown struct {
			Event struct {
				Trace []struct{ Step, Detail string }
			}
		}
		c.do(&shown, `query ($id: ID!) { event(id: $id) { trace { step detail } } }`, map[string]any{"id": old.ID})
		trace := shown.Event.Trace
		if last := trace[len(trace)-1]; last.Step != "CANCELED" || !contains(last.Detail, delivered.ID) {
			t.Errorf("the trace is %+v", trace)
		}
	})
}

func TestStrictOrderOfWhatIsPulled(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		var made struct {
			CreateEndpoint struct{ Endpoint struct{ ID string } }
		}
		c.do(&made, `mutation { createEndpoint(input: {name: "Pulled", kind: STREAM}) { endpoint { id } userErrors { field message } } }`, nil)
		endpoint := made.CreateEndpoint.Endpoint.ID
		c.subscribe(endpoint, `ordering: STRICT, orderingKey: "body.account"`)
		var events []string
		for n := range 4 {
			events = append(events, c.post("s", nil, fmt.Appendf(nil, `{"account":"a","number":%d}`, n)).ID)
		}
		p := c.pull(endpoint, 10)
		for i, id := range events {
			d := p.next()
			if d.Delivery.Event.ID != id || len(p.got) > 0 {
				t.Fatalf("number %d is a delivery of %s, and %d more came with it", i, d.Delivery.Event.ID, len(p.got))
			}
			if code := c.settle(d.Delivery.ID, d.LeaseToken, "ACKNOWLEDGE", ""); code != "" {
				t.Fatalf("acknowledging says %s", code)
			}
		}
	})
}
