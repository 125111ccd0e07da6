package credential_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newBook makes a book that reaches token servers of the test.
func newBook(t *testing.T) (*credential.Book, *testkit.Clock) {
	t.Helper()
	c := testkit.NewClock(time.Now())
	transport := &http.Transport{}
	book := credential.NewBook(transport, outbound.NewGuard(), c)
	t.Cleanup(func() { book.Close(); transport.CloseIdleConnections() })
	return book, c
}

// tokenServer answers as it is told; n counts from 1.
func tokenServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request, n int64)) (auth *hub.EndpointAuth, asked *atomic.Int64) {
	t.Helper()
	asked = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer(w, r, asked.Add(1))
	}))
	t.Cleanup(server.Close)
	return &hub.EndpointAuth{Kind: hub.AuthOAuth2, TokenURL: server.URL, ClientID: "c", Secret: "secret-distinct"}, asked
}

func token(w http.ResponseWriter, n int64, life int) {
	_, _ = fmt.Fprintf(w, `{"access_token":"token-%d","token_type":"Bearer","expires_in":%d}`, n, life)
}

func issue(t *testing.T, c *credential.Credential) credential.Pass {
	t.Helper()
	p, err := c.Issue(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestACredentialIsKeptUntilItChanges(t *testing.T) {
	t.Parallel()
	book, _ := newBook(t)
	one := &hub.EndpointAuth{Kind: hub.AuthBearer, Secret: "first-secret"}
	same, other := *one, *one
	other.Secret = "second-secret"
	c := book.Of("end_1", one)
	if book.Of("end_1", &same) != c {
		t.Error("what is equal was made again")
	}
	if book.Of("end_2", one) == c {
		t.Error("two endpoints share one")
	}
	if p := issue(t, book.Of("end_1", &other)); p.Header != "Authorization" || p.Value != "Bearer second-secret" {
		t.Errorf("the old one goes on: %+v", p)
	}
	if p := issue(t, book.Of("end_1", nil)); p.Value != "" || len(p.Secrets()) != 0 {
		t.Errorf("without any it is %+v", p)
	}
	c = book.Of("end_2", one)
	book.Forget("end_2")
	if book.Of("end_2", one) == c {
		t.Error("what was forgotten is there")
	}
}

func TestOneTokenServesAllUntilItIsOld(t *testing.T) {
	t.Parallel()
	auth, asked := tokenServer(t, func(w http.ResponseWriter, _ *http.Request, n int64) { token(w, n, 3600) })
	book, clock := newBook(t)
	c := book.Of("end_1", auth)
	all := func() {
		var together sync.WaitGroup
		for range 50 {
			together.Go(func() {
				if _, err := c.Issue(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		together.Wait()
	}
	all()
	clock.Advance(3600*time.Second - 90*time.Second) // its life began by the machine's clock
	all()
	if n := asked.Load(); n != 1 {
		t.Errorf("while it holds the server was asked %d times", n)
	}
	clock.Advance(61 * time.Second) // within the last half minute of its life
	all()
	if n := asked.Load(); n != 2 {
		t.Errorf("when it was old the server was asked %d times", n)
	}
	p := issue(t, c)
	if p.Value != "Bearer token-2" || !slices.Contains(p.Secrets(), "token-2") || !slices.Contains(p.Secrets(), "secret-distinct") {
		t.Errorf("the pass is %s, its secrets %q", p.Value, p.Secrets())
	}
}

func TestARefusedTokenIsRenewedOnceForAll(t *testing.T) {
	t.Parallel()
	auth, asked := tokenServer(t, func(w http.ResponseWriter, _ *http.Request, n int64) { token(w, n, 3600) })
	book, clock := newBook(t)
	c := book.Of("end_1", auth)
	first := issue(t, c)
	var together sync.WaitGroup
	for range 50 {
		together.Go(func() {
			if p, ok := first.Renew(t.Context()); !ok || p.Value != "Bearer token-2" {
				t.Errorf("renewed as %s, %v", p.Value, ok)
			}
		})
	}
	together.Wait()
	if n := asked.Load(); n != 2 {
		t.Errorf("the server was asked %d times", n)
	}
	second := issue(t, c)
	if _, ok := second.Renew(t.Context()); ok {
		t.Error("a token that has just been renewed was renewed again")
	}
	clock.Advance(11 * time.Second)
	if p, ok := second.Renew(t.Context()); !ok || p.Value != "Bearer token-3" {
		t.Errorf("later: %s, %v", p.Value, ok)
	}
	if p := issue(t, book.Of("end_2", &hub.EndpointAuth{Kind: hub.AuthBearer, Secret: "never-expires"})); p.Value == "" {
		t.Error("no pass")
	} else if _, ok := p.Renew(t.Context()); ok {
		t.Error("a fixed secret was renewed")
	}
}

func TestWhoStopsWaitingForATokenSpoilsItForNobody(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	arrived := make(chan struct{}, 1)
	auth, asked := tokenServer(t, func(w http.ResponseWriter, _ *http.Request, n int64) {
		arrived <- struct{}{}
		<-release
		token(w, n, 3600)
	})
	book, _ := newBook(t)
	c := book.Of("end_1", auth)
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() { _, err := c.Issue(ctx); gone <- err }()
	<-arrived
	got := make(chan error, 1)
	go func() { _, err := c.Issue(t.Context()); got <- err }()
	cancel()
	var of *credential.Error
	if err := <-gone; !errors.As(err, &of) || !of.Timeout {
		t.Errorf("who left was told %v", err)
	}
	close(release)
	if err := <-got; err != nil || asked.Load() != 1 {
		t.Errorf("who stayed was told %v, after %d requests", err, asked.Load())
	}
}

func TestTokenServersThatDoNotHelp(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct {
		answer func(w http.ResponseWriter, r *http.Request)
		want   string
	}{
		"a code of the specification": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"invalid_scope","error_description":"secret-distinct"}`)
		}, "the token server answered 400, invalid_scope"},
		"a code of its own": {func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"secret-distinct"}`)
		}, "the token server answered 400"},
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/elsewhere" {
				t.Error("the client's secret was carried elsewhere")
			}
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		}, "the token server answered 307"},
		"no JSON":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "secret-distinct") }, "not one of OAuth 2.0"},
		"no token": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"token_type":"Bearer"}`) }, "not one of OAuth 2.0"},
		"a token that is lines": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, `{"access_token":"a\r\nX-Secret: b","token_type":"Bearer"}`)
		}, "token"},
		"an endless answer": {func(w http.ResponseWriter, _ *http.Request) {
			for range 64 {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, "token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			auth, asked := tokenServer(t, func(w http.ResponseWriter, r *http.Request, _ int64) { one.answer(w, r) })
			book, clock := newBook(t)
			c := book.Of("end_1", auth)
			for range 20 { // whoever fails is left alone for a while
				_, err := c.Issue(t.Context())
				var of *credential.Error
				if !errors.As(err, &of) || !strings.Contains(of.Message, one.want) || strings.Contains(of.Message, "distinct") {
					t.Fatalf("got %v", err)
				}
			}
			before := asked.Load()
			if before > 2 { // the two ways in which a client can identify itself
				t.Errorf("the server was asked %d times", before)
			}
			clock.Advance(3 * time.Second)
			if _, err := c.Issue(t.Context()); err == nil || asked.Load() == before {
				t.Errorf("after its rest it was not asked again: %v", err)
			}
		})
	}
}

func TestWhatCannotBeUsedSaysSo(t *testing.T) {
	t.Parallel()
	book, _ := newBook(t)
	for name, a := range map[string]*hub.EndpointAuth{
		"key for tokens":     {Kind: hub.AuthJWT, Algorithm: "RS256", Secret: "distinct-nonsense"},
		"client certificate": {Kind: hub.AuthMTLS, Certificate: "nonsense", Secret: "distinct-nonsense"},
		"CA certificate":     {Kind: hub.AuthMTLS, CACertificate: "nonsense", Secret: "distinct-nonsense"},
	} {
		_, err := book.Of(name, a).Issue(t.Context())
		if err == nil || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
