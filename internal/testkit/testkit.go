// Package testkit finds what tests need from the machine: a PostgreSQL, a NATS, a
// browser, a program. A test whose need is not met is skipped with a message that
// says how to meet it; where HOOKGRAPH_TEST_REQUIRE is set, as in CI, it fails.
package testkit

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats-server/v2/server"
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
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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

// NATS starts a NATS server inside the test and returns its URL and a function
// that stops it early.
func NATS(t testing.TB) (url string, stop func()) {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatalf("make a NATS server: %v", err)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server did not start")
	}
	stop = func() { s.Shutdown(); s.WaitForShutdown() }
	t.Cleanup(stop)
	return s.ClientURL(), stop
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
// within 30 seconds. It polls, because what it waits for happens in other processes
// and goroutines that tell nobody.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(30 * time.Second)
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

// FreeAddr returns a loopback address that nothing listens on at the moment.
func FreeAddr(t testing.TB) string {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(fmt.Errorf("find a free port: %w", err))
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}
