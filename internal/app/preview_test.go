package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/config"
)

// tried is the answer of previewSubscription.
type tried struct {
	Results []struct {
		Event               struct{ ID string }
		Matched             bool
		Reason, Body, Error *string
	}
	UserErrors []problem
}

func (c *client) preview(input map[string]any) (tried, answer) {
	c.t.Helper()
	a := c.ask(`mutation ($input: PreviewSubscriptionInput!) { previewSubscription(input: $input) {
		results { event { id } matched reason body error }`+problemFields+`} }`, map[string]any{"input": input})
	var got struct{ PreviewSubscription tried }
	if len(a.Errors) == 0 {
		if err := json.Unmarshal(a.Data, &got); err != nil {
			c.t.Fatal(err)
		}
	}
	return got.PreviewSubscription, a
}

func TestASubscriptionIsTriedOutOverPastEvents(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		source := c.source("s")
		other := c.source("other")
		big := c.post("s", nil, []byte(`{"type":"order.paid","n":12,"name":"a"}`))
		small := c.post("s", nil, []byte(`{"type":"order.paid","n":1,"name":"b"}`))
		odd := c.post("s", nil, []byte(`{"type":"order.paid","name":"c"}`))
		lone := c.post("s", nil, []byte(`{"type":"order.paid","n":99}`))
		user := c.post("s", nil, []byte(`{"type":"user.made","n":99}`))

		text := func(s *string) string {
			if s == nil {
				return "null"
			}
			return *s
		}
		for name, transform := range map[string]struct{ kind, expression, body, failure string }{
			"CEL":     {"CEL", "{'name': body.name}", `{"name":"a"}`, "no such key: name"},
			"nothing": {"", "", `{"type":"order.paid","n":12,"name":"a"}`, ""},
			"GraphQL": {"GRAPHQL", `{ id source { slug } }`, `{"id":"` + big.ID + `","source":{"slug":"s"}}`, ""},
		} {
			input := map[string]any{"eventTypes": []string{"order.*"}, "sourceIds": []string{source}, "filter": "body.n > 10"}
			if transform.kind != "" {
				input["transform"] = map[string]any{"kind": transform.kind, "expression": transform.expression}
			}
			got, _ := c.preview(input)
			if len(got.Results) != 5 || len(got.UserErrors) > 0 {
				t.Fatalf("%s: %+v", name, got)
			}
			for i, want := range []struct{ id, reason string }{
				{user.ID, "none of its event types fits"}, {lone.ID, ""}, {odd.ID, "the filter failed"}, {small.ID, "the filter said no"}, {big.ID, ""},
			} {
				r := got.Results[i]
				if r.Event.ID != want.id || r.Matched != (want.reason == "") || !strings.Contains(text(r.Reason), want.reason) {
					t.Errorf("%s: %d: %+v %s", name, i, r, text(r.Reason))
				}
				if !r.Matched && (r.Body != nil || r.Error != nil) {
					t.Errorf("%s: %d has a body or an error", name, i)
				}
			}
			if r := got.Results[4]; text(r.Body) != transform.body || r.Error != nil {
				t.Errorf("%s: got the body %s, %s", name, text(r.Body), text(r.Error))
			}
			if r := got.Results[1]; transform.failure != "" && (r.Body != nil || !strings.Contains(text(r.Error), transform.failure)) {
				t.Errorf("%s: got the body %s, %s", name, text(r.Body), text(r.Error))
			}
		}

		got, _ := c.preview(map[string]any{"eventIds": []string{small.ID, "evt_gone", big.ID, small.ID}, "last": 1})
		if len(got.Results) != 2 || got.Results[0].Event.ID != small.ID || got.Results[1].Event.ID != big.ID {
			t.Errorf("by ID: %+v", got)
		}
		got, _ = c.preview(map[string]any{"sourceIds": []string{other}, "last": 1})
		if len(got.Results) != 1 || got.Results[0].Event.ID != user.ID || !strings.Contains(text(got.Results[0].Reason), "source") {
			t.Errorf("another source: %+v", got)
		}
		got, _ = c.preview(map[string]any{
			"eventTypes": []string{""}, "sourceIds": []string{"src_no"}, "filter": "body.n >\n nonsense",
			"transform": map[string]any{"kind": "GRAPHQL", "expression": "{ id\n nonsense }"}, "last": 101,
		})
		var said []string
		for _, e := range got.UserErrors {
			at := ""
			if e.Line != nil {
				at = fmt.Sprintf("@%d:%d", *e.Line, *e.Column)
			}
			said = append(said, strings.Join(e.Field, ".")+at)
		}
		if want := "input.eventTypes.0 input.sourceIds.0 input.filter@2:2 input.transform.expression@2:2 input.last"; strings.Join(said, " ") != want || len(got.Results) != 0 {
			t.Errorf("said %s, want %s", said, want)
		}

		var none struct{ Subscriptions struct{ TotalCount int } }
		c.do(&none, `{ subscriptions { totalCount } }`, nil)
		if none.Subscriptions.TotalCount != 0 || len(c.deliveries(big.ID)) != 0 {
			t.Error("trying out left something behind")
		}

		for _, scopes := range []string{"[EVENTS_READ]", "[PAYLOADS_READ]"} {
			reader := *c
			reader.key = *c.createKey(`name: "reader", role: VIEWER, scopes: ` + scopes).Key
			if _, a := reader.preview(map[string]any{}); len(a.Errors) != 1 || a.Errors[0].Extensions["code"] != "FORBIDDEN" {
				t.Errorf("with %s: %s %+v", scopes, a.Data, a.Errors)
			}
		}
	})
}
