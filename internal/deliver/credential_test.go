package deliver_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// tokenServer gives tokens t1, t2 and so on, until it is told to fail.
type tokenServer struct {
	url     string
	asked   atomic.Int64
	failing atomic.Bool
	life    int // seconds
}

func newTokenServer(t *testing.T, life int) *tokenServer {
	t.Helper()
	s := &tokenServer{life: life}
	s.url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := s.asked.Add(1)
		id, secret, _ := r.BasicAuth()
		_ = r.ParseForm()
		if id == "" { // the other way
			id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
		}
		if id != "client" || secret != "s3cr3t-of-client" || r.Form.Get("grant_type") != "client_credentials" ||
			r.Form.Get("scope") != "a b" || r.Form.Get("audience") != "shop" {
			t.Errorf("asked for a token as %q with %v", id, r.Form)
		}
		w.Header().Set("Content-Type", "application/json")
		if s.failing.Load() {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":"invalid_client","error_description":"`+secret+`"}`)
			return
		}
		_, _ = fmt.Fprintf(w, `{"access_token":"t%d","token_type":"Bearer","expires_in":%d}`, n, s.life)
	})
	return s
}

func (s *tokenServer) endpoint(url string) *hub.Endpoint {
	return newEndpoint("end_1", url, func(e *hub.Endpoint) {
		e.MaxConcurrency = 32
		e.RetryPolicy = hub.RetryPolicy{Schedule: []time.Duration{0, time.Hour}}
		e.Auth = &hub.EndpointAuth{
			Kind: hub.AuthOAuth2, TokenURL: s.url, ClientID: "client", Secret: "s3cr3t-of-client", Scopes: []string{"a", "b"}, Audience: "shop",
		}
	})
}

func TestAccessTokensAreSharedAndRenewedOnce(t *testing.T) {
	t.Parallel()
	tokens := newTokenServer(t, 3600)
	var valid atomic.Value
	valid.Store("Bearer t1")
	var refused atomic.Int64
	const many = 32
	var together sync.WaitGroup // of the first requests, so that all of them carry the first token
	together.Add(many)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "Bearer t1" && valid.Load() != "Bearer t1" {
			together.Done()
			together.Wait()
		}
		if r.Header.Get("Authorization") != valid.Load() {
			refused.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
		}
	})
	store := newFakeStore(tokens.endpoint(url))
	newDispatcher(t, store, loopback(t))
	round := func() {
		t.Helper()
		store.mu.Lock()
		before := len(store.order)
		store.mu.Unlock()
		var bodies []string
		for n := range many {
			bodies = append(bodies, fmt.Sprint(n))
		}
		ids := store.publish("end_1", bodies...)
		store.await(t, "all deliveries", func() bool { return store.count("end_1", hub.DeliveryDelivered) == before+many })
		for _, id := range ids {
			if n := len(store.attemptsOf(id)); n != 1 {
				t.Errorf("a delivery took %d attempts", n)
			}
		}
	}
	round()
	if n := tokens.asked.Load(); n != 1 {
		t.Fatalf("the token server was asked %d times", n)
	}
	revoked := time.Now()
	valid.Store("Bearer t2") // the first token is revoked
	round()
	if tokens.asked.Load() != 2 || refused.Load() != many {
		t.Fatalf("the token server was asked %d times, %d requests were refused", tokens.asked.Load(), refused.Load())
	}
	for id := range store.rows {
		a := store.attemptsOf(id)[0]
		if strings.Contains(a.Error, "refused with 401") != (a.Error != "") || a.Outcome != hub.AttemptSucceeded {
			t.Errorf("recorded as %s %q", a.Outcome, a.Error)
		}
	}

	// Refused with a token that has just been renewed, an attempt has failed: no third token.
	valid.Store("Bearer never")
	id := store.publish("end_1", "x")[0]
	a := store.awaitAttempts(t, id, 1)
	const justNow = 10 * time.Second // on a machine that took longer for all this, a third one is right
	if a.StatusCode != http.StatusUnauthorized || tokens.asked.Load() != 2 && time.Since(revoked) < justNow {
		t.Errorf("%+v, after %d tokens", a, tokens.asked.Load())
	}
}

func TestATokenServerThatFailsIsLeftAlone(t *testing.T) {
	t.Parallel()
	tokens := newTokenServer(t, 3600)
	tokens.failing.Store(true)
	url := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("it was called without a token") })
	store := newFakeStore(tokens.endpoint(url))
	store.configuration.Endpoints["end_1"].MaxConcurrency = 4
	newDispatcher(t, store, loopback(t))
	began := time.Now()
	ids := store.publish("end_1", "a", "b", "c", "d", "e", "f", "g", "h")
	for _, id := range ids {
		a := store.awaitAttempts(t, id, 1)
		if a.Outcome != hub.AttemptConnectionFailed || a.Error != "no access token could be had: the token server answered 401, invalid_client" || a.StatusCode != 0 {
			t.Errorf("recorded as %s %q", a.Outcome, a.Error)
		}
	}
	// One fetch, in the two ways in which a client can identify itself, and one more
	// after each rest that all of this outlasted.
	most, asked := int64(2), tokens.asked.Load()
	for rest, took := time.Second, time.Since(began); took >= rest; rest *= 2 {
		took -= rest
		most += 2
	}
	if asked > most {
		t.Errorf("the token server was asked %d times", asked)
	}
}

func TestTokensThatHaveExpiredAreNotUsed(t *testing.T) {
	t.Parallel()
	tokens := newTokenServer(t, 1) // used for 0.8 s
	got := make(chan string, 8)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { got <- r.Header.Get("Authorization") })
	store := newFakeStore(tokens.endpoint(url))
	newDispatcher(t, store, loopback(t))
	store.publish("end_1", "a")
	first := <-got
	store.await(t, "another token", func() bool {
		store.publish("end_1", "b")
		return <-got != first
	})
}

func TestATokenServerInsideIsNotReached(t *testing.T) {
	t.Parallel()
	tokens := newTokenServer(t, 3600)
	store := newFakeStore(tokens.endpoint("http://127.0.0.1:1/"))
	transport := outbound.NewTransport(outbound.NewGuard(), outbound.TransportOptions{})
	t.Cleanup(transport.CloseIdleConnections)
	newDispatcher(t, store, transport)
	a := store.awaitAttempts(t, store.publish("end_1", "a")[0], 1)
	if a.Outcome != hub.AttemptAddressBlocked || tokens.asked.Load() != 0 {
		t.Errorf("recorded as %s %q", a.Outcome, a.Error)
	}
}

func TestWhatAnAnswerRepeatsOfACredentialIsNotKept(t *testing.T) {
	t.Parallel()
	const secret = hub.Secret(`bearer-"distinct"&4711`)
	for name, body := range map[string]string{
		"in its midst":                 "x " + secret.Reveal() + " y",
		"in JSON":                      `{"got":"bearer-\"distinct\"\u00264711"}`,
		"in a query":                   "bearer-%22distinct%22%264711",
		"cut off by the bound":         strings.Repeat("x", hub.MaxResponseBodyKept-10) + secret.Reveal(),
		"again and again to the bound": strings.Repeat(secret.Reveal(), 2000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
			e := newEndpoint("end_1", url, func(e *hub.Endpoint) { e.Auth = &hub.EndpointAuth{Kind: hub.AuthBearer, Secret: secret} })
			a, _ := deliverOne(t, e, loopback(t), "{}")
			kept := string(a.ResponseBody)
			if strings.Contains(kept, "bearer") || strings.Contains(kept, "distinct") || !strings.Contains(kept, "[redac") || len(kept) > hub.MaxResponseBodyKept {
				t.Errorf("kept %d bytes: %.80q…%.80q", len(kept), kept, kept[max(len(kept)-80, 0):])
			}
		})
	}
}
