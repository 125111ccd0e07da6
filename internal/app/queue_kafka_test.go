package app_test

import (
	"encoding/base64"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestDeliveriesArePublishedToKafka(t *testing.T) {
	t.Parallel()
	kafka := testkit.NewKafka(t)
	topic := kafka.Topic(t, 1)
	c := start(t, options(t))
	var source struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&source, `mutation { createSource(input: {name: "s", slug: "s", allowUnverified: true, orderingKey: "string(body.customer)"}) { source { id } userErrors { field message } } }`, nil)
	endpoint, secret := c.queueEndpoint(kafka.URL(topic), `retryPolicy: {schedule: ["PT0S", "PT0.1S"]}`)
	sent := c.post("s", nil, []byte(`{"customer": "Zoë"}`))
	delivered := c.only(sent.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
	if receipt := valueOf(delivered.Attempts.Nodes[0].ResponseBody); receipt != "stored in the partition 0 of the topic at 0" {
		t.Errorf("the receipt is %q", receipt)
	}
	m := kafka.Kept(t, topic, 1)[0]
	header := map[string][]string{}
	for _, h := range m.Headers {
		header[http.CanonicalHeaderKey(h.Key)] = []string{string(h.Value)}
	}
	if string(m.Value) != `{"customer": "Zoë"}` || string(m.Key) != "Zoë" || header["Webhook-Id"][0] != delivered.ID || header["Webhook-Event-Type"][0] != delivered.Event.Type || header["Content-Type"] == nil {
		t.Errorf("published: %+v", m)
	}
	verify(t, arrival{header, m.Value}, secret)

	// A topic that is missing and a broker that is away are no deliveries.
	for url, want := range map[string]string{
		kafka.URL(topic + "-missing"):                  "REFUSED: the topic does not exist; make it there, since the hub makes none",
		"kafka://" + testkit.FreeAddr(t) + "/" + topic: "CONNECTION_FAILED: the broker could not be reached",
	} {
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { deleteEndpoint(input: {id: $id}) { userErrors { message } } }`, map[string]any{"id": endpoint})
		endpoint, _ = c.queueEndpoint(url, `retryPolicy: {schedule: ["PT0S"]}`)
		lost := c.post("s", nil, []byte(`{"customer": 2}`))
		dead := c.only(lost.ID, "it is dead", func(d delivery) bool { return d.Status == "DEAD" })
		if a := dead.Attempts.Nodes[0]; a.Outcome+": "+valueOf(a.Error) != want {
			t.Errorf("the attempt is %+v %s", a, valueOf(a.Error))
		}
	}
}

func (c *client) kafkaSource(url, more string) string {
	c.t.Helper()
	var made struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&made, `mutation ($url: String!) { createSource(input: {name: "Queue", kind: QUEUE, queue: {url: $url} `+more+`}) {
		source { id } userErrors { code field message } } }`, map[string]any{"url": url})
	return made.CreateSource.Source.ID
}

// TestKafkaBetweenTwoHubsLosesAndRepeatsNothing has one hub publish what another takes,
// while the other and the broker are killed.
func TestKafkaBetweenTwoHubsLosesAndRepeatsNothing(t *testing.T) {
	t.Parallel()
	_, port, err := net.SplitHostPort(testkit.FreeAddr(t))
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	kept := []kfake.Opt{kfake.NumBrokers(1), kfake.Ports(number), kfake.DataDir(t.TempDir()), kfake.SeedTopics(3, "orders")}
	broker := testkit.KafkaCluster(t, kept...)
	url := "kafka://127.0.0.1:" + port + "/orders"
	a, second := start(t, options(t)), launch(t, options(t))
	b := second.client
	a.source("s")
	a.queueEndpoint(url, `retryPolicy: {schedule: ["PT0S", "PT0.2S", "PT0.2S", "PT0.5S", "PT1S", "PT2S", "PT4S"]}`)
	source := b.kafkaSource(url, "")
	const total = 1000
	stored := func() (n int64) {
		for _, partition := range broker.PartitionInfos("orders") {
			n += partition.HighWatermark
		}
		return n
	}
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
			broker.Close()
			broker = testkit.KafkaCluster(t, kept...)
			// And so would several at once before the hub is connected again.
			publish(sent + 1)
			a.allDelivered(sent + 1)
		}
	}
	b.wantNumbers(source, total)
	testkit.Eventually(t, "the source is well", func() bool { return b.fetched(source).Error == nil })

	// All is committed, and the group goes with the source.
	committed := func() (n int64) {
		info := broker.GroupInfo("hookgraph-" + source)
		if info == nil {
			return -1
		}
		for _, offset := range info.Commits["orders"] {
			n += offset.Offset
		}
		return n
	}
	testkit.Eventually(t, "all is committed", func() bool { return committed() == stored() })
	var ignored any
	b.do(&ignored, `mutation ($id: ID!) { deleteSource(input: {id: $id}) { userErrors { message } } }`, map[string]any{"id": source})
	testkit.Eventually(t, "the group is gone", func() bool { return committed() == -1 })
}

func TestMessagesOfKafkaBecomeEvents(t *testing.T) {
	t.Parallel()
	kafka := testkit.NewKafka(t)
	topic := kafka.Topic(t, 1)
	id := kgo.RecordHeader{Key: "ce_id", Value: []byte("m1")}
	kafka.Send(t,
		&kgo.Record{Topic: topic, Value: []byte(`{"n":1}`)},
		&kgo.Record{Topic: topic, Value: []byte(`{"n":1}`)}, // their places tell them apart
		&kgo.Record{Topic: topic, Key: []byte("made"), Value: []byte("\xff"), Headers: []kgo.RecordHeader{id, {Key: "content-type", Value: []byte("text/x-own")}, {Key: "odd", Value: []byte("a\x00\xffb")}}},
		&kgo.Record{Topic: topic, Key: []byte("\xff"), Value: []byte("again"), Headers: []kgo.RecordHeader{id}},
		&kgo.Record{Topic: topic, Value: []byte(strings.Repeat("x", 2000))},
		&kgo.Record{Topic: topic, Value: []byte(`{"n":2}`)},
	)
	c := start(t, options(t))
	source := c.kafkaSource(kafka.URL(topic), `, maxBodyBytes: 1000, eventType: "'kafka-key' in headers ? headers['kafka-key'] : headers['kafka-topic']"`)
	testkit.Eventually(t, "they have come", func() bool { return c.countOf(source) == 4 })
	events := c.eventsOf(source)
	if events[0].Type != topic || *events[0].ContentType != "application/json" || !strings.HasPrefix(events[1].DedupeKey, topic+":0:1:") || events[1].OccurredAt == nil {
		t.Errorf("came %+v", events)
	}
	if e := events[2]; e.Type != "made" || e.DedupeKey != "m1" || *e.ContentType != "text/x-own" || e.RawBody != base64.StdEncoding.EncodeToString([]byte("\xff")) {
		t.Errorf("came %+v", e)
	}
	if shown := c.headersOf(source, "made")["Kafka-Key"]; shown != "made" {
		t.Errorf("its key is shown as %q", shown)
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
	testkit.Eventually(t, "all is committed", func() bool { return kafka.Committed(t, "hookgraph-"+source, topic, 1) == 6 })

	// A topic that is missing is one that the source says, until it is there.
	later := topic + "-later"
	waiting := c.kafkaSource(kafka.URL(later), "")
	testkit.Eventually(t, "the source says so", func() bool {
		said := c.fetched(waiting).Error
		return said != nil && contains(*said, "the topic does not exist")
	})
	kafka.MakeTopic(t, later, 1)
	kafka.Send(t, &kgo.Record{Topic: later, Value: []byte(`{}`)})
	testkit.Eventually(t, "it goes on", func() bool { return c.countOf(waiting) == 1 && c.fetched(waiting).Error == nil })
}

func TestWrongTopicsOfKafkaAreRefused(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	authority := newAuthority(t)
	certificate, key := authority.issue("hub")
	mtls := map[string]any{"mtls": map[string]any{"certificate": certificate, "privateKey": key, "caCertificate": authority.pem}}
	basic := func(ca string) any {
		return map[string]any{"basic": map[string]any{"username": "u", "password": "p", "caCertificate": ca}}
	}
	const endpoint = `mutation ($url: String!, $auth: EndpointAuthInput) { made: createEndpoint(input: {name: "Queue", kind: QUEUE, url: $url, auth: $auth}) { userErrors { field } } }`
	const source = `mutation ($url: String!, $auth: EndpointAuthInput) { made: createSource(input: {name: "Queue", kind: QUEUE, queue: {url: $url, auth: $auth}}) { userErrors { field } } }`
	for _, test := range []struct {
		document, url string
		auth          any
		want          string
	}{
		{endpoint, "kafka://127.0.0.1/x", nil, `[]`},
		{endpoint, "kafka+tls://127.0.0.1,127.0.0.1:9093/x", mtls, `[]`},
		{endpoint, "kafka+tls://127.0.0.1/x?sasl=plain", basic(authority.pem), `[]`},
		{endpoint, "kafka+tls://127.0.0.1/x", basic("nonsense"), `[{"field":["input","auth","basic","caCertificate"]}]`},
		{endpoint, "kafka://127.0.0.1/x", basic(authority.pem), `[{"field":["input","auth"]}]`},
		{endpoint, "nats://127.0.0.1/x", mtls, `[{"field":["input","auth"]}]`},
		{endpoint, "kafka://127.0.0.1/x", map[string]any{"bearer": "t"}, `[{"field":["input","auth"]}]`},
		{endpoint, "kafka://127.0.0.1,10.0.0.1/x", nil, `[{"field":["input","url"]}]`},
		{endpoint, "kafka://u:p@127.0.0.1/x", nil, `[{"field":["input","url"]}]`},
		{endpoint, "kafka://127.0.0.1/x?group=g", nil, `[{"field":["input","url"]}]`},
		{source, "kafka://127.0.0.1/x,y", nil, `[{"field":["input","queue","url"]}]`},
		{source, "kafka://10.0.0.1/x", nil, `[{"field":["input","queue","url"]}]`},
		{source, "kafka://127.0.0.1/x", mtls, `[{"field":["input","queue","auth"]}]`},
	} {
		a := c.ask(test.document, map[string]any{"url": test.url, "auth": test.auth})
		if want := `{"made":{"userErrors":` + test.want + `}}`; string(a.Data) != want {
			t.Errorf("%s is answered %s %v, not %s", test.url, a.Data, a.Errors, want)
		}
	}
}
