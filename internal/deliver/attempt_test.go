package deliver_test

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// loopback is the real transport, allowed to reach this machine.
func loopback(t testing.TB, options ...outbound.TransportOptions) *http.Transport {
	t.Helper()
	var o outbound.TransportOptions
	if len(options) > 0 {
		o = options[0]
	}
	transport := outbound.NewTransport(outbound.NewGuard(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")), o)
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// listen serves raw connections.
func listen(t testing.TB, handle func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				handling := make(chan struct{})
				wg.Go(func() { // whatever the handler does, the test can end
					select {
					case <-done:
					case <-handling:
					}
					_ = conn.Close()
				})
				handle(conn)
				close(handling)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		close(done)
		wg.Wait()
	})
	return "http://" + listener.Addr().String()
}

// unaccepted lets clients connect, and never reads from them.
func unaccepted(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	return "http://" + listener.Addr().String()
}

// deliverOne makes one delivery and returns the first attempt and what became of
// the delivery after it.
func deliverOne(t *testing.T, e *hub.Endpoint, transport http.RoundTripper, body string) (*hub.Attempt, hub.Delivery) {
	t.Helper()
	store := newFakeStore(e)
	newDispatcher(t, store, transport)
	id := store.publish(e.ID, body)[0]
	attempt := store.awaitAttempts(t, id, 1)
	return attempt, store.delivery(id)
}

func TestRequest(t *testing.T) {
	t.Parallel()
	type seen struct {
		method, path string
		header       http.Header
		body         []byte
	}
	got := make(chan seen, 1)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Set-Cookie", "session=1")
		w.Header().Set("X-Trace", "abc")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "thanks")
		got <- seen{r.Method, r.URL.String(), r.Header.Clone(), body}
	})
	past, future := time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	e := newEndpoint("end_1", url+"/hooks?token=hush&v=1", func(e *hub.Endpoint) {
		e.SigningSecrets = []hub.SigningSecret{
			{ID: "sec_b", Secret: secretB}, {ID: "sec_a", Secret: secretA, ExpiresAt: future},
			{ID: "sec_old", Secret: secretA, ExpiresAt: past},
		}
		e.Headers = []hub.Header{
			{Name: "X-Api-Key", Value: "hush"}, {Name: "X-Tag", Value: "one"}, {Name: "x-tag", Value: "two"},
			{Name: "Webhook-Id", Value: "forged"}, {Name: "webhook-signature", Value: "forged"}, {Name: "Host", Value: "forged"},
			{Name: "Content-Length", Value: "1"}, {Name: "Transfer-Encoding", Value: "chunked"},
		}
	})
	body := "{\"a\":\u00a01}\x00\xff\n"
	attempt, delivery := deliverOne(t, e, loopback(t), body)

	r := <-got
	if r.method != http.MethodPost || r.path != "/hooks?token=hush&v=1" || string(r.body) != body {
		t.Errorf("got %s %s %q", r.method, r.path, r.body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "User-Agent": "Hookgraph/1.2.3", "Webhook-Id": delivery.ID, "X-Api-Key": "hush",
		"Content-Length": fmt.Sprint(len(body)), "Accept-Encoding": "", "Webhook-Timestamp": fmt.Sprint(attempt.StartedAt.Unix()),
	} {
		if got := strings.Join(r.header.Values(name), "|"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	if got := r.header.Values("X-Tag"); len(got) != 2 {
		t.Errorf("a repeated header came as %q", got)
	}
	newest, _ := sign(secretB, delivery.ID, attempt.StartedAt, []byte(body))
	older, _ := sign(secretA, delivery.ID, attempt.StartedAt, []byte(body))
	if got := r.header.Values("Webhook-Signature"); len(got) != 1 || got[0] != newest+" "+older {
		t.Errorf("signed as %q, want %q", got, newest+" "+older)
	}

	if attempt.Outcome != hub.AttemptSucceeded || attempt.StatusCode != 202 || attempt.Error != "" || attempt.Number != 1 ||
		string(attempt.ResponseBody) != "thanks" || attempt.Duration <= 0 || hub.IDPrefix(attempt.ID) != hub.AttemptPrefix {
		t.Errorf("recorded %+v", attempt)
	}
	if delivery.Status != hub.DeliveryDelivered || delivery.AttemptCount != 1 {
		t.Errorf("delivery %+v", delivery)
	}
	recorded := fmt.Sprint(attempt.RequestURL, attempt.RequestHeaders, attempt.ResponseHeaders)
	for _, secret := range []string{"hush", "session=1", "forged", secretA.Reveal(), secretB.Reveal()} {
		if strings.Contains(recorded, secret) {
			t.Errorf("%q was recorded: %s", secret, recorded)
		}
	}
	for _, present := range []string{"{X-Trace abc}", "{webhook-id " + delivery.ID + "}", "{X-Tag one}", "v=1", newest} {
		if !strings.Contains(recorded, present) {
			t.Errorf("%q was not recorded: %s", present, recorded)
		}
	}
}

func TestRequestVariants(t *testing.T) {
	t.Parallel()
	headers := make(chan http.Header, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { headers <- r.Header.Clone() })

	t.Run("an empty body has the length 0 and the neutral type", func(t *testing.T) {
		store := newFakeStore(newEndpoint("end_1", url))
		newDispatcher(t, store, roundTrip(func(r *http.Request) (*http.Response, error) {
			if r.ContentLength != 0 || r.Body != http.NoBody {
				t.Errorf("length %d", r.ContentLength)
			}
			return answer(200), nil
		}))
		store.awaitAttempts(t, store.publish("end_1", "")[0], 1)
	})
	t.Run("without signing there is an ID and no signature", func(t *testing.T) {
		deliverOne(t, newEndpoint("end_1", url, func(e *hub.Endpoint) { e.Signing, e.SigningSecrets = hub.SigningNone, nil }), loopback(t), "x")
		if h := <-headers; h.Get("Webhook-Id") == "" || h.Get("Webhook-Timestamp") == "" || h.Get("Webhook-Signature") != "" {
			t.Errorf("got %v", h)
		}
	})
	t.Run("the endpoint's own User-Agent and Content-Type win", func(t *testing.T) {
		deliverOne(t, newEndpoint("end_1", url, func(e *hub.Endpoint) {
			e.Headers = []hub.Header{{Name: "user-agent", Value: "mine"}, {Name: "content-type", Value: "text/csv"}}
		}), loopback(t), "x")
		if h := <-headers; h.Get("User-Agent") != "mine" || h.Get("Content-Type") != "text/csv" {
			t.Errorf("got %v", h)
		}
	})
	t.Run("with no valid secret nothing is sent", func(t *testing.T) {
		attempt, _ := deliverOne(t, newEndpoint("end_1", url, func(e *hub.Endpoint) { e.SigningSecrets[0].ExpiresAt = time.Now().Add(-time.Second) }), loopback(t), "x")
		if attempt.Outcome != hub.AttemptConnectionFailed || !strings.Contains(attempt.Error, "signing secret") {
			t.Errorf("got %+v", attempt)
		}
	})
	t.Run("with a URL that cannot be called nothing is sent", func(t *testing.T) {
		attempt, _ := deliverOne(t, newEndpoint("end_1", "ftp://example.com/"), loopback(t), "x")
		if attempt.Outcome != hub.AttemptConnectionFailed || !strings.Contains(attempt.Error, "URL") {
			t.Errorf("got %+v", attempt)
		}
	})
	t.Run("a panic is a failed attempt", func(t *testing.T) {
		attempt, d := deliverOne(t, newEndpoint("end_1", url), roundTrip(func(*http.Request) (*http.Response, error) { panic("boom") }), "x")
		if attempt.Outcome != hub.AttemptConnectionFailed || strings.Contains(attempt.Error, "boom") || d.Status != hub.DeliveryPending {
			t.Errorf("got %+v", attempt)
		}
	})
}

// bomb is 64 MiB of zeros, packed.
var bomb = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(make([]byte, 64<<20))
	_ = w.Close()
	return b.Bytes()
})

func TestHostileReceivers(t *testing.T) {
	t.Parallel()
	const deadline = 500 * time.Millisecond
	hang := func(r *http.Request) { <-r.Context().Done() }
	drain := func(r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) }
	raw := func(handle func(net.Conn)) func(testing.TB) string {
		return func(t testing.TB) string { return listen(t, handle) }
	}
	readRequest := func(c net.Conn) { _, _ = c.Read(make([]byte, 64<<10)) }
	handler := func(h http.HandlerFunc) func(testing.TB) string {
		return func(t testing.TB) string { return serve(t, h) }
	}
	_ = bomb() // beforehand: packing it may take longer than the deadline

	cases := []struct {
		name    string
		url     func(testing.TB) string
		outcome hub.AttemptOutcome
		status  int
		text    string // part of the error
		body    string // "" is the small one
		whole   bool   // it takes until the deadline
	}{
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
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}), hub.AttemptSucceeded, 200, "", "", true},
		{"a slow body after 500", handler(func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			_ = http.NewResponseController(w).Flush()
			hang(r)
		}), hub.AttemptRefused, 500, "answered 500 Internal Server Error", "", true},
		{"an endless body", handler(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}), hub.AttemptSucceeded, 200, "", "", false},
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
		}), hub.AttemptConnectionFailed, 0, "", "", false},
		{"a redirect to a metadata address", handler(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://169.254.169.254/latest", http.StatusFound)
		}), hub.AttemptRefused, 302, "redirects are not followed", "", false},
		{"a redirect to itself", handler(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/" {
				t.Error("the redirect was followed")
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
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e := newEndpoint("end_1", c.url(t)+"/", func(e *hub.Endpoint) { e.Timeout = deadline })
			body := c.body
			if body == "" {
				body = `{"id":1}`
			}
			attempt, delivery := deliverOne(t, e, loopback(t), body)
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
			if want := hub.DeliveryPending; c.outcome != hub.AttemptSucceeded && (delivery.Status != want || delivery.SchedulePosition != 1) {
				t.Errorf("delivery %+v", delivery)
			}
		})
	}
}

func TestKeptBody(t *testing.T) {
	t.Parallel()
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("ab"), 30<<10))
	})
	attempt, _ := deliverOne(t, newEndpoint("end_1", url), loopback(t), "x")
	if !bytes.Equal(attempt.ResponseBody, bytes.Repeat([]byte("ab"), hub.MaxResponseBodyKept/2)) {
		t.Errorf("kept %d bytes", len(attempt.ResponseBody))
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())

	cases := []struct {
		name, url string
		roots     *x509.CertPool
		outcome   hub.AttemptOutcome
		text      string
	}{
		{"a trusted certificate", server.URL, roots, hub.AttemptSucceeded, ""},
		{"an unknown authority", server.URL, x509.NewCertPool(), hub.AttemptTLSFailed, "unknown authority"},
		{"another host name", "https://localhost:" + port, roots, hub.AttemptTLSFailed, "another host name"},
		{"no TLS at all", strings.Replace(plain, "http:", "https:", 1), roots, hub.AttemptTLSFailed, "does not speak TLS"},
		{"a handshake answered by garbage", strings.Replace(listen(t, func(c net.Conn) {
			_, _ = c.Read(make([]byte, 1<<10))
			_, _ = c.Write(bytes.Repeat([]byte{0x16, 3, 3, 0, 1, 0xff}, 10))
		}), "http:", "https:", 1), roots, hub.AttemptTLSFailed, "secure connection"},
		{"plain HTTP to a TLS port", strings.Replace(server.URL, "https:", "http:", 1), roots, hub.AttemptRefused, "400"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			attempt, _ := deliverOne(t, newEndpoint("end_1", c.url), loopback(t, outbound.TransportOptions{RootCAs: c.roots}), "x")
			if attempt.Outcome != c.outcome || !strings.Contains(attempt.Error, c.text) {
				t.Errorf("got %s %q", attempt.Outcome, attempt.Error)
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + listener.Addr().String()
	_ = listener.Close()

	t.Run("a refused connection", func(t *testing.T) {
		t.Parallel()
		attempt, d := deliverOne(t, newEndpoint("end_1", closed), loopback(t), "x")
		if attempt.Outcome != hub.AttemptConnectionFailed || attempt.Error != "the connection was refused" || d.Status != hub.DeliveryPending {
			t.Errorf("got %s %q", attempt.Outcome, attempt.Error)
		}
	})
	t.Run("an unknown name", func(t *testing.T) {
		t.Parallel()
		attempt, _ := deliverOne(t, newEndpoint("end_1", "http://nowhere.example"), roundTrip(func(*http.Request) (*http.Response, error) {
			return nil, &net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host", Name: "nowhere.example", Server: "10.0.0.53:53", IsNotFound: true}}
		}), "x")
		if attempt.Outcome != hub.AttemptConnectionFailed || attempt.Error != "the host name does not exist" {
			t.Errorf("got %s %q", attempt.Outcome, attempt.Error)
		}
	})
	t.Run("a blocked address ends the delivery", func(t *testing.T) {
		t.Parallel()
		url := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was reached") })
		transport := outbound.NewTransport(outbound.NewGuard(), outbound.TransportOptions{})
		attempt, d := deliverOne(t, newEndpoint("end_1", url), transport, "x")
		if attempt.Outcome != hub.AttemptAddressBlocked || d.Status != hub.DeliveryDead || d.Reason == "" || strings.Contains(attempt.Error+d.Reason, "127.") {
			t.Errorf("got %s %q, %s %q", attempt.Outcome, attempt.Error, d.Status, d.Reason)
		}
	})
}

func TestAnswersThatAskForSomething(t *testing.T) {
	t.Parallel()
	t.Run("410 disables the endpoint and holds what is owed to it", func(t *testing.T) {
		t.Parallel()
		var calls sync.Map
		store := newFakeStore(newEndpoint("end_1", serve(t, func(w http.ResponseWriter, r *http.Request) {
			calls.Store(r.Header.Get("Webhook-Id"), true)
			w.WriteHeader(http.StatusGone)
		}), func(e *hub.Endpoint) { e.MaxConcurrency = 1 }))
		d := newDispatcher(t, store, loopback(t))
		id := store.publish("end_1", "x")[0]
		if a := store.awaitAttempts(t, id, 1); a.Outcome != hub.AttemptRefused || a.StatusCode != 410 {
			t.Errorf("got %+v", a)
		}
		if got := store.delivery(id); got.Status != hub.DeliveryPending {
			t.Errorf("delivery %+v", got)
		}
		e := store.Configuration().Endpoints["end_1"]
		if e.State != hub.EndpointDisabled || !strings.Contains(e.StateReason, "410") {
			t.Errorf("endpoint %s %q", e.State, e.StateReason)
		}
		if d.Reserve("end_1") {
			t.Error("there is still room for its deliveries")
		}
	})
	for name, value := range map[string]string{"seconds": "3600", "a date": time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)} {
		t.Run("Retry-After in "+name+" paces the whole endpoint", func(t *testing.T) {
			t.Parallel()
			store := newFakeStore(newEndpoint("end_1", serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", value)
				w.WriteHeader(http.StatusServiceUnavailable)
			})))
			d := newDispatcher(t, store, loopback(t))
			id := store.publish("end_1", "x")[0]
			store.awaitAttempts(t, id, 1)
			if wait := time.Until(store.delivery(id).NextAttemptAt); wait < 59*time.Minute || wait > 61*time.Minute {
				t.Errorf("the next attempt is in %v", wait)
			}
			if wait := time.Until(store.Health("end_1").PacedUntil); wait < 59*time.Minute || wait > 61*time.Minute {
				t.Errorf("paced for %v", wait)
			}
			if d.Reserve("end_1") {
				t.Error("there is still room for its deliveries")
			}
		})
	}
}

func TestLogAndObserver(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	observed := make(chan deliver.Observation, 1)
	store := newFakeStore(newEndpoint("end_1", "http://example.com/?key=hush", func(e *hub.Endpoint) {
		e.Headers = []hub.Header{{Name: "Authorization", Value: "Bearer hush"}}
	}))
	d := newDispatcher(t, store, roundTrip(func(*http.Request) (*http.Response, error) { return answer(503), nil }), func(c *deliver.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		c.Observe = func(o deliver.Observation) { observed <- o }
	})
	id := store.publish("end_1", "payload")[0]
	o := <-observed
	if o.EndpointID != "end_1" || o.Outcome != hub.AttemptRefused || o.StatusCode != 503 || o.Delivery != hub.DeliveryPending || o.Number != 1 || o.SinceReceived < o.Duration {
		t.Errorf("observed %+v", o)
	}
	if err := d.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	line := log.String()
	if strings.Count(line, "\n") != 1 {
		t.Errorf("not one line: %s", line)
	}
	for _, want := range []string{"delivery.attempted", id, `"outcome":"REFUSED"`, `"status_code":503`, `"endpoint_id":"end_1"`, `"delivery_status":"PENDING"`, `"event_type":"test"`, "next_attempt_at", `"level":"WARN"`} {
		if !strings.Contains(line, want) {
			t.Errorf("%s is missing in %s", want, line)
		}
	}
	for _, secret := range []string{"hush", "payload", secretA.Reveal()} {
		if strings.Contains(line, secret) {
			t.Errorf("%s was logged: %s", secret, line)
		}
	}
}
