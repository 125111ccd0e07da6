package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// problem is one user error.
type problem struct {
	Code, Message string
	Field         []string
	Line, Column  *int
}

const problemFields = ` userErrors { code message field line column } `

// reshape gives a subscription another transform; "" takes it away.
func (c *client) reshape(id, kind, expression string) []problem {
	c.t.Helper()
	var transform any
	if kind != "" {
		transform = map[string]any{"kind": kind, "expression": expression}
	}
	var made struct {
		UpdateSubscription struct{ UserErrors []problem }
	}
	a := c.ask(`mutation ($input: UpdateSubscriptionInput!) { updateSubscription(input: $input) { subscription { transform { kind expression } }`+problemFields+`} }`,
		map[string]any{"input": map[string]any{"id": id, "transform": transform}})
	if len(a.Errors) > 0 {
		c.t.Fatalf("%+v", a.Errors)
	}
	if err := json.Unmarshal(a.Data, &made); err != nil {
		c.t.Fatal(err)
	}
	return made.UpdateSubscription.UserErrors
}

// bodies are what has arrived, by content type and body.
func (rc *receiver) bodies() []string {
	var out []string
	for _, a := range rc.got() {
		out = append(out, a.Header.Get("Content-Type")+" "+string(a.Body))
	}
	return out
}

func TestATransformMakesTheBody(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("shop")
		for _, kind := range []struct{ name, transform, want string }{
			{
				"CEL", `{kind: CEL, expression: "{'id': event.id, 'amount': body.data.amount, 'from': event.source, 'tags': body.tags.map(t, t + '!')}"}`,
				`application/json {"amount":9007199254740993,"from":"shop","id":"EVENT","tags":["a!"]}`,
			},
			{
				"GraphQL", `{kind: GRAPHQL, expression: "{ id type amount: payload(path: \"$.data.amount\") exact: payload(path: \"$.exact\") source { slug } missing: payload(path: \"$.nothing\") ...more } fragment more on Event { duplicateCount }"}`,
				`application/json {"id":"EVENT","type":"order.paid","amount":9007199254740993,"exact":123456789012345678901.10,"source":{"slug":"shop"},"missing":null,"duplicateCount":0}`,
			},
		} {
			owner := listen(t, nil)
			endpoint, secret := c.endpoint(owner.URL, "")
			id := c.subscribe(endpoint, "transform: "+kind.transform)
			sent := c.post("shop", http.Header{"Content-Type": {"text/plain"}},
				[]byte(`{"type":"order.paid", "data": {"amount": 9007199254740993}, "exact": 123456789012345678901.10, "tags": ["a"]}`))
			testkit.Eventually(t, kind.name+" arrives", func() bool { return len(owner.got()) == 1 })
			verify(t, owner.got()[0], secret)
			want := strings.ReplaceAll(kind.want, "EVENT", sent.ID)
			if got := owner.bodies()[0]; got != want {
				t.Errorf("%s:\n got %s\nwant %s", kind.name, got, want)
			}
			d := c.onlyOf(sent.ID, id, "the delivery succeeds", func(d delivery) bool { return d.Status == "DELIVERED" })
			if body := d.Attempts.Nodes[0].RequestBody; body == nil || "application/json "+*body != want {
				t.Errorf("%s: the attempt shows the body %v", kind.name, body)
			}
			var made struct {
				Subscription struct {
					Transform struct{ Kind, Expression string }
				}
			}
			c.do(&made, `query ($id: ID!) { subscription(id: $id) { transform { kind expression } } }`, map[string]any{"id": id})
			if !strings.EqualFold(made.Subscription.Transform.Kind, kind.name) || made.Subscription.Transform.Expression == "" {
				t.Errorf("%s: shown as %+v", kind.name, made)
			}
			var gone struct{ DeleteEndpoint struct{ DeletedID string } }
			c.do(&gone, `mutation ($id: ID!) { deleteEndpoint(input: {id: $id}) { deletedId userErrors { message } } }`, map[string]any{"id": endpoint})
		}
	})
}

// onlyOf returns the one delivery of an event to a subscription, once the condition holds.
func (c *client) onlyOf(eventID, subscriptionID, what string, condition func(delivery) bool) delivery {
	c.t.Helper()
	return c.only(eventID, what+" of "+subscriptionID, condition)
}

func TestAShapedBodyStaysTheSame(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		owner := listen(t, func(w http.ResponseWriter, _ *http.Request, n int) {
			if n < 3 {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		c.source("s")
		endpoint, _ := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT0.05S", "PT1H", "PT1H", "PT1H"]}`)
		sub := c.subscribe(endpoint, `transform: {kind: GRAPHQL, expression: "{ id duplicateCount lastDuplicateAt }"}`)
		sent := c.post("s", http.Header{"Webhook-Id": {"one"}}, []byte(`{"type":"x"}`))
		testkit.Eventually(t, "it is tried twice", func() bool { return len(owner.got()) == 2 })

		if again := c.post("s", http.Header{"Webhook-Id": {"one"}}, []byte(`{"type":"x"}`)); !again.Duplicate || again.ID != sent.ID {
			t.Fatalf("sent again: %+v", again)
		}
		if wrong := c.reshape(sub, "CEL", `{"another": body}`); len(wrong) > 0 {
			t.Fatalf("%+v", wrong)
		}
		d := c.only(sent.ID, "two attempts are on record", func(d delivery) bool { return d.AttemptCount == 2 })
		retry := func(c *client) {
			t.Helper()
			var retried struct {
				RetryDelivery struct{ Delivery struct{ ID string } }
			}
			c.do(&retried, `mutation ($id: ID!) { retryDelivery(id: $id) { delivery { id } userErrors { message } } }`, map[string]any{"id": d.ID})
		}
		retry(c)
		testkit.Eventually(t, "it is tried after the change", func() bool { return len(owner.got()) >= 3 })
		c.only(sent.ID, "the third attempt is on record", func(d delivery) bool { return d.AttemptCount == 3 })
		c.stop()
		c = start(t, o)
		retry(c)
		c.only(sent.ID, "it is delivered after the restart", func(d delivery) bool { return d.Status == "DELIVERED" })
		retry(c) // once more, though it was delivered
		c.only(sent.ID, "it is delivered again", func(d delivery) bool { return d.AttemptCount == 5 && d.Status == "DELIVERED" })
		bodies := map[string]bool{}
		ids := map[string]bool{}
		for _, a := range owner.got() {
			if a.Header.Get("Webhook-Id") == d.ID {
				bodies[string(a.Body)], ids[a.Header.Get("Webhook-Id")] = true, true
			}
		}
		if want := fmt.Sprintf(`{"id":%q,"duplicateCount":0,"lastDuplicateAt":null}`, sent.ID); len(bodies) != 1 || !bodies[want] {
			t.Errorf("sent %v, want %s alone", bodies, want)
		}
	})
}

func TestWhatWasMadeWithoutATransformGoesOutAsReceived(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	owner := listen(t, func(w http.ResponseWriter, _ *http.Request, n int) {
		if n == 0 {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})
	c.source("s")
	endpoint, _ := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S", "PT1H"]}`)
	sub := c.subscribe(endpoint, "")
	sent := c.post("s", nil, []byte(`{"type": "raw"}`))
	d := c.only(sent.ID, "the first attempt fails", func(d delivery) bool { return d.AttemptCount == 1 })
	c.reshape(sub, "CEL", "event.id")
	var retried struct {
		RetryDelivery struct{ Delivery struct{ ID string } }
	}
	c.do(&retried, `mutation ($id: ID!) { retryDelivery(id: $id) { delivery { id } userErrors { message } } }`, map[string]any{"id": d.ID})
	c.only(sent.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
	for _, a := range owner.got() {
		if string(a.Body) != `{"type": "raw"}` {
			t.Errorf("sent %s", a.Body)
		}
	}
}

func TestAFailedTransformHoldsUntilItIsMended(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		h := start(t, o)
		h.source("s")
		for _, c := range []struct{ kind, wrong, right, reason, want string }{
			{"CEL", "body.missing", "body.present", "no such key: missing", "1"},
			{"GRAPHQL", `{ source { badly: rejections(first: -1) { nodes { id } } } }`, `{ payload(path: "$.present") }`, "source.badly: ", `{"payload":1}`},
		} {
			owner := listen(t, nil)
			endpoint, _ := h.endpoint(owner.URL, "")
			sub := h.subscribe(endpoint, fmt.Sprintf("transform: {kind: %s, expression: %q}", c.kind, c.wrong))
			sent := h.post("s", nil, []byte(`{"type":"x","present":1}`))
			d := h.only(sent.ID, "it is held", func(d delivery) bool { return d.Status == "HELD" })
			if !strings.Contains(d.Reason, c.reason) || d.NextAttemptAt != nil || d.AttemptCount != 1 ||
				d.Attempts.Nodes[0].Outcome != "TRANSFORM_FAILED" || d.Attempts.Nodes[0].RequestBody != nil || d.Attempts.Nodes[0].Error == nil {
				t.Errorf("%s: held as %+v", c.wrong, d)
			}
			var counted struct {
				Held, Pending struct{ TotalCount int }
			}
			h.do(&counted, `query ($id: ID!) { held: deliveries(filter: {statuses: [HELD], subscriptionIds: [$id]}) { totalCount } pending: deliveries(filter: {statuses: [PENDING], subscriptionIds: [$id]}) { totalCount } }`, map[string]any{"id": sub})
			if counted.Held.TotalCount != 1 || counted.Pending.TotalCount != 0 {
				t.Errorf("%s: counted %+v", c.wrong, counted)
			}
			var retried struct {
				RetryDelivery struct{ Delivery struct{ ID string } }
			}
			h.do(&retried, `mutation ($id: ID!) { retryDelivery(id: $id) { delivery { id } userErrors { message } } }`, map[string]any{"id": d.ID})
			h.only(sent.ID, "it is held again", func(d delivery) bool { return d.Status == "HELD" && d.AttemptCount == 2 })
			if got := owner.bodies(); len(got) > 0 {
				t.Errorf("%s: sent %s", c.wrong, got)
			}
			if wrong := h.reshape(sub, c.kind, c.right); len(wrong) > 0 {
				t.Fatalf("%+v", wrong)
			}
			// What the change has released may be tried once by the transform as it was, by a
			// dispatcher that has not seen the change yet.
			h.only(sent.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" && d.AttemptCount >= 3 })
			if got := owner.bodies(); len(got) != 1 || got[0] != "application/json "+c.want {
				t.Errorf("%s: sent %s", c.right, got)
			}
			var gone struct{ DeleteEndpoint struct{ DeletedID string } }
			h.do(&gone, `mutation ($id: ID!) { deleteEndpoint(input: {id: $id}) { deletedId userErrors { message } } }`, map[string]any{"id": endpoint})
		}
	})
}

func TestWrongTransformsAreRefused(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	endpoint, _ := c.endpoint("http://127.0.0.1:1/", "")
	sub := c.subscribe(endpoint, "")
	for _, w := range []struct {
		kind, expression, message string
		line, column              int
	}{
		{"CEL", "{\n  'a': event.idd }", "undefined field 'idd'", 2, 13},
		{"CEL", strings.Repeat("1", 5000), "at most 4096 bytes", 1, 1},
		{"GRAPHQL", "{\n  id\n  amuont\n}", `Cannot query field "amuont" on type "Event"`, 3, 3},
		{"GRAPHQL", "{ id ", "Expected Name", 1, 6},
		{"GRAPHQL", "", "no selection set", 1, 1},
		{"GRAPHQL", "id type", `Unexpected Name "id"`, 1, 1},
		{"GRAPHQL", "{ source }", `must have a selection of subfields`, 1, 3},
		{"GRAPHQL", "query { id }", "without a keyword", 1, 1},
		{"GRAPHQL", "mutation { id }", "without a keyword", 1, 1},
		{"GRAPHQL", "{ id } { type }", "one selection set", 1, 8},
		{"GRAPHQL", "{ id } query q { viewer { role } }", "one selection set", 1, 8},
		{"GRAPHQL", "{ id } event(id: 1) { id }", "Unexpected Name", 1, 8},
		{"GRAPHQL", "{ payload(path: $p) }", `Variable "$p" is not defined`, 1, 17},
		{"GRAPHQL", "{ id\n payload(path: \"broken\") }", "RFC 9535", 2, 10},
		{"GRAPHQL", "{ ...f } fragment f on Event { ...f }", "", 1, 0},
		{"GRAPHQL", "{ deliveries(first: 100) { nodes { attempts(first: 100) { nodes { id } } } } }", "points", 1, 1},
		{"GRAPHQL", "{ id " + strings.Repeat("a: id ", 200) + "}", "", 1, 0},
		{"GRAPHQL", "{ id " + strings.Repeat("# comment \n", 2000) + "}", "bytes", 1, 1},
	} {
		wrong := c.reshape(sub, w.kind, w.expression)
		if len(wrong) != 1 || !strings.Contains(wrong[0].Message, w.message) || wrong[0].Code != "INVALID" ||
			strings.Join(wrong[0].Field, ".") != "input.transform.expression" || wrong[0].Line == nil || wrong[0].Column == nil ||
			w.column > 0 && (*wrong[0].Line != w.line || *wrong[0].Column != w.column) {
			text, _ := json.Marshal(wrong)
			t.Errorf("%.60q: %s", w.expression, text)
		}
	}
	if right := c.reshape(sub, "GRAPHQL", "# a comment first\n{ id __typename trace { step } }"); len(right) > 0 {
		t.Errorf("a comment first: %+v", right)
	}
}
