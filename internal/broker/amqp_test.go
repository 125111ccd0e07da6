package broker_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// severable counts connections and can cut those that it has made.
type severable struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (s *severable) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		s.mu.Lock()
		s.conns = append(s.conns, conn)
		s.mu.Unlock()
	}
	return conn, err
}

func (s *severable) made() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

func (s *severable) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, conn := range s.conns {
		_ = conn.Close()
	}
}

func to(t *testing.T, url string) *broker.Target {
	t.Helper()
	target, err := broker.Parse(url)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func loginOf(rabbit *testkit.RabbitMQ) broker.Login {
	return broker.Login{Username: rabbit.Username, Password: hub.Secret(rabbit.Password)}
}

func TestPublishingOverAMQP(t *testing.T) {
	t.Parallel()
	rabbit := testkit.AMQP(t)
	queue, full := rabbit.Queue(t, nil), rabbit.Queue(t, amqp.Table{"x-max-length": 1, "x-overflow": "reject-publish"})
	exchange := queue + "-x"
	if err := rabbit.Channel.ExchangeDeclare(exchange, "topic", false, true, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := rabbit.Channel.QueueBind(queue, "orders.*", exchange, false, nil); err != nil {
		t.Fatal(err)
	}
	network := &severable{}
	book := broker.NewBook(network.dial)
	t.Cleanup(book.Close)
	publish := func(url string, as broker.Login, body string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return book.Publish(ctx, "a", to(t, url), as, broker.Message{ID: "m-" + body, Headers: []hub.Header{
			{Name: "webhook-id", Value: "m"}, {Name: "Content-Type", Value: "text/plain"},
		}, Body: []byte(body)})
	}
	login := loginOf(rabbit)
	for _, url := range []string{rabbit.URL("queue=" + queue), rabbit.URL("exchange=" + exchange + "&routing_key=orders.new")} {
		if receipt, err := publish(url, login, "x"); err != nil || !strings.Contains(receipt, "confirmed") {
			t.Fatalf("%q %v", receipt, err)
		}
		got, found, err := rabbit.Channel.Get(queue, true)
		if err != nil || !found || string(got.Body) != "x" || got.MessageId != "m-x" || got.DeliveryMode != amqp.Persistent ||
			got.ContentType != "text/plain" || got.Headers["webhook-id"] != "m" {
			t.Fatalf("%t %+v %v", found, got, err)
		}
	}
	if _, err := publish(rabbit.URL("queue="+full), login, "fills"); err != nil {
		t.Fatal(err)
	}
	for name, one := range map[string]struct {
		url   string
		login broker.Login
		want  string
	}{
		"no such queue":     {rabbit.URL("queue=" + queue + "-missing"), login, "no queue takes the message"},
		"nothing is bound":  {rabbit.URL("exchange=" + exchange + "&routing_key=other"), login, "no queue takes the message"},
		"no such exchange":  {rabbit.URL("exchange=" + exchange + "-missing"), login, "no exchange"},
		"the queue is full": {rabbit.URL("queue=" + full), login, "did not keep"},
		"no such vhost":     {"amqp://" + rabbit.Addr + "/missing?queue=" + queue, login, "vhost"},
		"another password":  {rabbit.URL("queue=" + queue), broker.Login{Username: rabbit.Username, Password: "wrong-distinct"}, "refused the credentials"},
		"a token":           {rabbit.URL("queue=" + queue), broker.Login{Token: "wrong-distinct"}, "no token"},
	} {
		_, err := publish(one.url, one.login, "y")
		var of *broker.Error
		if !errors.As(err, &of) || !of.Refused || !strings.Contains(of.Message, one.want) || strings.Contains(err.Error(), "distinct") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := rabbit.Waiting(t, queue) + rabbit.Waiting(t, full); n != 1 {
		t.Errorf("%d messages wait", n)
	}
}

func TestManyPublishAtOnceAndAfterABreak(t *testing.T) {
	t.Parallel()
	rabbit := testkit.AMQP(t)
	queue := rabbit.Queue(t, nil)
	network := &severable{}
	book := broker.NewBook(network.dial)
	t.Cleanup(book.Close)
	publish := func(url string) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := book.Publish(ctx, "a", to(t, url), loginOf(rabbit), broker.Message{ID: "m"})
		return err
	}
	// What is refused spoils nothing that is published at the same time.
	var work sync.WaitGroup
	var wrong atomic.Int64
	for n := range 60 {
		work.Go(func() {
			url := []string{"queue=" + queue, "queue=" + queue + "-missing", "exchange=" + queue + "-missing"}[n%3]
			if err := publish(rabbit.URL(url)); (err == nil) != (n%3 == 0) {
				wrong.Add(1)
			}
		})
	}
	work.Wait()
	if n := rabbit.Waiting(t, queue); n != 20 || wrong.Load() != 0 || network.made() != 1 {
		t.Errorf("%d messages wait, %d results were wrong, %d connections were made", n, wrong.Load(), network.made())
	}
	network.cut()
	testkit.Eventually(t, "another connection is made", func() bool { return publish(rabbit.URL("queue="+queue)) == nil })
	if n := network.made(); n != 2 {
		t.Errorf("%d connections were made", n)
	}
}

// TestABrokerThatFallsSilent takes what is published and confirms nothing.
func TestABrokerThatFallsSilent(t *testing.T) {
	t.Parallel()
	rabbit := testkit.AMQP(t)
	queue := rabbit.Queue(t, nil)
	var silent atomic.Bool
	book := broker.NewBook(func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		return &muted{conn, &silent}, err
	})
	publish := func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		_, err := book.Publish(ctx, "a", to(t, rabbit.URL("queue="+queue)), loginOf(rabbit), broker.Message{ID: "m"})
		return err
	}
	testkit.Eventually(t, "it is published", func() bool { return publish(patience) == nil })
	silent.Store(true)
	began := time.Now()
	if err := publish(300 * time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it is answered %v", err)
	}
	book.Close()
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
}

// muted is a connection whose other side is not heard any more at times.
type muted struct {
	net.Conn
	silent *atomic.Bool
}

func (m *muted) Read(b []byte) (int, error) {
	for {
		n, err := m.Conn.Read(b)
		if err != nil || !m.silent.Load() {
			return n, err
		}
	}
}

func TestTakingOverAMQP(t *testing.T) {
	t.Parallel()
	rabbit := testkit.AMQP(t)
	queue := rabbit.Queue(t, nil)
	send := func(n int, m amqp.Publishing) {
		t.Helper()
		for range n {
			if err := rabbit.Channel.Publish("", queue, false, false, m); err != nil {
				t.Fatal(err)
			}
		}
	}
	run := func(queue string, login broker.Login, take func(batch []broker.Taken) error) error {
		network := &severable{}
		target, err := broker.ParseSource(rabbit.URL("queue=" + queue))
		if err != nil {
			t.Fatal(err)
		}
		c := &broker.Consumer{
			Dial: network.dial, Target: target, Login: login, Name: "hookgraph-test", Opened: func(context.Context) error { return nil },
			Take: func(_ context.Context, batch []broker.Taken, _ int) error {
				if len(batch) == 0 {
					return nil
				}
				return take(batch)
			},
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return c.Run(ctx)
	}
	at := time.Unix(1700000000, 0)
	send(1, amqp.Publishing{
		MessageId: "m1", ContentType: "text/x", Type: "made", Timestamp: at, Body: []byte("b"), CorrelationId: "c",
		Headers: amqp.Table{"a": "x", "n": int32(7), "list": []any{"y", int64(1)}, "bad name": "z", "amqp-routing-key": "spoofed"},
	})
	stop := errors.New("stop")
	var got broker.Taken
	err := run(queue, loginOf(rabbit), func(batch []broker.Taken) error { got = batch[0]; return stop })
	if !errors.Is(err, stop) {
		t.Fatalf("it ended with %v", err)
	}
	about := make(http.Header)
	for _, h := range got.About {
		about.Set(h.Name, h.Value)
	}
	if got.ID != "m1" || !got.At.Equal(at) || string(got.Body) != "b" || got.Header.Get("A") != "x" || got.Header.Get("N") != "7" ||
		got.Header.Get("List") != `["y",1]` || about.Get("Amqp-Routing-Key") != queue || about.Get("Amqp-Type") != "made" ||
		about.Get("Content-Type") != "text/x" || about.Get("Amqp-Correlation-Id") != "c" || about.Get("Amqp-Redelivered") != "" || len(got.Header) != 4 {
		t.Errorf("it took %+v", got)
	}
	// What was not handled comes again, and says so.
	err = run(queue, loginOf(rabbit), func(batch []broker.Taken) error { got = batch[0]; return stop })
	if !errors.Is(err, stop) || got.About[len(got.About)-1] != (hub.Header{Name: "Amqp-Redelivered", Value: "true"}) {
		t.Errorf("it came again as %+v, %v", got.About, err)
	}
	// What was handled does not, though the queue is deleted in the middle.
	send(250, amqp.Publishing{})
	taken := 0
	err = run(queue, loginOf(rabbit), func(batch []broker.Taken) error {
		if taken += len(batch); taken == 251 {
			_, err := rabbit.Channel.QueueDelete(queue, false, false, false)
			return err
		}
		return nil
	})
	var of *broker.Error
	if taken != 251 || !errors.As(err, &of) || of.Refused || !strings.Contains(of.Message, "the queue was deleted") {
		t.Errorf("%d were taken, then %v", taken, err)
	}
	err = run(queue, loginOf(rabbit), nil)
	if !errors.As(err, &of) || !of.Refused || !strings.Contains(of.Message, "make the queue there") || !strings.Contains(of.Message, queue) {
		t.Errorf("a queue that is missing gives %v", err)
	}
	err = run(queue, broker.Login{Username: rabbit.Username, Password: "wrong-distinct"}, nil)
	if !errors.As(err, &of) || !of.Refused || !strings.Contains(of.Message, "refused the credentials") {
		t.Errorf("a wrong password gives %v", err)
	}
}

func TestAConnectionThatIsLostWhileMessagesAreHandled(t *testing.T) {
	t.Parallel()
	rabbit := testkit.AMQP(t)
	queue := rabbit.Queue(t, nil)
	if err := rabbit.Channel.Publish("", queue, false, false, amqp.Publishing{Body: []byte("b")}); err != nil {
		t.Fatal(err)
	}
	network := &severable{}
	target, err := broker.ParseSource(rabbit.URL("queue=" + queue))
	if err != nil {
		t.Fatal(err)
	}
	c := &broker.Consumer{
		Dial: network.dial, Target: target, Login: loginOf(rabbit), Name: "hookgraph-test", Opened: func(context.Context) error { return nil },
		Take: func(context.Context, []broker.Taken, int) error { network.cut(); return nil },
	}
	var of *broker.Error
	if err := c.Run(t.Context()); !errors.As(err, &of) || of.Refused || !strings.Contains(of.Message, "was lost") {
		t.Errorf("it ended with %v", err)
	}
	testkit.Eventually(t, "the message waits again", func() bool { return rabbit.Waiting(t, queue) == 1 })
}
