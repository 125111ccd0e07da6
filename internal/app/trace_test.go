package app_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// step is one decision about an event.
type step struct {
	At            time.Time
	Step, Outcome string
	Detail        *string
	Subscription  *struct{ ID string }
	Delivery      *struct{ ID string }
}

func (c *client) traceOf(eventID string) []step {
	c.t.Helper()
	var got struct{ Event struct{ Trace []step } }
	c.do(&got, `query ($id: ID!) { event(id: $id) { trace { at step outcome detail subscription { id } delivery { id } } } }`, map[string]any{"id": eventID})
	return got.Event.Trace
}

// tell writes a trace down; names tells subscriptions apart.
func tell(steps []step, names map[string]string) string {
	var lines []string
	for _, s := range steps {
		line := s.Step + " " + s.Outcome
		if s.Subscription != nil {
			line += " " + names[s.Subscription.ID]
		}
		if s.Delivery != nil {
			line += " d"
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestATraceTellsEveryDecision(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		owner := listen(t, func(w http.ResponseWriter, r *http.Request, n int) {
			switch {
			case r.URL.Path == "/final":
				w.WriteHeader(http.StatusTeapot)
			case n == 0:
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		good, _ := c.endpoint(owner.URL+"/good", `retryPolicy: {schedule: ["PT0S", "PT0.01S"]}`)
		yes := c.subscribe(good, `filter: "body.n > 1"`)
		no := c.subscribe(good, `filter: "body.n > 100"`)
		failing := c.subscribe(good, `filter: "body.missing"`)
		c.subscribe(good, `eventTypes: ["another.*"] filter: "false"`)
		names := map[string]string{yes: "yes", no: "no", failing: "failing"}

		first := c.post("s", http.Header{"Webhook-Id": {"one"}}, []byte(`{"type":"x","n":7}`))
		c.only(first.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
		c.post("s", http.Header{"Webhook-Id": {"one"}}, []byte(`{"type":"x","n":7}`))
		// The rules change; what is told of the first event stays.
		var changed struct {
			UpdateSubscription struct{ Subscription struct{ ID string } }
		}
		for id, filter := range map[string]string{yes: "false", no: "true"} {
			c.do(&changed, `mutation ($id: ID!, $filter: String) { updateSubscription(input: {id: $id, filter: $filter}) { subscription { id } userErrors { message } } }`,
				map[string]any{"id": id, "filter": filter})
		}
		var gone struct{ DeleteSubscription struct{ DeletedID string } }
		c.do(&gone, `mutation ($id: ID!) { deleteSubscription(input: {id: $id}) { deletedId userErrors { message } } }`, map[string]any{"id": failing})

		trace := c.traceOf(first.ID)
		sorted := tell(trace, names)
		want := []string{
			"RECEIVED STORED", "FILTERED FILTER_FALSE no", "FILTERED FILTER_FAILED", "MATCHED DELIVERY_CREATED yes d",
			"ATTEMPTED REFUSED yes d", "ATTEMPTED SUCCEEDED yes d", "DELIVERED DELIVERED yes d", "DUPLICATE COUNTED",
		}
		if sorted != strings.Join(want, "\n") {
			t.Errorf("got\n%s\nwant\n%s", sorted, strings.Join(want, "\n"))
		}
		details := map[string]string{"FILTER_FALSE": "body.n > 100", "FILTER_FAILED": "no such key: missing", "REFUSED": "HTTP 500", "COUNTED": "1"}
		for i, s := range trace {
			if part := details[s.Outcome]; part != "" && (s.Detail == nil || !strings.Contains(*s.Detail, part)) {
				t.Errorf("%s says %v", s.Outcome, s.Detail)
			}
			if s.Outcome == "FILTER_FAILED" && !strings.Contains(*s.Detail, "deleted since") {
				t.Errorf("the deleted one says %s", *s.Detail)
			}
			if i > 0 && s.At.Before(trace[i-1].At) {
				t.Errorf("%d is before %d", i, i-1)
			}
		}

		second := c.post("s", http.Header{"Webhook-Id": {"two"}}, []byte(`{"type":"x","n":7}`))
		c.only(second.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
		if got := tell(c.traceOf(second.ID), names); !strings.Contains(got, "FILTERED FILTER_FALSE yes\n") || !strings.Contains(got, "MATCHED DELIVERY_CREATED no d") {
			t.Errorf("by the new rules:\n%s", got)
		}

		final, _ := c.endpoint(owner.URL+"/final", `retryPolicy: {finalStatuses: ["418"]}`)
		dead := c.subscribe(final, `eventTypes: ["y"]`)
		held := c.subscribe(good, `eventTypes: ["y"] transform: {kind: CEL, expression: "body.missing"}`)
		names[dead], names[held] = "dead", "held"
		third := c.post("s", http.Header{"Webhook-Id": {"three"}}, []byte(`{"type":"y","n":7}`))
		var got string
		testkit.Eventually(t, "all is decided", func() bool {
			got = tell(c.traceOf(third.ID), names)
			return strings.Contains(got, "HELD HELD held d") && strings.Contains(got, "DEAD DEAD dead d")
		})
		for _, part := range []string{"ATTEMPTED TRANSFORM_FAILED held d", "ATTEMPTED REFUSED dead d", "MATCHED DELIVERY_CREATED no d"} {
			if !strings.Contains(got, part) {
				t.Errorf("%s is missing:\n%s", part, got)
			}
		}
		var canceled struct {
			CancelDelivery struct{ Delivery struct{ ID string } }
		}
		for _, s := range c.traceOf(third.ID) {
			if s.Step == "HELD" {
				c.do(&canceled, `mutation ($id: ID!) { cancelDelivery(id: $id) { delivery { id } userErrors { message } } }`, map[string]any{"id": s.Delivery.ID})
			}
		}
		if got := tell(c.traceOf(third.ID), names); !strings.Contains(got, "CANCELED CANCELED held d") || strings.Contains(got, "HELD") {
			t.Errorf("after canceling:\n%s", got)
		}
	})
}

func TestATraceSaysWhatHoldsADelivery(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		down := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusBadGateway) })
		broken, _ := c.endpoint(down.URL, `retryPolicy: {schedule: ["PT0S", "PT1H"]}`)
		paused, _ := c.endpoint(down.URL, "")
		stopped, _ := c.endpoint(down.URL, "")
		silent, _ := c.endpoint(down.URL, "")
		names := map[string]string{}
		for name, endpoint := range map[string]string{"broken": broken, "paused": paused, "disabled": stopped} {
			names[c.subscribe(endpoint, "")] = name
		}
		quiet := c.subscribe(silent, "")
		names[quiet] = "subscription paused"
		var ignored any
		for mutation, id := range map[string]string{
			"pauseEndpoint(id: $id)": paused, `disableEndpoint(id: $id, reason: "no longer wanted")`: stopped, "pauseSubscription(id: $id)": quiet,
		} {
			c.do(&ignored, `mutation ($id: ID!) { `+mutation+` { userErrors { message } } }`, map[string]any{"id": id})
		}
		for range 10 {
			c.post("s", nil, []byte(`{}`))
		}
		testkit.Eventually(t, "the breaker opens", func() bool {
			var got struct{ Endpoint struct{ Breaker string } }
			c.do(&got, `query ($id: ID!) { endpoint(id: $id) { breaker } }`, map[string]any{"id": broken})
			return got.Endpoint.Breaker == "OPEN"
		})
		last := c.post("s", nil, []byte(`{}`))
		held := map[string]string{}
		for _, s := range c.traceOf(last.ID) {
			if s.Step == "HELD" && s.Subscription != nil && s.Detail != nil {
				held[names[s.Subscription.ID]] = *s.Detail
			}
		}
		for name, part := range map[string]string{"broken": "keeps failing", "paused": "endpoint is paused", "disabled": "no longer wanted", "subscription paused": "subscription is paused"} {
			if !contains(held[name], part) {
				t.Errorf("%s is held for %q", name, held[name])
			}
		}
	})
}
