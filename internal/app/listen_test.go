package app_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/app"
	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// listening runs hookgraph listen until the returned function is called, as an
// interrupt would end it.
func listening(t *testing.T, args ...string) (out *testkit.Output, stop func()) {
	t.Helper()
	out = &testkit.Output{}
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() { code <- app.Execute(ctx, append([]string{"listen"}, args...), out, out) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if got := <-code; got != 0 {
				t.Errorf("listen ended with %d: %s", got, out)
			}
		})
	}
	t.Cleanup(stop)
	return out, stop
}

// fixed are options of a hub whose address stays the same over restarts.
func fixed(t *testing.T) config.Server {
	o := options(t)
	o.Addr = testkit.FreeAddr(t)
	return o
}

func bodies(rc *receiver) map[string]int {
	seen := map[string]int{}
	for _, a := range rc.got() {
		seen[string(a.Body)]++
	}
	return seen
}

func TestListenForwardsEachOnceOverRestartsOfBoth(t *testing.T) {
	t.Parallel()
	for _, durable := range []bool{false, true} {
		t.Run(fmt.Sprintf("durable %v", durable), func(t *testing.T) {
			t.Parallel()
			o := fixed(t)
			c := start(t, o)
			c.source("stripe")
			c.source("other")
			sink, elsewhere := listen(t, nil), listen(t, nil)
			args := []string{
				"--url", c.url, "--key", operatorKey, "--forward", "/stripe=" + sink.URL, "--forward", "other=" + elsewhere.URL,
				"--state", filepath.Join(t.TempDir(), "state.json"), "--name", "test",
			}
			ready := "is forwarded to"
			if durable {
				args, ready = append(args, "--durable"), "is relayed to"
			}
			out, stop := listening(t, args...)
			testkit.Eventually(t, "both are up", func() bool { return strings.Count(out.String(), ready) == 2 })
			want := map[string]int{}
			send := func(from, to int) {
				for n := from; n < to; n++ {
					body := fmt.Sprintf(`{"n": %d}`, n)
					want[body] = 1
					c.post("stripe", nil, []byte(body))
				}
			}
			arrived := func() bool { return len(bodies(sink)) == len(want) }
			send(0, 20)
			c.post("other", nil, []byte(`{"other": true}`))
			testkit.Eventually(t, "what was sent has arrived", func() bool { return arrived() && len(bodies(elsewhere)) == 1 })

			c.stop() // the hub restarts
			c = start(t, o)
			send(20, 40)
			testkit.Eventually(t, "what came after the restart has arrived", arrived)

			stop() // and so does the listener
			send(40, 60)
			out, stop = listening(t, args...)
			testkit.Eventually(t, "what came in between has arrived", arrived)
			stop()
			for body, times := range bodies(sink) {
				if times != want[body] {
					t.Errorf("%s arrived %d times", body, times)
				}
			}
			if !contains(out.String(), "200") && !contains(out.String(), "204") {
				t.Errorf("it printed %s", out)
			}
			if first := sink.got()[0]; first.Header.Get("Webhook-Id") == "" || first.Header.Get("Webhook-Signature") == "" {
				t.Errorf("forwarded with %v", first.Header)
			}
		})
	}
}

func TestListenWaitsForAURLThatIsDown(t *testing.T) {
	t.Parallel()
	c := start(t, fixed(t))
	c.source("s")
	out, _ := listening(t, "--url", c.url, "--key", operatorKey, "--forward", "http://"+testkit.FreeAddr(t), "--state", filepath.Join(t.TempDir(), "state.json"))
	testkit.Eventually(t, "it is up", func() bool { return contains(out.String(), "is forwarded to") })
	c.post("s", nil, []byte(`{}`))
	testkit.Eventually(t, "it says so", func() bool { return contains(out.String(), "no answer (") })
}

func TestListenSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	c := start(t, fixed(t))
	for want, args := range map[string][]string{
		"does not accept the key": nil,
		`no source "nope"`:        {"--key", operatorKey, "--forward", "/nope=http://127.0.0.1:1"},
		"has no URL":              {"--key", operatorKey, "--forward", "/nope"},
	} {
		if args == nil {
			args = []string{"--key", strings.Repeat("x", 40), "--forward", "http://127.0.0.1:1"}
			want = "hub answered UNAUTHENTICATED"
		}
		out := &testkit.Output{}
		if code := app.Execute(t.Context(), append([]string{"listen", "--url", c.url, "--state", filepath.Join(t.TempDir(), "s")}, args...), out, out); code != 1 || !contains(out.String(), want) {
			t.Errorf("%d %s, not %q", code, out, want)
		}
	}
}

func TestARelayTriesATargetThatIsDownAsThePolicySays(t *testing.T) {
	t.Parallel()
	c := start(t, fixed(t))
	c.source("s")
	id := c.streamEndpoint(`retryPolicy: {schedule: ["PT0S", "PT0.2S", "PT0.2S", "PT0.2S"], jitter: 0}`)
	addr := testkit.FreeAddr(t)
	out, _ := listening(t, "--url", c.url, "--key", operatorKey, "--forward", "http://"+addr+"/hooks", "--endpoint", id)
	testkit.Eventually(t, "it is up", func() bool { return contains(out.String(), "is relayed to http://"+addr+"/hooks by the endpoint "+id) })

	lost := c.post("s", nil, []byte(`{"n": 1}`))
	d := c.only(lost.ID, "the schedule ends", func(d delivery) bool { return d.Status == "DEAD" })
	if d.AttemptCount != 4 {
		t.Errorf("it was tried %d times", d.AttemptCount)
	}
	for _, a := range d.Attempts.Nodes {
		if a.Outcome != "REFUSED" || !contains(valueOf(a.Error), "no answer: ") || !contains(valueOf(a.Error), "connection refused") {
			t.Errorf("an attempt is %s %q", a.Outcome, valueOf(a.Error))
		}
	}

	// It comes up while a delivery waits, and refuses the first.
	c.mutate("updateEndpoint", `input: {id: "`+id+`", retryPolicy: {schedule: ["PT0S"`+strings.Repeat(`, "PT1S"`, 31)+`], jitter: 0}}`)
	late := c.post("s", nil, []byte(`{"n": 2}`))
	c.only(late.ID, "it was tried", func(d delivery) bool { return d.AttemptCount > 0 })
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})}
	t.Cleanup(func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
	d = c.only(late.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
	refused := false
	for _, a := range d.Attempts.Nodes {
		refused = refused || a.Outcome == "REFUSED" && contains(valueOf(a.Error), "it answered 503")
	}
	if !refused {
		t.Errorf("the attempts are %+v", d.Attempts.Nodes)
	}
	for _, part := range []string{d.ID + "  503  ", d.ID + "  200  ", d.ID + "  no answer ("} {
		if !contains(out.String(), part) {
			t.Errorf("it does not print %q: %s", part, out)
		}
	}
}

func TestARelaySendsAgainWhatSomebodyRetries(t *testing.T) {
	t.Parallel()
	c := start(t, fixed(t))
	c.source("s")
	id := c.streamEndpoint("")
	rc := listen(t, nil)
	out, _ := listening(t, "--url", c.url, "--key", operatorKey, "--forward", rc.URL, "--endpoint", id)
	testkit.Eventually(t, "it is up", func() bool { return contains(out.String(), "is relayed to ") })
	sent := c.post("s", nil, []byte(`{"n": 1}`))
	d := c.only(sent.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
	for attempts := 2; attempts <= 3; attempts++ {
		var retried struct {
			RetryDelivery struct{ UserErrors []struct{ Message string } }
		}
		c.do(&retried, `mutation ($id: ID!) { retryDelivery(id: $id) { userErrors { message } } }`, map[string]any{"id": d.ID})
		if len(retried.RetryDelivery.UserErrors) > 0 {
			t.Fatalf("it is not retried: %+v", retried)
		}
		c.only(sent.ID, "it is delivered again", func(d delivery) bool { return d.Status == "DELIVERED" && d.AttemptCount == attempts })
		if got := len(rc.got()); got != attempts {
			t.Fatalf("the hub was told of %d attempts, and the URL was sent %d", attempts, got)
		}
	}
}

// TestARelayThatCannotTellTheHub loses what is said between a relay and the hub about a
// delivery that was forwarded: on the way there, or on the way back.
func TestARelayThatCannotTellTheHub(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		arrives bool // what the relay says reaches the hub, and only the answer is lost
		sent    int  // how often it is forwarded after a retry that somebody asked for, or the hub made
		prints  string
	}{
		"it is not heard":         {false, 1, "which the hub was not told; it is told now"},
		"the answer is not heard": {true, 2, "was not settled: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := start(t, fixed(t))
			c.source("s")
			id := c.streamEndpoint("")
			hub, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			through := httputil.NewSingleHostReverseProxy(hub)
			var mu sync.Mutex
			var conns []net.Conn
			through.Transport = &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := new(net.Dialer).DialContext(ctx, network, address)
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					conns = append(conns, conn)
				}
				return conn, err
			}}
			var losing atomic.Bool
			losing.Store(true)
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body := &bytes.Buffer{}
				if r.Method == http.MethodPost {
					if _, err := body.ReadFrom(r.Body); err != nil {
						return
					}
					r.Body = io.NopCloser(bytes.NewReader(body.Bytes()))
				}
				if !contains(body.String(), "settleDeliveries") || !losing.Load() {
					through.ServeHTTP(w, r)
					return
				}
				if one.arrives {
					losing.Store(false) // the first answer alone
					through.ServeHTTP(httptest.NewRecorder(), r)
				}
				panic(http.ErrAbortHandler)
			}))
			t.Cleanup(proxy.Close)
			rc := listen(t, nil)
			out, _ := listening(t, "--url", proxy.URL, "--key", operatorKey, "--forward", rc.URL, "--endpoint", id)
			testkit.Eventually(t, "it is up", func() bool { return contains(out.String(), "is relayed to ") })
			sent := c.post("s", nil, []byte(`{"n": 1}`))
			if one.arrives {
				d := c.only(sent.ID, "it is delivered", func(d delivery) bool { return d.Status == "DELIVERED" })
				testkit.Eventually(t, "the relay has asked again", func() bool { return contains(out.String(), one.prints) })
				var ignored any
				c.do(&ignored, `mutation ($id: ID!) { retryDelivery(id: $id) { userErrors { message } } }`, map[string]any{"id": d.ID})
			} else {
				testkit.Eventually(t, "the relay has tried to tell the hub", func() bool { return contains(out.String(), "; again in ") })
				mu.Lock()
				for _, conn := range conns {
					_ = conn.Close() // the stream breaks, so that the hub hands it over again
				}
				mu.Unlock()
				c.only(sent.ID, "its lease has ended", func(d delivery) bool { return d.AttemptCount > 0 })
				losing.Store(false)
			}
			c.only(sent.ID, "it is delivered at last", func(d delivery) bool { return d.Status == "DELIVERED" && d.AttemptCount >= 2 })
			if got := len(rc.got()); got != one.sent || !contains(out.String(), one.prints) {
				t.Errorf("it was forwarded %d times, and the relay printed %s", got, out)
			}
		})
	}
}
