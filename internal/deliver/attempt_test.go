package deliver_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"math/big"
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

// serveTLS is serve over TLS, with HTTP/2.
func serveTLS(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server.URL
}

// testRoots trusts what serveTLS shows: the one certificate that httptest has.
var testRoots = sync.OnceValue(func() *x509.CertPool {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	return roots
})

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
		"Content-Type": "application/json", "User-Agent": "Hookgraph/1.2.3", "Webhook-Id": delivery.ID, "X-Api-Key": "hush", "Webhook-Event-Type": "test",
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

// serveExpired serves with a certificate whose time is over, signed by itself.
func serveExpired(t testing.TB) (string, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL, roots
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
	old := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	old.Config.ErrorLog = server.Config.ErrorLog
	old.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // what is refused
	old.StartTLS()
	t.Cleanup(old.Close)
	expired, expiredRoots := serveExpired(t)
	demanding := func(version uint16) (string, *x509.CertPool) {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
		server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: version, ClientAuth: tls.RequireAnyClientCert}
		server.StartTLS()
		t.Cleanup(server.Close)
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		return server.URL, roots
	}
	demanding12, roots12 := demanding(tls.VersionTLS12)
	demanding13, roots13 := demanding(tls.VersionTLS13)

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
		{"TLS 1.1 at the most", old.URL, roots, hub.AttemptTLSFailed, "secure connection"},
		{"a certificate that has expired", expired, expiredRoots, hub.AttemptTLSFailed, "expired"},
		{"a client certificate is wanted", demanding13, roots13, hub.AttemptTLSFailed, "wants to be shown a client certificate"},
		{"a client certificate is wanted in TLS 1.2", demanding12, roots12, hub.AttemptTLSFailed, "perhaps a client certificate"},
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
	t.Run("a refused connection", func(t *testing.T) {
		t.Parallel()
		// Nobody is given this port by chance, as a port that was free a moment ago may be.
		attempt, d := deliverOne(t, newEndpoint("end_1", "http://127.0.0.1:1/"), loopback(t), "x")
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
	for name, value := range map[string]func() string{
		"seconds": func() string { return "3600" },
		"a date":  func() string { return time.Now().Add(time.Hour).UTC().Format(http.TimeFormat) },
	} {
		t.Run("Retry-After in "+name+" paces the whole endpoint", func(t *testing.T) {
			t.Parallel()
			store := newFakeStore(newEndpoint("end_1", serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", value())
				w.WriteHeader(http.StatusServiceUnavailable)
			})))
			d := newDispatcher(t, store, loopback(t))
			began := time.Now()
			id := store.publish("end_1", "x")[0]
			store.awaitAttempts(t, id, 1)
			took := time.Since(began)
			in := func(at time.Time) (time.Duration, bool) {
				wait := at.Sub(began)
				return wait, wait >= 59*time.Minute && wait <= 61*time.Minute+took
			}
			if wait, right := in(store.delivery(id).NextAttemptAt); !right {
				t.Errorf("the next attempt is in %v", wait)
			}
			if wait, right := in(store.Health("end_1").PacedUntil); !right {
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
		e.RetryPolicy.Schedule = []time.Duration{0, time.Hour} // so that there is one attempt
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
