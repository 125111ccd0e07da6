package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// onNodes runs a story about several nodes on one PostgreSQL: where wake-ups travel
// over NATS, and where nodes poll.
func onNodes(t *testing.T, story func(t *testing.T, o config.Server)) {
	t.Helper()
	for _, name := range []string{"with NATS", "without NATS"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := options(t)
			o.DatabaseURL = testkit.Postgres(t)
			if name == "with NATS" {
				o.NATSURL, _ = testkit.NATS(t)
			}
			story(t, o)
		})
	}
}

func TestWhatOneNodeHasMadeIsFoundAtTheOtherAtOnce(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		a, b := start(t, o), start(t, o)
		owner := listen(t, nil)
		for range 3 {
			endpoint, _ := a.endpoint(owner.URL, "")
			var found struct {
				Endpoint, Node *struct{ ID string }
				Endpoints      struct{ Nodes []struct{ ID string } }
			}
			b.do(&found, `query ($id: ID!) { endpoint(id: $id) { id } node(id: $id) { id } endpoints(first: 1) { nodes { id } } }`, map[string]any{"id": endpoint})
			if found.Endpoint == nil || found.Node == nil || len(found.Endpoints.Nodes) != 1 || found.Endpoints.Nodes[0].ID != endpoint {
				t.Errorf("the other node shows %+v", found)
			}

			endpoint, _ = a.endpoint(owner.URL, "")
			var tested struct {
				TestEndpoint struct{ Attempt *struct{ Outcome string } }
			}
			b.do(&tested, `mutation ($id: ID!) { testEndpoint(id: $id) { attempt { outcome } } }`, map[string]any{"id": endpoint})
			if got := tested.TestEndpoint.Attempt; got == nil || got.Outcome != "SUCCEEDED" {
				t.Errorf("tested by the other node: %+v", got)
			}

			pulled := a.streamEndpoint("")
			one := a.pull(pulled, 1)
			var ignored any
			a.do(&ignored, `mutation { publishEvent(input: {type: "a", payload: 1}) { userErrors { message } } }`, nil)
			d := one.next()
			if code := b.settle(d.Delivery.ID, d.LeaseToken, "ACKNOWLEDGE", ""); code != "" {
				t.Errorf("settled by the other node: %s", code)
			}
		}
	})
}

func TestConfigurationOfOneNodeHoldsOnTheOtherAtOnce(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		a, b := start(t, o), start(t, o)
		owner := listen(t, nil)
		var ignored any
		for round := range 5 {
			slug := fmt.Sprintf("s%d", round)
			id := a.source(slug)
			b.post(slug, nil, []byte(`{}`))
			endpoint, secret := a.endpoint(owner.URL, "")
			subscription := a.subscribe(endpoint, fmt.Sprintf("sourceIds: [%q]", id))
			before := len(owner.got())
			sent := b.post(slug, nil, []byte(`{}`))
			b.only(sent.ID, "the delivery is made", func(d delivery) bool { return d.Status == "DELIVERED" })
			got := owner.got()
			if len(got) != before+1 {
				t.Fatalf("%d deliveries arrived", len(got)-before)
			}
			verify(t, got[before], secret)

			a.do(&ignored, `mutation ($id: ID!) { updateSubscription(input: {id: $id, filter: "body.total > 10"}) { userErrors { message } } }`, map[string]any{"id": subscription})
			if small := b.post(slug, nil, []byte(`{"total": 1}`)); len(b.deliveries(small.ID)) != 0 {
				t.Error("the filter as it was is still in force")
			}
			a.do(&ignored, `mutation ($id: ID!) { pauseEndpoint(id: $id) { userErrors { message } } }`, map[string]any{"id": endpoint})
			held := b.post(slug, nil, []byte(`{"total": 42}`))
			b.only(held.ID, "the delivery is held", func(d delivery) bool { return d.Status == "HELD" })
			a.do(&ignored, `mutation ($id: ID!) { resumeEndpoint(id: $id) { userErrors { message } } }`, map[string]any{"id": endpoint})
			b.only(held.ID, "the delivery goes out", func(d delivery) bool { return d.Status == "DELIVERED" && d.AttemptCount == 1 })
			a.do(&ignored, `mutation ($id: ID!) { deleteSource(input: {id: $id}) { userErrors { message } } }`, map[string]any{"id": id})
			testkit.Eventually(t, "the source is gone", func() bool {
				status, _ := b.send(http.MethodPost, "/in/"+slug, nil, nil)
				return status == http.StatusNotFound
			})
		}
	})
}

// TestACursorOfOneNodeContinuesOnTheOther has both nodes take events while a reader
// changes between them, with whatever the nodes commit in between.
func TestACursorOfOneNodeContinuesOnTheOther(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		nodes := []*client{start(t, o), start(t, o)}
		nodes[0].source("s")
		const each = 150
		var senders sync.WaitGroup
		for n, node := range nodes {
			for w := range 3 {
				senders.Go(func() {
					for i := range each {
						node.post("s", nil, fmt.Appendf(nil, `{"type":"n%d.%d","i":%d}`, n, w, i))
					}
				})
			}
		}
		const total = 2 * 3 * each
		types := map[string]int{}
		var last, cursor string
		for connection, count := 0, 0; count < total; connection++ {
			variables := map[string]any{"from": "EARLIEST", "size": 20}
			if cursor != "" {
				variables["after"] = cursor
			}
			s := nodes[connection%2].dial()
			s.subscribe(eventStream, variables)
			for batches := 0; batches < 5 && count < total; batches++ {
				next, err := s.batch()
				if err != nil {
					t.Fatal(err)
				}
				cursor = next.Cursor
				for _, e := range next.Events {
					if e.Sequence <= last {
						t.Fatalf("%s came after %s", e.Sequence, last)
					}
					last = e.Sequence
					types[e.Type]++
					count++
				}
			}
			_ = s.conn.CloseNow()
		}
		senders.Wait()
		for n := range nodes {
			for w := range 3 {
				if name := fmt.Sprintf("n%d.%d", n, w); types[name] != each {
					t.Errorf("%d events of %s were handed over", types[name], name)
				}
			}
		}
	})
}

func TestADuplicateSentToBothNodesIsOneEvent(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		nodes := []*client{start(t, o), start(t, o)}
		owner := listen(t, nil)
		nodes[0].source("s")
		endpoint, _ := nodes[0].endpoint(owner.URL, "")
		nodes[0].subscribe(endpoint, "")
		const events = 40
		for i := range events {
			header := http.Header{"Webhook-Id": {fmt.Sprintf("delivery-%d", i)}}
			var answers [4]receipt
			var senders sync.WaitGroup
			for n := range answers {
				senders.Go(func() { answers[n] = nodes[n%2].post("s", header, []byte(`{}`)) })
			}
			senders.Wait()
			firsts := 0
			for _, r := range answers {
				if r.ID != answers[0].ID {
					t.Errorf("answered: %+v", answers)
				}
				if !r.Duplicate {
					firsts++
				}
			}
			if firsts != 1 {
				t.Errorf("answered: %+v", answers)
			}
		}
		testkit.Eventually(t, "everything is delivered", func() bool { return len(owner.got()) >= events })
		var got struct{ Events struct{ TotalCount int } }
		nodes[1].do(&got, `{ events { totalCount } }`, nil)
		if got.Events.TotalCount != events || len(owner.got()) != events {
			t.Errorf("%d events, and %d deliveries", got.Events.TotalCount, len(owner.got()))
		}
	})
}

func TestWithoutNATSNodesOnlyLookLater(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.DatabaseURL = testkit.Postgres(t)
	var stop func()
	o.NATSURL, stop = testkit.NATS(t)
	a, b := start(t, o), start(t, o)
	a.source("s")
	s := b.dial()
	s.subscribe(eventStream, nil)
	if _, err := s.batch(); err != nil {
		t.Fatal(err)
	}
	arrives := func() time.Duration {
		began := time.Now()
		sent := a.post("s", nil, nil)
		for {
			next, err := s.batch()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range next.Events {
				if e.ID == sent.ID {
					return time.Since(began)
				}
			}
		}
	}
	arrives()
	stop()
	for range 3 {
		if took := arrives(); took > 20*time.Second { // a second, and what a busy machine needs
			t.Errorf("without NATS it took %s", took)
		}
	}
}

func TestAKilledNodesDeliveriesAreTakenOver(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		killed := launch(t, o)
		a := killed.client
		release := make(chan struct{})
		owner := listen(t, func(_ http.ResponseWriter, r *http.Request, n int) {
			if n == 0 { // the attempt of the node that dies
				select {
				case <-release:
				case <-r.Context().Done():
				}
			}
		})
		t.Cleanup(func() { close(release) })
		a.source("s")
		endpoint, secret := a.endpoint(owner.URL, `timeout: "PT15S"`)
		a.subscribe(endpoint, "")
		sent := a.post("s", nil, []byte(`{}`))
		testkit.Eventually(t, "the attempt is under way", func() bool { return len(owner.got()) == 1 })
		b := start(t, o) // not before, or the attempt might be its own
		began := time.Now()
		killed.kill()
		testkit.Eventually(t, "the lease ends, and the other node tries", func() bool { return len(owner.got()) == 2 })
		d := b.only(sent.ID, "the other node makes the delivery", func(d delivery) bool { return d.Status == "DELIVERED" })
		if took := time.Since(began); took < 10*time.Second {
			t.Errorf("it was taken over after %s, while the lease held", took)
		}
		got := owner.got()
		if len(got) != 2 || d.AttemptCount != 1 {
			t.Fatalf("%d requests arrived: %+v", len(got), d)
		}
		for _, one := range got {
			verify(t, one, secret)
			if one.Header.Get("Webhook-Id") != d.ID {
				t.Errorf("sent as %s", one.Header.Get("Webhook-Id"))
			}
		}
	})
}

// TestWhatOneNodeHasPermittedTheOtherDoesNotRefuse changes at one node why the other refuses,
// and asks the other at once.
func TestWhatOneNodeHasPermittedTheOtherDoesNotRefuse(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		a, b := start(t, o), start(t, o)
		var ignored any
		for round := range 3 {
			slug := fmt.Sprintf("s%d", round)
			id := a.source(slug)
			b.post(slug, nil, []byte(`{}`))
			only := func(network string) {
				a.do(&ignored, `mutation ($id: ID!, $network: String!) { updateSource(input: {id: $id, name: $network, verification: {allowNetworks: [$network]}}) { userErrors { message } } }`,
					map[string]any{"id": id, "network": network})
			}
			only("198.51.100.0/24")
			testkit.Eventually(t, "the other node knows", func() bool {
				return strings.Contains(string(b.ask(fmt.Sprintf(`{ source(id: %q) { name } }`, id), nil).Data), "198.51.100.0")
			})
			only("127.0.0.0/8")
			b.post(slug, nil, []byte(`{}`))
		}
	})
}
