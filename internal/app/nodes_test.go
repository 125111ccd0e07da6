package app_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
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
		if took := arrives(); took > 10*time.Second { // a second, and what a busy machine needs
			t.Errorf("without NATS it took %s", took)
		}
	}
}

// inProcess makes the test's binary a hub, so that a test can kill one.
const inProcess = "HOOKGRAPH_TEST_IN_PROCESS"

func TestAKilledNodesDeliveriesAreTakenOver(t *testing.T) {
	t.Parallel()
	onNodes(t, func(t *testing.T, o config.Server) {
		program, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		addr := testkit.FreeAddr(t)
		killed := exec.Command(program, "serve", "--database-url", o.DatabaseURL, "--nats-url", o.NATSURL, "--addr", addr,
			"--operator-key", operatorKey, "--secret-key", secretKey, "--allow-networks", "127.0.0.0/8")
		killed.Env = append(os.Environ(), inProcess+"=1")
		var log buffer
		killed.Stderr = &log
		if err := killed.Start(); err != nil {
			t.Fatal(err)
		}
		kill := sync.OnceFunc(func() { _ = killed.Process.Kill(); _ = killed.Wait() })
		t.Cleanup(kill)
		testkit.Eventually(t, "the first node serves", func() bool { return strings.Contains(log.String(), "serving") })
		a, b := &client{t: t, url: "http://" + addr, key: operatorKey}, start(t, o)

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
		b.source("s")
		endpoint, secret := b.endpoint(owner.URL, `timeout: "PT5S"`)
		b.subscribe(endpoint, "")
		sent := a.post("s", nil, []byte(`{}`))
		testkit.Eventually(t, "the attempt is under way", func() bool { return len(owner.got()) == 1 })
		began := time.Now()
		kill()
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
