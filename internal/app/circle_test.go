package app_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

// TestHubsThatFollowOneAnotherPassEachEventOnce chains three hubs in a circle, two of them
// in both directions. What comes back to where it was is counted as a duplicate there.
func TestHubsThatFollowOneAnotherPassEachEventOnce(t *testing.T) {
	t.Parallel()
	hubs := []*client{start(t, options(t)), start(t, options(t)), start(t, options(t))}
	a, b, c := hubs[0], hubs[1], hubs[2]
	upstream := func(of *client) string { return "ws" + strings.TrimPrefix(of.url, "http") + "/graphql" }
	publish := func(at *client, kind string) {
		var ignored any
		at.do(&ignored, fmt.Sprintf(`mutation { publishEvent(input: {type: %q, payload: {n: 1}}) { userErrors { message } } }`, kind), nil)
	}
	type event struct {
		ID, Type       string
		DuplicateCount int
		Hops           []string
	}
	all := func(at *client) (events []event) {
		var got struct{ Events struct{ Nodes []event } }
		at.do(&got, `{ events(first: 100, orderBy: OLDEST_FIRST, filter: {types: ["*"]}) { nodes { id type duplicateCount hops } } }`, nil)
		return got.Events.Nodes
	}
	publish(a, "before")
	first := b.follow("a", upstream(a), "")
	a.follow("b", upstream(b), "")
	c.follow("b", upstream(b), "")
	a.follow("c", upstream(c), "")
	publish(a, "at.a")
	publish(b, "at.b")
	// What is made at a comes back from b and from c; what is made at b comes to a from b
	// and from c, by which it is two events there, and both of them come back to b.
	returned := func(at *client, kind string, times int) func() bool {
		return func() bool {
			for _, e := range all(at) {
				if e.Type == kind && len(e.Hops) == 1 {
					return e.DuplicateCount == times
				}
			}
			return false
		}
	}
	for _, kind := range []string{"before", "at.a"} {
		testkit.Eventually(t, kind+" has come back from both", returned(a, kind, 2))
	}
	testkit.Eventually(t, "what b has made has come back on both ways", returned(b, "at.b", 2))
	publish(a, "last") // what is before it on each way has arrived with it
	testkit.Eventually(t, "the last has come back from both", returned(a, "last", 2))
	for at, want := range map[*client]int{a: 5, b: 4, c: 4} {
		if events := all(at); len(events) != want {
			t.Errorf("there are %d events, not %d: %+v", len(events), want, events)
		}
	}
	before := func(at *client) event {
		events := all(at)
		return events[slices.IndexFunc(events, func(e event) bool { return e.Type == "before" })]
	}
	made, copied := before(a), before(b)
	if len(made.Hops) != 1 || len(copied.Hops) != 2 || copied.Hops[0] != made.Hops[0] || !strings.HasSuffix(copied.Hops[1], "/"+copied.ID) || !strings.HasSuffix(made.Hops[0], "/"+made.ID) {
		t.Errorf("the hops are %q and %q", made.Hops, copied.Hops)
	}
	if n := b.countOf(first); n != 3 {
		t.Errorf("b has %d events of a", n)
	}
}

func TestAHubDoesNotFollowItself(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	for _, url := range []string{c.url + "/graphql", "ws" + strings.TrimPrefix(c.url, "http") + "/graphql", c.url} {
		var made struct {
			CreateSource struct {
				Source     *struct{ ID string }
				UserErrors []struct {
					Code, Message string
					Field         []string
				}
			}
		}
		a := c.ask(`mutation ($url: String!, $key: String!) { createSource(input: {name: "Self", slug: "self", kind: GRAPHQL, provider: "hookgraph",
			graphql: {url: $url, auth: {bearer: $key}}}) { source { id } userErrors { code field message } } }`, map[string]any{"url": url, "key": operatorKey})
		if err := json.Unmarshal(a.Data, &made); err != nil {
			t.Fatal(err)
		}
		if errs := made.CreateSource.UserErrors; len(errs) != 1 || errs[0].Code != "INVALID" || strings.Join(errs[0].Field, ".") != "input.graphql.url" || !strings.Contains(errs[0].Message, "this hub itself") {
			t.Errorf("%s gives %+v", url, made.CreateSource)
		}
	}
}
