package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestHubEventsAreDeliveredWithoutLoops(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		sink := listen(t, nil)
		told, secret := c.endpoint(sink.URL, "")
		c.subscribe(told, `eventTypes: ["hookgraph.*"]`)
		every := listen(t, nil)
		all, _ := c.endpoint(every.URL, "")
		c.subscribe(all, `eventTypes: ["*"]`)
		// One that always fails is told of everything, its own failures included.
		failing := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusBadRequest) })
		bad, _ := c.endpoint(failing.URL, `retryPolicy: {schedule: ["PT0S"]}`)
		c.subscribe(bad, `eventTypes: ["*", "hookgraph.*"]`)
		sent := c.post("s", nil, []byte(`{"type":"x"}`))
		testkit.Eventually(t, "it dies", func() bool {
			return slices.ContainsFunc(c.deliveries(sent.ID), func(d delivery) bool { return d.Status == "DEAD" })
		})
		gone := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusGone) })
		closing, _ := c.endpoint(gone.URL, "")
		sub := c.subscribe(closing, `eventTypes: ["y"]`)
		c.post("s", nil, []byte(`{"type":"y"}`))
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { rotateEndpointSecret(id: $id) { userErrors { message } } }`, map[string]any{"id": told})
		c.replayed(c.replay(fmt.Sprintf(`events: {types: ["nothing"]}, toSubscriptionId: %q`, sub)).Replay.ID)
		want := []string{
			"hookgraph.delivery.dead", "hookgraph.delivery.dead", "hookgraph.endpoint.disabled", "hookgraph.endpoint.secret_rotated", "hookgraph.replay.completed",
		}
		types := func() (list []string) {
			var got struct {
				Events struct{ Nodes []struct{ Type string } }
			}
			c.do(&got, `{ events(first: 100, filter: {types: ["hookgraph.*"]}) { nodes { type } } }`, nil)
			for _, e := range got.Events.Nodes {
				list = append(list, e.Type)
			}
			slices.Sort(list)
			return list
		}
		testkit.Eventually(t, "all is told", func() bool { return len(types()) >= len(want) && len(sink.got()) >= len(want) })
		settled := func() bool {
			var got struct {
				Deliveries struct{ TotalCount int }
			}
			c.do(&got, `{ deliveries(filter: {statuses: [PENDING]}) { totalCount } }`, nil)
			return got.Deliveries.TotalCount == 0
		}
		testkit.Eventually(t, "nothing waits", settled)
		if got := types(); !slices.Equal(got, want) {
			t.Errorf("told: %q", got)
		}
		for _, a := range sink.got()[:1] {
			verify(t, a, secret)
		}
		if n := len(every.got()); n != 2 {
			t.Errorf("* alone got %d events", n)
		}
		a := c.ask(`mutation { publishEvent(input: {type: "hookgraph.delivery.dead", payload: {}}) { userErrors { field } } }`, nil)
		if !contains(string(a.Data), `["input","type"]`) {
			t.Errorf("%s", a.Data)
		}
	})
}

func TestBreakersAreTold(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		sink := listen(t, nil)
		told, secret := c.endpoint(sink.URL, "")
		c.subscribe(told, `eventTypes: ["hookgraph.endpoint.*"]`)
		var well atomic.Bool
		owner := listen(t, func(w http.ResponseWriter, _ *http.Request, _ int) {
			if !well.Load() {
				w.WriteHeader(http.StatusInternalServerError)
			}
		})
		// A single delivery has enough attempts to open the breaker, so that none dies before.
		endpoint, _ := c.endpoint(owner.URL, `maxConcurrency: 2, retryPolicy: {schedule: ["PT0S", "PT0.01S"`+strings.Repeat(`, "PT0.02S"`, 14)+`]}`)
		c.subscribe(endpoint, "")
		for range 12 {
			c.post("s", nil, []byte(`{"type":"x"}`))
		}
		type announced struct {
			EndpointID, From string
			NextProbeAt      *time.Time
		}
		all := func() (list []announced) {
			for _, a := range sink.got() {
				verify(t, a, secret)
				var one announced
				if err := json.Unmarshal(a.Body, &one); err != nil {
					t.Fatal(err)
				}
				list = append(list, one)
			}
			return list
		}
		testkit.Eventually(t, "the breaker is told to have opened", func() bool { return len(all()) == 1 })
		well.Store(true)
		var ignored any // whoever changes an endpoint need not wait for the probe
		c.do(&ignored, `mutation ($id: ID!) { updateEndpoint(input: {id: $id, name: "Mended"}) { userErrors { message } } }`, map[string]any{"id": endpoint})
		testkit.Eventually(t, "it is told to have recovered", func() bool { return len(all()) >= 2 })
		c.post("s", nil, []byte(`{"type":"x"}`))
		testkit.Eventually(t, "nothing waits", func() bool {
			var got struct {
				Deliveries struct{ TotalCount int }
			}
			c.do(&got, `{ deliveries(filter: {statuses: [PENDING, HELD]}) { totalCount } }`, nil)
			return got.Deliveries.TotalCount == 0
		})
		got := all()
		if len(got) != 2 || got[0].NextProbeAt == nil || got[1].From != "BREAKER_OPEN" || got[0].EndpointID != endpoint || got[1].EndpointID != endpoint {
			t.Errorf("told: %+v", got)
		}
		var logged struct {
			Events struct{ Nodes []struct{ Type string } }
		}
		c.do(&logged, `{ events(first: 100, filter: {types: ["hookgraph.*"]}) { nodes { type } } }`, nil)
		types := make([]string, len(logged.Events.Nodes))
		for i, e := range logged.Events.Nodes {
			types[i] = e.Type
		}
		if want := []string{"hookgraph.endpoint.recovered", "hookgraph.endpoint.breaker_opened"}; !slices.Equal(types, want) {
			t.Errorf("told: %q", types)
		}
	})
}

func TestReplaysOfHubEventsEnd(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		refuses := func(w http.ResponseWriter, _ *http.Request, _ int) { w.WriteHeader(http.StatusBadRequest) }
		owner, watcher := listen(t, refuses), listen(t, refuses)
		failing, _ := c.endpoint(owner.URL, `retryPolicy: {schedule: ["PT0S"]}`)
		c.subscribe(failing, "")
		// It is told of each death and of each end of a replay, and fails at all of it.
		told, _ := c.endpoint(watcher.URL, `retryPolicy: {schedule: ["PT0S"]}`)
		watching := c.subscribe(told, `eventTypes: ["hookgraph.*"]`)
		c.post("s", nil, []byte(`{"type":"x"}`))
		count := func(kind string) int {
			var got struct{ Events struct{ TotalCount int } }
			c.do(&got, `query ($kind: String!) { events(filter: {types: [$kind]}) { totalCount } }`, map[string]any{"kind": kind})
			return got.Events.TotalCount
		}
		dead := func() int {
			var got struct{ Deliveries struct{ TotalCount int } }
			c.do(&got, `query ($id: ID!) { deliveries(filter: {statuses: [DEAD], endpointIds: [$id]}) { totalCount } }`, map[string]any{"id": told})
			return got.Deliveries.TotalCount
		}
		testkit.Eventually(t, "the watcher has failed at all of it", func() bool { return count("hookgraph.delivery.dead") == 1 && dead() == 1 })
		// Sent again, they die again, and nobody is told but that the replay has ended.
		for round := range 3 {
			over := []string{
				fmt.Sprintf(`deliveries: {endpointIds: [%q]}`, told),
				fmt.Sprintf(`events: {types: ["hookgraph.*"]}, toSubscriptionId: %q`, watching),
				fmt.Sprintf(`missedBy: {endpointId: %q, since: "2020-01-01T00:00:00Z"}`, told),
			}[round]
			if r := c.replayed(c.replay(over).Replay.ID); r.State != "COMPLETED" || r.Done != 0 || r.Failed != 1+round || r.Total != 1+round {
				t.Errorf("round %d: %+v", round, r)
			}
			testkit.Eventually(t, "its end is told, in vain", func() bool { return count("hookgraph.replay.completed") == round+1 && dead() == 2+round })
		}
		if n := count("hookgraph.*"); n != 4 {
			t.Errorf("%d hub events came of a death and three replays", n)
		}
		if n := len(watcher.got()); n != 1+(1+1)+(2+1)+(3+1) { // the last of which opens its breaker, and that is not told either
			t.Errorf("the watcher was called %d times", n)
		}
	})
}
