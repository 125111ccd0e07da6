package deliver_test

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// bomb is 64 MiB of zeros, packed.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(make([]byte, 64<<20))
	_ = w.Close()
	return b.Bytes()
})

// hostileReceiver is a receiver that means no good.
type hostileReceiver struct {
	name    string
	url     func(testing.TB) string
	outcome hub.AttemptOutcome
	status  int
	text    string // part of the error
	body    string // "" is the small one
	whole   bool   // it takes until the deadline
}

// What takes the whole time it has is given little of it. Where an answer has to begin
// within it, it is more, so that a busy machine does not end it before.
const (
	hostileDeadline = 500 * time.Millisecond
	answerDeadline  = 5 * time.Second
)

// hostileReceivers is every one that was thought of.
func hostileReceivers() []hostileReceiver {
	hang := func(r *http.Request) { <-r.Context().Done() }
	drain := func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	raw := func(handle func(net.Conn)) func(testing.TB) string {
		return func(t testing.TB) string { return listen(t, handle) }
	}
	readRequest := func(c net.Conn) { _, _ = c.Read(make([]byte, 64<<10)) }
	handler := func(h http.HandlerFunc) func(testing.TB) string {
		return func(t testing.TB) string { return serve(t, h) }
	}
	secure := func(h http.HandlerFunc) func(testing.TB) string {
		return func(t testing.TB) string { return serveTLS(t, h) }
	}
	flush := func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() }
	pour := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := w.Write(make([]byte, 32<<10)); err != nil {
				return
			}
		}
	}
	_ = bomb() // beforehand: packing it may take longer than the deadline

	return []hostileReceiver{
		{"slow headers", handler(func(_ http.ResponseWriter, r *http.Request) { drain(r); hang(r) }), hub.AttemptTimedOut, 0, "no answer came within 500ms", "", true},
		{"headers that drip", raw(func(c net.Conn) {
			readRequest(c)
			for _, b := range []byte("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<10)) {
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}), hub.AttemptTimedOut, 0, "no answer came", "", true},
		{"a slow body after 200", handler(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "so far")
			flush(w)
			hang(r)
		}), hub.AttemptSucceeded, 200, "", "", true},
		{"a slow body after 500", handler(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			flush(w)
			hang(r)
		}), hub.AttemptRefused, 500, "answered 500 Internal Server Error", "", true},
		{"an endless body", handler(pour), hub.AttemptSucceeded, 200, "", "", false},
		{"a gzip bomb", handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(bomb())
		}), hub.AttemptSucceeded, 200, "", "", false},
		{"a reset", raw(func(c net.Conn) {
			readRequest(c)
			_ = c.(*net.TCPConn).SetLinger(0)
		}), hub.AttemptConnectionFailed, 0, "reset", "", false},
		{"a connection closed without an answer", raw(readRequest), hub.AttemptConnectionFailed, 0, "closed before an answer", "", false},
		{"headers cut off", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5")
		}), hub.AttemptConnectionFailed, 0, "closed before an answer", "", false},
		{"a body cut off after 200", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart")
		}), hub.AttemptSucceeded, 200, "", "", false},
		{"garbage", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "220 smtp.example.com ESMTP\r\n\r\n")
		}), hub.AttemptConnectionFailed, 0, "not valid HTTP", "", false},
		{"contradicting lengths", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
		}), hub.AttemptConnectionFailed, 0, "not valid HTTP", "", false},
		{"endless interim answers", raw(func(c net.Conn) {
			readRequest(c)
			for {
				if _, err := io.WriteString(c, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"); err != nil {
					return
				}
			}
		}), hub.AttemptConnectionFailed, 0, "headers are larger", "", false},
		{"a redirect to a metadata address", handler(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
		}), hub.AttemptRefused, 302, "redirects are not followed", "", false},
		{"a redirect to itself", handler(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				panic("the redirect was followed")
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}), hub.AttemptRefused, 307, "redirects are not followed", "", false},
		{"headers beyond 64 KiB", handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Big", strings.Repeat("x", 128<<10))
		}), hub.AttemptConnectionFailed, 0, "headers are larger", "", false},
		{"a request that is never read", unaccepted, hub.AttemptTimedOut, 0, "no answer came", strings.Repeat("x", 8<<20), true},
		{"an answer before the request was read", handler(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
		}), hub.AttemptRefused, 413, "answered 413", strings.Repeat("x", 200<<10), false},
		{"an unknown status", handler(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(799) }), hub.AttemptRefused, 799, "answered 799", "", false},
		{"a protocol switch", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")
			readRequest(c)
		}), hub.AttemptRefused, 101, "answered 101", "", false},
		{"a body that drips", handler(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, "x")
				flush(w)
				time.Sleep(20 * time.Millisecond)
			}
		}), hub.AttemptSucceeded, 200, "", "", true},
		{"an endless chunk", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n")
			for {
				if _, err := c.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}), hub.AttemptSucceeded, 200, "", "", false},
		{"chunks that are none", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnone\r\n")
		}), hub.AttemptSucceeded, 200, "", "", false},
		{"endless trailers", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n0\r\n")
			for {
				if _, err := io.WriteString(c, "X: y\r\n"); err != nil {
					return
				}
			}
		}), hub.AttemptSucceeded, 200, "", "", false},
		{"an endless status line", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, "HTTP/1.1 200 ")
			for {
				if _, err := c.Write(bytes.Repeat([]byte{'x'}, 32<<10)); err != nil {
					return
				}
			}
		}), hub.AttemptConnectionFailed, 0, "headers are larger", "", false},
		{"a second answer that nobody asked for", raw(func(c net.Conn) {
			readRequest(c)
			_, _ = io.WriteString(c, strings.Repeat("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 2))
			readRequest(c)
		}), hub.AttemptSucceeded, 200, "", "", false},
		{"a handshake that hangs", func(t testing.TB) string {
			return strings.Replace(listen(t, func(c net.Conn) { readRequest(c); readRequest(c) }), "http:", "https:", 1)
		}, hub.AttemptTimedOut, 0, "no answer came within 500ms", "", true},
		{"slow headers over HTTP/2", secure(func(_ http.ResponseWriter, r *http.Request) { drain(r); hang(r) }), hub.AttemptTimedOut, 0, "no answer came", "", true},
		{"a slow body over HTTP/2", secure(func(w http.ResponseWriter, r *http.Request) { flush(w); hang(r) }), hub.AttemptSucceeded, 200, "", "", true},
		{"an endless body over HTTP/2", secure(pour), hub.AttemptSucceeded, 200, "", "", false},
		{"a stream reset over HTTP/2", secure(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), hub.AttemptConnectionFailed, 0, "broke the exchange off", "", false},
		{"headers beyond 64 KiB over HTTP/2", secure(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Big", strings.Repeat("x", 128<<10))
		}), hub.AttemptConnectionFailed, 0, "headers are larger", "", false},
		{"a request that is never read over HTTP/2", secure(func(_ http.ResponseWriter, r *http.Request) { hang(r) }), hub.AttemptTimedOut, 0, "no answer came", strings.Repeat("x", 8<<20), true},
	}
}

func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	for _, c := range hostileReceivers() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			deadline := patience // of what ends by itself
			switch {
			case c.whole && c.status == 0:
				deadline = hostileDeadline
			case c.whole:
				deadline = answerDeadline
			}
			e := newEndpoint("end_1", c.url(t)+"/", func(e *hub.Endpoint) {
				e.Timeout = deadline
				e.RetryPolicy.Schedule = []time.Duration{0, time.Hour} // so that what is looked at is the first attempt
			})
			body := c.body
			if body == "" {
				body = `{"id":1}`
			}
			attempt, delivery := deliverOne(t, e, loopback(t, outbound.TransportOptions{RootCAs: testRoots()}), body)
			if attempt.Outcome != c.outcome || attempt.StatusCode != c.status || !strings.Contains(attempt.Error, c.text) {
				t.Errorf("got %s %d %q", attempt.Outcome, attempt.StatusCode, attempt.Error)
			}
			if (attempt.Error == "") != (c.outcome == hub.AttemptSucceeded) {
				t.Errorf("error %q", attempt.Error)
			}
			if strings.Contains(attempt.Error, "127.0.0.1") {
				t.Errorf("the error names an address: %q", attempt.Error)
			}
			if len(attempt.ResponseBody) > hub.MaxResponseBodyKept {
				t.Errorf("%d bytes were kept", len(attempt.ResponseBody))
			}
			if c.whole && attempt.Duration < deadline {
				t.Errorf("gave up after %v", attempt.Duration)
			}
			if attempt.Duration > deadline+patience/3 { // far beyond what a busy machine adds
				t.Errorf("it ended after %v", attempt.Duration)
			}
			if want := hub.DeliveryPending; c.outcome != hub.AttemptSucceeded && (delivery.Status != want || delivery.SchedulePosition != 1) {
				t.Errorf("delivery %+v", delivery)
			}
		})
	}
}

// However bad receivers are, no slot and no connection stays with them: with one slot
// each, all of their deliveries are attempted, while a good one beside them gets its
// own; afterwards nothing is in flight and no connection is open.
func TestHostileReceiversKeepNothing(t *testing.T) {
	t.Parallel()
	const each = 3
	good := serve(t, func(http.ResponseWriter, *http.Request) {})
	endpoints := []*hub.Endpoint{newEndpoint("good", good)}
	receivers := hostileReceivers()
	for i, r := range receivers {
		endpoints = append(endpoints, newEndpoint(fmt.Sprint("bad", i), r.url(t)+"/", func(e *hub.Endpoint) {
			e.Timeout, e.MaxConcurrency = hostileDeadline, 1
		}))
	}
	transport := loopback(t, outbound.TransportOptions{RootCAs: testRoots()})
	var open atomic.Int64
	dial := transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		if err == nil {
			open.Add(1)
			conn = &countedConn{Conn: conn, open: &open}
		}
		return conn, err
	}
	store := newFakeStore(endpoints...)
	d := newDispatcher(t, store, transport, func(c *deliver.Config) { c.MaxInFlight = 2 * len(endpoints) })
	var ids []string
	for i, r := range receivers {
		body := cmp.Or(r.body, "x")
		ids = append(ids, store.publish(fmt.Sprint("bad", i), slices.Repeat([]string{body}, each)...)...)
	}
	store.publish("good", many(100)...)
	store.await(t, "the good one", func() bool { return store.count("good", hub.DeliveryDelivered) == 100 })
	for _, id := range ids {
		store.awaitAttempts(t, id, 1)
	}
	// What failed is due again in some seconds, so that there is a pause.
	store.await(t, "every slot to be free, and every connection closed", func() bool {
		transport.CloseIdleConnections()
		return d.InFlight() == 0 && open.Load() == 0
	})
}

// countedConn counts itself out when it is closed.
type countedConn struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *countedConn) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
