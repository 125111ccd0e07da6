package app_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hookgraph/hookgraph/internal/app"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// authority signs certificates for both sides of mutual TLS.
type authority struct {
	t           *testing.T
	key         ed25519.PrivateKey
	certificate *x509.Certificate
	pem         string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	_, a.key, _ = ed25519.GenerateKey(rand.Reader)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	a.certificate, _ = x509.ParseCertificate(der)
	a.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return a
}

func (a *authority) issue(name string) (certificate, key string) {
	a.t.Helper()
	return a.issueUntil(name, time.Now().Add(time.Hour))
}

func (a *authority) issueUntil(name string, end time.Time) (certificate, key string) {
	a.t.Helper()
	_, private, _ := ed25519.GenerateKey(rand.Reader)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}, a.certificate, private.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	raw, _ := x509.MarshalPKCS8PrivateKey(private)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}))
}

// serveTLS serves those alone who show a certificate of the authority.
func (a *authority) serveTLS(handler http.HandlerFunc) string {
	a.t.Helper()
	return a.serveTLSAt(time.Now, handler)
}

// serveTLSAt does so with a clock of its own, by which it looks at certificates.
func (a *authority) serveTLSAt(clock func() time.Time, handler http.HandlerFunc) string {
	a.t.Helper()
	certificate, key := a.issue("endpoint")
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		a.t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	server := httptest.NewUnstartedServer(handler)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: roots, MinVersion: tls.VersionTLS12, Time: clock}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	a.t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server.URL
}

// create makes an endpoint of any input.
func (c *client) create(input map[string]any) (id, secret string) {
	c.t.Helper()
	var made struct {
		CreateEndpoint struct {
			Endpoint      struct{ ID string }
			SigningSecret string
		}
	}
	c.do(&made, `mutation ($input: CreateEndpointInput!) { createEndpoint(input: $input) { endpoint { id } signingSecret userErrors { field message } } }`,
		map[string]any{"input": input})
	return made.CreateEndpoint.Endpoint.ID, made.CreateEndpoint.SigningSecret
}

// repeat answers with everything it was sent.
func repeat(w http.ResponseWriter, r *http.Request, status int) {
	w.Header().Set("X-Repeated", r.Header.Get("Authorization")+r.Header.Get("X-Shop-Key"))
	w.WriteHeader(status)
	_ = r.Header.Write(w)
}

func TestCredentialsArriveAndShowUpNowhereElse(t *testing.T) {
	t.Parallel()
	const (
		apiKey, password, bearer = "apikey-distinct-4711", "pass:word-distinct-4712", "bearer-distinct-4713"
		clientSecret, token      = "client-secret-distinct-4714", "access-token-distinct-4715"
		hmacKey                  = "hmac-key-distinct-4716-0123456789abcdef"
		custom                   = "custom-header-distinct-4717"
	)
	o := options(t)
	logged := new(testkit.Output)
	h, err := app.Start(t.Context(), o, secretKey, slog.New(slog.NewJSONHandler(logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, hub: h, url: h.URL(), key: operatorKey}
	t.Cleanup(c.stop)
	c.source("s")

	basic := base64.StdEncoding.EncodeToString([]byte("shop:" + password))
	secrets := []string{apiKey, password, basic, bearer, clientSecret, token, hmacKey, custom, operatorKey}

	tokenServer := listen(t, func(w http.ResponseWriter, r *http.Request, n int) {
		switch n {
		case 0: // with everything in its answer
			w.Header().Set("Content-Type", "application/json")
			repeat(w, r, http.StatusBadRequest)
		case 1:
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"error":"`+clientSecret+`","error_description":"`+clientSecret+`"}`)
		default:
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"access_token":"`+token+`","token_type":"bearer","expires_in":3600}`)
		}
	})

	// Every receiver refuses in every way before it takes what it is sent.
	done := make(chan struct{})
	t.Cleanup(func() { close(done) })
	answers := func(w http.ResponseWriter, r *http.Request, n int) {
		switch n {
		case 0:
			w.Header().Set("Location", "/elsewhere?token="+r.Header.Get("Authorization"))
			repeat(w, r, http.StatusFound)
		case 1:
			repeat(w, r, http.StatusUnauthorized)
		case 2:
			repeat(w, r, http.StatusInternalServerError)
		case 3: // until the hub gives up
			select {
			case <-r.Context().Done():
			case <-done:
			}
		default:
			repeat(w, r, http.StatusOK)
		}
	}
	waits := []string{"PT0S", "PT0.05S", "PT1.2S", "PT0.05S", "PT0.05S", "PT0.05S", "PT0.05S", "PT0.05S"}
	waits = append(waits, slices.Repeat([]string{"PT1.2S"}, 20)...) // where the machine is slow, more attempts time out than are meant to
	schedule := map[string]any{"schedule": waits, "jitter": 0}
	ca := newAuthority(t)
	certificate, key := ca.issue("hub")
	secrets = append(secrets, strings.Split(strings.TrimSpace(key), "\n")[1])
	var shown sync.Map
	secure := ca.serveTLS(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		shown.Store(r.TLS.PeerCertificates[0].Subject.CommonName, true)
		repeat(w, r, http.StatusOK)
	})

	receivers := make(map[string]*receiver)
	kinds := make(map[string]string) // by endpoint
	for kind, auth := range map[string]map[string]any{
		"API_KEY":                   {"apiKey": map[string]any{"header": "X-Shop-Key", "value": apiKey}},
		"BASIC":                     {"basic": map[string]any{"username": "shop", "password": password}},
		"BEARER":                    {"bearer": bearer},
		"OAUTH2_CLIENT_CREDENTIALS": {"oauth2": map[string]any{"tokenUrl": tokenServer.URL, "clientId": "shop", "clientSecret": clientSecret, "scopes": []string{"a"}}},
		"JWT":                       {"jwt": map[string]any{"algorithm": "HS256", "privateKey": hmacKey, "keyId": "k1", "claims": map[string]any{"iss": "hub", "n": 9007199254740993}}},
	} {
		receivers[kind] = listen(t, answers)
		id, secret := c.create(map[string]any{
			"name": kind, "url": receivers[kind].URL, "auth": auth, "retryPolicy": schedule, "timeout": "PT3S",
			"headers": []any{map[string]any{"name": "X-Api-Token", "value": custom}},
		})
		kinds[id] = kind
		secrets = append(secrets, secret)
		c.subscribe(id, "")
	}
	mtls := map[string]any{"mtls": map[string]any{"certificate": certificate, "privateKey": key, "caCertificate": ca.pem}}
	withCertificate, _ := c.create(map[string]any{"name": "MTLS", "url": secure, "auth": mtls, "signing": "STANDARD_V1A"})
	kinds[withCertificate] = "MTLS"
	c.subscribe(withCertificate, "")
	untrusting, _ := c.create(map[string]any{"name": "TLS", "url": secure, "auth": map[string]any{"bearer": bearer}, "retryPolicy": map[string]any{"schedule": []string{"PT0S"}}})
	c.subscribe(untrusting, "")

	// A broker is shown a name and a password, or a token, and is not there.
	queue := "nats://" + testkit.FreeAddr(t) + "/subject"
	for name, auth := range map[string]map[string]any{
		"queue by password": {"basic": map[string]any{"username": "shop", "password": password}}, "queue by token": {"bearer": bearer},
	} {
		id, _ := c.create(map[string]any{"name": name, "kind": "QUEUE", "url": queue, "auth": auth, "timeout": "PT0.5S", "retryPolicy": map[string]any{"schedule": []string{"PT0S"}}})
		c.subscribe(id, "")
	}
	// Whoever is told what happens to the hub is told no secrets either.
	told := listen(t, nil)
	telling, _ := c.create(map[string]any{"name": "told", "url": told.URL})
	c.subscribe(telling, `eventTypes: ["hookgraph.*"]`)

	sent := c.post("s", nil, []byte(`{"type":"x"}`))
	testkit.Eventually(t, "all has ended", func() bool {
		for _, d := range c.deliveries(sent.ID) {
			if d.Status != "DELIVERED" && d.Status != "DEAD" {
				return false
			}
		}
		return true
	})
	dead := 0
	outcomes := make(map[string]bool)
	for _, d := range c.deliveries(sent.ID) {
		if d.Status == "DEAD" {
			dead++
		}
		for _, a := range d.Attempts.Nodes {
			outcomes[a.Outcome] = true
			for _, h := range a.RequestHeaders {
				if (h.Name == "Authorization" || h.Name == "X-Shop-Key" || h.Name == "X-Api-Token") && h.Value != "[redacted]" {
					t.Errorf("%s is recorded as %q", h.Name, h.Value)
				}
			}
		}
	}
	if dead != 3 || !outcomes["TLS_FAILED"] || !outcomes["REFUSED"] || !outcomes["TIMED_OUT"] || !outcomes["CONNECTION_FAILED"] || !outcomes["SUCCEEDED"] {
		t.Errorf("%d are dead, outcomes were %v", dead, outcomes)
	}
	if _, ok := shown.Load("hub"); !ok {
		t.Error("the client certificate was not shown")
	}

	// What arrived is what was meant.
	for kind, want := range map[string][2]string{
		"API_KEY": {"X-Shop-Key", apiKey}, "BASIC": {"Authorization", "Basic " + basic}, "BEARER": {"Authorization", "Bearer " + bearer},
		"OAUTH2_CLIENT_CREDENTIALS": {"Authorization", "Bearer " + token},
	} {
		for _, a := range receivers[kind].got() {
			if got := a.Header.Get(want[0]); got != want[1] || a.Header.Get("X-Api-Token") != custom {
				t.Errorf("%s arrived as %q", kind, got)
			}
		}
	}
	ids := make(map[string]bool)
	for _, a := range receivers["JWT"].got() {
		text := strings.TrimPrefix(a.Header.Get("Authorization"), "Bearer ")
		secrets = append(secrets, text)
		claims := jwt.MapClaims{}
		parsed, err := jwt.ParseWithClaims(text, claims, func(*jwt.Token) (any, error) { return []byte(hmacKey), nil },
			jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("hub"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithJSONNumber())
		if err != nil || parsed.Header["kid"] != "k1" || claims["n"] != json.Number("9007199254740993") {
			t.Errorf("the token %v has the claims %v: %v", parsed.Header, claims, err)
		}
		id, _ := claims["jti"].(string)
		if ids[id] || id == "" {
			t.Errorf("the token's ID %q is not its own", id)
		}
		ids[id] = true
	}

	// And it shows up nowhere else.
	var tested struct {
		TestEndpoint struct{ Attempt struct{ ID, Outcome string } }
	}
	var tests []string
	for id := range kinds {
		c.do(&tested, `mutation ($id: ID!) { testEndpoint(id: $id) { attempt { id outcome error } userErrors { message } } }`, map[string]any{"id": id})
		if tested.TestEndpoint.Attempt.Outcome != "SUCCEEDED" {
			t.Errorf("%s: the test was %s", kinds[id], tested.TestEndpoint.Attempt.Outcome)
		}
		tests = append(tests, tested.TestEndpoint.Attempt.ID)
	}
	var endpoints struct {
		Endpoints struct {
			Nodes []struct{ ID, AuthKind, AuthFingerprint string }
		}
	}
	c.do(&endpoints, `{ endpoints { nodes { id authKind authFingerprint } } }`, nil)
	for _, e := range endpoints.Endpoints.Nodes {
		if kind := kinds[e.ID]; kind != "" && (e.AuthKind != kind || len(e.AuthFingerprint) != 12) {
			t.Errorf("%+v is not %s", e, kind)
		}
	}
	testkit.Eventually(t, "it is told what died", func() bool {
		died := 0
		for _, a := range told.got() {
			if a.Header.Get("Webhook-Event-Type") == "hookgraph.delivery.dead" {
				died++
			}
		}
		return died == 3
	})
	places := map[string][]byte{"the log": []byte(logged.String())}
	for _, a := range told.got() {
		places["hub events"] = append(places["hub events"], a.Body...)
	}
	const attempt = `id error requestUrl requestHeaders { name value } requestBody responseHeaders { name value } responseBody`
	look := func(query string, variables map[string]any) {
		t.Helper()
		a := c.ask(query, variables)
		if len(a.Errors) > 0 {
			t.Fatalf("%s was answered %+v", query, a.Errors)
		}
		places["GraphQL"] = append(places["GraphQL"], a.Data...)
	}
	look(`{ endpoints { nodes { id name url authKind authFingerprint publicKey headers { name value } stateReason signingSecrets { id fingerprint publicKey } } } }`, nil)
	look(`query ($id: ID!) { event(id: $id) { trace { detail outcome } } }`, map[string]any{"id": sent.ID})
	for _, d := range c.deliveries(sent.ID) {
		look(`query ($id: ID!) { delivery(id: $id) { reason attempts { nodes { `+attempt+` } } } }`, map[string]any{"id": d.ID})
	}
	for _, id := range tests {
		look(`query ($id: ID!) { node(id: $id) { ... on Attempt { `+attempt+` } } }`, map[string]any{"id": id})
	}
	_, places["/metrics"] = c.send(http.MethodGet, "/metrics", nil, nil)
	c.stop()
	files, err := filepath.Glob(strings.TrimPrefix(o.DatabaseURL, "sqlite:") + "*")
	if err != nil || len(files) == 0 {
		t.Fatalf("no database: %v", err)
	}
	for _, file := range files {
		if places[file], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Contains(places["GraphQL"], []byte("[redacted]")) || !bytes.Contains(places["the log"], []byte("delivery.attempted")) {
		t.Errorf("this test looks in the wrong places: %.300s %.300s", places["GraphQL"], places["the log"])
	}
	for place, text := range places {
		for _, secret := range secrets {
			if at := bytes.Index(text, []byte(secret)); at >= 0 {
				t.Errorf("%s holds %q: …%q…", place, secret, text[max(at-80, 0):min(at+80, len(text))])
			}
		}
	}
}
