package app_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

// natsProcess is a NATS server with JetStream in a process of its own.
type natsProcess struct {
	t    *testing.T
	addr string
	dir  string
	cmd  *exec.Cmd
}

func startNATS(t *testing.T) *natsProcess {
	t.Helper()
	n := &natsProcess{t: t, addr: testkit.FreeAddr(t), dir: t.TempDir()}
	t.Cleanup(n.kill)
	n.start()
	return n
}

func (n *natsProcess) start() {
	n.t.Helper()
	program := testkit.Program(n.t, "install nats-server", "nats-server", "/usr/sbin/nats-server")
	host, port, err := net.SplitHostPort(n.addr)
	if err != nil {
		n.t.Fatal(err)
	}
	n.cmd = exec.Command(program, "-a", host, "-p", port, "-js", "-sd", n.dir)
	if err := n.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	testkit.Eventually(n.t, "the broker serves", func() bool {
		conn, err := nats.Connect("nats://" + n.addr)
		if err != nil {
			return false
		}
		defer conn.Close()
		js, err := jetstream.New(conn)
		if err != nil {
			return false
		}
		_, err = js.AccountInfo(n.t.Context())
		return err == nil
	})
}

func (n *natsProcess) kill() {
	if n.cmd != nil {
		_ = n.cmd.Process.Kill()
		_ = n.cmd.Wait()
		n.cmd = nil
	}
}

// connect connects a test to a broker.
func connect(t *testing.T, url string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	conn, err := nats.Connect(url, nats.MaxReconnects(-1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, js
}

// queue makes a source that takes messages.
func (c *client) queue(slug, url, more string) string {
	c.t.Helper()
	var made struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&made, `mutation ($slug: String!, $url: String!) { createSource(input: {name: $slug, slug: $slug, kind: QUEUE, queue: {url: $url} `+more+`}) {
		source { id queue { url } } userErrors { code field message } } }`, map[string]any{"slug": slug, "url": url})
	return made.CreateSource.Source.ID
}

// headersOf returns the headers of the newest event of a source and a type.
func (c *client) headersOf(source, eventType string) map[string]string {
	c.t.Helper()
	var got struct {
		Events struct {
			Nodes []struct {
				Headers []struct{ Name, Value string }
			}
		}
	}
	c.do(&got, `query ($source: ID!, $type: String!) { events(first: 1, filter: {sourceIds: [$source], types: [$type]}) { nodes { headers { name value } } } }`,
		map[string]any{"source": source, "type": eventType})
	headers := make(map[string]string)
	for _, event := range got.Events.Nodes {
		for _, h := range event.Headers {
			headers[h.Name] = h.Value
		}
	}
	return headers
}

type fetchState struct {
	FetchedCount int
	LastAt       *string
	Error        *string
}

func (c *client) fetched(id string) fetchState {
	c.t.Helper()
	var got struct{ Source struct{ Fetch fetchState } }
	c.do(&got, `query ($id: ID!) { source(id: $id) { fetch { fetchedCount lastAt error } } }`, map[string]any{"id": id})
	return got.Source.Fetch
}

// publishNumbers publishes an event for each number from the first up to the bound.
func (c *client) publishNumbers(first, bound int) {
	c.t.Helper()
	var input []string
	for n := first; n < bound; n++ {
		input = append(input, fmt.Sprintf(`{type: "n", payload: {n: %d}}`, n))
	}
	var ignored any
	c.do(&ignored, `mutation { publishEvents(input: [`+strings.Join(input, ",")+`]) { userErrors { message } } }`, nil)
}

// allDelivered waits until every delivery of a hub is made and recorded.
func (c *client) allDelivered(n int) {
	c.t.Helper()
	testkit.Eventually(c.t, "all is published", func() bool {
		var got struct{ Deliveries struct{ TotalCount int } }
		c.do(&got, `{ deliveries(first: 1, filter: {statuses: [DELIVERED]}) { totalCount } }`, nil)
		return got.Deliveries.TotalCount == n
	})
}

// wantNumbers waits until so many events have come, and wants them to be those of the
// numbers from 0 on, each once.
func (c *client) wantNumbers(source string, total int) {
	c.t.Helper()
	// A broker hands over again what a process that was killed had not acknowledged, after a
	// wait that may come twice.
	testkit.Eventually(c.t, "all have come", func() bool { return c.countOf(source) >= total })
	seen := map[string]bool{}
	for _, e := range c.eventsOf(source) {
		seen[e.RawBody] = true
	}
	if got := c.countOf(source); got != total || len(seen) != total {
		c.t.Errorf("%d events came, %d of them different", got, len(seen))
	}
	for n := range total {
		if !seen[base64.StdEncoding.EncodeToString(fmt.Appendf(nil, `{"n":%d}`, n))] {
			c.t.Fatalf("%d is missing", n)
		}
	}
}

// TestAQueueBetweenTwoHubsLosesAndRepeatsNothing has one hub publish what another takes,
// while the other and the broker are killed.
func TestAQueueBetweenTwoHubsLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	broker := startNATS(t)
	_, js := connect(t, "nats://"+broker.addr)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "ORDERS", Subjects: []string{"orders.>"}}); err != nil {
		t.Fatal(err)
	}
	a, second := start(t, options(t)), launch(t, options(t))
	b := second.client
	a.source("s")
	var made struct {
		CreateEndpoint struct{ Endpoint struct{ ID string } }
	}
	a.do(&made, `mutation ($url: String!) { createEndpoint(input: {name: "Queue", kind: QUEUE, url: $url, retryPolicy: {schedule: ["PT0S", "PT0.2S", "PT0.2S", "PT0.5S", "PT1S", "PT2S", "PT4S"]}}) {
		endpoint { id } userErrors { field message } } }`, map[string]any{"url": "nats://" + broker.addr + "/orders.new"})
	a.subscribe(made.CreateEndpoint.Endpoint.ID, "")
	source := b.queue("q", "nats://"+broker.addr+"/orders.*", "")
	const total = 1000
	published := 0
	publish := func(bound int) {
		a.publishNumbers(published, bound)
		published = bound
	}
	for sent := 50; sent <= total; sent += 50 {
		publish(sent)
		switch sent {
		case 300, 700:
			testkit.Eventually(t, "some have come", func() bool { return b.countOf(source) >= sent/3 })
			second.kill()
			second.start()
		case 500: // what is being published at that moment would open the breaker for 30 seconds
			a.allDelivered(sent)
			broker.kill()
			broker.start()
			// And so would several at once before the hub is connected again.
			publish(sent + 1)
			a.allDelivered(sent + 1)
		}
	}
	b.wantNumbers(source, total)
	testkit.Eventually(t, "the source counts them", func() bool { return b.fetched(source).Error == nil })

	// Nothing is left to be acknowledged.
	stream, err := js.Stream(t.Context(), "ORDERS")
	if err != nil {
		t.Fatal(err)
	}
	name := "hookgraph-" + source
	testkit.Eventually(t, "all is acknowledged", func() bool {
		consumer, err := stream.Consumer(t.Context(), name)
		return err == nil && consumer.CachedInfo().NumAckPending == 0 && consumer.CachedInfo().NumPending == 0
	})
	var ignored any
	b.do(&ignored, `mutation ($id: ID!) { deleteSource(input: {id: $id}) { userErrors { message } } }`, map[string]any{"id": source})
	testkit.Eventually(t, "the consumer is gone", func() bool {
		_, err := stream.Consumer(t.Context(), name)
		return errors.Is(err, jetstream.ErrConsumerNotFound)
	})
}

func TestMessagesBecomeEvents(t *testing.T) {
	t.Parallel()
	broker := startNATS(t)
	url := "nats://" + broker.addr
	conn, js := connect(t, url)
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept.>"}, Duplicates: 0}); err != nil {
		t.Fatal(err)
	}
	publish := func(subject, body string, header nats.Header) {
		t.Helper()
		if err := conn.PublishMsg(&nats.Msg{Subject: subject, Data: []byte(body), Header: header}); err != nil {
			t.Fatal(err)
		}
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	publish("kept.a", `{"type":"first"}`, nil)
	publish("kept.a", `{"type":"first"}`, nil) // no key tells them to be one
	publish("kept.b.c", "\xff", nats.Header{"content-type": {"text/x-own"}, "webhook-id": {"m1"}})
	publish("kept.b.c", "again", nats.Header{"webhook-id": {"m1"}})
	publish("kept.huge", strings.Repeat("x", 2000), nil)
	c := start(t, options(t))
	source := c.queue("q", url+"/kept.>", `, maxBodyBytes: 1000, eventType: "has(body.type) ? body.type : headers['nats-subject']"`)
	testkit.Eventually(t, "they have come", func() bool { return c.countOf(source) == 3 })
	events := c.eventsOf(source)
	if events[0].Type != "first" || events[1].Type != "first" || events[0].DedupeKey == events[1].DedupeKey || !strings.HasPrefix(events[0].DedupeKey, "KEPT:") || *events[0].ContentType != "application/json" {
		t.Errorf("came %+v and %+v", events[0], events[1])
	}
	testkit.Eventually(t, "the second of a key is a duplicate", func() bool { return c.eventsOf(source)[2].DuplicateCount == 1 })
	if e := events[2]; e.Type != "kept.b.c" || e.DedupeKey != "m1" || *e.ContentType != "text/x-own" || e.RawBody != base64.StdEncoding.EncodeToString([]byte("\xff")) || e.OccurredAt == nil {
		t.Errorf("came %+v", e)
	}
	// What no event can be made of is a rejection, and does not come again.
	var refused struct {
		Source struct{ Rejections struct{ TotalCount int } }
	}
	testkit.Eventually(t, "the huge one is a rejection", func() bool {
		c.do(&refused, `query ($id: ID!) { source(id: $id) { rejections { totalCount } } }`, map[string]any{"id": source})
		return refused.Source.Rejections.TotalCount == 1
	})
	testkit.Eventually(t, "all is acknowledged", func() bool {
		consumer, err := js.Consumer(t.Context(), "KEPT", "hookgraph-"+source)
		return err == nil && consumer.CachedInfo().NumAckPending == 0 && consumer.CachedInfo().NumPending == 0
	})

	// A subject that no stream captures is shared by those who listen now.
	loose := c.queue("loose", url+"/loose.*", "")
	testkit.Eventually(t, "it listens", func() bool { return c.fetched(loose).LastAt != nil })
	publish("loose.x", `{"n":1}`, nil)
	testkit.Eventually(t, "it has come", func() bool { return c.countOf(loose) == 1 && c.fetched(loose).FetchedCount == 1 })
	publish("other.x", `{}`, nil)

	// The broker restarts.
	broker.kill()
	testkit.Eventually(t, "the source says so", func() bool {
		said := c.fetched(loose).Error
		return said != nil && contains(*said, "broker")
	})
	broker.start()
	testkit.Eventually(t, "the test is connected again and publishes", func() bool {
		_, err := js.Publish(t.Context(), "kept.a", []byte(`{"type":"after"}`), jetstream.WithMsgID("after")) // which is kept once
		return err == nil
	})
	testkit.Eventually(t, "it goes on", func() bool { return c.countOf(source) == 4 && c.fetched(source).Error == nil })

	// The consumer goes with its source.
	var ignored any
	c.do(&ignored, `mutation ($id: ID!) { deleteSource(input: {id: $id}) { userErrors { message } } }`, map[string]any{"id": source})
	testkit.Eventually(t, "the consumer is gone", func() bool {
		_, err := js.Consumer(t.Context(), "KEPT", "hookgraph-"+source)
		return errors.Is(err, jetstream.ErrConsumerNotFound)
	})
}

func TestWrongQueueSourcesAreRefused(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	for url, want := range map[string]string{
		"pulsar://127.0.0.1/x": "input.queue.url", "nats://127.0.0.1": "input.queue.url", "nats://u:p@127.0.0.1/x": "input.queue.url",
		"nats://10.0.0.1/x": "input.queue.url", "nats://127.0.0.1/>": "input.queue.url", "nats://127.0.0.1/a.>.b": "input.queue.url", "nats://127.0.0.1/a*": "input.queue.url",
		"nats://127.0.0.1/$JS.>": "input.queue.url",
	} {
		a := c.ask(`mutation ($url: String!) { createSource(input: {name: "Queue", kind: QUEUE, queue: {url: $url}}) { source { id } userErrors { field message } } }`, map[string]any{"url": url})
		if !contains(string(a.Data), `"field":["`+strings.ReplaceAll(want, ".", `","`)+`"]`) {
			t.Errorf("%s is answered %s", url, a.Data)
		}
	}
}
