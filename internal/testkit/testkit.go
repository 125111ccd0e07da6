// Package testkit finds what tests need from the machine: a PostgreSQL, a NATS, a
// RabbitMQ, a Kafka, a program. A test whose need is not met is skipped with a message
// that says how to meet it; where HOOKGRAPH_TEST_REQUIRE is set, as in CI, it fails.
// Beside that it has what tests of many rooms share: a clock, an output, both databases
// in turn, and waiting for a condition.
package testkit

import (
	"context"
	"crypto/rand"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Missing skips the test, or fails it where nothing may be skipped.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("HOOKGRAPH_TEST_REQUIRE") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// Postgres returns the URL of a new, empty database that is dropped when the test
// ends. The server is the one that HOOKGRAPH_TEST_POSTGRES_URL names, else one on
// the local port 5432.
func Postgres(t testing.TB) string {
	t.Helper()
	const how = "set HOOKGRAPH_TEST_POSTGRES_URL to the URL of a PostgreSQL in which databases may be made, or run one on 127.0.0.1:5432 that trusts the user postgres"
	text := os.Getenv("HOOKGRAPH_TEST_POSTGRES_URL")
	if text == "" {
		text = "postgres://postgres@127.0.0.1:5432/postgres"
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	admin, err := pgx.Connect(ctx, text)
	if err != nil {
		Missing(t, "no PostgreSQL: %v; %s", err, how)
	}
	defer func() { _ = admin.Close(ctx) }()
	name := "hookgraph_test_" + strings.ToLower(rand.Text()[:12])
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		Missing(t, "no database could be made: %v; %s", err, how)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		admin, err := pgx.Connect(ctx, text)
		if err != nil {
			t.Errorf("connect to drop %s: %v", name, err)
			return
		}
		defer func() { _ = admin.Close(ctx) }()
		if _, err := admin.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("drop %s: %v", name, err)
		}
	})
	u, err := url.Parse(text)
	if err != nil {
		t.Fatalf("HOOKGRAPH_TEST_POSTGRES_URL is not a URL: %v", err)
	}
	u.Path = "/" + name
	return u.String()
}

// EachDatabase runs a test on SQLite and on PostgreSQL, in parallel, each with an empty
// database of its own.
func EachDatabase(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	t.Run("on SQLite", func(t *testing.T) {
		t.Parallel()
		test(t, "sqlite:"+filepath.Join(t.TempDir(), "hookgraph.db"))
	})
	t.Run("on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, Postgres(t))
	})
}

// NATS starts a NATS server inside the test and returns its URL and a function
// that stops it early.
func NATS(t testing.TB) (url string, stop func()) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatalf("make a NATS server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		t.Fatal("the NATS server did not start")
	}
	stop = func() { s.Shutdown(); s.WaitForShutdown() }
	t.Cleanup(stop)
	return s.ClientURL(), stop
}

// RabbitMQ is a broker that speaks AMQP 0-9-1.
type RabbitMQ struct {
	Addr               string
	Username, Password string
	VHost              string
	Channel            *amqp.Channel // for the test's own use
}

// AMQP connects to the RabbitMQ that HOOKGRAPH_TEST_AMQP_URL names, else to one on the
// local port 5672.
func AMQP(t testing.TB) *RabbitMQ {
	t.Helper()
	const how = "set HOOKGRAPH_TEST_AMQP_URL to the URL of a RabbitMQ, or run one on 127.0.0.1:5672 that takes guest with the password guest"
	text := os.Getenv("HOOKGRAPH_TEST_AMQP_URL")
	if text == "" {
		text = "amqp://guest:guest@127.0.0.1:5672/"
	}
	u, err := amqp.ParseURI(text)
	if err != nil {
		t.Fatalf("HOOKGRAPH_TEST_AMQP_URL is not a URL: %v", err)
	}
	conn, err := amqp.Dial(text)
	if err != nil {
		Missing(t, "no RabbitMQ: %v; %s", err, how)
	}
	t.Cleanup(func() { _ = conn.Close() })
	channel, err := conn.Channel()
	if err != nil {
		t.Fatalf("open a channel: %v", err)
	}
	return &RabbitMQ{
		Addr: net.JoinHostPort(u.Host, strconv.Itoa(u.Port)), Username: u.Username, Password: u.Password, VHost: u.Vhost, Channel: channel,
	}
}

// Queue makes a queue that is deleted when the test ends, and returns its name.
func (r *RabbitMQ) Queue(t testing.TB, arguments amqp.Table) string {
	t.Helper()
	name := "hookgraph-test-" + strings.ToLower(rand.Text()[:12])
	if _, err := r.Channel.QueueDeclare(name, true, false, false, false, arguments); err != nil {
		t.Fatalf("make a queue: %v", err)
	}
	t.Cleanup(func() { _, _ = r.Channel.QueueDelete(name, false, false, false) }) // the test may have deleted it
	return name
}

// Waiting returns how many messages wait in a queue for somebody to take them.
func (r *RabbitMQ) Waiting(t testing.TB, queue string) int {
	t.Helper()
	found, err := r.Channel.QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil {
		t.Fatalf("look at the queue %s: %v", queue, err)
	}
	return found.Messages
}

// URL returns that of a target in the virtual host, such as "queue=name".
func (r *RabbitMQ) URL(query string) string { return r.At(r.Addr, query) }

// At is URL for another address where the broker is reached.
func (r *RabbitMQ) At(addr, query string) string {
	return "amqp://" + addr + "/" + url.PathEscape(r.VHost) + "?" + query
}

// Program returns the path of the first of the programs that the machine has.
func Program(t testing.TB, how string, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	Missing(t, "none of the programs %v is here: %s", names, how)
	return ""
}

// Eventually waits until a condition holds, and fails the test when it does not
// within two minutes: a breaker that has opened and the lease of a node that was killed
// keep a hub from going on for half a minute. It polls, because what it waits for happens in other processes
// and goroutines that tell nobody.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	poll := time.NewTicker(5 * time.Millisecond)
	defer poll.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("still waiting for this: %s", what)
		case <-poll.C:
		}
	}
}
