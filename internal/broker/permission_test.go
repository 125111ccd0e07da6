package broker_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func queue(t *testing.T, host, subject string) *broker.Target {
	t.Helper()
	target, err := broker.Parse("nats://" + host + "/" + subject)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// stored starts a server with a stream that captures "kept", and a reader of "heard".
func stored(t *testing.T, denied map[string]*server.Permissions) (host string, heard *nats.Subscription) {
	t.Helper()
	host = serve(t, func(o *server.Options) {
		o.JetStream, o.StoreDir = true, t.TempDir()
		o.Users = []*server.User{{Username: "all", Password: "all"}}
		for name, permissions := range denied {
			o.Users = append(o.Users, &server.User{Username: name, Password: name, Permissions: permissions})
		}
	})
	conn, err := nats.Connect("nats://all:all@"+host, nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(patience))
	if err == nil {
		_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}, Storage: jetstream.MemoryStorage})
	}
	if err == nil {
		heard, err = conn.SubscribeSync("heard")
	}
	if err == nil {
		err = conn.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	return host, heard
}

// Credentials that may publish and nothing else neither wait for answers that cannot come,
// nor lose what a stream promises.
func TestCredentialsThatMayNotAskForStreams(t *testing.T) {
	t.Parallel()
	host, heard := stored(t, map[string]*server.Permissions{
		"unasking": {Publish: &server.SubjectPermission{Deny: []string{"$JS.API.>"}}},
		"deaf":     {Subscribe: &server.SubjectPermission{Deny: []string{"_INBOX.>"}}},
	})
	var connections atomic.Int64
	book := broker.NewBook(dials(&connections))
	t.Cleanup(book.Close)
	publish := func(as, subject, id string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		login := broker.LoginOf(&hub.EndpointAuth{Kind: hub.AuthBasic, Username: as, Secret: hub.Secret(as)})
		return book.Publish(ctx, as+subject, queue(t, host, subject), login, broker.Message{ID: id, Body: []byte("x")})
	}
	for n, want := range []string{"KEPT at 1", "KEPT at 2", "KEPT at 2, where it was already"} {
		receipt, err := publish("unasking", "kept", []string{"a", "b", "b"}[n])
		if err != nil || !strings.HasSuffix(receipt, want) {
			t.Errorf("number %d: %q, %v, want %s", n, receipt, err, want)
		}
	}
	began := time.Now()
	for range 4 {
		if receipt, err := publish("unasking", "heard", "c"); err != nil || !strings.Contains(receipt, "handed to whoever listens") {
			t.Errorf("%q, %v", receipt, err)
		}
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("four messages took %s", took)
	}
	testkit.Eventually(t, "all four are heard", func() bool {
		n, _, err := heard.Pending()
		return err == nil && n == 4
	})
	var refused *broker.Error
	if _, err := publish("unasking", "nobody", "d"); !errors.As(err, &refused) || !strings.Contains(refused.Message, "nobody listens") {
		t.Errorf("where nobody listens: %v", err)
	}
	for _, subject := range []string{"kept", "heard"} {
		if _, err := publish("deaf", subject, "e"); !errors.As(err, &refused) || !refused.Refused || !strings.Contains(refused.Message, "_INBOX") {
			t.Errorf("without an inbox, to %s: %v", subject, err)
		}
	}
}

// deafConn is a connection that, once it is told to, lets nothing through to the server.
type deafConn struct {
	net.Conn
	deaf      atomic.Bool
	swallowed testkit.Output
}

func (c *deafConn) Write(b []byte) (int, error) {
	if c.deaf.Load() {
		return c.swallowed.Write(b)
	}
	return c.Conn.Write(b)
}

// published counts the messages to a subject that were not let through.
func (c *deafConn) published(subject string) int {
	return strings.Count(c.swallowed.String(), "PUB "+subject+" ")
}

// What is under way when the connection breaks has failed then, not when its time is up.
func TestALostConnectionEndsWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	host, _ := stored(t, nil)
	for _, subject := range []string{"kept", "heard"} {
		var mu sync.Mutex
		var last *deafConn
		book := broker.NewBook(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, address)
			mu.Lock()
			defer mu.Unlock()
			last = &deafConn{Conn: conn}
			return last, err
		})
		t.Cleanup(book.Close)
		publish := func(id string) error {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := book.Publish(ctx, "a", queue(t, host, subject), broker.Login{Username: "all", Password: "all"}, broker.Message{ID: id, Body: []byte("x")})
			return err
		}
		if err := publish("first"); err != nil {
			t.Fatal(err)
		}
		mu.Lock()
		conn := last
		mu.Unlock()
		conn.deaf.Store(true)
		began := time.Now()
		failed := make(chan error, 4)
		for range cap(failed) {
			go func() { failed <- publish("second") }()
		}
		testkit.Eventually(t, "they are under way", func() bool { return conn.published(subject) == cap(failed) })
		_ = conn.Close()
		for range cap(failed) {
			var unreached *broker.Error
			if err := <-failed; !errors.As(err, &unreached) || unreached.Refused {
				t.Errorf("to %s: %v", subject, err)
			}
		}
		if took := time.Since(began); took > 40*time.Second {
			t.Errorf("to %s: it took %s", subject, took)
		}
		testkit.Eventually(t, "it goes on over a new connection", func() bool { return publish("third") == nil })
	}
}
