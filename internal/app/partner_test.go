package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestAPartnerGetsWhatIsItsOwnAndWhatIsShared(t *testing.T) {
	t.Parallel()
	o := options(t)
	c := start(t, o)
	var made struct {
		CreatePartner struct{ Partner struct{ ID string } }
	}
	c.do(&made, `mutation { createPartner(input: {name: "Shop", eventTypes: ["order.*"]}) { partner { id } userErrors { message } } }`, nil)
	partner := made.CreatePartner.Partner.ID

	// Its key from the command line, beside the running hub.
	code, out, errOut := execute(t, "keys", "create", "--database-url="+o.DatabaseURL, "--name=shop", "--role=PARTNER", "--partner="+partner)
	if code != 0 {
		t.Fatalf("keys create ended with %d: %s", code, errOut)
	}
	shop := c.as(strings.TrimSpace(out))
	if code, _, errOut := execute(t, "keys", "create", "--database-url="+o.DatabaseURL, "--role=PARTNER"); code != 1 || !strings.Contains(errOut, "--partner") {
		t.Errorf("without a partner it ended with %d: %s", code, errOut)
	}
	if a := shop.ask(`{ viewer { role scopes partner { id name } } }`, nil); string(a.Data) !=
		fmt.Sprintf(`{"viewer":{"role":"PARTNER","scopes":["EVENTS_READ","PAYLOADS_READ","ENDPOINTS_WRITE","DELIVERIES_WRITE"],"partner":{"id":%q,"name":"Shop"}}}`, partner) {
		t.Errorf("the partner is %s %+v", a.Data, a.Errors)
	}

	target := listen(t, nil)
	endpoint, _ := shop.endpoint(target.URL, "")
	shop.subscribe(endpoint, "")
	publish := func(input string) string {
		t.Helper()
		var published struct {
			PublishEvent struct{ Event struct{ ID string } }
		}
		c.do(&published, `mutation { publishEvent(input: {payload: {}, `+input+`}) { event { id } userErrors { message } } }`, nil)
		return published.PublishEvent.Event.ID
	}
	private, shared := publish(`type: "private"`), publish(`type: "order.made"`)
	addressed := publish(fmt.Sprintf(`type: "private", partnerId: %q`, partner))
	testkit.Eventually(t, "both are delivered", func() bool { return len(target.got()) == 2 })
	for id, want := range map[string]int{private: 0, shared: 1, addressed: 1} {
		if n := len(c.deliveries(id)); n != want {
			t.Errorf("%s has %d deliveries", id, n)
		}
	}
	var seen struct {
		Events struct {
			TotalCount int
			Nodes      []struct{ ID string }
		}
		Deliveries struct{ TotalCount int }
	}
	shop.do(&seen, `{ events { totalCount nodes { id } } deliveries { totalCount } }`, nil)
	if seen.Events.TotalCount != 2 || seen.Events.Nodes[0].ID != addressed || seen.Events.Nodes[1].ID != shared || seen.Deliveries.TotalCount != 2 {
		t.Errorf("the partner sees %+v", seen)
	}

	for query, want := range map[string]string{
		`mutation { publishEvent(input: {type: "a", payload: {}}) { duplicate } }`:                                                                               "FORBIDDEN",
		`mutation { createSource(input: {name: "a"}) { userErrors { code } } }`:                                                                                  "FORBIDDEN",
		`mutation { createPartner(input: {name: "a"}) { userErrors { code } } }`:                                                                                 "FORBIDDEN",
		`mutation { createApiKey(input: {name: "a", role: PARTNER}) { key } }`:                                                                                   "FORBIDDEN",
		fmt.Sprintf(`mutation { updatePartner(input: {id: %q, eventTypes: ["*"]}) { userErrors { code } } }`, partner):                                           "FORBIDDEN",
		`mutation { createEndpoint(input: {name: "a", url: "https://example.com", partnerId: "prt_00000000000000000000000001"}) { userErrors { code field } } }`: `[{"code":"FORBIDDEN","field":["input","partnerId"]}]`,
		fmt.Sprintf(`mutation { createSubscription(input: {name: "a", endpointId: %q, sourceIds: ["src_x"]}) { userErrors { code field } } }`, endpoint):         `[{"code":"FORBIDDEN","field":["input","sourceIds"]}]`,
	} {
		_, body := shop.send(http.MethodPost, "/graphql", http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + strings.TrimSpace(out)}},
			fmt.Appendf(nil, `{"query":%q}`, query))
		if !strings.Contains(string(body), want) {
			t.Errorf("%s was answered %s", query, body)
		}
	}
	for input, want := range map[string]string{
		`type: "a", partnerId: "prt_00000000000000000000000001"`: `[{"code":"NOT_FOUND","field":["input","partnerId"]}]`,
		`type: "a", partnerId: "x"`:                              `[{"code":"NOT_FOUND","field":["input","partnerId"]}]`,
	} {
		if a := c.ask(`mutation { publishEvent(input: {payload: {}, `+input+`}) { userErrors { code field } } }`, nil); !strings.Contains(string(a.Data), want) {
			t.Errorf("%s was answered %s", input, a.Data)
		}
	}
}

func TestThePartnersEndpointsAreToBeVerified(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.EndpointVerification = "partners"
	c := start(t, o)
	var made struct {
		CreatePartner struct{ Partner struct{ ID string } }
		CreateAPIKey  struct{ Key string } `json:"createApiKey"`
	}
	c.do(&made, `mutation { createPartner(input: {name: "Shop"}) { partner { id } userErrors { message } } }`, nil)
	partner := made.CreatePartner.Partner.ID
	c.do(&made, `mutation ($id: ID!) { createApiKey(input: {name: "shop", role: PARTNER, partnerId: $id}) { key userErrors { message } } }`, map[string]any{"id": partner})
	shop := c.as(made.CreateAPIKey.Key)
	theirs, ours := listen(t, nil), listen(t, nil) // neither answers a challenge
	endpoint, _ := shop.endpoint(theirs.URL, "")
	shop.subscribe(endpoint, "")
	own, _ := c.endpoint(ours.URL, "")
	c.subscribe(own, "")
	var published struct {
		PublishEvent struct{ Event struct{ ID string } }
	}
	c.do(&published, `mutation ($id: ID!) { publishEvent(input: {type: "x", payload: {}, partnerId: $id}) { event { id } userErrors { message } } }`, map[string]any{"id": partner})
	testkit.Eventually(t, "the operator's endpoint gets it, and the partner's does not", func() bool {
		statuses := make(map[string]int)
		for _, d := range c.deliveries(published.PublishEvent.Event.ID) {
			statuses[d.Status]++
		}
		return len(ours.got()) == 1 && statuses["DELIVERED"] == 1 && statuses["HELD"] == 1
	})

	// Probes are of no delivery: each is seen by whose endpoint it went to.
	ask := `mutation ($id: ID!) { verifyEndpoint(id: $id) { endpoint { id } userErrors { code } } testEndpoint(id: $id) { attempt { id } userErrors { code } }
		resumeEndpoint(id: $id, backlog: CANCEL) { endpoint { id } userErrors { code } } }`
	none := `{"verifyEndpoint":{"endpoint":null,"userErrors":[{"code":"NOT_FOUND"}]},"testEndpoint":{"attempt":null,"userErrors":[{"code":"NOT_FOUND"}]},` +
		`"resumeEndpoint":{"endpoint":null,"userErrors":[{"code":"NOT_FOUND"}]}}`
	if a := shop.ask(ask, map[string]any{"id": own}); string(a.Data) != none {
		t.Errorf("the partner was answered %s", a.Data)
	}
	var tested struct {
		TestEndpoint struct{ Attempt struct{ ID string } }
	}
	c.do(&tested, `mutation ($id: ID!) { testEndpoint(id: $id) { attempt { id } userErrors { message } } }`, map[string]any{"id": own})
	look := map[string]any{"id": tested.TestEndpoint.Attempt.ID}
	if a := shop.ask(`query ($id: ID!) { node(id: $id) { id } }`, look); string(a.Data) != `{"node":null}` {
		t.Errorf("the partner sees %s", a.Data)
	}
	if a := c.ask(`query ($id: ID!) { node(id: $id) { id } }`, look); !strings.Contains(string(a.Data), tested.TestEndpoint.Attempt.ID) {
		t.Errorf("the operator sees %s %+v", a.Data, a.Errors)
	}
}
