package registry_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
)

// keyPEM writes a private key in PEM.
func keyPEM(t *testing.T, key any) hub.Secret {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return hub.Secret(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// selfSigned makes a certificate that ends at the given time.
func selfSigned(t *testing.T, key ed25519.PrivateKey, until time.Time) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "hub"}, NotBefore: until.Add(-time.Hour), NotAfter: until,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func TestCredentialsOfEndpoints(t *testing.T) {
	t.Parallel()
	_, ed, _ := ed25519.GenerateKey(rand.Reader)
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ec384, _ := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	rsa2048, _ := rsa.GenerateKey(rand.Reader, 2048)
	certificate := selfSigned(t, ed, newYear.Add(time.Hour))
	bearer := func(text string) *hub.Secret { s := hub.Secret(text); return &s }
	jwt := func(algorithm string, key hub.Secret) registry.EndpointAuthInput {
		return registry.EndpointAuthInput{JWT: &registry.JWTAuthInput{Algorithm: algorithm, PrivateKey: key}}
	}
	type input = registry.EndpointAuthInput
	for name, c := range map[string]struct {
		in   input
		want []string // none: it is right
		kind hub.EndpointAuthKind
	}{
		"API key": {in: input{APIKey: &registry.APIKeyAuthInput{Value: "k"}}, kind: hub.AuthAPIKey},
		"basic":   {in: input{Basic: &registry.BasicAuthInput{Username: "u", Password: "p:w"}}, kind: hub.AuthBasic},
		"bearer":  {in: input{Bearer: bearer("t")}, kind: hub.AuthBearer},
		"oauth2":  {in: input{OAuth2: &registry.OAuth2Input{TokenURL: "https://a.example/t", ClientID: "c", ClientSecret: "s"}}, kind: hub.AuthOAuth2},
		"HS256":   {in: jwt("HS256", hub.Secret(strings.Repeat("k", 32))), kind: hub.AuthJWT},
		"EdDSA":   {in: jwt("EdDSA", keyPEM(t, ed)), kind: hub.AuthJWT},
		"ES256":   {in: jwt("ES256", keyPEM(t, ec)), kind: hub.AuthJWT},
		"RS256":   {in: jwt("RS256", keyPEM(t, rsa2048)), kind: hub.AuthJWT},
		"mTLS": {in: input{MTLS: &registry.MTLSInput{
			Certificate: certificate, PrivateKey: keyPEM(t, ed), CACertificate: certificate,
		}}, kind: hub.AuthMTLS},

		"none at all": {in: input{}, want: []string{"REQUIRED input.auth: give one of"}},
		"two, and both are looked at": {
			in:   input{Bearer: bearer("a\nb"), APIKey: &registry.APIKeyAuthInput{Header: registry.Some("Webhook-Id")}},
			want: []string{"CONFLICT input.auth: only one", "INVALID input.auth.bearer: line breaks", "FORBIDDEN input.auth.apiKey.header: hub itself", "REQUIRED input.auth.apiKey.value: empty"},
		},
		"a header of no name": {in: input{APIKey: &registry.APIKeyAuthInput{Header: registry.Some("a b"), Value: "v"}}, want: []string{"INVALID input.auth.apiKey.header: not the name"}},
		"basic with a colon":  {in: input{Basic: &registry.BasicAuthInput{Username: "a:b"}}, want: []string{"INVALID input.auth.basic.username: no colon"}},
		"an empty client": {in: input{OAuth2: &registry.OAuth2Input{TokenURL: "http://10.9.9.9/", Scopes: []string{"a b"}}}, want: []string{
			"FORBIDDEN input.auth.oauth2.tokenUrl: ", "REQUIRED input.auth.oauth2.clientId: ", "REQUIRED input.auth.oauth2.clientSecret: ", "INVALID input.auth.oauth2.scopes: ",
		}},
		"an algorithm to come":  {in: jwt("none", "x"), want: []string{"INVALID input.auth.jwt.algorithm: HS256, RS256, ES256, EdDSA"}},
		"a short key":           {in: jwt("HS256", "short"), want: []string{"INVALID input.auth.jwt.privateKey: at least 32 bytes"}},
		"a key of another sort": {in: jwt("RS256", keyPEM(t, ec)), want: []string{"INVALID input.auth.jwt.privateKey: RSA private key in PEM"}},
		"another curve":         {in: jwt("ES256", keyPEM(t, ec384)), want: []string{"INVALID input.auth.jwt.privateKey: P-256"}},
		"claims of the hub's": {
			in: input{JWT: &registry.JWTAuthInput{
				Algorithm: "EdDSA", PrivateKey: keyPEM(t, ed), Claims: json.RawMessage(`{"exp": 1}`), Lifetime: registry.Some(2 * time.Hour),
			}},
			want: []string{"FORBIDDEN input.auth.jwt.claims: exp", "INVALID input.auth.jwt.lifetime: PT10S to PT1H"},
		},
		"claims of no object": {
			in:   input{JWT: &registry.JWTAuthInput{Algorithm: "EdDSA", PrivateKey: keyPEM(t, ed), Claims: json.RawMessage(`[]`)}},
			want: []string{"INVALID input.auth.jwt.claims: JSON object"},
		},
		"no certificates": {
			in:   input{MTLS: &registry.MTLSInput{Certificate: "x", PrivateKey: "y", CACertificate: "z"}},
			want: []string{"INVALID input.auth.mtls.certificate: in PEM", "INVALID input.auth.mtls.caCertificate: in PEM"},
		},
		"another's key": {
			in:   input{MTLS: &registry.MTLSInput{Certificate: certificate, PrivateKey: keyPEM(t, other)}},
			want: []string{"INVALID input.auth.mtls.privateKey: not the private key"},
		},
		"an old certificate": {
			in:   input{MTLS: &registry.MTLSInput{Certificate: selfSigned(t, ed, newYear.Add(-time.Hour)), PrivateKey: keyPEM(t, ed)}},
			want: []string{"INVALID input.auth.mtls.certificate: expired on 2025-12-31"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			e, _, err := b.CreateEndpoint(t.Context(), endpoint(func(in *registry.CreateEndpointInput) { in.Auth = registry.Some(c.in) }))
			if len(c.want) > 0 {
				wrong(t, err, c.want...)
				return
			}
			if err != nil || e.Auth == nil || e.Auth.Kind != c.kind {
				t.Fatalf("got %+v, %v", e, err)
			}
			clear := registry.UpdateEndpointInput{ID: e.ID, Auth: registry.Null[registry.EndpointAuthInput]()}
			if e, _, err := b.UpdateEndpoint(t.Context(), clear); err != nil || e.Auth != nil {
				t.Fatalf("got %+v, %v", e, err)
			}
		})
	}

	t.Run("no header of one's own takes the credential's place", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		own := []hub.Header{{Name: "authorization", Value: "Bearer mine"}}
		e, _, err := b.CreateEndpoint(t.Context(), endpoint(func(in *registry.CreateEndpointInput) { in.Headers = registry.Some(own) }))
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = b.UpdateEndpoint(t.Context(), registry.UpdateEndpointInput{ID: e.ID, Auth: registry.Some(input{Bearer: bearer("t")})})
		wrong(t, err, "CONFLICT input.headers.0.name: carries the endpoint's credential")
	})
	t.Run("a certificate needs TLS", func(t *testing.T) {
		t.Parallel()
		_, _, err := setup(t).CreateEndpoint(t.Context(), endpoint(func(in *registry.CreateEndpointInput) {
			in.URL = registry.Some("http://shop.example/")
			in.Auth = registry.Some(input{MTLS: &registry.MTLSInput{Certificate: certificate, PrivateKey: keyPEM(t, ed)}})
		}))
		wrong(t, err, "INVALID input.url: https:// alone")
	})
}

func TestAnotherURLIsNotVerified(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, _, err := b.CreateEndpoint(t.Context(), endpoint(nil))
	if err != nil {
		t.Fatal(err)
	}
	verified := func(url string) bool {
		t.Helper()
		b.store.elsewhere(func(m *memory) { m.endpoints[e.ID].VerifiedAt = newYear })
		got, _, err := b.UpdateEndpoint(t.Context(), registry.UpdateEndpointInput{ID: e.ID, URL: registry.Some(url)})
		if err != nil {
			t.Fatal(err)
		}
		return !got.VerifiedAt.IsZero()
	}
	if !verified(e.URL) || verified("https://elsewhere.example/") {
		t.Error("what is verified is not the URL")
	}
}

func TestChoosingWhatBecomesOfABacklog(t *testing.T) {
	t.Parallel()
	b := setup(t)
	e, _, err := b.CreateEndpoint(t.Context(), endpoint(nil))
	if err != nil {
		t.Fatal(err)
	}
	resume := func(choice hub.BacklogChoice) *hub.Endpoint {
		t.Helper()
		if _, err := b.PauseEndpoint(t.Context(), e.ID); err != nil {
			t.Fatal(err)
		}
		got, err := b.ResumeEndpoint(t.Context(), e.ID, choice)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := resume(hub.BacklogSendAll); got.Backlog != nil {
		t.Errorf("to send all left %+v", got.Backlog)
	}
	want := hub.BacklogOrder{Choice: hub.BacklogCancel, Before: newYear}
	if got := resume(hub.BacklogCancel); got.Backlog == nil || *got.Backlog != want {
		t.Fatalf("got %+v", got.Backlog)
	}
	b.clock.at = newYear.Add(time.Minute)
	if got, err := b.ResumeEndpoint(t.Context(), e.ID, hub.BacklogCancel); err != nil || *got.Backlog != want {
		t.Errorf("the same again gave %+v, %v", got.Backlog, err)
	}
	if _, err := b.PauseEndpoint(t.Context(), e.ID); err != nil {
		t.Fatal(err)
	}
	_, err = b.ResumeEndpoint(t.Context(), e.ID, hub.BacklogSendNewest)
	if problems, ok := err.(hub.UserErrors); !ok || problems[0].Code != hub.InputConflict || problems[0].Field[0] != "backlog" { //nolint:errorlint // it is returned as it is
		t.Errorf("another choice gave %v", err)
	}
	if got, err := b.ResumeEndpoint(t.Context(), e.ID, hub.BacklogSendAll); err != nil || *got.Backlog != want {
		t.Errorf("to send the rest gave %+v, %v", got.Backlog, err)
	}
}
