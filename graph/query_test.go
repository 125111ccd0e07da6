package graph_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const pageQuery = `query Page($n: Int!) { events(first: $n) { edges { cursor node {
	id type source { id name slug }
	deliveries(first: 5) { totalCount edges { node {
		id status event { id } subscription { id name endpoint { name } } endpoint { id name }
		attempts(first: 1) { nodes { number statusCode } }
	} } }
} } } }`

// The page that a dashboard shows must not cost a statement per row.
func TestAPageTakesTheSameStatementsWhateverItsLength(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var endpoints []*hub.Endpoint
	for n := range 5 {
		e, _ := b.wire(fmt.Sprintf("endpoint-%d", n))
		endpoints = append(endpoints, e)
	}
	for n := range 50 {
		b.publish("page.shown", fmt.Sprintf(`{"n":%d}`, n))
	}
	for _, e := range endpoints {
		b.attempt(e, 200)
	}
	counts := map[int]int{}
	for _, n := range []int{1, 10, 50} {
		b.counted()
		answer := b.ask(pageQuery, "n", n)
		statements := b.counted()
		var data struct {
			Events struct {
				Edges []struct {
					Node struct {
						ID         string
						Source     struct{ Slug string }
						Deliveries struct {
							TotalCount int
							Edges      []struct {
								Node struct {
									Event        struct{ ID string }
									Subscription struct{ Name string }
									Attempts     struct {
										Nodes []struct{ StatusCode int }
									}
								}
							}
						}
					}
				}
			}
		}
		answer.into(t, &data)
		if len(data.Events.Edges) != n {
			t.Fatalf("%d events, want %d", len(data.Events.Edges), n)
		}
		for _, edge := range data.Events.Edges {
			node := edge.Node
			if node.Source.Slug != "api" || len(node.Deliveries.Edges) != 5 || node.Deliveries.TotalCount != 5 {
				t.Fatalf("got %+v", node)
			}
			for _, delivery := range node.Deliveries.Edges {
				if delivery.Node.Event.ID != node.ID || delivery.Node.Subscription.Name == "" ||
					len(delivery.Node.Attempts.Nodes) != 1 || delivery.Node.Attempts.Nodes[0].StatusCode != http.StatusOK {
					t.Fatalf("got %+v", delivery)
				}
			}
		}
		counts[n] = len(statements)
		if len(statements) == 0 || len(statements) > 4 { // events, deliveries, their count, attempts
			t.Errorf("%d events took %d statements:\n%s", n, len(statements), strings.Join(statements, "\n"))
		}
	}
	if counts[1] != counts[50] || counts[10] != counts[50] {
		t.Errorf("the number of statements depends on the length: %v", counts)
	}
}

func TestConnectionsArePagedBothWays(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var want []string
	for n := range 7 {
		want = append([]string{b.publish("n", fmt.Sprint(n))}, want...)
	}
	type page struct {
		Events struct {
			Nodes    []struct{ ID string }
			PageInfo struct {
				HasNextPage, HasPreviousPage bool
				StartCursor, EndCursor       string
			}
			TotalCount int
		}
	}
	const query = `query($first: Int, $after: String, $last: Int, $before: String) {
		events(first: $first, after: $after, last: $last, before: $before) {
			nodes { id } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }`
	ids := func(p page) []string {
		var out []string
		for _, node := range p.Events.Nodes {
			out = append(out, node.ID)
		}
		return out
	}
	var got []string
	var cursor any
	for {
		var p page
		b.ask(query, "first", 3, "after", cursor).into(t, &p)
		got = append(got, ids(p)...)
		if p.Events.TotalCount != 7 || p.Events.PageInfo.HasPreviousPage != (cursor != nil) {
			t.Fatalf("got %+v", p)
		}
		if !p.Events.PageInfo.HasNextPage {
			break
		}
		cursor = p.Events.PageInfo.EndCursor
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("forward: got %v, want %v", got, want)
	}
	got, cursor = nil, nil
	for {
		var p page
		b.ask(query, "last", 3, "before", cursor).into(t, &p)
		got = append(ids(p), got...)
		if !p.Events.PageInfo.HasPreviousPage {
			break
		}
		cursor = p.Events.PageInfo.StartCursor
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("backward: got %v, want %v", got, want)
	}
}

func TestPagesOutOfBoundsAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.wire("a")
	for _, arguments := range []string{
		`first: 101`, `first: -1`, `last: 101`, `first: 1, last: 1`, `after: "x"`, `after: ""`, `before: "MXNyYzo"`,
	} {
		for _, field := range []string{"events", "sources", "endpoints", "subscriptions", "deliveries", "rejections"} {
			answer := b.ask(fmt.Sprintf(`{ %s(%s) { totalCount } }`, field, arguments))
			if answer.code() != "BAD_USER_INPUT" && answer.code() != "COST_LIMIT_EXCEEDED" {
				t.Errorf("%s(%s): %s", field, arguments, answer.Raw)
			}
		}
	}
	var data struct {
		Endpoints struct{ PageInfo struct{ EndCursor string } }
	}
	b.ask(`{ endpoints { pageInfo { endCursor } } }`).into(t, &data)
	if answer := b.ask(`query($c: String) { sources(after: $c) { totalCount } }`, "c", data.Endpoints.PageInfo.EndCursor); answer.code() != "BAD_USER_INPUT" {
		t.Errorf("a cursor of another list passed: %s", answer.Raw)
	}
}

func TestNodesKeepTheOrderOfTheirIDs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, s := b.wire("a")
	event := b.publish("x", `{}`)
	b.attempt(e, 200)
	b.publish("y", `{}`)
	var deliveries struct {
		Deliveries struct{ Nodes []struct{ ID string } }
	}
	b.ask(`{ deliveries { nodes { id } } }`).into(t, &deliveries)
	ids := []string{
		deliveries.Deliveries.Nodes[1].ID, "evt_00000000000000000000000000", event, s.ID, e.ID, "nonsense", event,
		b.store.Configuration().SourcesBySlug["api"].ID,
	}
	var data struct {
		Nodes []*struct{ Typename, ID string }
	}
	b.ask(`query($ids: [ID!]!) { nodes(ids: $ids) { typename: __typename id } }`, "ids", ids).into(t, &data)
	want := []string{"Delivery", "", "Event", "EventSubscription", "Endpoint", "", "Event", "Source"}
	for i, node := range data.Nodes {
		switch {
		case node == nil && want[i] != "":
			t.Errorf("%s was not found", ids[i])
		case node != nil && (node.Typename != want[i] || node.ID != ids[i]):
			t.Errorf("%s: got %+v", ids[i], node)
		}
	}
	if answer := b.ask(`query($ids: [ID!]!) { nodes(ids: $ids) { id } }`, "ids", make([]string, 101)); answer.code() != "BAD_USER_INPUT" {
		t.Errorf("101 ids: %s", answer.Raw)
	}
}

func TestPayloadPathsSelect(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const body = ` { "id": 12345678901234567890.10,
		"items": [ {"a": 1, "on": true}, {"a": 2} ], "none": null, "<": "&" } `
	id := b.publish("x", body)
	text := b.publish("x", `not json`)
	more := b.publish("x", `{"a":1}]`)
	for path, want := range map[string]string{
		``:                       `{"id":12345678901234567890.10,"items":[{"a":1,"on":true},{"a":2}],"none":null,"<":"&"}`,
		`$`:                      `{"\u003c":"&","id":12345678901234567890.10,"items":[{"a":1,"on":true},{"a":2}],"none":null}`,
		`$.id`:                   `12345678901234567890.10`,
		`$.missing.deeper`:       `null`,
		`$.none`:                 `null`,
		`$.items[*].a`:           `[1,2]`,
		`$.items[?@.on == true]`: `[{"a":1,"on":true}]`,
		`$..a`:                   `[1,2]`,
		`$.missing[*]`:           `[]`,
	} {
		var variable any
		if path != "" {
			variable = path
		}
		answer := b.ask(`query($id: ID!, $path: String) { event(id: $id) { payload(path: $path) rawBody } }`, "id", id, "path", variable)
		var data struct {
			Event struct {
				Payload json.RawMessage
				RawBody []byte
			}
		}
		answer.into(t, &data)
		if got := strings.ReplaceAll(string(data.Event.Payload), `"<"`, `"\u003c"`); got != strings.ReplaceAll(want, `"<"`, `"\u003c"`) {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
		if string(data.Event.RawBody) != body {
			t.Errorf("the raw body is %q", data.Event.RawBody)
		}
	}
	for _, path := range []string{"$.[", "items", `$..*..*`, `$[?$..a]`, `$[?@..a]`, `$` + strings.Repeat("[*,*]", 5), "$." + strings.Repeat("a", 1000)} {
		answer := b.ask(`query($id: ID!, $path: String) { event(id: $id) { id payload(path: $path) } }`, "id", id, "path", path)
		if answer.code() != "BAD_USER_INPUT" || !strings.Contains(answer.Raw, `"payload":null`) {
			t.Errorf("%q: %s", path, answer.Raw)
		}
	}
	for _, id := range []string{text, more} {
		var data struct {
			Event struct{ Payload, Part json.RawMessage }
		}
		b.ask(`query($id: ID!) { event(id: $id) { payload part: payload(path: "$.a") } }`, "id", id).into(t, &data)
		if string(data.Event.Payload) != "null" || string(data.Event.Part) != "null" {
			t.Errorf("a body that is not JSON was shown as %s and %s", data.Event.Payload, data.Event.Part)
		}
	}
}

func TestEventsAreFiltered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish("invoice.paid", `{"amount":5}`)
	b.publish("invoice.sent", `{"amount":50}`)
	b.publish("order.paid", `["no amount"]`)
	for filter, want := range map[string]string{
		`{}`:                      "[order.paid invoice.sent invoice.paid]",
		`{types: ["invoice.*"]}`:  "[invoice.sent invoice.paid]",
		`{types: ["order.paid"]}`: "[order.paid]",
		`{sourceIds: ["src_x"]}`:  "[]",
		`{receivedAt: {until: "2020-01-01T00:00:00Z"}}`:          "[]",
		`{expression: "body.amount > 10"}`:                       "[invoice.sent]",
		`{types: ["invoice.*"], expression: "body.amount < 10"}`: "[invoice.paid]",
	} {
		var data struct {
			Events struct {
				Nodes      []struct{ Type string }
				TotalCount int
			}
		}
		b.ask(fmt.Sprintf(`{ events(filter: %s) { nodes { type } totalCount } }`, filter)).into(t, &data)
		got := []string{}
		for _, node := range data.Events.Nodes {
			got = append(got, node.Type)
		}
		if fmt.Sprint(got) != want || data.Events.TotalCount != len(got) {
			t.Errorf("%s: got %v of %d, want %s", filter, got, data.Events.TotalCount, want)
		}
	}
	answer := b.ask(`{ events(filter: {expression: "body.amount >"}) { totalCount } }`)
	if answer.code() != "BAD_USER_INPUT" || !strings.Contains(answer.Raw, "column") {
		t.Errorf("a broken expression: %s", answer.Raw)
	}
	if answer := b.askAs(b.key(hub.ScopeEventsRead), `{ events(filter: {expression: "true"}) { totalCount } }`); answer.code() != "FORBIDDEN" {
		t.Errorf("an expression told a reader without payloads what they contain: %s", answer.Raw)
	}
}

func TestTheEventsOfOneSourceAreSearched(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.publish("a", `{"amount":5}`)
	b.publish("b", `{"amount":50}`)
	var data struct {
		Source struct {
			Events, Later, Others struct {
				Nodes      []struct{ Type string }
				TotalCount int
			}
		}
	}
	b.ask(`{ source(slug: "api") {
		events(filter: {expression: "body.amount > 1"}, first: 1) { ...E }
		later: events(filter: {expression: "body.amount > 10"}) { ...E }
		others: events(filter: {expression: "true", sourceIds: ["src_x"]}) { ...E }
	} } fragment E on EventConnection { nodes { type } totalCount }`).into(t, &data)
	if got := fmt.Sprint(data.Source); got != "{{[{b}] 2} {[{b}] 1} {[] 0}}" {
		t.Errorf("got %s", got)
	}
	for _, list := range []string{"sources { nodes", "events { nodes { source"} {
		query := "{ " + list + ` { events(filter: {expression: "true"}) { totalCount } }` + strings.Repeat(" }", strings.Count(list, "{")+1)
		if answer := b.ask(query); answer.code() != "BAD_USER_INPUT" {
			t.Errorf("%s: %s", query, answer.Raw)
		}
	}
}

func TestScopesAreChecked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, _ := b.wire("a")
	id := b.publish("x", `{"secret":1}`)
	b.attempt(e, 200)
	b.counted()

	t.Run("a field that needs more is an error and the rest stands", func(t *testing.T) {
		var data struct{ Event struct{ ID string } }
		answer := b.askAs(b.key(hub.ScopeEventsRead), `query($id: ID!) { event(id: $id) { id payload rawBody headers { name }
			deliveries { nodes { attempts { nodes { number requestHeaders { name } requestBody responseHeaders { name } responseBody } } } } } }`, "id", id)
		must(t, json.Unmarshal(answer.Data, &data))
		if data.Event.ID != id || strings.Contains(answer.Raw, "thanks") || strings.Contains(answer.Raw, "secret\"") {
			t.Errorf("got %s", answer.Raw)
		}
		for _, err := range answer.Errors {
			if err.Extensions["code"] != "FORBIDDEN" {
				t.Errorf("got %v", err)
			}
		}
		if len(answer.Errors) != 5 { // of seven: the number of errors is bounded
			t.Errorf("got %d errors", len(answer.Errors))
		}
	})
	t.Run("the scope opens it", func(t *testing.T) {
		answer := b.askAs(b.key(hub.ScopeEventsRead, hub.ScopePayloadsRead), `query($id: ID!) { event(id: $id) { payload headers { name value }
			deliveries { nodes { attempts { nodes { requestBody responseBody } } } } } }`, "id", id)
		if len(answer.Errors) > 0 || !strings.Contains(answer.Raw, `"requestBody":"{\"secret\":1}"`) || !strings.Contains(answer.Raw, "thanks") {
			t.Errorf("got %s", answer.Raw)
		}
	})
	t.Run("without any scope one may ask who one is", func(t *testing.T) {
		key := b.key()
		if answer := b.askAs(key, `{ viewer { role scopes } }`); len(answer.Errors) > 0 {
			t.Errorf("got %s", answer.Raw)
		}
		if answer := b.askAs(key, `{ node(id: "evt_x") { id } }`); answer.code() != "FORBIDDEN" {
			t.Errorf("got %s", answer.Raw)
		}
	})
	t.Run("a reader changes nothing", func(t *testing.T) {
		key := b.key(hub.ScopeEventsRead, hub.ScopePayloadsRead)
		for _, mutation := range []string{
			`createSource(input: {name: "x"}) { userErrors { code } }`,
			`deleteEndpoint(input: {id: "x"}) { userErrors { code } }`,
			`publishEvent(input: {type: "x", payload: 1}) { userErrors { code } }`,
			`retryDelivery(id: "x") { userErrors { code } }`,
			`pauseSubscription(id: "x") { userErrors { code } }`,
		} {
			if answer := b.askAs(key, "mutation { "+mutation+" }"); answer.code() != "FORBIDDEN" {
				t.Errorf("%s: %s", mutation, answer.Raw)
			}
		}
	})
}

func TestPublishingAnswersEachForItself(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var data struct {
		PublishEvents []struct {
			Event *struct {
				ID      string
				Payload json.RawMessage
			}
			Duplicate  bool
			UserErrors []struct {
				Code  string
				Field []string
			}
		}
	}
	b.ask(`mutation($input: [PublishEventInput!]!) { publishEvents(input: $input) {
		event { id payload } duplicate userErrors { code field } } }`, "input", []any{
		map[string]any{"type": "a", "payload": json.RawMessage(`{"big":12345678901234567890}`), "dedupeKey": "k"},
		map[string]any{"type": "", "payload": 1},
		map[string]any{"type": "a", "payload": 2, "dedupeKey": "k"},
	}).into(t, &data)
	got := data.PublishEvents
	if len(got) != 3 || got[0].Event == nil || string(got[0].Event.Payload) != `{"big":12345678901234567890}` ||
		got[1].Event != nil || len(got[1].UserErrors) == 0 || fmt.Sprint(got[1].UserErrors[0].Field) != "[input 1 type]" ||
		!got[2].Duplicate || got[2].Event.ID != got[0].Event.ID {
		t.Errorf("got %+v", got)
	}
}

func TestRetryAndCancelSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, _ := b.wire("a")
	b.publish("x", `{}`)
	var found struct {
		Deliveries struct{ Nodes []struct{ ID string } }
	}
	b.ask(`{ deliveries { nodes { id } } }`).into(t, &found)
	id := found.Deliveries.Nodes[0].ID
	type payload struct {
		Delivery   *struct{ Status string }
		UserErrors []struct {
			Code  string
			Field []string
		}
	}
	var data struct{ Cancel, Again, Unknown, Retry payload }
	b.ask(`mutation($id: ID!) {
		cancel: cancelDelivery(id: $id) { delivery { status } userErrors { code field } }
		again: cancelDelivery(id: $id) { delivery { status } userErrors { code field } }
		unknown: retryDelivery(id: "dlv_x") { delivery { status } userErrors { code field } }
		retry: retryDelivery(id: $id) { delivery { status } userErrors { code field } } }`, "id", id).into(t, &data)
	if data.Cancel.Delivery == nil || data.Cancel.Delivery.Status != "CANCELED" ||
		data.Again.Delivery != nil || fmt.Sprint(data.Again.UserErrors) != "[{CONFLICT [id]}]" ||
		fmt.Sprint(data.Unknown.UserErrors) != "[{NOT_FOUND [id]}]" ||
		data.Retry.Delivery == nil || data.Retry.Delivery.Status != "PENDING" {
		t.Errorf("got %+v", data)
	}
	b.attempt(e, 200)
}
