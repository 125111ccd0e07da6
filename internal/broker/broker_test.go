package broker_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestQueueURLs(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string][2]string{
		"nats://broker.example.com/orders.created":  {"nats://broker.example.com:4222/orders.created", "broker.example.com:4222"},
		"nats://broker.example.com:4333/orders":     {"nats://broker.example.com:4333/orders", "broker.example.com:4333"},
		"tls+nats://[2001:db8::1]/orders":           {"tls+nats://[2001:db8::1]:4222/orders", "[2001:db8::1]:4222"},
		"nats://broker.example.com/Zoë.with-a_name": {"nats://broker.example.com:4222/Zoë.with-a_name", "broker.example.com:4222"},

		"amqp://broker.example.com?queue=orders":                       {"amqp://broker.example.com:5672/?queue=orders", "broker.example.com:5672"},
		"amqps://broker.example.com/%2F?queue=a+b/c":                   {"amqps://broker.example.com:5671/?queue=a+b%2Fc", "broker.example.com:5671"},
		"amqp://[::1]:5673/shop?exchange=orders&routing_key=created.*": {"amqp://[::1]:5673/shop?exchange=orders&routing_key=created.%2A", "[::1]:5673"},
		"amqp://broker.example.com/%2Fshop%2Feast?exchange=fanout":     {"amqp://broker.example.com:5672/%2Fshop%2Feast?exchange=fanout", "broker.example.com:5672"},

		"kafka://one.example.com/orders":                                        {"kafka://one.example.com:9092/orders", "one.example.com:9092"},
		"kafka+tls://one.example.com,[::1],two:9093/a.b_c-D?sasl=SCRAM-SHA-256": {"kafka+tls://one.example.com:9092,[::1]:9092,two:9093/a.b_c-D?sasl=scram-sha-256", "one.example.com:9092"},
		"kafka://one:1,two:2/orders":                                            {"kafka://one:1,two:2/orders", "one:1"},
	} {
		got, err := broker.Parse(raw)
		if err != nil || got.URL() != want[0] || got.Hosts()[0] != want[1] {
			t.Errorf("%s: %v %v", raw, got, err)
		}
	}
	for raw, want := range map[string]string{
		"https://broker.example.com/x":        "begins with nats:// or tls+nats://",
		"nats://user:secret-pw@example.com/x": "give them as auth",
		"nats:///x":                           "names no host",
		"nats:x":                              "names no host",
		"nats://example.com":                  "names no subject",
		"nats://example.com/":                 "names no subject",
		"nats://example.com/a.*":              "wildcards",
		"nats://example.com/a/b":              "slashes",
		"nats://example.com/a%20b":            "blanks",
		"nats://example.com/a%00b":            "blanks",
		"nats://example.com/.a":               "must not be empty",
		"nats://example.com/a..b":             "must not be empty",
		"nats://example.com/$JS.API.INFO":     "belongs to the broker",
		"nats://example.com/_INBOX.x":         "belongs to the broker",
		"nats://example.com/a?b=c":            "neither a query",
		"nats://%zz":                          "cannot be read",

		"amqp://user:secret-pw@example.com/?queue=a":     "give them as auth",
		"amqp:///?queue=a":                               "names no host",
		"amqp://example.com/vhost/orders":                "name the queue behind it",
		"amqp://example.com/vhost":                       "name either a queue",
		"amqp://example.com/?queue=":                     "name either a queue",
		"amqp://example.com/?queue=a&exchange=b":         "name either a queue",
		"amqp://example.com/?queue=a&routing_key=b":      "name either a queue",
		"amqp://example.com/?queue=a&queue=b":            "gives queue twice",
		"amqp://example.com/?queue=a&heartbeat=1":        `has no "heartbeat"`,
		"amqp://example.com/?queue=a%00b":                "without control characters",
		"amqp://example.com/?exchange=a&routing_key=%ff": "routing key has at most",
		"amqp://example.com/%ff?queue=a":                 "virtual host has at most",
		"amqp://example.com/?queue=a#b":                  "no fragment",
		"amqp://example.com/?queue=a;b":                  "query cannot be read",
		"amqp://x/?queue=" + strings.Repeat("a", 256):    "at most 255 bytes",
		"nats://x/" + strings.Repeat("a", 256):           "longer than 255",
		"nats://a,b/x":                                   "several hosts",

		"kafka://user:secret-pw@a/x":                  "give them as auth",
		"kafka://a,user:secret-pw@b/x":                "give them as auth",
		"kafka://a,,b/x":                              "a host of the URL cannot be read",
		"kafka://a,b:x/x":                             "a host of the URL cannot be read",
		"kafka://a:1,b":                               "names no topic",
		"kafka://a/":                                  "names no topic",
		"kafka://a/x/y":                               "letters, digits",
		"kafka://a/..":                                "letters, digits",
		"kafka://a/x?group=g":                         `has no "group"`,
		"kafka://a/x?acks=0":                          `has no "acks"`,
		"kafka://a/x?sasl=gssapi":                     "sasl is plain",
		"kafka://a/x?sasl=plain&sasl=plain":           "gives sasl twice",
		"kafka://a/x#y":                               "no fragment",
		"kafka://a" + strings.Repeat(",a", 16) + "/x": "more than 16 hosts",
		"kafka://a/" + strings.Repeat("x", 250):       "at most 249",
	} {
		if got, err := broker.Parse(raw); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret-pw") {
			t.Errorf("%s: %v %v", raw, got, err)
		}
	}
}

// serve starts a NATS server.
func serve(t *testing.T, change func(*server.Options)) (host string) {
	t.Helper()
	o := &server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, AuthTimeout: patience.Seconds()}
	change(o)
	s, err := server.NewServer(o)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server did not start")
	}
	return s.Addr().String()
}

// patience is how long the tests, and the servers that they start, wait for what comes at
// once on a machine that is not busy.
const patience = time.Minute

// dials counts connections.
func dials(n *atomic.Int64) broker.DialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		n.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}

func TestPublishing(t *testing.T) {
	t.Parallel()
	host := serve(t, func(o *server.Options) {
		o.MaxPayload = 1 << 10
		o.Users = []*server.User{
			{Username: "hub", Password: "password-distinct"},
			{Username: "reader", Password: "reader"},
			{Username: "limited", Password: "limited", Permissions: &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"orders"}}}},
		}
	})
	reader, err := nats.Connect("nats://reader:reader@"+host, nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	listening, err := reader.SubscribeSync("orders")
	if err == nil {
		err = reader.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	book := broker.NewBook(dials(&connections))
	t.Cleanup(book.Close)
	target := func(subject string) *broker.Target {
		parsed, err := broker.Parse("nats://" + host + "/" + subject)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	login := broker.LoginOf(&hub.EndpointAuth{Kind: hub.AuthBasic, Username: "hub", Secret: "password-distinct"})
	publish := func(owner string, to *broker.Target, as broker.Login, body []byte) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		return book.Publish(ctx, owner, to, as, broker.Message{ID: "m", Headers: []hub.Header{{Name: "webhook-id", Value: "m"}}, Body: body})
	}
	for range 3 {
		receipt, err := publish("a", target("orders"), login, []byte("x"))
		if err != nil || !strings.Contains(receipt, "handed to whoever listens") {
			t.Fatalf("%q %v", receipt, err)
		}
		if m, err := listening.NextMsg(patience); err != nil || string(m.Data) != "x" || m.Header["webhook-id"][0] != "m" {
			t.Fatalf("%v %v", m, err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections were made for one owner", n)
	}
	for name, one := range map[string]struct {
		subject string
		login   broker.Login
		body    []byte
		want    string
		refused bool
	}{
		"nobody listens":        {"other", login, []byte("x"), "nobody listens", true},
		"too large":             {"orders", login, make([]byte, 2<<10), "larger than the broker takes", true},
		"another password":      {"orders", broker.Login{Username: "hub", Password: "wrong-distinct"}, []byte("x"), "refused the credentials", true},
		"not permitted":         {"orders", broker.Login{Username: "limited", Password: "limited"}, []byte("x"), "do not permit", true},
		"no login":              {"orders", broker.LoginOf(nil), []byte("x"), "refused the credentials", true},
		"a token that is wrong": {"orders", broker.LoginOf(&hub.EndpointAuth{Kind: hub.AuthBearer, Secret: "wrong-distinct"}), []byte("x"), "refused the credentials", true},
	} {
		_, err := publish(name, target(one.subject), one.login, one.body)
		var of *broker.Error
		if !errors.As(err, &of) || of.Refused != one.refused || !strings.Contains(of.Message, one.want) || strings.Contains(err.Error(), "distinct") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One subject that is refused spoils no other of the same owner.
	limited := broker.Login{Username: "limited", Password: "limited"}
	elsewhere, err := reader.SubscribeSync("elsewhere")
	if err == nil {
		err = reader.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, subject := range []string{"elsewhere", "orders", "elsewhere", "orders", "elsewhere"} {
		if _, err := publish("limited", target(subject), limited, []byte("x")); (err == nil) != (subject == "elsewhere") {
			t.Errorf("to %s: %v", subject, err)
		}
	}
	testkit.Eventually(t, "all three have arrived", func() bool {
		n, _, err := elsewhere.Pending()
		return err == nil && n == 3
	})
	// Changed credentials are used at once, and what is forgotten is gone.
	if _, err := publish("a", target("orders"), broker.Login{Username: "hub", Password: "wrong"}, nil); err == nil {
		t.Error("the old connection went on with the new password")
	}
	if _, err := publish("a", target("orders"), login, nil); err != nil {
		t.Errorf("back to the right one: %v", err)
	}
	before := connections.Load()
	book.Forget("a")
	if _, err := publish("a", target("orders"), login, nil); err != nil || connections.Load() != before+1 {
		t.Errorf("after it was forgotten: %v, %d connections", err, connections.Load()-before)
	}
	book.Close()
	if _, err := publish("a", target("orders"), login, nil); err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("after the end: %v", err)
	}
}

func TestABrokerThatCannotBeReached(t *testing.T) {
	t.Parallel()
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // takes connections and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	var n atomic.Int64
	guard := outbound.NewGuard()
	const short = 300 * time.Millisecond
	for name, one := range map[string]struct {
		url    string
		dial   broker.DialFunc
		within time.Duration
		want   string
	}{
		"nothing is there": {"nats://127.0.0.1:1/x", dials(&n), short, "could not be reached"},
		"it is silent":     {"nats://" + silent.Addr().String() + "/x", dials(&n), short, "could not be reached"},
		"it is inside":     {"nats://127.0.0.1:4222/x", guard.Dialer(patience), patience, ""},

		"no Kafka is there":   {"kafka://127.0.0.1:1,localhost:1/x", dials(&n), short, "could not be reached"},
		"the Kafka is silent": {"kafka://" + silent.Addr().String() + "/x", dials(&n), short, "could not be reached"},
		"the Kafka is inside": {"kafka://127.0.0.1:9092,127.0.0.1:9093/x", guard.Dialer(patience), patience, ""},
	} {
		book := broker.NewBook(one.dial)
		target, err := broker.Parse(one.url)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), one.within)
		began := time.Now()
		_, err = book.Publish(ctx, "a", target, broker.Login{}, broker.Message{ID: "m"})
		cancel()
		book.Close()
		var blocked *outbound.BlockedError
		if inside := strings.HasSuffix(name, "inside"); err == nil || errors.As(err, &blocked) != inside || !inside && !strings.Contains(err.Error(), one.want) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(began); one.within == short && took > 20*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
	}
}

// Who waits for a connection that another is making waits no longer than its own deadline.
func TestACallerHasItsOwnDeadlineWhileAnotherConnects(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"nats://broker.invalid/x", "amqp://broker.invalid/?queue=x"} {
		dialling := make(chan struct{})
		book := broker.NewBook(func(ctx context.Context, _, _ string) (net.Conn, error) {
			close(dialling)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		target, err := broker.Parse(url)
		if err != nil {
			t.Fatal(err)
		}
		first, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := book.Publish(first, "a", target, broker.Login{}, broker.Message{ID: "m1"})
			ended <- err
		}()
		<-dialling
		second, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if _, err := book.Publish(second, "a", target, broker.Login{}, broker.Message{ID: "m2"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: the second is answered %v", url, err)
		}
		stop()
		select {
		case err := <-ended:
			t.Errorf("%s: the first, who may wait for longer, was answered before: %v", url, err)
		default:
		}
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: the first, canceled, is answered %v", url, err)
		}
		book.Close()
	}
}
