package app_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// tokenIssuer is an OpenID Connect issuer over HTTP.
type tokenIssuer struct {
	*httptest.Server
	t    *testing.T
	key  jose.JSONWebKey
	down atomic.Bool
}

func issue(t *testing.T) *tokenIssuer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	i := &tokenIssuer{t: t, key: jose.JSONWebKey{Key: private, KeyID: "one", Use: "sig"}}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case i.down.Load():
			w.WriteHeader(http.StatusBadGateway)
		case r.URL.Path == "/realm/.well-known/openid-configuration":
			_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL + "/realm", "jwks_uri": i.URL + "/keys"})
		case r.URL.Path == "/keys":
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{i.key.Public()}})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(i.Close)
	return i
}

// token makes one of a lifetime, for an audience.
func (i *tokenIssuer) token(lifetime time.Duration, audience string, said map[string]any) string {
	i.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: i.key}, nil)
	if err != nil {
		i.t.Fatal(err)
	}
	all := map[string]any{
		"iss": i.URL + "/realm", "aud": audience, "sub": "alice", "exp": time.Now().Add(lifetime).Unix(),
	}
	for name, value := range said {
		all[name] = value
	}
	text, err := jwt.Signed(signer).Claims(all).Serialize()
	if err != nil {
		i.t.Fatal(err)
	}
	return text
}

// withTokens are options of a hub that trusts the issuer.
func (i *tokenIssuer) withTokens(o config.Server) config.Server {
	o.OIDC = config.OIDC{
		OIDCIssuer: i.URL + "/realm", OIDCAudience: []string{"hub"}, OIDCAlgorithms: []string{"RS256", "ES256"},
		OIDCRoleClaim: "roles", OIDCPartnerClaim: "partner", OIDCScopesClaim: "scope",
	}
	return o
}

func TestAccessByTokens(t *testing.T) {
	t.Parallel()
	i := issue(t)
	i.down.Store(true)
	c := start(t, i.withTokens(options(t))) // although the issuer is down
	viewer := c.as(i.token(time.Hour, "hub", map[string]any{"roles": []string{"VIEWER"}, "scope": "openid EVENTS_READ"}))
	status, header, raw := viewer.exchange(http.MethodPost, "/graphql", http.Header{
		"Content-Type": {"application/json"}, "Authorization": {"Bearer " + viewer.key},
	}, []byte(`{"query":"{ viewer { role } }"}`))
	if status != http.StatusServiceUnavailable || header.Get("Retry-After") == "" || !contains(string(raw), `"UNAVAILABLE"`) || contains(string(raw), "127.0.0.1") {
		t.Errorf("while the issuer is down: %d %v %s", status, header, raw)
	}
	if a := c.ask(`{ viewer { role } }`, nil); len(a.Errors) > 0 {
		t.Errorf("keys need no issuer: %+v", a)
	}
	i.down.Store(false)
	testkit.Eventually(t, "the issuer is asked again", func() bool { return viewer.refusal(`{ viewer { role } }`) != "UNAVAILABLE" })
	if a := viewer.ask(`{ viewer { role scopes rateLimit { remaining } } sources { totalCount } }`, nil); len(a.Errors) > 0 || !contains(string(a.Data), `"viewer":{"role":"VIEWER","scopes":["EVENTS_READ"]`) {
		t.Errorf("got %s %+v", a.Data, a.Errors)
	}
	if code := viewer.refusal(`mutation { pauseSource(id: "x") { source { id } } }`); code != "FORBIDDEN" {
		t.Errorf("beyond its scopes: %s", code)
	}
	for name, one := range map[string]struct{ token, code, says string }{
		"expired":              {i.token(-time.Second, "hub", map[string]any{"roles": "VIEWER"}), "UNAUTHENTICATED", "expired"},
		"for another audience": {i.token(time.Hour, "shop", map[string]any{"roles": "VIEWER"}), "UNAUTHENTICATED", "audience"},
		"without a role":       {i.token(time.Hour, "hub", nil), "FORBIDDEN", "grants no role"},
		"of another issuer":    {issue(t).token(time.Hour, "hub", map[string]any{"roles": "VIEWER"}), "UNAUTHENTICATED", "signature"},
	} {
		a := c.as(one.token).ask(`{ viewer { role } }`, nil)
		if len(a.Errors) != 1 || a.Errors[0].Extensions["code"] != one.code || !strings.Contains(a.Errors[0].Message, one.says) {
			t.Errorf("%s: %+v", name, a)
		}
		conn, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(c.url, "http")+"/graphql", &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
		if err != nil {
			t.Fatal(err)
		}
		s := &socket{t, conn}
		s.send(frame{Type: "connection_init", Payload: json.RawMessage(`{"authorization":"Bearer ` + one.token + `"}`)})
		_, err = s.read()
		var closed websocket.CloseError
		if !errors.As(err, &closed) || closed.Code != 4403 || !strings.HasPrefix(closed.Reason, "Forbidden: ") || !strings.Contains(closed.Reason, one.says) {
			t.Errorf("%s over a WebSocket: %v", name, err)
		}
		_ = conn.CloseNow()
	}
}

func TestStreamsEndWhenTheirTokenExpires(t *testing.T) {
	t.Parallel()
	i := issue(t)
	c := start(t, i.withTokens(options(t)))
	warm := c.as(i.token(time.Hour, "hub", map[string]any{"roles": "VIEWER"}))
	warm.do(&struct{}{}, `{ viewer { role } }`, nil)
	expires := time.Now().Add(11 * time.Second).Truncate(time.Second)
	short := c.as(i.token(time.Until(expires)+time.Millisecond, "hub", map[string]any{"roles": "VIEWER"}))
	s := short.dial()
	s.subscribe(eventStream, nil)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url+"/graphql", strings.NewReader(`{"query":"subscription { eventStream { cursor } }"}`))
	if err != nil {
		t.Fatal(err)
	}
	request.Header = http.Header{"Authorization": {"Bearer " + short.key}, "Content-Type": {"application/json"}, "Accept": {"text/event-stream"}}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	lines, text := newLines(response.Body), ""
	for lines.Scan() {
		text += lines.Text() + "\n"
	}
	if !contains(text, "UNAUTHENTICATED") || !contains(text, "event: complete") {
		t.Errorf("the events were %s", text)
	}
	for err == nil {
		_, err = s.read()
	}
	var closed websocket.CloseError
	if !errors.As(err, &closed) || closed.Code != 4403 {
		t.Errorf("the socket: %v", err)
	}
	if early := time.Until(expires); early > 0 {
		t.Errorf("they ended %s before it", early)
	}
}

func TestAnIssuerInsideIsOutOfReachUnlessAllowed(t *testing.T) {
	t.Parallel()
	i := issue(t)
	o := i.withTokens(options(t))
	o.AllowNetworks = nil
	c := start(t, o)
	if code := c.as(i.token(time.Hour, "hub", map[string]any{"roles": "VIEWER"})).refusal(`{ viewer { role } }`); code != "UNAVAILABLE" {
		t.Errorf("got %s", code)
	}
}
