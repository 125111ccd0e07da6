package app_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

// basicAuth is how a hub logs in to a broker, as an input.
func basicAuth(rabbit *testkit.RabbitMQ) string {
	return fmt.Sprintf(`auth: {basic: {username: %q, password: %q}}`, rabbit.Username, rabbit.Password)
}

// queueEndpoint makes an endpoint that publishes to a queue, and subscribes it to all.
func (c *client) queueEndpoint(url, more string) (id, secret string) {
	c.t.Helper()
	var made struct {
		CreateEndpoint struct {
			Endpoint      struct{ ID string }
			SigningSecret string
		}
	}
	c.do(&made, `mutation ($url: String!) { createEndpoint(input: {name: "Queue", kind: QUEUE, url: $url, `+more+`}) {
		endpoint { id } signingSecret userErrors { field message } } }`, map[string]any{"url": url})
	c.subscribe(made.CreateEndpoint.Endpoint.ID, "")
	return made.CreateEndpoint.Endpoint.ID, made.CreateEndpoint.SigningSecret
}

// rabbitSource makes a source that takes messages of a queue.
func (c *client) rabbitSource(rabbit *testkit.RabbitMQ, url, more string) string {
	c.t.Helper()
	var made struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&made, `mutation ($url: String!) { createSource(input: {name: "Queue", kind: QUEUE, queue: {url: $url, `+basicAuth(rabbit)+`} `+more+`}) {
		source { id } userErrors { code field message } } }`, map[string]any{"url": url})
	return made.CreateSource.Source.ID
}

func TestDeliveriesArePublishedToRabbitMQ(t *testing.T) {
	t.Parallel()
	rabbit := testkit.AMQP(t)
	exchange := rabbit.Queue(t, nil) // the queue of that name gets messages by a binding alone
	if err := rabbit.Channel.ExchangeDeclare(exchange, "topic", false, true, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := rabbit.Channel.QueueBind(exchange, "orders.#", exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	c := start(t, options(t))
	c.source("s")
	schedule := `retryPolicy: {schedule: ["PT0S", "PT0.1S"]}, ` + basicAuth(rabbit)
	endpoint, secret := c.queueEndpoint(rabbit.URL("exchange="+exchange+"&routing_key=orders.new"), schedule)
	sent := c.post("s", nil, []byte(`{"n": 1}`))
	delivered := c.only(sent.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
	if receipt := valueOf(delivered.Attempts.Nodes[0].ResponseBody); receipt != "confirmed by the broker" {
		t.Errorf("the receipt is %q", receipt)
	}
	m, found, err := rabbit.Channel.Get(exchange, true)
	if err != nil || !found {
		t.Fatalf("%t %v", found, err)
	}
	if string(m.Body) != `{"n": 1}` || m.MessageId != delivered.ID || m.Headers["webhook-id"] != delivered.ID ||
		m.Headers["webhook-event-type"] != delivered.Event.Type || m.DeliveryMode != amqp.Persistent || m.ContentType == "" || m.ContentType != m.Headers["Content-Type"] {
		t.Errorf("published: %+v", m)
	}
	header := map[string][]string{}
	for _, name := range []string{"webhook-id", "webhook-timestamp", "webhook-signature"} {
		value, _ := m.Headers[name].(string)
		header[http.CanonicalHeaderKey(name)] = []string{value}
	}
	verify(t, arrival{header, m.Body}, secret)

	// What no queue takes, and a login that is refused, are no deliveries.
	for more, want := range map[string]string{
		`retryPolicy: {schedule: ["PT0S"]}, ` + basicAuth(rabbit):                                                      "no queue takes the message",
		`retryPolicy: {schedule: ["PT0S"]}, auth: {basic: {username: "hookgraph-nobody", password: "wrong-distinct"}}`: "refused the credentials",
	} {
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { deleteEndpoint(input: {id: $id}) { userErrors { message } } }`, map[string]any{"id": endpoint})
		endpoint, _ = c.queueEndpoint(rabbit.URL("exchange="+exchange+"&routing_key=others"), more)
		lost := c.post("s", nil, []byte(`{"n": 2}`))
		dead := c.only(lost.ID, "it is dead", func(d delivery) bool { return d.Status == "DEAD" })
		if a := dead.Attempts.Nodes[0]; a.Outcome != "REFUSED" || !contains(valueOf(a.Error), want) || contains(valueOf(a.Error), "distinct") {
			t.Errorf("the attempt is %+v", a)
		}
	}
}

// TestRabbitMQBetweenTwoHubsLosesAndRepeatsNothing has one hub publish what another takes,
// while the other is killed and its connection is cut twice.
func TestRabbitMQBetweenTwoHubsLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	rabbit := testkit.AMQP(t)
	queue := rabbit.Queue(t, nil)
	var cuts atomic.Int64
	cutting := cut(t, rabbit.Addr, func() int64 {
		if cuts.Add(1) > 2 {
			return 0
		}
		return 50_000 // some 70 messages
	})
	a, second := start(t, options(t)), launch(t, options(t))
	b := second.client
	a.source("s")
	a.queueEndpoint(rabbit.URL("queue="+queue), basicAuth(rabbit))
	source := b.rabbitSource(rabbit, rabbit.At(cutting.listener.Addr().String(), "queue="+queue), "")
	const total = 1000
	for sent := 50; sent <= total; sent += 50 {
		a.publishNumbers(sent-50, sent)
		if sent == 500 {
			testkit.Eventually(t, "some have come", func() bool { return b.countOf(source) >= sent/3 })
			second.kill()
			second.start()
		}
	}
	b.wantNumbers(source, total)
	if n := cuts.Load(); n < 3 {
		t.Errorf("only %d connections were made", n)
	}
	testkit.Eventually(t, "the source is well", func() bool { return b.fetched(source).Error == nil })
	// Once the consumer is gone, the queue has again whatever was not acknowledged: at most
	// one that comes last, as those before it were acknowledged before it was taken.
	a.publishNumbers(total, total+1)
	testkit.Eventually(t, "one more has come", func() bool { return b.countOf(source) == total+1 })
	var ignored any
	b.do(&ignored, `mutation ($id: ID!) { deleteSource(input: {id: $id}) { userErrors { message } } }`, map[string]any{"id": source})
	testkit.Eventually(t, "the consumer is gone", func() bool {
		found, err := rabbit.Channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err == nil && found.Consumers == 0
	})
	if n := rabbit.Waiting(t, queue); n > 1 {
		t.Errorf("%d messages were not acknowledged", n)
	}
}

func TestMessagesOfRabbitMQBecomeEvents(t *testing.T) {
	t.Parallel()
	rabbit := testkit.AMQP(t)
	queue := rabbit.Queue(t, nil)
	publish := func(m amqp.Publishing) {
		t.Helper()
		if err := rabbit.Channel.Publish("", queue, false, false, m); err != nil {
			t.Fatal(err)
		}
	}
	publish(amqp.Publishing{Body: []byte(`{"n":1}`)})
	publish(amqp.Publishing{Body: []byte(`{"n":1}`)}) // no ID tells them to be one
	publish(amqp.Publishing{MessageId: "m1", ContentType: "text/x-own", Type: "made", Body: []byte("\xff"), Headers: amqp.Table{"odd": "a\x00\xffb"}})
	publish(amqp.Publishing{MessageId: "m1", Body: []byte("again")})
	publish(amqp.Publishing{Body: []byte(strings.Repeat("x", 2000))})
	publish(amqp.Publishing{MessageId: "last", Body: []byte(`{"n":2}`)})
	c := start(t, options(t))
	source := c.rabbitSource(rabbit, rabbit.URL("queue="+queue), `, maxBodyBytes: 1000, eventType: "'amqp-type' in headers ? headers['amqp-type'] : headers['amqp-routing-key']"`)
	testkit.Eventually(t, "they have come", func() bool { return c.countOf(source) == 4 })
	events := c.eventsOf(source)
	if events[0].Type != queue || events[1].Type != queue || *events[0].ContentType != "application/json" || events[3].DedupeKey != "last" {
		t.Errorf("came %+v", events)
	}
	if e := events[2]; e.Type != "made" || e.DedupeKey != "m1" || *e.ContentType != "text/x-own" || e.RawBody != base64.StdEncoding.EncodeToString([]byte("\xff")) {
		t.Errorf("came %+v", e)
	}
	if shown := c.headersOf(source, "made")["Amqp-Routing-Key"]; shown != queue {
		t.Errorf("its routing key is shown as %q", shown)
	}
	testkit.Eventually(t, "the second of an ID is a duplicate", func() bool { return c.eventsOf(source)[2].DuplicateCount == 1 })
	// What no event can be made of is a rejection, and does not come again.
	var refused struct {
		Source struct{ Rejections struct{ TotalCount int } }
	}
	testkit.Eventually(t, "the huge one is a rejection", func() bool {
		c.do(&refused, `query ($id: ID!) { source(id: $id) { rejections { totalCount } } }`, map[string]any{"id": source})
		return refused.Source.Rejections.TotalCount == 1
	})

	// The queue is deleted, which the source says until it is there again.
	if _, err := rabbit.Channel.QueueDelete(queue, false, false, false); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the source says so", func() bool {
		said := c.fetched(source).Error
		return said != nil && contains(*said, "make the queue there")
	})
	if _, err := rabbit.Channel.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	publish(amqp.Publishing{Body: []byte(`{"n":3}`)})
	testkit.Eventually(t, "it goes on", func() bool { return c.countOf(source) == 5 && c.fetched(source).Error == nil })
	var ignored any
	c.do(&ignored, `mutation ($id: ID!) { deleteSource(input: {id: $id}) { userErrors { message } } }`, map[string]any{"id": source})
	testkit.Eventually(t, "nobody takes messages of the queue, all of which were acknowledged", func() bool {
		found, err := rabbit.Channel.QueueDeclarePassive(queue, true, false, false, false, nil)
		return err == nil && found.Consumers == 0 && found.Messages == 0
	})
}

func TestWrongQueuesOfRabbitMQAreRefused(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	const endpoint = `mutation ($url: String!, $auth: EndpointAuthInput) { made: createEndpoint(input: {name: "Queue", kind: QUEUE, url: $url, auth: $auth}) { userErrors { field } } }`
	const source = `mutation ($url: String!, $auth: EndpointAuthInput) { made: createSource(input: {name: "Queue", kind: QUEUE, queue: {url: $url, auth: $auth}}) { userErrors { field } } }`
	for _, test := range []struct {
		document, url string
		auth          any
		want          string
	}{
		{endpoint, "amqp://127.0.0.1/?queue=a", nil, `[]`},
		{endpoint, "amqp://127.0.0.1/vhost/a", nil, `[{"field":["input","url"]}]`},
		{endpoint, "amqp://u:p@127.0.0.1/?queue=a", nil, `[{"field":["input","url"]}]`},
		{endpoint, "amqp://10.0.0.1/?queue=a", nil, `[{"field":["input","url"]}]`},
		{endpoint, "amqp://127.0.0.1/?queue=a", map[string]any{"bearer": "t"}, `[{"field":["input","auth"]}]`},
		{source, "amqp://127.0.0.1/?exchange=a", nil, `[{"field":["input","queue","url"]}]`},
		{source, "amqp://127.0.0.1/?queue=a", map[string]any{"bearer": "t"}, `[{"field":["input","queue","auth"]}]`},
	} {
		a := c.ask(test.document, map[string]any{"url": test.url, "auth": test.auth})
		if want := `{"made":{"userErrors":` + test.want + `}}`; string(a.Data) != want {
			t.Errorf("%s is answered %s %v, not %s", test.url, a.Data, a.Errors, want)
		}
	}
}
