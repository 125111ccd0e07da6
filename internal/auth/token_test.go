package auth_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// The keys of the tests are made once: RSA takes its time.
var (
	rsaKey   = sync.OnceValue(func() jose.JSONWebKey { return keyOf("rsa", must(rsa.GenerateKey(rand.Reader, 2048))) })
	weakKey  = sync.OnceValue(func() jose.JSONWebKey { return keyOf("weak", must(rsa.GenerateKey(rand.Reader, 1024))) })
	otherKey = sync.OnceValue(func() jose.JSONWebKey { return keyOf("rsa", must(rsa.GenerateKey(rand.Reader, 2048))) }) // of the same ID
	ecKey    = sync.OnceValue(func() jose.JSONWebKey { return ec("ec") })
	edKey    = sync.OnceValue(func() jose.JSONWebKey {
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			panic(err)
		}
		return keyOf("ed", private)
	})
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

type world struct {
	*auth.Tokens
	*provider
	clock *testkit.Clock
	gone  atomic.Bool // prt_1
}

// good are claims that are accepted.
func (w *world) good(changes ...any) map[string]any {
	out := map[string]any{
		"iss": w.URL, "aud": []string{"other", "hub"}, "sub": "alice", "roles": []string{"viewer"},
		"exp": w.clock.Now().Add(time.Hour).Unix(), "iat": w.clock.Now().Unix(),
	}
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == nil {
			delete(out, changes[i].(string))
		} else {
			out[changes[i].(string)] = changes[i+1]
		}
	}
	return out
}

func newWorld(t testing.TB, change func(*auth.TokenConfig), keys ...jose.JSONWebKey) *world {
	t.Helper()
	w := &world{provider: newProvider(t, keys...), clock: testkit.NewClock(time.Unix(3_600_000_000, 0))}
	cfg := auth.TokenConfig{
		Issuer: w.URL, Audiences: []string{"hub"}, Algorithms: []string{"RS256", "ES256"},
		RoleClaim: "roles", PartnerClaim: "partner", ScopesClaim: "scope",
		PartnerExists: func(id string) bool { return id == "prt_1" && !w.gone.Load() },
		Transport:     w.Client().Transport, Clock: w.clock, Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&cfg)
	}
	tokens := auth.NewTokens(cfg)
	w.Tokens = tokens
	t.Cleanup(tokens.Close)
	return w
}

func TestATokenMakesAViewer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*auth.TokenConfig)
		said   []any
		want   hub.Viewer
	}{
		"of its role":           {nil, nil, hub.Viewer{Role: hub.RoleViewer, Scopes: hub.RoleViewer.DefaultScopes()}},
		"of its strongest role": {nil, []any{"roles", "viewer operator"}, hub.Viewer{Role: hub.RoleOperator, Scopes: hub.RoleOperator.DefaultScopes()}},
		"with scopes of others": {nil, []any{"scope", "openid profile"}, hub.Viewer{Role: hub.RoleViewer, Scopes: hub.RoleViewer.DefaultScopes()}},
		"with fewer scopes":     {nil, []any{"scope", "openid EVENTS_READ"}, hub.Viewer{Role: hub.RoleViewer, Scopes: []hub.Scope{hub.ScopeEventsRead}}},
		"with no more scopes than its role and SCHEMA_READ": {nil, []any{"scope", []string{"admin", "schema_read", "payloads_read"}},
			hub.Viewer{Role: hub.RoleViewer, Scopes: []hub.Scope{hub.ScopePayloadsRead, hub.ScopeSchemaRead}}},
		"with no scope of its role": {nil, []any{"scope", "ADMIN"}, hub.Viewer{Role: hub.RoleViewer, Scopes: []hub.Scope{}}},
		"of a partner": {nil, []any{"roles", "PARTNER", "partner", "prt_1"},
			hub.Viewer{Role: hub.RolePartner, PartnerID: "prt_1", Scopes: hub.RolePartner.DefaultScopes()}},
		"by a path of claims, a prefix and a table": {func(c *auth.TokenConfig) {
			c.RoleClaim, c.ScopesClaim, c.Prefix = "realm_access.roles", "https://hub.example/scopes", "hg:"
			c.Roles = map[string]hub.Role{"admins": hub.RoleOperator}
		}, []any{"realm_access", map[string]any{"roles": []string{"viewer", "hg:admins"}}, "https://hub.example/scopes", "admin hg:ADMIN"},
			hub.Viewer{Role: hub.RoleOperator, Scopes: []hub.Scope{hub.ScopeAdmin}}},
		"whose issuer's clock is a little ahead": {nil, []any{"nbf", 3_600_000_020, "iat", 3_600_000_020.5},
			hub.Viewer{Role: hub.RoleViewer, Scopes: hub.RoleViewer.DefaultScopes()}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, c.change, rsaKey(), ecKey())
			for algorithm, key := range map[jose.SignatureAlgorithm]jose.JSONWebKey{jose.RS256: rsaKey(), jose.ES256: ecKey()} {
				viewer, err := w.Authenticate(t.Context(), sign(algorithm, key, w.good(c.said...)))
				if err != nil {
					t.Fatal(err)
				}
				if viewer.Subject != "alice" || viewer.Role != c.want.Role || !slices.Equal(viewer.Scopes, c.want.Scopes) ||
					viewer.PartnerID != c.want.PartnerID || !viewer.ExpiresAt.Equal(w.clock.Now().Add(time.Hour)) {
					t.Errorf("got %+v, want %+v", viewer, c.want)
				}
			}
		})
	}
}

func TestATokenThatIsWrongIsRefusedAndToldWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, rsaKey(), ecKey(), weakKey(), edKey())
	now := w.clock.Now().Unix()
	rs := func(changes ...any) string { return sign(jose.RS256, rsaKey(), w.good(changes...)) }
	segment := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	parts := strings.Split(rs(), ".")
	payload := segment(string(must(json.Marshal(w.good("sub", "mallory")))))
	der := must(x509.MarshalPKIXPublicKey(rsaKey().Key.(crypto.Signer).Public()))
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	confused := keyOf("rsa", public)
	embedded := must(jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: ec("mine").Key}, &jose.SignerOptions{EmbedJWK: true}))
	unlisted := keyOf("nobody", ecKey().Key)
	for name, c := range map[string]struct{ token, says string }{
		"expired":                              {rs("exp", now), "expired"},
		"expired long ago":                     {rs("exp", 1), "expired"},
		"without an expiry":                    {rs("exp", nil), "no expiry"},
		"of an expiry that is a text":          {rs("exp", "tomorrow"), "no expiry"},
		"of an expiry that is null":            {rs("exp", json.RawMessage("null")), "no expiry"},
		"not valid yet":                        {rs("nbf", now+31), "nbf lies in the future"},
		"issued in the future":                 {rs("iat", now+3600), "iat lies in the future"},
		"for another audience":                 {rs("aud", "other"), "audience"},
		"for no audience":                      {rs("aud", nil), "audience"},
		"for an audience that is a number":     {rs("aud", 7), "audience"},
		"of another issuer":                    {rs("iss", "https://evil.example"), "another issuer"},
		"of no issuer":                         {rs("iss", nil), "another issuer"},
		"of nobody":                            {rs("sub", nil), "no subject"},
		"of an endless name":                   {rs("sub", strings.Repeat("a", 256)), "no subject"},
		"by a key of the same name":            {sign(jose.RS256, otherKey(), w.good()), "signature"},
		"by an unknown key":                    {sign(jose.ES256, unlisted, w.good()), "not among its issuer's"},
		"by a weak key of the issuer":          {sign(jose.RS256, weakKey(), w.good()), "not among its issuer's"},
		"by the key that it carries":           {must(jwt.Signed(embedded).Claims(w.good()).Serialize()), "signature"},
		"by an algorithm that is not allowed":  {sign(jose.RS512, rsaKey(), w.good()), "algorithm that is not admitted: use RS256 or ES256"},
		"by EdDSA":                             {sign(jose.EdDSA, edKey(), w.good()), "algorithm"},
		"by the public key as a secret":        {sign(jose.HS256, confused, w.good()), "algorithm"},
		"by none":                              {segment(`{"alg":"none","kid":"rsa"}`) + "." + payload + ".", "algorithm"},
		"by None":                              {segment(`{"alg":"None"}`) + "." + payload + ".", "algorithm"},
		"without an algorithm":                 {segment(`{"kid":"rsa"}`) + "." + payload + "." + parts[2], "algorithm"},
		"of another payload":                   {parts[0] + "." + payload + "." + parts[2], "signature"},
		"of another signature":                 {parts[0] + "." + parts[1] + "." + segment("x"), "signature"},
		"by an algorithm of another kind":      {segment(`{"alg":"ES256","kid":"rsa"}`) + "." + parts[1] + "." + parts[2], "signature"},
		"with an extension that must be known": {segment(`{"alg":"RS256","kid":"rsa","crit":["x"],"x":1}`) + "." + parts[1] + "." + parts[2], ""},
		"dots":                                 {"..", "cannot be read"},
		"garbage":                              {"a.b.c", "can be read"},
		"much garbage":                         {strings.Repeat("a", 1<<20) + ".b.c", "longer than 16384 bytes"},
	} {
		viewer, err := w.Authenticate(t.Context(), c.token)
		if hub.CodeOf(err) != hub.CodeUnauthenticated || viewer != nil || name != "dots" && !strings.Contains(err.Error(), c.says) {
			t.Errorf("a token %s: got %+v, %v", name, viewer, err)
		}
	}
	for name, said := range map[string][]any{
		"without a role":              {"roles", nil},
		"of an unknown role":          {"roles", []string{"king"}},
		"of roles that are a number":  {"roles", 1},
		"of a partner without a name": {"roles", "partner"},
		"of an unknown partner":       {"roles", "partner", "partner", "prt_2"},
		"of two partners":             {"roles", "partner", "partner", []string{"prt_1", "prt_2"}},
	} {
		if viewer, err := w.Authenticate(t.Context(), rs(said...)); hub.CodeOf(err) != hub.CodeForbidden {
			t.Errorf("a token %s: got %+v, %v", name, viewer, err)
		}
	}
	if _, err := w.Authenticate(t.Context(), rs()); err != nil {
		t.Errorf("what is good is refused too: %v", err)
	}
}

func TestAVerifiedTokenIsRememberedUntilItExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, rsaKey())
	token := sign(jose.RS256, rsaKey(), w.good())
	first, err := w.Authenticate(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	if again, _ := w.Authenticate(t.Context(), token); again != first {
		t.Error("it was verified again")
	}
	w.clock.Advance(time.Hour)
	if _, err := w.Authenticate(t.Context(), token); hub.CodeOf(err) != hub.CodeUnauthenticated || !strings.Contains(err.Error(), "expired") {
		t.Errorf("at its expiry: %v", err)
	}
}

func TestKeysAreRotated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, rsaKey())
	old, fresh := sign(jose.RS256, rsaKey(), w.good()), sign(jose.ES256, ecKey(), w.good())
	if _, err := w.Authenticate(t.Context(), old); err != nil {
		t.Fatal(err)
	}
	w.set(nil, rsaKey(), ecKey())
	w.clock.Advance(10 * time.Second)
	if _, err := w.Authenticate(t.Context(), fresh); err != nil {
		t.Errorf("a token by the new key: %v", err)
	}
	if _, err := w.Authenticate(t.Context(), old); err != nil {
		t.Errorf("a token by the old key: %v", err)
	}
	w.set(nil, ecKey())
	w.clock.Advance(5 * time.Minute)
	var err error
	testkit.Eventually(t, "keys are loaded beside the requests", func() bool {
		_, err = w.Authenticate(t.Context(), old)
		return err != nil
	})
	if hub.CodeOf(err) != hub.CodeUnauthenticated || !strings.Contains(err.Error(), "not among its issuer's") {
		t.Errorf("a token by a key that was withdrawn: %v", err)
	}
}

func TestRandomKeyIDsMakeNoFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, rsaKey())
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			token := sign(jose.ES256, keyOf(fmt.Sprint(i), ecKey().Key), w.good())
			if _, err := w.Authenticate(context.Background(), token); hub.CodeOf(err) != hub.CodeUnauthenticated {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if n := w.loads.Load(); n != 1 {
		t.Errorf("the issuer was asked %d times", n)
	}
	w.clock.Advance(10 * time.Second)
	for i := range 50 {
		_, _ = w.Authenticate(context.Background(), sign(jose.ES256, keyOf(fmt.Sprint("again", i), ecKey().Key), w.good()))
	}
	if n := w.loads.Load(); n != 2 {
		t.Errorf("the issuer was asked %d times", n)
	}
}

func TestAnIssuerThatIsDownIsNoWrongToken(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(http.ResponseWriter, *http.Request) bool{
		"fails":             func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true },
		"talks without end": func(w http.ResponseWriter, _ *http.Request) bool { return endless(w) },
		"leads elsewhere": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://169.254.169.254/", http.StatusFound)
			return true
		},
		"is another": func(w http.ResponseWriter, _ *http.Request) bool {
			_, _ = w.Write([]byte(`{"issuer":"https://evil.example","jwks_uri":"https://evil.example/keys"}`))
			return true
		},
		"has no keys": func(w http.ResponseWriter, r *http.Request) bool {
			_, _ = w.Write([]byte(`{"keys":[]}`))
			return r.URL.Path == "/keys"
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, nil, rsaKey())
			var asked atomic.Int32
			w.set(func(rw http.ResponseWriter, r *http.Request) bool {
				asked.Add(1)
				if name == "has no keys" && r.URL.Path != "/keys" {
					return false
				}
				return broken(rw, r)
			}, rsaKey())
			token := sign(jose.RS256, rsaKey(), w.good())
			for range 20 {
				_, err := w.Authenticate(t.Context(), token)
				var shown *hub.Error
				if hub.CodeOf(err) != hub.CodeUnavailable {
					t.Fatalf("got %v", err)
				}
				if shown, _ = err.(*hub.Error); shown == nil || shown.RetryAfter < time.Second || strings.Contains(err.Error(), "127.0.0.1") { //nolint:errorlint // returned as it is
					t.Fatalf("got %+v", err)
				}
			}
			if n := asked.Load(); n > 2 {
				t.Errorf("asked %d times within a second", n)
			}
			w.set(nil, rsaKey())
			w.clock.Advance(2 * time.Second)
			if _, err := w.Authenticate(t.Context(), token); err != nil {
				t.Errorf("when it was back: %v", err)
			}
		})
	}
}

func TestKeysOutliveAnIssuerThatIsDownForADay(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, rsaKey())
	token := sign(jose.RS256, rsaKey(), w.good("exp", w.clock.Now().Add(48*time.Hour).Unix()))
	if _, err := w.Authenticate(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	w.set(func(rw http.ResponseWriter, _ *http.Request) bool { rw.WriteHeader(503); return true })
	w.clock.Advance(23 * time.Hour)
	if _, err := w.Authenticate(t.Context(), token); err != nil {
		t.Errorf("within the day: %v", err)
	}
	w.clock.Advance(2 * time.Hour)
	if _, err := w.Authenticate(t.Context(), token); hub.CodeOf(err) != hub.CodeUnavailable {
		t.Errorf("after it: %v", err)
	}
}

func TestKeysFromAURLNeedNoDiscovery(t *testing.T) {
	t.Parallel()
	i := newProvider(t, rsaKey())
	w := newWorld(t, func(c *auth.TokenConfig) { c.KeysURL = i.URL + "/keys" })
	if _, err := w.Authenticate(t.Context(), sign(jose.RS256, rsaKey(), w.good())); err != nil || i.discovers.Load() != 0 || i.loads.Load() != 1 {
		t.Errorf("%v, %d, %d", err, i.discovers.Load(), i.loads.Load())
	}
}

func TestKeysAreTakenBesideTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, rsaKey())
	a := auth.New(&keys{}, operatorKey, w.clock, slog.New(slog.DiscardHandler), w.Tokens)
	if v, err := a.Authenticate(t.Context(), operatorKey); err != nil || v.Role != hub.RoleOperator {
		t.Errorf("the operator: %v", err)
	}
	if v, err := a.Authenticate(t.Context(), sign(jose.RS256, rsaKey(), w.good())); err != nil || v.Subject != "alice" {
		t.Errorf("a token: %v", err)
	}
	if _, err := a.Authenticate(t.Context(), "nonsense"); hub.CodeOf(err) != hub.CodeUnauthenticated || w.loads.Load() != 1 {
		t.Errorf("nonsense: %v", err)
	}
}

func FuzzTokens(f *testing.F) {
	w := newWorld(f, nil, rsaKey(), ecKey())
	good := []string{sign(jose.RS256, rsaKey(), w.good()), sign(jose.ES256, ecKey(), w.good())}
	for _, token := range slices.Concat(good, []string{"", "..", "a.b.c", "eyJhbGciOiJub25lIn0.e30.", strings.Repeat(".", 100)}) {
		f.Add(token)
	}
	f.Fuzz(func(t *testing.T, token string) {
		viewer, err := w.Authenticate(context.Background(), token)
		if (viewer == nil) == (err == nil) {
			t.Fatalf("%+v, %v", viewer, err)
		}
		if code := hub.CodeOf(err); err != nil && code != hub.CodeUnauthenticated {
			t.Fatalf("%q: %v", token, err)
		}
		if err == nil && !slices.Contains(good, token) {
			t.Fatalf("%q is good", token)
		}
	})
}

// What the claims hold is the issuer's, but other tenants may shape it.
func FuzzClaims(f *testing.F) {
	f.Add(`{"roles":["viewer"],"scope":"ADMIN"}`)
	f.Add(`{"roles":{"a":1},"exp":1e400,"aud":[[]]}`)
	f.Add(`{"exp":-9223372036854775808,"partner":["a","b"]}`)
	w := newWorld(f, nil, ecKey())
	f.Fuzz(func(t *testing.T, text string) {
		var said map[string]any
		if json.Unmarshal([]byte(text), &said) != nil || said == nil {
			return
		}
		claims := w.good()
		maps.Copy(claims, said)
		viewer, err := w.Authenticate(context.Background(), sign(jose.ES256, ecKey(), claims))
		if err == nil {
			for _, scope := range viewer.Scopes {
				if scope != hub.ScopeSchemaRead && !slices.Contains(viewer.Role.DefaultScopes(), scope) {
					t.Fatalf("%s: %+v", text, viewer)
				}
			}
		} else if code := hub.CodeOf(err); code != hub.CodeUnauthenticated && code != hub.CodeForbidden {
			t.Fatalf("%s: %v", text, err)
		}
	})
}

func TestATokenOfAPartnerThatIsGone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil, rsaKey())
	text := sign(jose.RS256, rsaKey(), w.good("roles", "PARTNER", "partner", "prt_1", "scope", "events_read schema_read admin"))
	viewer, err := w.Authenticate(t.Context(), text)
	if err != nil || viewer.PartnerID != "prt_1" || !slices.Equal(viewer.Scopes, []hub.Scope{hub.ScopeEventsRead}) {
		t.Fatalf("got %+v %v", viewer, err)
	}
	w.gone.Store(true)
	if _, err := w.Authenticate(t.Context(), text); hub.CodeOf(err) != hub.CodeForbidden {
		t.Errorf("got %v", err)
	}
}
