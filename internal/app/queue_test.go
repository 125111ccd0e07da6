package app_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestDeliveriesArePublishedToNATS(t *testing.T) {
	t.Parallel()
	address, _ := testkit.NATS(t)
	conn, err := nats.Connect(address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	subject := "hookgraph.test." + nats.NewInbox()[7:]
	c := start(t, options(t))
	c.source("s")
	var made struct {
		CreateEndpoint struct {
			Endpoint      struct{ ID string }
			SigningSecret string
		}
	}
	c.do(&made, `mutation ($url: String!) { createEndpoint(input: {name: "Queue", kind: QUEUE, url: $url, retryPolicy: {schedule: ["PT0S", "PT0.1S"]}}) {
		endpoint { id } signingSecret userErrors { field message } } }`, map[string]any{"url": address + "/" + subject})
	c.subscribe(made.CreateEndpoint.Endpoint.ID, "")

	// Nobody listens: that is no delivery.
	lost := c.post("s", nil, []byte(`{"n": 1}`))
	dead := c.only(lost.ID, "it is dead", func(d delivery) bool { return d.Status == "DEAD" })
	if a := dead.Attempts.Nodes[0]; a.Outcome != "REFUSED" || !contains(valueOf(a.Error), "nobody listens") {
		t.Errorf("the attempt is %+v", a)
	}

	listening, err := conn.SubscribeSync(subject)
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
	sent := c.post("s", nil, []byte(`{"n": 2}`))
	got := c.only(sent.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
	m, err := listening.NextMsg(10 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if string(m.Data) != `{"n": 2}` || m.Header["webhook-id"][0] != got.ID || m.Header["webhook-event-type"][0] != got.Event.Type {
		t.Errorf("published: %s %v", m.Data, m.Header)
	}
	header := map[string][]string{}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		header[http.CanonicalHeaderKey(name)] = m.Header[name]
	}
	verify(t, arrival{header, m.Data}, made.CreateEndpoint.SigningSecret)
	all := c.counts(`{endpointIds: ["` + made.CreateEndpoint.Endpoint.ID + `"]}`)
	if failed := dead.AttemptCount; all.Delivered != 1 || all.Dead != 1 || all.Attempts != failed+1 || all.FailedAttempts != failed {
		t.Errorf("counted: %+v", all)
	}

	c.subscribe(made.CreateEndpoint.Endpoint.ID, `transform: {kind: CEL, expression: "{\"shaped\": body.n}"}`)
	c.post("s", nil, []byte(`{"n": 3}`))
	bodies := map[string]bool{}
	for range 2 {
		m, err := listening.NextMsg(10 * time.Second)
		if err != nil {
			t.Fatal(err)
		}
		bodies[string(m.Data)] = true
	}
	if !bodies[`{"n": 3}`] || !bodies[`{"shaped":3}`] {
		t.Errorf("published: %v", bodies)
	}
}

func TestAStreamAcknowledgesAndDropsRepetitions(t *testing.T) {
	t.Parallel()
	settings := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoLog: true, NoSigs: true, Username: "u", Password: "a-password"}
	broker, err := server.NewServer(settings)
	if err != nil {
		t.Fatal(err)
	}
	broker.Start()
	t.Cleanup(func() { broker.Shutdown(); broker.WaitForShutdown() })
	if !broker.ReadyForConnections(10 * time.Second) {
		t.Fatal("the broker does not start")
	}
	address := broker.ClientURL()
	conn, err := nats.Connect(address, nats.UserInfo("u", "a-password"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	name := "HG" + nats.NewInbox()[7:]
	stream, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: name, Subjects: []string{name + ".>"}, Storage: jetstream.MemoryStorage})
	if err != nil {
		t.Fatalf("make a stream: %v", err)
	}
	t.Cleanup(func() { _ = js.DeleteStream(t.Context(), name) })
	c := start(t, options(t))
	c.source("s")
	var made struct {
		CreateEndpoint struct{ Endpoint struct{ ID string } }
	}
	c.do(&made, `mutation ($url: String!) { createEndpoint(input: {name: "Queue", kind: QUEUE, url: $url, auth: {basic: {username: "u", password: "a-password"}}}) { endpoint { id } userErrors { field message } } }`,
		map[string]any{"url": address + "/" + name + ".orders"})
	c.subscribe(made.CreateEndpoint.Endpoint.ID, "")
	sent := c.post("s", nil, []byte(`{}`))
	got := c.only(sent.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
	if receipt := valueOf(got.Attempts.Nodes[0].ResponseBody); !contains(receipt, "stored in the stream "+name) {
		t.Errorf("the receipt is %q", receipt)
	}
	var ignored any
	c.do(&ignored, `mutation ($id: ID!) { retryDelivery(id: $id) { userErrors { message } } }`, map[string]any{"id": got.ID})
	c.only(sent.ID, "it was published again", func(d delivery) bool { return d.Status == "DELIVERED" && d.AttemptCount == 2 })
	info, err := stream.Info(t.Context())
	if err != nil || info.State.Msgs != 1 {
		t.Errorf("the stream has %d messages, %v", info.State.Msgs, err)
	}
}

func TestWrongQueuesAreRefused(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	for _, url := range []string{"kafka://127.0.0.1", "nats://127.0.0.1", "nats://u:p@127.0.0.1/x", "nats://10.0.0.1/x", "nats://127.0.0.1/a.*"} {
		a := c.ask(`mutation ($url: String!) { createEndpoint(input: {name: "Queue", kind: QUEUE, url: $url}) { endpoint { id } userErrors { field message } } }`,
			map[string]any{"url": url})
		if !contains(string(a.Data), `"field":["input","url"]`) {
			t.Errorf("%s is answered %s", url, a.Data)
		}
	}
}

func valueOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
