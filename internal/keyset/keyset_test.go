package keyset_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/keyset"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// issuer serves what it is told to, and counts how often it is asked.
type issuer struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int32
}

func newIssuer(t *testing.T, keys ...any) *issuer {
	t.Helper()
	i := &issuer{}
	i.has(t, keys...)
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.asked.Add(1)
		(*i.answer.Load())(w, r)
	}))
	t.Cleanup(i.Close)
	return i
}

// has makes the issuer's keys these.
func (i *issuer) has(t *testing.T, keys ...any) {
	t.Helper()
	text, err := json.Marshal(map[string]any{"keys": slices.Concat([]any{}, keys)})
	if err != nil {
		t.Fatal(err)
	}
	i.does(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(text) })
}

func (i *issuer) does(answer http.HandlerFunc) { i.answer.Store(&answer) }

// newPool makes a pool that lasts as long as the test.
func newPool(t *testing.T, i *issuer) (*keyset.Pool, *testkit.Clock) {
	t.Helper()
	clock := testkit.NewClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	pool := keyset.NewPool(i.Client().Transport, clock, slog.New(slog.DiscardHandler))
	t.Cleanup(pool.Close)
	return pool, clock
}

// key makes the public half of a new key.
func key(t *testing.T, id, algorithm string) jose.JSONWebKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return jose.JSONWebKey{Key: private.Public(), KeyID: id, Algorithm: algorithm, Use: "sig"}
}

// ids returns the key IDs that a pool has for a token.
func ids(t *testing.T, pool *keyset.Pool, url, id, algorithm string) []string {
	t.Helper()
	keys, err := pool.Keys(t.Context(), url, id, algorithm)
	if err != nil {
		t.Fatal(err)
	}
	found := []string{}
	for _, k := range keys {
		found = append(found, k.KeyID)
	}
	return found
}

func TestATokenIsGivenTheKeysThatMayHaveSignedIt(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, key(t, "first", "ES256"), key(t, "second", ""), key(t, "third", "ES384"))
	pool, _ := newPool(t, i)
	for _, c := range []struct {
		id, algorithm string
		want          []string
	}{
		{"first", "ES256", []string{"first"}},
		{"second", "ES256", []string{"second"}},
		{"first", "RS256", []string{}}, // the key is said to be for another algorithm
		{"", "ES256", []string{"first", "second"}},
		{"", "ES384", []string{"second", "third"}},
	} {
		if got := ids(t, pool, i.URL, c.id, c.algorithm); !slices.Equal(got, c.want) {
			t.Errorf("for the key ID %q and %s: %q, want %q", c.id, c.algorithm, got, c.want)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestKeysThatMustNotVerifyArePassedOver(t *testing.T) {
	t.Parallel()
	short, err := rsa.GenerateKey(rand.Reader, 1024) //nolint:gosec // it is to be refused
	if err != nil {
		t.Fatal(err)
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forEncryption := key(t, "encrypts", "")
	forEncryption.Use = "enc"
	i := newIssuer(t,
		jose.JSONWebKey{Key: []byte("a secret that both sides would have to know"), KeyID: "symmetric"},
		jose.JSONWebKey{Key: short.Public(), KeyID: "short"},
		jose.JSONWebKey{Key: private, KeyID: "private"},
		forEncryption,
		map[string]string{"kty": "of next year", "kid": "unknown"},
		key(t, "good", ""),
	)
	pool, _ := newPool(t, i)
	if got := ids(t, pool, i.URL, "", "ES256"); !slices.Equal(got, []string{"good"}) {
		t.Errorf("the keys are %q", got)
	}
}

func TestAnUnknownKeyIDAsksAnewButNotForEachToken(t *testing.T) {
	t.Parallel()
	first, second := key(t, "first", ""), key(t, "second", "")
	i := newIssuer(t, first)
	pool, clock := newPool(t, i)
	ids(t, pool, i.URL, "first", "ES256")
	i.has(t, first, second)
	for n := range 50 {
		if got := ids(t, pool, i.URL, fmt.Sprint("unknown", n), "ES256"); len(got) != 0 {
			t.Fatalf("an unknown key ID has the keys %q", got)
		}
	}
	if n := i.asked.Load(); n != 1 {
		t.Errorf("within 10 seconds the issuer was asked %d times", n)
	}
	clock.Advance(10 * time.Second)
	if got := ids(t, pool, i.URL, "second", "ES256"); !slices.Equal(got, []string{"second"}) {
		t.Errorf("after the rotation: %q", got)
	}
	if got := ids(t, pool, i.URL, "first", "ES256"); !slices.Equal(got, []string{"first"}) {
		t.Errorf("the older key: %q", got)
	}
	if n := i.asked.Load(); n != 2 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestAKeyThatWasWithdrawnIsForgotten(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, key(t, "first", ""))
	pool, clock := newPool(t, i)
	ids(t, pool, i.URL, "first", "ES256")
	i.has(t, key(t, "second", ""))
	clock.Advance(5 * time.Minute)
	// The keys are old now, but no request waits for others.
	testkit.Eventually(t, "it is forgotten", func() bool {
		return len(ids(t, pool, i.URL, "first", "ES256")) == 0
	})
}

func TestManyTokensAtOnceAreOneLoad(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	reached, release := make(chan struct{}, 1), make(chan struct{})
	text, err := json.Marshal(map[string]any{"keys": []any{key(t, "only", "")}})
	if err != nil {
		t.Fatal(err)
	}
	i.does(func(w http.ResponseWriter, _ *http.Request) {
		reached <- struct{}{}
		<-release
		_, _ = w.Write(text)
	})
	pool, _ := newPool(t, i)
	hasty, giveUp := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := pool.Keys(hasty, i.URL, "only", "ES256")
		gone <- err
	}()
	<-reached
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if keys, err := pool.Keys(t.Context(), i.URL, "only", "ES256"); err != nil || len(keys) != 1 {
				t.Errorf("got %d keys and %v", len(keys), err)
			}
		})
	}
	giveUp() // who asked first goes, and the load goes on for the others
	if err := <-gone; hub.CodeOf(err) != hub.CodeUnavailable {
		t.Errorf("who gave up was told %v", err)
	}
	close(release)
	all.Wait()
	if n := i.asked.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestAnIssuerThatFailsIsLeftAloneForAWhile(t *testing.T) {
	t.Parallel()
	for name, fails := range map[string]http.HandlerFunc{
		"it answers 500": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) },
		"it leads elsewhere": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		},
		"its keys are none":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"keys": []}`)) },
		"its keys are no JSON": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`<html>`)) },
		"its keys have no end": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte(" "), 2<<20)) },
		"it hangs up":          func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newIssuer(t)
			i.does(fails)
			pool, clock := newPool(t, i)
			refused := func() time.Duration {
				t.Helper()
				_, err := pool.Keys(t.Context(), i.URL, "only", "ES256")
				shown, ok := err.(*hub.Error) //nolint:errorlint // returned as it is
				if !ok || shown.Code != hub.CodeUnavailable || strings.Contains(err.Error(), "127.0.0.1") {
					t.Fatalf("got %v", err)
				}
				return shown.RetryAfter
			}
			for range 10 {
				if wait := refused(); wait != time.Second {
					t.Fatalf("to be tried again after %s", wait)
				}
			}
			if n := i.asked.Load(); n != 1 {
				t.Errorf("within a second the issuer was asked %d times", n)
			}
			clock.Advance(time.Second)
			if wait := refused(); wait != 2*time.Second {
				t.Errorf("after the second failure to be tried again after %s", wait)
			}
			i.has(t, key(t, "only", ""))
			clock.Advance(2 * time.Second)
			if got := ids(t, pool, i.URL, "only", "ES256"); len(got) != 1 {
				t.Errorf("when it was well again: %q", got)
			}
		})
	}
}

func TestKeysServeOnForADayWithoutTheirIssuer(t *testing.T) {
	t.Parallel()
	i := newIssuer(t, key(t, "only", ""))
	pool, clock := newPool(t, i)
	ids(t, pool, i.URL, "only", "ES256")
	i.does(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) })
	clock.Advance(24*time.Hour - time.Second)
	if got := ids(t, pool, i.URL, "only", "ES256"); len(got) != 1 {
		t.Errorf("within the day: %q", got)
	}
	clock.Advance(time.Minute)
	if _, err := pool.Keys(t.Context(), i.URL, "only", "ES256"); hub.CodeOf(err) != hub.CodeUnavailable {
		t.Errorf("after the day: %v", err)
	}
}

func TestKeysOfOneURLAreNotThoseOfAnother(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	mine, err := json.Marshal(map[string]any{"keys": []any{key(t, "mine", "")}})
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := json.Marshal(map[string]any{"keys": []any{key(t, "theirs", "")}})
	if err != nil {
		t.Fatal(err)
	}
	i.does(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/mine" {
			_, _ = w.Write(mine)
			return
		}
		_, _ = w.Write(theirs)
	})
	pool, _ := newPool(t, i)
	if got := ids(t, pool, i.URL+"/mine", "", "ES256"); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("at one URL: %q", got)
	}
	if got := ids(t, pool, i.URL+"/theirs", "mine", "ES256"); len(got) != 0 {
		t.Errorf("at the other: %q", got)
	}
}

func TestTheKeysOfASafeIssuerAreFetchedSafely(t *testing.T) {
	t.Parallel()
	i := &issuer{}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"issuer": %q, "jwks_uri": %q}`, i.URL, strings.Replace(i.URL, "https:", "http:", 1)+"/keys")
	}))
	t.Cleanup(i.Close)
	set := keyset.New(keyset.Config{
		Transport: i.Client().Transport, Issuer: i.URL,
		Clock: testkit.NewClock(time.Unix(0, 0)), Logger: slog.New(slog.DiscardHandler),
	})
	t.Cleanup(set.Close)
	if _, err := set.Latest(t.Context()); hub.CodeOf(err) != hub.CodeUnavailable {
		t.Errorf("got %v", err)
	}
}

func TestClosingEndsALoad(t *testing.T) {
	t.Parallel()
	i := newIssuer(t)
	reached := make(chan struct{})
	i.does(func(_ http.ResponseWriter, r *http.Request) {
		close(reached)
		<-r.Context().Done()
	})
	set := keyset.New(keyset.Config{
		Transport: i.Client().Transport, URL: i.URL,
		Clock: testkit.NewClock(time.Unix(0, 0)), Logger: slog.New(slog.DiscardHandler),
	})
	ended := make(chan error, 1)
	go func() {
		_, err := set.Latest(context.WithoutCancel(t.Context()))
		ended <- err
	}()
	<-reached
	set.Close()
	set.Close() // does nothing
	if err := <-ended; hub.CodeOf(err) != hub.CodeUnavailable {
		t.Errorf("who waited was told %v", err)
	}
}
