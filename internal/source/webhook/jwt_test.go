package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/hookgraph/hookgraph/internal/hub"
)

var tokenNow = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

const tokenSecret = "a-secret-of-exactly-32-bytes-12!"

// keyRing is a key set in memory.
type keyRing struct {
	keys []jose.JSONWebKey
	err  error
}

func (k keyRing) Keys(_ context.Context, _, id, algorithm string) ([]jose.JSONWebKey, error) {
	var out []jose.JSONWebKey
	for _, key := range k.keys {
		if (id == "" || key.KeyID == id) && (key.Algorithm == "" || key.Algorithm == algorithm) {
			out = append(out, key)
		}
	}
	return out, k.err
}

func signToken(t testing.TB, algorithm jose.SignatureAlgorithm, key any, id string, claims any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if id != "" {
		options = options.WithHeader("kid", id)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	text, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// unsignedToken writes a token with any header and signature.
func unsignedToken(header, payload string, signature []byte) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode(signature)
}

func good() map[string]any {
	return map[string]any{"iss": "https://issuer.example", "aud": []string{"other", "hub"}, "exp": tokenNow.Add(time.Minute).Unix()}
}

func with(pairs ...any) map[string]any {
	claims := good()
	for i := 0; i < len(pairs); i += 2 {
		if name := pairs[i].(string); pairs[i+1] == nil {
			delete(claims, name)
		} else {
			claims[name] = pairs[i+1]
		}
	}
	return claims
}

func verifyToken(t testing.TB, src *hub.Source, keys Keys, values ...string) Verdict {
	t.Helper()
	adapter := New(NewTable(), nil).WithKeys(keys)
	header := http.Header{}
	for _, value := range values {
		header.Add(src.Verification.JWT.Header, value)
	}
	return adapter.Verify(t.Context(), src, &Request{Method: "POST", Header: header, Body: []byte("{}"), ReceivedAt: tokenNow})
}

func tokenSource(url string, secrets ...hub.Secret) *hub.Source {
	return &hub.Source{ID: "src_a", Kind: hub.SourceWebhook, Secrets: secrets, Verification: &hub.Verification{JWT: &hub.JWTVerification{
		Header: "Authorization", JWKSURL: url, Issuer: "https://issuer.example", Audience: "hub",
	}}}
}

func TestTokensSignedWithASecret(t *testing.T) {
	t.Parallel()
	key, long := []byte(tokenSecret), []byte(strings.Repeat("k", 64))
	sign := func(claims any) string { return signToken(t, jose.HS256, key, "", claims) }
	at := func(d time.Duration) int64 { return tokenNow.Add(d).Unix() }
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := json.Marshal(good())
	for _, c := range []struct {
		name   string
		values []string
		want   hub.RejectionReason
		says   string
	}{
		{"after Bearer", []string{"Bearer " + sign(good())}, "", ""},
		{"after bearer", []string{"bearer   " + sign(good())}, "", ""},
		{"alone", []string{sign(good())}, "", ""},
		{"by the second secret", []string{signToken(t, jose.HS256, long, "", good())}, "", ""},
		{"by HS384", []string{signToken(t, jose.HS384, long, "", good())}, "", ""},
		{"by HS512", []string{signToken(t, jose.HS512, long, "", good())}, "", ""},
		{"by HS512 with 32 bytes", []string{signToken(t, jose.HS512, append([]byte(tokenSecret), make([]byte, 32)...), "", good())}, "", ""},
		{"for one audience", []string{sign(with("aud", "hub"))}, "", ""},
		{"expired within the leeway", []string{sign(with("exp", at(-59*time.Second)))}, "", ""},
		{"not yet, within the leeway", []string{sign(with("nbf", at(time.Minute)))}, "", ""},

		{"missing", nil, hub.RejectedSignatureMissing, "Authorization is missing"},
		{"empty", []string{""}, hub.RejectedSignatureMissing, "missing or empty"},
		{"twice", []string{sign(good()), sign(good())}, hub.RejectedSignatureInvalid, "came 2 times"},
		{"huge", []string{strings.Repeat("a", 9000)}, hub.RejectedSignatureInvalid, "at most 8192 are read"},
		{"another scheme", []string{"Basic dTpw"}, hub.RejectedSignatureInvalid, "no signed JSON Web Token"},
		{"two parts", []string{"Bearer a.b"}, hub.RejectedSignatureInvalid, "no signed JSON Web Token"},
		{"with a line break", []string{strings.Replace(sign(good()), ".", ".\n", 1)}, hub.RejectedSignatureInvalid, "no signed JSON Web Token"},
		{"alg none", []string{unsignedToken(`{"alg":"none"}`, string(body), nil)}, hub.RejectedSignatureInvalid, "signed by \"none\""},
		{"alg None", []string{unsignedToken(`{"alg":"None"}`, string(body), []byte{1})}, hub.RejectedSignatureInvalid, "signed by \"None\""},
		{"no alg", []string{unsignedToken(`{}`, string(body), []byte{1})}, hub.RejectedSignatureInvalid, ""},
		{"by a private key", []string{signToken(t, jose.RS256, private, "", good())}, hub.RejectedSignatureInvalid, "signed by \"RS256\"; the source takes HS256, HS384, HS512"},
		{"with a key of its own", []string{unsignedToken(`{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"}}`, string(body), make([]byte, 32))}, hub.RejectedSignatureInvalid, ""},
		{"by another secret", []string{signToken(t, jose.HS256, []byte(strings.Repeat("x", 32)), "", good())}, hub.RejectedSignatureInvalid, "any of the source's 3 secrets"},
		{"by the short secret", []string{signToken(t, jose.HS256, append([]byte("short"), make([]byte, 59)...), "", good())}, hub.RejectedSignatureInvalid, "any of the source's 3 secrets"},
		{"by the empty secret", []string{signToken(t, jose.HS256, make([]byte, 64), "", good())}, hub.RejectedSignatureInvalid, "any of the source's 3 secrets"},
		{"changed", []string{func() string {
			parts := strings.Split(sign(good()), ".")
			parts[1] = base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://issuer.example","aud":"hub","exp":99999999999}`))
			return strings.Join(parts, ".")
		}()}, hub.RejectedSignatureInvalid, "not right under any"},
		{"without expiry", []string{sign(with("exp", nil))}, hub.RejectedTimestamp, "no expiry"},
		{"expired", []string{sign(with("exp", at(-time.Minute)))}, hub.RejectedTimestamp, "it expired (exp) at 2026-03-14T15:08:26Z, and the hub's clock says 2026-03-14T15:09:26Z (1m0s later)"},
		{"not yet", []string{sign(with("nbf", at(61*time.Second)))}, hub.RejectedTimestamp, "begins to count (nbf) at 2026-03-14T15:10:27Z"},
		{"an expiry that is a text", []string{sign(with("exp", "tomorrow"))}, hub.RejectedSignatureInvalid, "claims cannot be read"},
		{"an expiry beyond all time", []string{sign(with("exp", 1e30))}, hub.RejectedSignatureInvalid, "claims cannot be read"},
		{"EXP is not exp", []string{sign(with("exp", nil, "EXP", at(time.Minute)))}, hub.RejectedTimestamp, "no expiry"},
		{"claims that are a list", []string{signToken(t, jose.HS256, key, "", []int{1})}, hub.RejectedSignatureInvalid, "claims cannot be read"},
		{"another issuer", []string{sign(with("iss", "https://issuer.example/"))}, hub.RejectedCredentialsInvalid, `its issuer (iss) is "https://issuer.example/"; the source takes "https://issuer.example"`},
		{"no issuer", []string{sign(with("iss", nil))}, hub.RejectedCredentialsInvalid, `its issuer (iss) is ""`},
		{"another audience", []string{sign(with("aud", []string{"a", "b"}))}, hub.RejectedCredentialsInvalid, `it is for "a, b" (aud); the source takes "hub"`},
		{"no audience", []string{sign(with("aud", nil))}, hub.RejectedCredentialsInvalid, `it is for "" (aud)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			verdict := verifyToken(t, tokenSource("", "short", hub.Secret(tokenSecret), hub.Secret(long)), nil, c.values...)
			if verdict.Reason != c.want || !strings.Contains(verdict.Detail, c.says) {
				t.Errorf("%s: %s", verdict.Reason, verdict.Detail)
			}
			for _, value := range c.values { // nothing of it that could be used again
				if parts := strings.Split(value, "."); len(parts) == 3 && len(parts[2]) > 8 && strings.Contains(verdict.Detail, parts[2][:8]) {
					t.Errorf("the detail quotes the signature: %s", verdict.Detail)
				}
			}
			if strings.Contains(verdict.Detail, tokenSecret) {
				t.Error("the detail tells the secret")
			}
		})
	}
}

func TestTokensSignedWithKeysOfASet(t *testing.T) {
	t.Parallel()
	rsaKey, err1 := rsa.GenerateKey(rand.Reader, 2048)
	ecKey, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	edPublic, edKey, err3 := ed25519.GenerateKey(rand.Reader)
	if err1 != nil || err2 != nil || err3 != nil {
		t.Fatal(err1, err2, err3)
	}
	ring := keyRing{keys: []jose.JSONWebKey{
		{Key: &rsaKey.PublicKey, KeyID: "rsa"}, {Key: &ecKey.PublicKey, KeyID: "ec"}, {Key: edPublic, KeyID: "ed"},
		{Key: &rsaKey.PublicKey, KeyID: "rs256", Algorithm: "RS256"},
	}}
	public, _ := json.Marshal(jose.JSONWebKey{Key: &rsaKey.PublicKey})
	for _, c := range []struct {
		name, token string
		ring        Keys
		want        hub.RejectionReason
		says        string
	}{
		{"RS256", signToken(t, jose.RS256, rsaKey, "rsa", good()), ring, "", ""},
		{"PS512", signToken(t, jose.PS512, rsaKey, "rsa", good()), ring, "", ""},
		{"ES256", signToken(t, jose.ES256, ecKey, "ec", good()), ring, "", ""},
		{"EdDSA", signToken(t, jose.EdDSA, edKey, "ed", good()), ring, "", ""},
		{"without a key ID", signToken(t, jose.ES256, ecKey, "", good()), ring, "", ""},
		{"a key of another kind", signToken(t, jose.ES256, ecKey, "rsa", good()), ring, hub.RejectedSignatureInvalid, "none of the 1 keys"},
		{"an algorithm that the key is not for", signToken(t, jose.PS256, rsaKey, "rs256", good()), ring, hub.RejectedSignatureInvalid, "does not have"},
		{"an unknown key", signToken(t, jose.RS256, rsaKey, "new", good()), ring, hub.RejectedSignatureInvalid, `names the key "new" for RS256`},
		{"the public key as a secret", signToken(t, jose.HS256, append([]byte{}, public...), "rsa", good()), ring, hub.RejectedSignatureInvalid, `signed by "HS256"`},
		{"the modulus as a secret", signToken(t, jose.HS512, rsaKey.N.Bytes(), "rsa", good()), ring, hub.RejectedSignatureInvalid, `signed by "HS512"`},
		{"none", unsignedToken(`{"alg":"none","kid":"rsa"}`, `{}`, nil), ring, hub.RejectedSignatureInvalid, `signed by "none"`},
		{"no keys to be had", signToken(t, jose.RS256, rsaKey, "rsa", good()), keyRing{err: hub.NewError(hub.CodeUnavailable, "away")}, hub.RejectedSignatureInvalid, "cannot be had"},
		{"a hub that fetches none", signToken(t, jose.RS256, rsaKey, "rsa", good()), nil, hub.RejectedSignatureInvalid, "not set up"},
		{"expired", signToken(t, jose.RS256, rsaKey, "rsa", with("exp", 1)), ring, hub.RejectedTimestamp, "expired"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			// Secrets that a change of settings has left behind count for nothing.
			verdict := verifyToken(t, tokenSource("https://issuer.example/keys", hub.Secret(public), hub.Secret(rsaKey.N.Bytes())), c.ring, "Bearer "+c.token)
			if verdict.Reason != c.want || !strings.Contains(verdict.Detail, c.says) {
				t.Errorf("%s: %s", verdict.Reason, verdict.Detail)
			}
		})
	}
}

func TestHowTokensAreVerifiedIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		jwt     hub.JWTVerification
		secrets []hub.Secret
		want    string
	}{
		{"a key set", hub.JWTVerification{Header: "Authorization", JWKSURL: "https://a.example/keys"}, nil, ""},
		{"a secret", hub.JWTVerification{Header: "X-Token"}, []hub.Secret{tokenSecret}, ""},
		{"a short secret", hub.JWTVerification{Header: "X-Token"}, []hub.Secret{tokenSecret, "short"}, "input.secrets.1: a secret that tokens are signed with has at least 32 bytes; this one has 5"},
		{"neither", hub.JWTVerification{Header: "X-Token"}, nil, "input.secrets: the verification needs at least one secret"},
		{"both", hub.JWTVerification{Header: "X-Token", JWKSURL: "https://a.example/keys"}, []hub.Secret{tokenSecret}, "input.secrets: a key set (jwksUrl) uses no secrets"},
		{"no header", hub.JWTVerification{Header: "a b"}, []hub.Secret{tokenSecret}, "input.verification.jwt.header: "},
		{"an issuer that no token has", hub.JWTVerification{Header: "X-Token", Issuer: "a\nb"}, []hub.Secret{tokenSecret}, "input.verification.jwt.issuer: the claim has a control character"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			errs := NewTable().CheckSource(&hub.Source{Kind: hub.SourceWebhook, Secrets: c.secrets, Verification: &hub.Verification{JWT: &c.jwt}})
			if c.want == "" && len(errs) > 0 || !strings.Contains(errs.Error(), c.want) {
				t.Errorf("%v", errs)
			}
		})
	}
}

// Nothing but a token that is signed with the secret gets through, and nothing panics.
func FuzzToken(f *testing.F) {
	valid := signToken(f, jose.HS256, []byte(tokenSecret), "", good())
	f.Add("Bearer " + valid)
	f.Add(valid + ".")
	f.Add(unsignedToken(`{"alg":"none"}`, `{"exp":99999999999}`, nil))
	f.Add(unsignedToken(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{}`, make([]byte, 32)))
	f.Add(unsignedToken(`{"alg":"HS256","alg":"none"}`, `{}`, nil))
	f.Add("Bearer")
	f.Add("....")
	f.Fuzz(func(t *testing.T, value string) {
		for _, src := range []*hub.Source{tokenSource("", tokenSecret), tokenSource("https://a.example/keys")} {
			verdict := verifyToken(t, src, keyRing{}, value)
			token := value
			if scheme, rest, found := strings.Cut(value, " "); found && strings.EqualFold(scheme, "Bearer") {
				token = strings.TrimLeft(rest, " ")
			}
			if verdict.Accepted() && token != valid {
				t.Fatalf("%q is accepted", value)
			}
			if verdict.Accepted() && src.Verification.JWT.JWKSURL != "" {
				t.Fatal("a secret opens what has a key set")
			}
		}
	})
}
