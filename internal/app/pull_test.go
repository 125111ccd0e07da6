package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
)

// leased is a delivery as a consumer is handed it.
type leased struct {
	Body, RawBody, ContentType, LeaseToken string
	LeaseExpiresAt                         time.Time
	Delivery                               struct {
		ID, Status string
		Event      struct{ ID, Type string }
	}
}

// pulling is a consumer of a STREAM endpoint.
type pulling struct {
	*socket
	got chan leased
}

// pull begins to pull. Deliveries come by got, which is closed when the stream ends.
func (c *client) pull(endpointID string, most int) *pulling {
	c.t.Helper()
	p := &pulling{socket: c.dial(), got: make(chan leased, 4096)}
	p.subscribe(`subscription ($id: ID!, $most: Int) { deliveryStream(endpointId: $id, maxInFlight: $most) { deliveries {
		body rawBody contentType leaseToken leaseExpiresAt delivery { id status event { id type } } } } }`,
		map[string]any{"id": endpointID, "most": most})
	if !p.step() { // the first has none and says that the stream is up
		c.t.Fatal("the stream did not begin")
	}
	go func() {
		defer close(p.got)
		for p.step() {
		}
	}()
	return p
}

func (p *pulling) step() bool {
	f, err := p.read()
	if err != nil || f.Type != "next" {
		p.t.Logf("the stream ended: %s %s %v", f.Type, f.Payload, err)
		return false
	}
	var result struct {
		Data struct{ DeliveryStream struct{ Deliveries []leased } }
	}
	if err := json.Unmarshal(f.Payload, &result); err != nil {
		p.t.Errorf("%s: %v", f.Payload, err)
		return false
	}
	for _, d := range result.Data.DeliveryStream.Deliveries {
		p.got <- d
	}
	return true
}

// next returns the next delivery.
func (p *pulling) next() leased {
	p.t.Helper()
	select {
	case d, open := <-p.got:
		if !open {
			p.t.Fatal("the stream has ended")
		}
		return d
	case <-time.After(30 * time.Second):
		p.t.Fatal("no delivery came")
	}
	return leased{}
}

// settle settles a delivery and returns the code of what was wrong, "" if nothing was.
func (c *client) settle(deliveryID, token, outcome, reason string) string {
	c.t.Helper()
	var done struct {
		SettleDeliveries []struct {
			Delivery   *struct{ ID, Status string }
			UserErrors []struct {
				Code  string
				Field []string
			}
		}
	}
	a := c.ask(`mutation ($input: [SettleDeliveryInput!]!) { settleDeliveries(input: $input) { delivery { id status } userErrors { code field } } }`,
		map[string]any{"input": []any{map[string]any{"deliveryId": deliveryID, "leaseToken": token, "outcome": outcome, "reason": reason}}})
	if err := json.Unmarshal(a.Data, &done); err != nil || len(a.Errors) > 0 || len(done.SettleDeliveries) != 1 {
		c.t.Fatalf("settleDeliveries was answered %s %+v", a.Data, a.Errors)
	}
	if one := done.SettleDeliveries[0]; len(one.UserErrors) > 0 {
		at := map[string]string{"NOT_FOUND": "deliveryId", "CONFLICT": "leaseToken"}[one.UserErrors[0].Code]
		if !slices.Equal(one.UserErrors[0].Field, []string{"input", "0", at}) {
			c.t.Errorf("%s is about %v", one.UserErrors[0].Code, one.UserErrors[0].Field)
		}
		return one.UserErrors[0].Code
	}
	return ""
}

// streamEndpoint makes a STREAM endpoint that gets everything; extra are more fields of
// its input, as GraphQL.
func (c *client) streamEndpoint(extra string) string {
	c.t.Helper()
	var made struct {
		CreateEndpoint struct{ Endpoint struct{ ID string } }
	}
	c.do(&made, `mutation { createEndpoint(input: {name: "Puller", kind: STREAM `+extra+`}) { endpoint { id } userErrors { field message } } }`, nil)
	c.subscribe(made.CreateEndpoint.Endpoint.ID, "")
	return made.CreateEndpoint.Endpoint.ID
}

func TestDeliveriesArePulledAndSettled(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	c.source("s")
	id := c.streamEndpoint(`retryPolicy: {schedule: ["PT0S", "PT0.05S", "PT0.05S"]}`)
	p := c.pull(id, 10)

	before := time.Now()
	sent := c.post("s", nil, []byte(`{"n": 1}`))
	d := p.next()
	if d.Body != `{"n": 1}` || d.Delivery.Event.ID != sent.ID || !d.LeaseExpiresAt.After(before.Add(59*time.Second)) {
		t.Errorf("handed over: %+v", d)
	}
	if code := c.settle(d.Delivery.ID, "wrong", "ACKNOWLEDGE", ""); code != "CONFLICT" {
		t.Errorf("a wrong token is %q", code)
	}
	if code := c.settle("dlv_00000000000000000000000000", d.LeaseToken, "ACKNOWLEDGE", ""); code != "NOT_FOUND" {
		t.Errorf("an unknown delivery is %q", code)
	}
	if code := c.settle(d.Delivery.ID, d.LeaseToken, "ACKNOWLEDGE", ""); code != "" {
		t.Fatalf("it was not settled: %s", code)
	}
	if code := c.settle(d.Delivery.ID, d.LeaseToken, "ACKNOWLEDGE", ""); code != "CONFLICT" {
		t.Errorf("settled twice is %q", code)
	}
	got := c.deliveries(sent.ID)[0]
	if got.Status != "DELIVERED" || got.AttemptCount != 1 || got.Attempts.Nodes[0].Outcome != "SUCCEEDED" || *got.Attempts.Nodes[0].RequestBody != `{"n": 1}` {
		t.Errorf("the history is %+v", got)
	}

	again := c.post("s", nil, []byte(`{"n": 2}`))
	d = p.next()
	c.settle(d.Delivery.ID, d.LeaseToken, "RETRY", "busy")
	second := p.next()
	if second.Delivery.ID != d.Delivery.ID || second.LeaseToken == d.LeaseToken || second.Body != d.Body {
		t.Errorf("the retry is %+v", second)
	}
	if code := c.settle(d.Delivery.ID, d.LeaseToken, "ACKNOWLEDGE", ""); code != "CONFLICT" {
		t.Errorf("the token of the attempt before is %q", code)
	}
	c.settle(d.Delivery.ID, second.LeaseToken, "REJECT", "no such order")
	got = c.deliveries(again.ID)[0]
	if got.Status != "DEAD" || got.Reason != "the consumer rejected it: no such order" || got.AttemptCount != 2 {
		t.Errorf("the rejected one is %+v", got)
	}
	if first := got.Attempts.Nodes[slices.IndexFunc(got.Attempts.Nodes, func(a struct {
		Number          int
		Outcome         string
		StatusCode      *int
		Error           *string
		RequestBody     *string
		ResponseBody    *string
		RequestHeaders  []struct{ Name, Value string }
		ResponseHeaders []struct{ Name, Value string }
	}) bool {
		return a.Number == 1
	})]; first.Outcome != "REFUSED" || *first.Error != "the consumer wants it again: busy" {
		t.Errorf("the first attempt is %+v", first)
	}
}

func TestAConsumerNeverHasMoreThanItWants(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	c.source("s")
	id := c.streamEndpoint("")
	for n := range 40 {
		c.post("s", nil, fmt.Appendf(nil, `{"n": %d}`, n))
	}
	p := c.pull(id, 7)
	seen := map[string]bool{}
	open := map[string]string{}
	for len(seen) < 40 {
		d := p.next()
		if seen[d.Delivery.ID] {
			t.Errorf("%s came twice", d.Delivery.ID)
		}
		seen[d.Delivery.ID] = true
		open[d.Delivery.ID] = d.LeaseToken
		if len(open)+len(p.got) > 7 {
			t.Fatalf("%d are unsettled", len(open)+len(p.got))
		}
		if len(open) == 7 {
			for id, token := range open {
				if code := c.settle(id, token, "ACKNOWLEDGE", ""); code != "" {
					t.Fatal(code)
				}
				delete(open, id)
			}
		}
	}
}

func TestWhatAConsumerLeavesIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	c.source("s")
	id := c.streamEndpoint("")
	p := c.pull(id, 10)
	sent := c.post("s", nil, []byte(`{}`))
	d := p.next()
	_ = p.conn.CloseNow() // as a process that is killed
	q := c.pull(id, 10)
	again := q.next()
	if again.Delivery.ID != d.Delivery.ID || again.LeaseToken == d.LeaseToken {
		t.Errorf("%+v came again as %+v", d, again)
	}
	c.settle(again.Delivery.ID, again.LeaseToken, "ACKNOWLEDGE", "")
	got := c.deliveries(sent.ID)[0]
	if got.Status != "DELIVERED" || got.AttemptCount != 2 || !slices.ContainsFunc([]int{0, 1}, func(i int) bool { return got.Attempts.Nodes[i].Outcome == "INTERRUPTED" }) {
		t.Errorf("the history is %+v", got)
	}
}

func TestConsumersOnTwoNodesShareAnEndpoint(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		a, b := start(t, o), start(t, o)
		a.source("s")
		id := a.streamEndpoint("")
		const count = 60
		one, two := a.pull(id, 5), b.pull(id, 5)
		for n := range count {
			[]*client{a, b}[n%2].post("s", nil, fmt.Appendf(nil, `{"n": %d}`, n))
		}
		// Neither can have more than 5 before something is settled, so both get some.
		first := map[*pulling]leased{one: one.next(), two: two.next()}
		seen := map[string]int{}
		for len(seen) < count {
			var d leased
			var from *pulling
			for p, was := range first {
				d, from = was, p
			}
			delete(first, from)
			if from == nil {
				select {
				case d = <-one.got:
					from = one
				case d = <-two.got:
					from = two
				case <-time.After(30 * time.Second):
					t.Fatalf("%d of %d came", len(seen), count)
				}
			}
			if seen[d.Delivery.ID]++; seen[d.Delivery.ID] > 1 {
				t.Errorf("%s was handed over twice", d.Delivery.ID)
			}
			// Settled by way of the node that has not handed it over.
			other := a
			if from == one {
				other = b
			}
			if code := other.settle(d.Delivery.ID, d.LeaseToken, "ACKNOWLEDGE", ""); code != "" {
				t.Errorf("settled by the other node: %s", code)
			}
		}
	})
}

func TestPulledDeliveriesAreShapedAndCounted(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	source := c.source("s")
	var made struct {
		CreateEndpoint struct {
			Endpoint      struct{ ID, Signing, Timeout string }
			SigningSecret *string
		}
	}
	c.do(&made, `mutation { createEndpoint(input: {name: "Puller", kind: STREAM, timeout: "PT1S", signing: STANDARD_V1, retryPolicy: {schedule: ["PT0S", "PT0S"]}}) {
		endpoint { id signing timeout } signingSecret userErrors { field message } } }`, nil)
	e := made.CreateEndpoint
	if e.Endpoint.Signing != "NONE" || e.SigningSecret != nil {
		t.Errorf("made: %+v", e)
	}
	c.subscribe(e.Endpoint.ID, `transform: {kind: CEL, expression: "{\"shaped\": body.n}"}`)
	p := c.pull(e.Endpoint.ID, 10)

	before := time.Now()
	sent := c.post("s", nil, []byte(`{"n": 1}`))
	d := p.next()
	if d.Body != `{"shaped":1}` || d.ContentType != "application/json" || !d.LeaseExpiresAt.After(before.Add(59*time.Second)) {
		t.Errorf("handed over: %+v", d)
	}
	c.settle(d.Delivery.ID, d.LeaseToken, "RETRY", "")
	d = p.next()
	if d.Body != `{"shaped":1}` {
		t.Errorf("handed over again: %+v", d)
	}
	c.settle(d.Delivery.ID, d.LeaseToken, "ACKNOWLEDGE", "")
	if got := c.deliveries(sent.ID)[0]; *got.Attempts.Nodes[0].RequestBody != `{"shaped":1}` {
		t.Errorf("the history is %+v", got)
	}
	c.post("s", nil, []byte(`{"n": 2}`))
	d = p.next()
	c.settle(d.Delivery.ID, d.LeaseToken, "REJECT", "")
	for _, filter := range []string{`{endpointIds: ["` + e.Endpoint.ID + `"]}`, `{sourceIds: ["` + source + `"]}`} {
		if all := c.counts(filter); all.Delivered != 1 || all.Dead != 1 || all.Attempts != 3 || all.FailedAttempts != 2 {
			t.Errorf("counted by %s: %+v", filter, all)
		}
	}
}

func TestAStopOfTheHubFreesWhatConsumersHave(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		o.ShutdownTimeout = 15 * time.Second
		c := start(t, o)
		c.source("s")
		id := c.streamEndpoint("")
		p := c.pull(id, 2)
		var sent []string
		for range 3 {
			sent = append(sent, c.post("s", nil, []byte(`{}`)).ID)
		}
		first := map[string]string{}
		var until time.Time // the first of their leases ends
		for range 2 {
			d := p.next()
			first[d.Delivery.ID] = d.LeaseToken
			if until.IsZero() || d.LeaseExpiresAt.Before(until) {
				until = d.LeaseExpiresAt
			}
		}
		began := time.Now()
		c.stop()
		for range p.got { // it is told, and the stream ends
		}
		if took := time.Since(began); took > 14*time.Second {
			t.Errorf("the stop took %s, as if somebody had to settle first", took)
		}
		c = start(t, o)
		p = c.pull(id, 10)
		for range 3 {
			d := p.next() // not when a lease would have ended
			if first[d.Delivery.ID] == d.LeaseToken {
				t.Errorf("%s was handed over under the old lease", d.Delivery.ID)
			}
			c.settle(d.Delivery.ID, d.LeaseToken, "ACKNOWLEDGE", "")
		}
		if late := time.Since(until); late >= 0 {
			t.Errorf("all came %s after the leases had ended", late)
		}
		interrupted := 0
		for _, id := range sent {
			d := c.only(id, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
			for _, a := range d.Attempts.Nodes {
				if a.Outcome == "INTERRUPTED" {
					interrupted++
				}
			}
		}
		if interrupted != 2 {
			t.Errorf("%d attempts were interrupted", interrupted)
		}
	})
}

func TestPausingHoldsWhatIsPulled(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	c.source("s")
	id := c.streamEndpoint("rateLimit: {limit: 2, period: \"PT0.5S\"}")
	p := c.pull(id, 100)
	var ignored any
	c.do(&ignored, `mutation ($id: ID!) { pauseEndpoint(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
	var sent []string
	for range 6 {
		sent = append(sent, c.post("s", nil, []byte(`{}`)).ID)
	}
	for _, id := range sent {
		if d := c.deliveries(id)[0]; d.Status != "HELD" || !contains(d.Reason, "paused") {
			t.Errorf("it is %s for %q", d.Status, d.Reason)
		}
	}
	if len(p.got) != 0 {
		t.Errorf("%d were handed over", len(p.got))
	}
	began := time.Now()
	c.do(&ignored, `mutation ($id: ID!) { resumeEndpoint(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
	for range 6 {
		d := p.next()
		c.settle(d.Delivery.ID, d.LeaseToken, "ACKNOWLEDGE", "")
	}
	if took := time.Since(began); took < time.Second { // two at once, then four a second
		t.Errorf("all came within %s", took)
	}
}
