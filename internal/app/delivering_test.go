package app_test

import (
	"bytes"
	"net/http"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// only returns the one delivery of an event, once the condition holds for it.
func (c *client) only(eventID, what string, condition func(delivery) bool) delivery {
	c.t.Helper()
	var d delivery
	testkit.Eventually(c.t, what, func() bool {
		all := c.deliveries(eventID)
		if len(all) != 1 {
			return false
		}
		d = all[0]
		return condition(d)
	})
	return d
}

func TestAFailedDeliveryIsTriedAgainWithTheSameBytes(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n < 2 {
				w.Header().Set("X-Why", "busy")
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = w.Write([]byte("not now"))
				return
			}
			w.WriteHeader(http.StatusOK)
		})
		c.source("s")
		endpoint, secret := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT0.05S", "PT0.1S", "PT1H"]}`)
		c.subscribe(endpoint, "")
		sent := c.post("s", nil, []byte(`{"type":"x"}`))
		d := c.only(sent.ID, "the third attempt succeeds", func(d delivery) bool { return d.Status == "DELIVERED" })
		if d.AttemptCount != 3 || len(d.Attempts.Nodes) != 3 {
			t.Fatalf("%+v", d)
		}
		for i, a := range d.Attempts.Nodes {
			if a.Number != i+1 {
				t.Errorf("attempt %d is number %d", i, a.Number)
			}
		}
		if a := d.Attempts.Nodes[0]; a.Outcome != "REFUSED" || *a.StatusCode != 500 || *a.ResponseBody != "not now" {
			t.Errorf("the first attempt on record: %+v", a)
		}
		got := owner.got()
		for _, a := range got {
			verify(t, a, secret)
			if a.Header.Get("Webhook-Id") != d.ID || !bytes.Equal(a.Body, got[0].Body) {
				t.Errorf("an attempt was sent as %s %q", a.Header.Get("Webhook-Id"), a.Body)
			}
		}
	})
}

func TestRetryAndCancelByRequest(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n == 0 {
				w.WriteHeader(http.StatusBadGateway)
			}
		})
		c.source("s")
		endpoint, _ := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT1H"]}`)
		c.subscribe(endpoint, "")
		sent := c.post("s", nil, nil)
		d := c.only(sent.ID, "the first attempt has failed", func(d delivery) bool { return d.AttemptCount == 1 && d.Status == "PENDING" })
		if d.NextAttemptAt == nil || time.Until(*d.NextAttemptAt) < 40*time.Minute {
			t.Errorf("the next attempt is at %v", d.NextAttemptAt)
		}
		var done struct {
			RetryDelivery, CancelDelivery struct {
				Delivery   struct{ Status string }
				UserErrors []struct {
					Code, Message string
					Field         []string
				}
			}
		}
		c.do(&done, `mutation ($id: ID!) { retryDelivery(id: $id) { delivery { status } userErrors { code message field } } }`, map[string]any{"id": d.ID})
		c.only(sent.ID, "the retry succeeds", func(d delivery) bool { return d.Status == "DELIVERED" && d.AttemptCount == 2 })

		a := c.ask(`mutation ($id: ID!) { cancelDelivery(id: $id) { delivery { status } userErrors { code message field } } }`, map[string]any{"id": d.ID})
		if !contains(string(a.Data), `"code":"CONFLICT"`) || !contains(string(a.Data), `"field":["id"]`) {
			t.Errorf("canceling what is delivered was answered %s %+v", a.Data, a.Errors)
		}

		// Held deliveries can be canceled; what is canceled can be sent after all.
		c.do(&done, `mutation ($id: ID!) { pauseEndpoint(id: $id) { endpoint { state } userErrors { message } } }`, map[string]any{"id": endpoint})
		held := c.post("s", nil, nil)
		h := c.only(held.ID, "the delivery is held", func(d delivery) bool { return d.Status == "HELD" })
		if h.Reason != "the endpoint is paused" {
			t.Errorf("held because %q", h.Reason)
		}
		c.do(&done, `mutation ($id: ID!) { cancelDelivery(id: $id) { delivery { status } userErrors { code message field } } }`, map[string]any{"id": h.ID})
		if done.CancelDelivery.Delivery.Status != "CANCELED" {
			t.Errorf("%+v", done)
		}
		c.do(&done, `mutation ($id: ID!) { resumeEndpoint(id: $id) { endpoint { state } userErrors { message } } }`, map[string]any{"id": endpoint})
		c.do(&done, `mutation ($id: ID!) { retryDelivery(id: $id) { delivery { status } userErrors { code message field } } }`, map[string]any{"id": h.ID})
		c.only(held.ID, "what was canceled is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
	})
}

func TestPausingHoldsAndResumingSends(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, nil)
		c.source("s")
		endpoint, _ := c.endpoint(owner.URL, "")
		subscription := c.subscribe(endpoint, "")
		var ignored any
		for noun, id := range map[string]string{"Endpoint": endpoint, "Subscription": subscription} {
			c.do(&ignored, `mutation ($id: ID!) { pause`+noun+`(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
			before := len(owner.got())
			var sent []receipt
			for range 30 {
				sent = append(sent, c.post("s", nil, []byte(`{}`)))
			}
			for _, one := range sent {
				c.only(one.ID, "the delivery is held", func(d delivery) bool { return d.Status == "HELD" && d.Reason != "" })
			}
			if n := len(owner.got()); n != before {
				t.Errorf("%s: %d were sent while paused", noun, n-before)
			}
			c.do(&ignored, `mutation ($id: ID!) { resume`+noun+`(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
			for _, one := range sent {
				c.only(one.ID, "the delivery is sent", func(d delivery) bool { return d.Status == "DELIVERED" && d.AttemptCount == 1 })
			}
		}
	})
}

func TestTheNextAttemptIsNotBeforeWhatHoldsIt(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	owner := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
		w.Header().Set("Retry-After", "600")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	c.source("s")
	endpoint, _ := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT1S"]}`)
	c.subscribe(endpoint, "")
	held := func(d delivery) bool { return d.Status == "HELD" }

	asked := c.only(c.post("s", nil, []byte(`{}`)).ID, "the endpoint has asked for peace", held).NextAttemptAt
	if asked == nil || time.Until(*asked) < 5*time.Minute {
		t.Fatalf("what it refused is attempted at %v", asked)
	}
	second := c.post("s", nil, []byte(`{}`))
	if got := c.only(second.ID, "the next one waits too", held).NextAttemptAt; got == nil || !got.Equal(*asked) {
		t.Errorf("the next one is attempted at %v, what it refused at %v", got, asked)
	}
	var ignored any
	c.do(&ignored, `mutation ($id: ID!) { pauseEndpoint(id: $id) { userErrors { message } } }`, map[string]any{"id": endpoint})
	c.only(second.ID, "nobody knows when a paused endpoint is called", func(d delivery) bool { return held(d) && d.NextAttemptAt == nil })
}

func TestGoneDisablesTheEndpointAndHoldsTheRest(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	owner := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusGone) })
	c.source("s")
	endpoint, _ := c.endpoint(owner.URL, "")
	c.subscribe(endpoint, "")
	first := c.post("s", nil, nil)
	var got struct {
		Endpoint struct{ State, StateReason string }
	}
	testkit.Eventually(t, "the endpoint is disabled", func() bool {
		c.do(&got, `query ($id: ID!) { endpoint(id: $id) { state stateReason } }`, map[string]any{"id": endpoint})
		return got.Endpoint.State == "DISABLED"
	})
	if !contains(got.Endpoint.StateReason, "410") {
		t.Errorf("the reason is %q", got.Endpoint.StateReason)
	}
	second := c.post("s", nil, nil)
	for _, sent := range []receipt{first, second} {
		c.only(sent.ID, "the delivery is held", func(d delivery) bool { return d.Status == "HELD" && contains(d.Reason, "410") })
	}
	if n := len(owner.got()); n != 1 {
		t.Errorf("%d requests were sent", n)
	}
}

func TestAHangingEndpointDelaysNoOther(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	release := make(chan struct{})
	hanging := listen(t, func(_ http.ResponseWriter, r *http.Request, _ int) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(func() { close(release) })
	healthy := listen(t, nil)
	c.source("s")
	stuck, _ := c.endpoint(hanging.URL, `maxConcurrency: 4 timeout: "PT60S"`)
	well, _ := c.endpoint(healthy.URL, "")
	c.subscribe(stuck, "")
	c.subscribe(well, "")
	const events = 200
	for range events {
		c.post("s", nil, []byte(`{}`))
	}
	testkit.Eventually(t, "the healthy endpoint has everything", func() bool { return len(healthy.got()) == events })
	if n := len(hanging.got()); n > 4 {
		t.Errorf("%d requests at a time, over its limit of 4", n)
	}
	var got struct{ Endpoint struct{ Backlog int } }
	c.do(&got, `query ($id: ID!) { endpoint(id: $id) { backlog } }`, map[string]any{"id": stuck})
	if got.Endpoint.Backlog != events {
		t.Errorf("the hanging endpoint's backlog is %d", got.Endpoint.Backlog)
	}
}

func TestAddressesInsideAreNotReachedUnlessAllowed(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.AllowNetworks = nil
	c := start(t, o)
	inside := listen(t, nil)
	c.source("s")
	a := c.ask(`mutation ($url: String!) { createEndpoint(input: {name: "Inside", url: $url}) { endpoint { id } userErrors { code field message } } }`, map[string]any{"url": inside.URL})
	if !contains(string(a.Data), `"field":["input","url"]`) {
		t.Errorf("a loopback address was answered %s", a.Data)
	}
	c.stop()

	// What was saved when it was allowed is found out when it is dialled.
	allowed := o
	allowed.AllowNetworks = []string{"127.0.0.0/8"}
	c = start(t, allowed)
	endpoint, _ := c.endpoint(inside.URL, "")
	c.subscribe(endpoint, "")
	c.stop()
	c = start(t, o)
	sent := c.post("s", nil, nil)
	d := c.only(sent.ID, "the delivery is given up", func(d delivery) bool { return d.Status == "DEAD" })
	if d.Attempts.Nodes[0].Outcome != "ADDRESS_BLOCKED" || d.Reason == "" || contains(*d.Attempts.Nodes[0].Error, "127.0.0.1") {
		t.Errorf("%+v", d)
	}
	if len(inside.got()) != 0 {
		t.Error("it was reached")
	}
}

func TestARestartResumesWhereItWas(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		})
		c.source("s")
		endpoint, secret := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT1H"]}`)
		c.subscribe(endpoint, "")
		sent := c.post("s", http.Header{"Webhook-Id": {"one"}}, []byte(`{"type":"x"}`))
		before := c.only(sent.ID, "the first attempt has failed", func(d delivery) bool { return d.AttemptCount == 1 })
		c.stop()

		c = start(t, o)
		after := c.deliveries(sent.ID)[0]
		if after.Status != before.Status || !after.NextAttemptAt.Equal(*before.NextAttemptAt) || after.AttemptCount != 1 {
			t.Errorf("before %+v, after %+v", before, after)
		}
		if again := c.post("s", http.Header{"Webhook-Id": {"one"}}, []byte(`{"type":"x"}`)); again.ID != sent.ID || !again.Duplicate {
			t.Errorf("the duplicate was answered %+v", again)
		}
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { retryDelivery(id: $id) { userErrors { message } } }`, map[string]any{"id": after.ID})
		c.only(sent.ID, "the retry succeeds", func(d delivery) bool { return d.Status == "DELIVERED" && d.AttemptCount == 2 })
		for _, a := range owner.got() {
			verify(t, a, secret)
		}
	})
}

func TestRotatedSecretsSignSideBySide(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	owner := listen(t, nil)
	c.source("s")
	endpoint, old := c.endpoint(owner.URL, "")
	c.subscribe(endpoint, "")
	var rotated struct {
		RotateEndpointSecret struct{ SigningSecret string }
	}
	c.do(&rotated, `mutation ($id: ID!) { rotateEndpointSecret(id: $id, overlap: "PT1H") { signingSecret userErrors { message } } }`, map[string]any{"id": endpoint})
	c.post("s", nil, []byte(`{"type":"x"}`))
	testkit.Eventually(t, "the delivery arrives", func() bool { return len(owner.got()) == 1 })
	verify(t, owner.got()[0], old)
	verify(t, owner.got()[0], rotated.RotateEndpointSecret.SigningSecret)
	if old == rotated.RotateEndpointSecret.SigningSecret {
		t.Error("the secret is the old one")
	}
}
