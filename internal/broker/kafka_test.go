package broker_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// publishing returns a function that publishes with a book of its own.
func publishing(t *testing.T, dial broker.DialFunc) func(url string, as broker.Login, m broker.Message) (string, error) {
	t.Helper()
	book := broker.NewBook(dial)
	t.Cleanup(book.Close)
	return func(url string, as broker.Login, m broker.Message) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return book.Publish(ctx, url+as.Username+string(as.Password), to(t, url), as, m)
	}
}

func TestPublishingToKafka(t *testing.T) {
	t.Parallel()
	kafka := testkit.NewKafka(t)
	topic := kafka.Topic(t, 1)
	network := &severable{}
	publish := publishing(t, network.dial)
	for n := range 3 {
		receipt, err := publish(kafka.URL(topic), broker.Login{}, broker.Message{ID: "m", Key: "k", Headers: []hub.Header{{Name: "webhook-id", Value: "m"}}, Body: fmt.Append(nil, n)})
		if err != nil || receipt != fmt.Sprintf("stored in the partition 0 of the topic at %d", n) {
			t.Fatalf("%q %v", receipt, err)
		}
	}
	kept := kafka.Kept(t, topic, 3)
	if r := kept[2]; string(r.Value) != "2" || string(r.Key) != "k" || len(r.Headers) != 1 || r.Headers[0].Key != "webhook-id" || string(r.Headers[0].Value) != "m" {
		t.Errorf("it keeps %+v", r)
	}
	for name, one := range map[string]struct {
		url   string
		login broker.Login
		body  []byte
		want  string
	}{
		"no such topic": {kafka.URL(topic + "-missing"), broker.Login{}, nil, "the topic does not exist"},
		"too large":     {kafka.URL(topic), broker.Login{}, make([]byte, 3<<20), "larger than the broker takes"},
		"a token":       {kafka.URL(topic), broker.Login{Token: "wrong-distinct"}, nil, "no token"},
	} {
		_, err := publish(one.url, one.login, broker.Message{ID: "m", Body: random(len(one.body))})
		var of *broker.Error
		if !errors.As(err, &of) || !of.Refused || !strings.Contains(of.Message, one.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Many at once, over connections that break in between.
	book := broker.NewBook(network.dial)
	t.Cleanup(book.Close)
	var work sync.WaitGroup
	var failed atomic.Int64
	for n := range 300 {
		work.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if _, err := book.Publish(ctx, "a", to(t, kafka.URL(topic)), broker.Login{}, broker.Message{ID: "m", Body: random(20_000)}); err != nil {
				failed.Add(1)
			}
		})
		if n == 150 {
			network.cut()
		}
	}
	work.Wait()
	kafka.Kept(t, topic, 303-int(failed.Load()))
	if failed.Load() > 150 {
		t.Errorf("%d have failed", failed.Load())
	}
	testkit.Eventually(t, "it goes on", func() bool {
		_, err := publish(kafka.URL(topic), broker.Login{}, broker.Message{ID: "m"})
		return err == nil
	})
}

// random is a body that does not become smaller.
func random(n int) []byte {
	body := make([]byte, n)
	_, _ = rand.Read(body) // it never fails
	return body
}

// What shares a batch that is larger than the topic takes is kept all the same.
func TestWhatFitsIsKeptAlsoWhereTogetherItDoesNot(t *testing.T) {
	t.Parallel()
	cluster := testkit.KafkaCluster(t, kfake.NumBrokers(1))
	if err := cluster.CreateTopic("narrower", 1, map[string]string{"max.message.bytes": "100000"}); err != nil {
		t.Fatal(err)
	}
	if err := cluster.CreateTopic("wider", 1, map[string]string{"max.message.bytes": "8000000"}); err != nil {
		t.Fatal(err)
	}
	book := broker.NewBook((&severable{}).dial)
	t.Cleanup(book.Close)
	publish := func(topic string, bytes int) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := book.Publish(ctx, "a", to(t, "kafka://"+cluster.ListenAddrs()[0]+"/"+topic), broker.Login{}, broker.Message{ID: "m", Body: random(bytes)})
		return err
	}
	var work sync.WaitGroup
	for range 40 {
		work.Go(func() {
			if err := publish("narrower", 60_000); err != nil {
				t.Errorf("it is refused: %v", err)
			}
		})
	}
	work.Wait()
	if err := publish("wider", 6_000_000); err != nil {
		t.Errorf("what the topic takes is refused: %v", err)
	}
	var of *broker.Error
	if err := publish("wider", 9_000_000); !errors.As(err, &of) || !of.Refused || !strings.Contains(of.Message, "larger") {
		t.Errorf("what it does not take is answered %v", err)
	}
}

func TestLoginsAtKafka(t *testing.T) {
	t.Parallel()
	write := kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: "orders", Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: kmsg.ACLOperationWrite, Allow: true}
	cluster := testkit.KafkaCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders", "others"), kfake.EnableSASL(), kfake.EnableACLs(),
		kfake.Superuser("PLAIN", "plain", "pw"), kfake.Superuser("SCRAM-SHA-256", "256", "pw"), kfake.Superuser("SCRAM-SHA-512", "512", "pw"),
		kfake.User("PLAIN", "writer", "pw", write))
	// As Kafka does; the stand-in closes the connection, as others do.
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(r kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		ask, _ := r.(*kmsg.SASLAuthenticateRequest)
		if ask == nil || !bytes.Contains(ask.SASLAuthBytes, []byte("wrong-distinct")) {
			return nil, nil, false
		}
		answer, _ := ask.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		answer.ErrorCode, answer.ErrorMessage = kerr.SaslAuthenticationFailed.Code, kmsg.StringPtr("no user wrong-distinct")
		return answer, nil, true
	})
	publish := publishing(t, (&severable{}).dial)
	for _, one := range []struct{ topic, user, password, want string }{
		{"orders?sasl=plain", "plain", "pw", ""},
		{"orders?sasl=scram-sha-256", "256", "pw", ""},
		{"orders?sasl=scram-sha-512", "512", "pw", ""},
		{"orders", "512", "pw", ""},
		{"orders?sasl=plain", "plain", "wrong-distinct", "refused the credentials"},
		{"orders?sasl=scram-sha-512", "512", "wrong-distinct", "refuse the credentials"},
		{"orders?sasl=scram-sha-256", "nobody-distinct", "pw", "refuse the credentials"},
		{"orders", "", "", "closed the connection at once"},
		{"orders?sasl=plain", "writer", "pw", ""},
		{"others?sasl=plain", "writer", "pw", "do not permit"},
	} {
		_, err := publish("kafka://"+cluster.ListenAddrs()[0]+"/"+one.topic, broker.Login{Username: one.user, Password: hub.Secret(one.password)}, broker.Message{ID: "m"})
		var of *broker.Error
		switch {
		case one.want == "" && err != nil:
			t.Errorf("%+v: %v", one, err)
		case one.want == "":
		case !errors.As(err, &of), !strings.Contains(of.Message, one.want), strings.Contains(err.Error(), "distinct"):
			t.Errorf("%+v: %v", one, err)
		}
	}
}

// Brokers that the first one names are dialled through the guard as well.
func TestBrokersThatKafkaNamesAreGuarded(t *testing.T) {
	t.Parallel()
	cluster := testkit.KafkaCluster(t, kfake.NumBrokers(2), kfake.SeedTopics(1, "orders"))
	leader, seed := "", ""
	for _, addr := range cluster.ListenAddrs() {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			t.Fatal(err)
		}
		if info := cluster.PartitionInfo("orders", 0); addr == cluster.ListenAddrs()[info.Leader] {
			leader = port
		} else {
			seed = addr
		}
	}
	publish := publishing(t, func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ":"+leader) {
			return nil, &outbound.BlockedError{}
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	})
	_, err := publish("kafka://"+seed+"/orders", broker.Login{}, broker.Message{ID: "m"})
	var blocked *outbound.BlockedError
	if !errors.As(err, &blocked) {
		t.Errorf("it is answered %v", err)
	}
	if n := cluster.PartitionInfo("orders", 0).HighWatermark; n != 0 {
		t.Errorf("the topic has %d messages", n)
	}
}

func TestAKafkaThatFallsSilent(t *testing.T) {
	t.Parallel()
	cluster := testkit.KafkaCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	var silent atomic.Bool
	book := broker.NewBook(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &muted{conn, &silent}, err
	})
	publish := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, err := book.Publish(ctx, "a", to(t, "kafka://"+cluster.ListenAddrs()[0]+"/orders"), broker.Login{}, broker.Message{ID: "m"})
		return err
	}
	testkit.Eventually(t, "it is published", func() bool { return publish(patience) == nil })
	silent.Store(true)
	began := time.Now()
	if err := publish(time.Second); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it is answered %v", err)
	}
	book.Close()
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
}

// takingFrom makes a consumer that stops when take says so.
func takingFrom(t *testing.T, url, name string, take func(batch []broker.Taken) error) *broker.Consumer {
	t.Helper()
	target, err := broker.ParseSource(url)
	if err != nil {
		t.Fatal(err)
	}
	return &broker.Consumer{
		Dial: (&severable{}).dial, Target: target, Name: name, Opened: func(context.Context) error { return nil },
		Take: func(_ context.Context, batch []broker.Taken, _ int) error {
			if len(batch) == 0 {
				return nil
			}
			return take(batch)
		},
	}
}

func TestTakingFromKafka(t *testing.T) {
	t.Parallel()
	kafka := testkit.NewKafka(t)
	topic := kafka.Topic(t, 2)
	name := "hookgraph-" + topic
	at := time.UnixMilli(1700000000000)
	kafka.Send(t, &kgo.Record{Topic: topic, Partition: 1, Key: []byte("k"), Value: []byte("b"), Timestamp: at, Headers: []kgo.RecordHeader{
		{Key: "a", Value: []byte("x")}, {Key: "a", Value: []byte("y")}, {Key: "ce_id", Value: []byte("7")}, {Key: "bad name", Value: []byte("z")}, {Key: "kafka-key", Value: []byte("spoofed")},
	}})
	stop := errors.New("stop")
	var got broker.Taken
	run := func(take func(batch []broker.Taken) error) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return takingFrom(t, kafka.URL(topic), name, take).Run(ctx)
	}
	if err := run(func(batch []broker.Taken) error { got = batch[0]; return stop }); !errors.Is(err, stop) {
		t.Fatalf("it ended with %v", err)
	}
	about := make(http.Header)
	for _, h := range got.About {
		about.Set(h.Name, h.Value)
	}
	if got.ID != "" || !strings.HasPrefix(got.Key, topic+":1:0:") || !got.At.Equal(at) || string(got.Body) != "b" || len(got.Header["A"]) != 2 ||
		got.Header.Get("Ce-Id") != "7" || about.Get("Kafka-Key") != "k" || about.Get("Kafka-Topic") != topic ||
		about.Get("Kafka-Partition") != "1" || about.Get("Kafka-Offset") != "0" || len(got.Header) != 3 {
		t.Errorf("it took %+v", got)
	}
	// What was not handled comes again, in order, and what was does not.
	for n := range 1000 {
		kafka.Send(t, &kgo.Record{Topic: topic, Partition: int32(n % 2), Value: fmt.Append(nil, n)})
	}
	last, count := [2]int{-1, -1}, 0
	err := run(func(batch []broker.Taken) error {
		for _, one := range batch {
			if string(one.Body) == "b" {
				if one.Key != got.Key {
					t.Errorf("it came again as %q, not %q", one.Key, got.Key)
				}
				continue
			}
			var n int
			if _, err := fmt.Sscan(string(one.Body), &n); err != nil || n <= last[n%2] {
				t.Errorf("%s came after %v", one.Body, last)
			}
			last[n%2] = n
			count++
		}
		if count == 1000 {
			kafka.Send(t, &kgo.Record{Topic: topic, Partition: 0, Value: []byte("1001")})
		}
		if count > 1000 {
			return stop
		}
		return nil
	})
	if !errors.Is(err, stop) || kafka.Committed(t, name, topic, 2) != 1001 {
		t.Errorf("it ended with %v, having committed %d", err, kafka.Committed(t, name, topic, 2))
	}
	var of *broker.Error
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = takingFrom(t, kafka.URL(topic+"-missing"), name, nil).Run(ctx)
	if !errors.As(err, &of) || !of.Refused || !strings.Contains(of.Message, "the topic does not exist") {
		t.Errorf("a topic that is missing gives %v", err)
	}
	// What is left in the broker goes with the source.
	consumer := takingFrom(t, kafka.URL(topic), name, nil)
	if err := consumer.Remove(ctx); err != nil || kafka.Committed(t, name, topic, 2) != -1 {
		t.Errorf("it is removed: %v, %d", err, kafka.Committed(t, name, topic, 2))
	}
	if err := consumer.Remove(ctx); err != nil {
		t.Errorf("it is removed again: %v", err)
	}
}

// Who was put out of its place commits nothing any more.
func TestAPlaceThatIsTakenIsNotCommittedTo(t *testing.T) {
	t.Parallel()
	kafka := testkit.NewKafka(t)
	topic := kafka.Topic(t, 1)
	for n := range 3 {
		kafka.Send(t, &kgo.Record{Topic: topic, Value: fmt.Append(nil, n)})
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	inside, goOn := make(chan struct{}), make(chan struct{})
	ended := make(chan error, 1)
	first := takingFrom(t, kafka.URL(topic)+"?group="+topic, "same", func([]broker.Taken) error {
		close(inside)
		<-goOn
		return nil
	})
	go func() { ended <- first.Run(ctx) }()
	<-inside
	for n := range 3 {
		kafka.Send(t, &kgo.Record{Topic: topic, Value: fmt.Append(nil, 3+n)})
	}
	stop, taken := errors.New("stop"), 0
	second := takingFrom(t, kafka.URL(topic)+"?group="+topic, "same", func(batch []broker.Taken) error {
		if taken += len(batch); taken == 7 {
			return stop
		}
		if taken == 6 {
			kafka.Send(t, &kgo.Record{Topic: topic})
		}
		return nil
	})
	if err := second.Run(ctx); !errors.Is(err, stop) || taken != 7 {
		t.Fatalf("it took %d, and ended with %v", taken, err)
	}
	close(goOn)
	var of *broker.Error
	if err := <-ended; !errors.As(err, &of) || !of.Refused {
		t.Errorf("the first ended with %v", err)
	}
	if n := kafka.Committed(t, topic, topic, 1); n != 6 {
		t.Errorf("%d is committed", n)
	}
	if err := second.Remove(ctx); err != nil || kafka.Committed(t, topic, topic, 1) != 6 {
		t.Errorf("a group of others is removed: %v", err)
	}
}

func TestAKafkaThatGoesAwayEndsTheTaking(t *testing.T) {
	t.Parallel()
	cluster := testkit.KafkaCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	consumer := takingFrom(t, "kafka://"+cluster.ListenAddrs()[0]+"/orders", "n", nil)
	consumer.Opened = func(context.Context) error { go cluster.Close(); return nil }
	var of *broker.Error
	if err := consumer.Run(ctx); !errors.As(err, &of) || of.Refused || !strings.Contains(of.Message, "could not be reached") {
		t.Errorf("it ended with %v", err)
	}
}
