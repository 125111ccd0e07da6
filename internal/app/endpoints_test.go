package app_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestTestRequests(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "short and stout")
		})
		endpoint, secret := c.endpoint(owner.URL, "")
		var got struct {
			TestEndpoint struct {
				Attempt struct {
					ID, Outcome, RequestBody, ResponseBody string
					StatusCode                             int
				}
			}
			Node struct{ RequestBody, ResponseBody string }
		}
		c.do(&got, `mutation ($id: ID!) { testEndpoint(id: $id, eventType: "order.created", payload: {b: 1, a: [2]}) { attempt { id outcome statusCode requestBody responseBody } userErrors { message } } }`,
			map[string]any{"id": endpoint})
		a := got.TestEndpoint.Attempt
		if a.Outcome != "REFUSED" || a.StatusCode != http.StatusTeapot || a.ResponseBody != "short and stout" || !contains(a.RequestBody, `"b"`) {
			t.Errorf("%+v", a)
		}
		arrived := owner.got()[0]
		verify(t, arrived, secret)
		if id := arrived.Header.Get("Webhook-Id"); !strings.HasPrefix(id, "msg_") || string(arrived.Body) != a.RequestBody || arrived.Header.Get("Webhook-Event-Type") != "order.created" {
			t.Errorf("sent as %s %v %q", id, arrived.Header, arrived.Body)
		}
		c.do(&got, `query ($id: ID!) { node(id: $id) { ... on Attempt { requestBody responseBody } } }`, map[string]any{"id": a.ID})
		if got.Node.RequestBody != a.RequestBody || got.Node.ResponseBody != a.ResponseBody {
			t.Errorf("on record is %+v", got.Node)
		}
		var health struct {
			Endpoint struct {
				ConsecutiveFailures int
				LastFailureAt       *time.Time
			}
		}
		c.do(&health, `query ($id: ID!) { endpoint(id: $id) { consecutiveFailures lastFailureAt } }`, map[string]any{"id": endpoint})
		if health.Endpoint.ConsecutiveFailures != 0 || health.Endpoint.LastFailureAt != nil {
			t.Errorf("the test counts: %+v", health)
		}
		asked, began := 0, time.Now()
		testkit.Eventually(t, "there is a limit", func() bool {
			asked++
			return contains(string(c.ask(`mutation ($id: ID!) { testEndpoint(id: $id) { userErrors { code } } }`, map[string]any{"id": endpoint}).Data), "LIMIT_EXCEEDED")
		})
		if most := 10 + int(time.Since(began)/(2*time.Second)); asked > most {
			t.Errorf("the limit came with the %d. request", asked)
		}
		if a := c.ask(`mutation { testEndpoint(id: "end_0") { userErrors { code field } } }`, nil); !contains(string(a.Data), "NOT_FOUND") {
			t.Errorf("nowhere was answered %s", a.Data)
		}
	})
}

func TestUnverifiedEndpointsGetNothing(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		o.EndpointVerification = "all"
		c := start(t, o)
		c.source("s")
		var willing sync.Map
		owner := listen(t, nil)
		owner.behave = func(w http.ResponseWriter, _ *http.Request, n int) {
			var asked struct{ Type, Challenge string }
			owner.mu.Lock()
			body := owner.arrivals[n].Body
			owner.mu.Unlock()
			_ = json.Unmarshal(body, &asked)
			if _, ok := willing.Load("yes"); ok && asked.Type == "hookgraph.endpoint.verification" {
				_ = json.NewEncoder(w).Encode(map[string]string{"challenge": asked.Challenge})
			}
		}
		endpoint, secret := c.endpoint(owner.URL, "")
		c.subscribe(endpoint, "")
		sent := c.post("s", nil, []byte(`{"type":"x"}`))
		d := c.only(sent.ID, "the delivery is held", func(d delivery) bool { return d.Status == "HELD" })
		if !contains(d.Reason, "verifyEndpoint") {
			t.Errorf("it is held because %q", d.Reason)
		}
		testkit.Eventually(t, "the challenge was sent by itself", func() bool { return len(owner.got()) == 1 })
		verify(t, owner.got()[0], secret)

		again := `mutation ($id: ID!) { verifyEndpoint(id: $id) { endpoint { verifiedAt } userErrors { code field message } } }`
		if a := c.ask(again, map[string]any{"id": endpoint}); !contains(string(a.Data), "UNREACHABLE") || !contains(string(a.Data), "without the challenge") {
			t.Errorf("an unwilling endpoint was answered %s", a.Data)
		}
		if d := c.deliveries(sent.ID)[0]; d.Status != "HELD" || d.AttemptCount != 0 {
			t.Errorf("%+v", d)
		}
		test := `mutation ($id: ID!) { testEndpoint(id: $id, payload: "x") { attempt { id } userErrors { code message } } }`
		if a := c.ask(test, map[string]any{"id": endpoint}); !contains(string(a.Data), "FORBIDDEN") {
			t.Errorf("a test of an unverified endpoint was answered %s", a.Data)
		}
		willing.Store("yes", true)
		var verified struct {
			VerifyEndpoint struct {
				Endpoint struct{ VerifiedAt *time.Time }
			}
		}
		c.do(&verified, again, map[string]any{"id": endpoint})
		if verified.VerifyEndpoint.Endpoint.VerifiedAt == nil {
			t.Error("it is not verified")
		}
		c.only(sent.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })

		// What is elsewhere has not been asked, and is, by itself.
		var changed struct {
			UpdateEndpoint struct {
				Endpoint struct{ VerifiedAt *time.Time }
			}
			Endpoint struct{ VerifiedAt *time.Time }
		}
		c.do(&changed, `mutation ($id: ID!, $url: String!) { updateEndpoint(input: {id: $id, url: $url}) { endpoint { verifiedAt } userErrors { message } } }`,
			map[string]any{"id": endpoint, "url": owner.URL + "/elsewhere"})
		if changed.UpdateEndpoint.Endpoint.VerifiedAt != nil {
			t.Error("another URL is verified at once")
		}
		testkit.Eventually(t, "the new URL is verified by itself", func() bool {
			c.do(&changed, `query ($id: ID!) { endpoint(id: $id) { verifiedAt } }`, map[string]any{"id": endpoint})
			return changed.Endpoint.VerifiedAt != nil
		})
	})
}

func TestResumingWithAChoice(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		var source struct {
			CreateSource struct{ Source struct{ ID string } }
		}
		c.do(&source, `mutation { createSource(input: {name: "s", slug: "s", allowUnverified: true, orderingKey: "has(body.key) ? body.key : ''"}) { source { id } userErrors { message } } }`, nil)
		for choice, want := range map[string]map[string]string{
			"SEND_ALL":            {"a1": "DELIVERED", "a2": "DELIVERED", "b1": "DELIVERED", "n1": "DELIVERED", "n2": "DELIVERED"},
			"SEND_NEWEST_PER_KEY": {"a1": "CANCELED", "a2": "DELIVERED", "b1": "DELIVERED", "n1": "DELIVERED", "n2": "DELIVERED"},
			"CANCEL":              {"a1": "CANCELED", "a2": "CANCELED", "b1": "CANCELED", "n1": "CANCELED", "n2": "CANCELED"},
		} {
			owner := listen(t, nil)
			endpoint, _ := c.endpoint(owner.URL, "")
			subscription := c.subscribe(endpoint, `eventTypes: ["`+choice+`"]`)
			var ignored any
			c.do(&ignored, `mutation ($id: ID!) { pauseEndpoint(id: $id) { userErrors { message } } }`, map[string]any{"id": endpoint})
			sent := make(map[string]string)
			for _, one := range [][2]string{{"a1", "a"}, {"b1", "b"}, {"n1", ""}, {"a2", "a"}, {"n2", ""}} {
				body, _ := json.Marshal(map[string]string{"type": choice, "key": one[1], "name": one[0]})
				sent[one[0]] = c.post("s", nil, body).ID
			}
			resume := `mutation ($id: ID!, $choice: BacklogChoice) { resumeEndpoint(id: $id, backlog: $choice) { endpoint { state } userErrors { message } } }`
			c.do(&ignored, resume, map[string]any{"id": endpoint, "choice": choice})
			for name, status := range want {
				d := c.only(sent[name], choice+" of "+name, func(d delivery) bool { return d.Status == "CANCELED" || d.Status == "DELIVERED" })
				if d.Status != status || status == "CANCELED" && d.Reason == "" {
					t.Errorf("%s: %s is %s %q", choice, name, d.Status, d.Reason)
				}
			}
			// What comes afterwards is sent, and the same choice again changes nothing.
			body, _ := json.Marshal(map[string]string{"type": choice, "key": "a"})
			after := c.post("s", nil, body)
			c.do(&ignored, resume, map[string]any{"id": endpoint, "choice": choice})
			c.only(after.ID, "what comes afterwards is sent", func(d delivery) bool { return d.Status == "DELIVERED" })
			_ = subscription
		}
	})
}

func TestWhatIsTooOldIsDead(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		failing := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusBadGateway) })
		endpoint, _ := c.endpoint(failing.URL, `maxAge: "PT1H" retryPolicy: {schedule: ["PT0S", "PT2H"], jitter: 0}`)
		paused, _ := c.endpoint(failing.URL, `maxAge: "PT1S"`)
		c.subscribe(endpoint, `eventTypes: ["now"]`)
		c.subscribe(paused, `eventTypes: ["held"]`)
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { pauseEndpoint(id: $id) { userErrors { message } } }`, map[string]any{"id": paused})
		for kind, attempts := range map[string]int{"now": 1, "held": 0} {
			sent := c.post("s", nil, []byte(`{"type":"`+kind+`"}`))
			d := c.only(sent.ID, kind+" is dead", func(d delivery) bool { return d.Status == "DEAD" })
			if d.AttemptCount != attempts || !contains(d.Reason, "maximum age") {
				t.Errorf("%s: %+v", kind, d)
			}
		}
	})
}

func TestEachKindOfEndpointIsTested(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	test := func(id string) (attempt struct{ Outcome, Error, RequestBody string }, wrong string) {
		var got struct {
			TestEndpoint struct {
				Attempt    *struct{ Outcome, Error, RequestBody string }
				UserErrors []struct{ Message string }
			}
		}
		a := c.ask(`mutation ($id: ID!) { testEndpoint(id: $id, eventType: "order.created") { attempt { outcome error requestBody } userErrors { message } } }`, map[string]any{"id": id})
		if err := json.Unmarshal(a.Data, &got); err != nil || len(a.Errors) > 0 {
			t.Fatalf("%s %+v", a.Data, a.Errors)
		}
		if got.TestEndpoint.Attempt != nil {
			attempt = *got.TestEndpoint.Attempt
		}
		for _, one := range got.TestEndpoint.UserErrors {
			wrong += one.Message
		}
		return attempt, wrong
	}
	owner := listen(t, nil)
	http, _ := c.endpoint(owner.URL, "")
	if a, wrong := test(http); a.Outcome != "SUCCEEDED" || wrong != "" || !contains(a.RequestBody, `"order.created"`) || string(owner.got()[0].Body) != a.RequestBody {
		t.Errorf("HTTP: %+v %s", a, wrong)
	}
	if a, wrong := test(c.streamEndpoint("")); a.Outcome != "" || !contains(wrong, "nothing is sent to an endpoint of this kind") {
		t.Errorf("STREAM: %+v %s", a, wrong)
	}
	address, stop := testkit.NATS(t)
	conn, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	queue, _ := c.create(map[string]any{"name": "queue", "kind": "QUEUE", "url": address + "/orders"})
	if a, wrong := test(queue); a.Outcome != "REFUSED" || !contains(a.Error, "nobody listens") || wrong != "" {
		t.Errorf("QUEUE that nobody reads: %+v %s", a, wrong)
	}
	listening, err := conn.SubscribeSync("orders")
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	a, wrong := test(queue)
	m, err := listening.NextMsg(time.Minute)
	if err != nil || a.Outcome != "SUCCEEDED" || wrong != "" || string(m.Data) != a.RequestBody || !strings.HasPrefix(m.Header["webhook-id"][0], "msg_") {
		t.Errorf("QUEUE: %+v %s %v", a, wrong, err)
	}
	stop()
	testkit.Eventually(t, "the broker's end is noticed", func() bool {
		a, _ := test(queue)
		return a.Outcome == "CONNECTION_FAILED" || a.Outcome == "TIMED_OUT"
	})
}
