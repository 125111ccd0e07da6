package receive_test

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// cut is a body whose sender hangs up in its midst.
type cut struct{ io.Reader }

func (c cut) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

const refusedSecret = hub.Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

// refusal is a request that is refused, and what the operator is told of it.
type refusal struct {
	name   string
	source hub.Source
	change func(*store)
	method string // default: POST
	host   string // that the request asks for
	target string // default: /in/acme
	header http.Header
	body   string
	reader io.Reader // instead of body
	length int64     // announced; 0: that of the body
	times  int       // it is sent; default: once
	reason hub.RejectionReason
	says   []string
}

// whole are the texts of a request that no detail may repeat: credentials and signatures.
func (c *refusal) whole() []string {
	texts := []string{otherSecret.Reveal(), strings.TrimPrefix(otherSecret.Reveal(), "whsec_")}
	for _, secret := range c.source.Secrets {
		texts = append(texts, secret.Reveal(), strings.TrimPrefix(secret.Reveal(), "whsec_"))
	}
	for name, values := range c.header {
		if regexp.MustCompile(`(?i)sign|mac|auth|key`).MatchString(name) {
			for _, value := range values {
				parts := regexp.MustCompile(`[A-Za-z0-9+/_-]{20,}`).FindAllString(value, -1)
				texts = append(texts, parts...)
			}
		}
	}
	return texts
}

func base64MAC(a signature.Algorithm, key []byte, content string) string {
	return base64.StdEncoding.EncodeToString(a.Sign(key, []byte(content)))
}

// bearer is a token by HS256.
func bearer(secret hub.Secret, claims map[string]any) http.Header {
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: []byte(secret.Reveal())}, nil)
	if err != nil {
		panic(err)
	}
	text, err := jwt.Signed(signer).Claims(claims).Serialize()
	if err != nil {
		panic(err)
	}
	return headers("Authorization", "Bearer "+text)
}

func adyen(signed string) string {
	return `{"notificationItems":[{"NotificationRequestItem":{"pspReference":"p1","merchantAccountCode":"m","merchantReference":"r","amount":{"value":1,"currency":"EUR"},"eventCode":"AUTHORISATION","success":"true"` + signed + `}}]}`
}

// refusals has at least one request for each reason.
func refusals() []refusal {
	of := func(provider string) hub.Source {
		return hub.Source{Provider: provider, Secrets: []hub.Secret{refusedSecret}}
	}
	by := func(v hub.Verification) hub.Source {
		return hub.Source{Verification: &v, Secrets: []hub.Secret{refusedSecret}}
	}
	github := func(body string) http.Header {
		return headers("X-Hub-Signature-256", "sha256="+hexMAC(signature.SHA256, refusedSecret, []byte(body)))
	}
	stripe := func(at time.Time, body string) http.Header {
		for _, s := range schemes() {
			if s.name == "stripe" {
				return s.sign(refusedSecret, at, []byte(body))
			}
		}
		panic("no stripe")
	}
	token := by(hub.Verification{JWT: &hub.JWTVerification{Header: "Authorization", Issuer: "https://issuer.example", Audience: "hub"}})
	claims := func(said map[string]any) map[string]any {
		all := map[string]any{"iss": "https://issuer.example", "aud": "hub", "exp": now.Add(time.Minute).Unix()}
		maps.Copy(all, said)
		return all
	}
	hmacOf := func(h hub.HMACVerification) hub.Source {
		h.Header, h.Algorithm, h.Encoding = "X-Mac", "SHA256", "HEX"
		return by(hub.Verification{HMAC: &h})
	}
	const body = `{"type":"order.paid","total":7}`
	const wrongHere = "Usually the secret at"
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(`{}`)) + "."
	adyenKey := must(hex.DecodeString(strings.Repeat("ab", 32)))
	adyenSource := hub.Source{Provider: "adyen", Secrets: []hub.Secret{hub.Secret(strings.Repeat("ab", 32))}}
	return []refusal{
		// Declared schemes.
		{name: "no signature", source: of("github"), body: body, reason: hub.RejectedSignatureMissing, says: []string{"X-Hub-Signature-256 is missing", "no secret is set at the sender"}},
		{name: "another secret", source: of("github"), header: headers("X-Hub-Signature-256", "sha256="+hexMAC(signature.SHA256, otherSecret, []byte(body))), body: body,
			reason: hub.RejectedSignatureInvalid, says: []string{"X-Hub-Signature-256", "HMAC-SHA256", "fingerprint f1f2f3f4f5f6", "31 bytes", wrongHere + " GitHub is another one", "the text entered as Secret"}},
		{name: "a body that was written anew", source: of("github"), header: github(body), body: `{"type": "order.paid", "total": 7}`, reason: hub.RejectedSignatureInvalid, says: []string{"has written it anew"}},
		{name: "a signature that is none", source: of("github"), header: headers("X-Hub-Signature-256", "sha256=zz"), body: body, reason: hub.RejectedSignatureInvalid, says: []string{"X-Hub-Signature-256 cannot be used", `"sha256=zz"`}},
		{name: "two signatures", source: of("github"), header: http.Header{"X-Hub-Signature-256": {"a", "b"}}, body: body, reason: hub.RejectedSignatureInvalid, says: []string{"came 2 times", "a proxy"}},
		{name: "an old request", source: of("stripe"), header: stripe(now.Add(-time.Hour), body), body: body, reason: hub.RejectedTimestamp, says: []string{"1h0m1s before the hub's clock", now.Format(time.RFC3339), "5m0s either way", "repetition"}},
		{name: "a request of the future", source: of("stripe"), header: stripe(now.Add(time.Hour), body), body: body, reason: hub.RejectedTimestamp, says: []string{"59m59s after the hub's clock", "the clock of the sender or of this hub is wrong"}},
		{name: "a signed URL with a slash", source: of("square"), header: headers("X-Square-Hmacsha256-Signature", base64MAC(signature.SHA256, []byte(refusedSecret), "https://hub.example/in/acme/"+body)), body: body,
			reason: hub.RejectedSignatureInvalid, says: []string{"with a slash at the end"}},
		{name: "a signed URL without its query", source: of("trello"), target: "/in/acme?utm=1", header: headers("X-Trello-Webhook", base64MAC(signature.SHA1, []byte(refusedSecret), body+"https://hub.example/in/acme")), body: body,
			reason: hub.RejectedSignatureInvalid, says: []string{"without its query"}},

		// Schemes that try several spellings.
		{name: "Twilio that knows another URL", source: of("twilio"), host: "real.example", header: headers("X-Twilio-Signature", base64MAC(signature.SHA1, []byte(refusedSecret), "https://real.example/in/acmea1")), body: "a=1",
			reason: hub.RejectedSignatureInvalid, says: []string{`"https://real.example"`, `"https://hub.example"`, "HOOKGRAPH_PUBLIC_URL"}},
		{name: "Twilio with another secret", source: of("twilio"), host: "hub.example", target: "/in/acme?token=CANARY", header: headers("X-Twilio-Signature", base64MAC(signature.SHA1, []byte(otherSecret), "https://hub.example/in/acmea1")), body: "a=1",
			reason: hub.RejectedSignatureInvalid, says: []string{"the Auth Token of the account", `taken to be "https://hub.example/in/acme" with the query that came`, "HOOKGRAPH_PUBLIC_URL", "HMAC-SHA1"}},
		{name: "JSON of Twilio's at the provider of forms", source: of("twilio"), header: headers("X-Twilio-Signature", base64MAC(signature.SHA1, []byte(otherSecret), "")), body: "%zz", reason: hub.RejectedSignatureInvalid, says: []string{"twilio-json"}},
		{name: "a form at the provider of Twilio's JSON", source: of("twilio-json"), header: headers("X-Twilio-Signature", base64MAC(signature.SHA1, []byte(otherSecret), "")), body: "a=1", reason: hub.RejectedSignatureMissing, says: []string{"bodySHA256", "provider twilio"}},
		{name: "DocuSign with a line break more", source: of("docusign"), header: headers("X-Docusign-Signature-1", base64MAC(signature.SHA256, []byte(refusedSecret), body)), body: body + "\n", reason: hub.RejectedSignatureInvalid, says: []string{"something on the way has added them"}},
		{name: "HubSpot over another name", source: of("hubspot"), host: "real.example", header: headers("X-HubSpot-Request-Timestamp", "1773500966000", "X-HubSpot-Signature-v3", base64MAC(signature.SHA256, []byte(refusedSecret), "POSThttps://real.example/in/acme"+body+"1773500966000")), body: body,
			reason: hub.RejectedSignatureInvalid, says: []string{`"https://real.example"`, "HOOKGRAPH_PUBLIC_URL"}},
		{name: "Mailgun with another key", source: of("mailgun"), body: `{"signature":{"timestamp":"1773500966","token":"t","signature":"` + hexMAC(signature.SHA256, otherSecret, []byte("1773500966t")) + `"}}`,
			reason: hub.RejectedSignatureInvalid, says: []string{"signature.signature of the body", "the HTTP webhook signing key of the account"}},
		{name: "Adyen with another key", source: adyenSource, body: adyen(`,"additionalData":{"hmacSignature":"` + base64MAC(signature.SHA256, []byte("other"), "p1::m:r:1:EUR:AUTHORISATION:true") + `"}`),
			reason: hub.RejectedSignatureInvalid, says: []string{"item 1", "64 hexadecimal characters", wrongHere + " Adyen"}},
		{name: "Adyen that takes the key as text", source: adyenSource, body: adyen(`,"additionalData":{"hmacSignature":"` + base64MAC(signature.SHA256, []byte(hex.EncodeToString(adyenKey)), "p1::m:r:1:EUR:AUTHORISATION:true") + `"}`),
			reason: hub.RejectedSignatureInvalid, says: []string{"as it is written"}},
		{name: "Adyen without a key", source: adyenSource, body: adyen(""), reason: hub.RejectedSignatureMissing, says: []string{"Item 1", "no HMAC key has been generated"}},

		// Schemes of a source's own.
		{name: "a hash of its own under another secret", source: hmacOf(hub.HMACVerification{}), header: headers("X-Mac", hexMAC(signature.SHA256, otherSecret, []byte(body))), body: body, reason: hub.RejectedSignatureInvalid, says: []string{"X-Mac", "HMAC-SHA256", wrongHere + " the sender", "f1f2f3f4f5f6"}},
		{name: "a hash over what cannot be told", source: hmacOf(hub.HMACVerification{SignedContent: `bytes(headers["x-time"]) + raw`}), header: headers("X-Mac", hexMAC(signature.SHA256, refusedSecret, []byte(body))), body: body, reason: hub.RejectedSignatureInvalid, says: []string{"expression for the signed content fails", "x-time"}},
		{name: "a time that cannot be told", source: hmacOf(hub.HMACVerification{Timestamp: `timestamp(headers["x-time"])`}), header: headers("X-Mac", hexMAC(signature.SHA256, refusedSecret, []byte(body))), body: body, reason: hub.RejectedTimestamp, says: []string{"The signature is right", "expression for the timestamp fails"}},
		{name: "an API key that is none", source: by(hub.Verification{APIKey: &hub.APIKeyVerification{Header: "X-Key"}}), header: headers("X-Key", otherSecret.Reveal()), body: body, reason: hub.RejectedCredentialsInvalid, says: []string{"X-Key (46 bytes)", "1 secrets", "an old one"}},
		{name: "no API key", source: by(hub.Verification{APIKey: &hub.APIKeyVerification{Header: "X-Key"}}), body: body, reason: hub.RejectedCredentialsInvalid, says: []string{"X-Key is missing"}},
		{name: "another password", source: by(hub.Verification{Basic: &hub.BasicVerification{Username: "acme"}}), header: headers("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte("acme:"+otherSecret.Reveal()))), body: body, reason: hub.RejectedCredentialsInvalid, says: []string{`user "acme"`, "changed on one side"}},
		{name: "no HTTP Basic", source: by(hub.Verification{Basic: &hub.BasicVerification{Username: "acme"}}), header: headers("Authorization", "Bearer "+otherSecret.Reveal()), body: body, reason: hub.RejectedCredentialsInvalid, says: []string{"does not hold HTTP Basic"}},
		{name: "no token", source: token, body: body, reason: hub.RejectedSignatureMissing, says: []string{"Authorization is missing", "JSON Web Token"}},
		{name: "a token under another secret", source: token, header: bearer(otherSecret, claims(nil)), body: body, reason: hub.RejectedSignatureInvalid, says: []string{"HS256", "f1f2f3f4f5f6", "meant as base64"}},
		{name: "a token of nobody", source: token, header: headers("Authorization", "Bearer "+none), body: body, reason: hub.RejectedSignatureInvalid, says: []string{`signed by "none"`, "HS256"}},
		{name: "a token for another audience", source: token, header: bearer(refusedSecret, claims(map[string]any{"aud": "shop"})), body: body, reason: hub.RejectedCredentialsInvalid, says: []string{`"shop" (aud)`, `takes "hub"`}},
		{name: "a token of another issuer", source: token, header: bearer(refusedSecret, claims(map[string]any{"iss": "https://other.example"})), body: body, reason: hub.RejectedCredentialsInvalid, says: []string{"issuer (iss)", "https://other.example", "https://issuer.example"}},
		{name: "a token that has expired", source: token, header: bearer(refusedSecret, claims(map[string]any{"exp": now.Add(-time.Hour).Unix()})), body: body, reason: hub.RejectedTimestamp, says: []string{"expired (exp)", now.Format(time.RFC3339)}},
		{name: "a token of the future", source: token, header: bearer(refusedSecret, claims(map[string]any{"nbf": now.Add(time.Hour).Unix()})), body: body, reason: hub.RejectedTimestamp, says: []string{"begins to count (nbf)", "clock"}},
		{name: "another network", source: hub.Source{Verification: &hub.Verification{AllowNetworks: []string{"198.51.100.0/24"}}}, body: body, reason: hub.RejectedNetwork, says: []string{"203.0.113.7", "198.51.100.0/24", "HOOKGRAPH_TRUSTED_PROXIES"}},
		{name: "nothing to verify with", source: hub.Source{}, body: body, reason: hub.RejectedCredentialsInvalid, says: []string{"neither a provider nor a scheme"}},

		// What it carries.
		{name: "a body announced too long", source: hub.Source{AllowUnverified: true, MaxBodyBytes: 10}, body: body, reason: hub.RejectedBodyTooLarge, says: []string{"announced a body of 31 bytes", "accepts 10", "maxBodyBytes"}},
		{name: "a body that grows too long", source: hub.Source{AllowUnverified: true, MaxBodyBytes: 10}, body: body, length: -1, reason: hub.RejectedBodyTooLarge, says: []string{"longer than the 10 bytes", "maxBodyBytes"}},
		{name: "a body that breaks off", source: hub.Source{AllowUnverified: true}, reader: cut{strings.NewReader("half")}, length: 100, reason: hub.RejectedBodyInvalid, says: []string{"4 of 100 bytes", "the connection broke"}},
		{name: "a type that is not there", source: hub.Source{AllowUnverified: true, EventType: `body.kind`}, body: body, reason: hub.RejectedExtraction, says: []string{"kind"}},
		{name: "a type in a body that is no JSON", source: hub.Source{AllowUnverified: true, EventType: `body.kind`}, body: "<a>", reason: hub.RejectedExtraction, says: []string{"kind", "neither JSON nor a form"}},
		{name: "a type without a body", source: hub.Source{AllowUnverified: true, EventType: `body.kind`}, body: "", reason: hub.RejectedExtraction, says: []string{"kind", "has no body"}},
		{name: "a body of another schema", source: hub.Source{AllowUnverified: true, ValidateSchema: true}, body: `{"type":"order.paid","total":"CANARY"}`, change: func(s *store) {
			s.configuration.WithSchemas(map[string]json.RawMessage{"order.paid": json.RawMessage(`{"properties":{"total":{"type":"integer"}}}`)})
		}, reason: hub.RejectedSchema, says: []string{"given schema", "/total", "integer"}},

		// What the source takes at the moment.
		{name: "a paused source", source: hub.Source{AllowUnverified: true, State: hub.SourcePaused}, body: body, reason: hub.RejectedSourcePaused, says: []string{"paused", "resume"}},
		{name: "a method that carries nothing", source: hub.Source{AllowUnverified: true}, method: http.MethodDelete, reason: hub.RejectedMethod, says: []string{"DELETE", "POST, PUT or PATCH"}},
		{name: "too many requests", source: hub.Source{AllowUnverified: true, RateLimit: &hub.RateLimit{Limit: 1, Period: time.Minute}}, body: body, times: 2, reason: hub.RejectedRate, says: []string{"1 requests in 1m0s", "rateLimit", "203.0.113.7"}},
		{name: "a captured request", source: func() hub.Source { s := of("github"); s.Capturing = 1; return s }(), change: func(s *store) { s.captures = 1 }, header: github("other"), body: body,
			reason: hub.RejectedCaptured, says: []string{"captureSource", "SIGNATURE_INVALID", "HMAC-SHA256"}},
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// TestEveryRefusalIsExplained has every reason come about at the door, and reads what the
// operator finds: which check failed, what was expected and what came, and the usual causes.
func TestEveryRefusalIsExplained(t *testing.T) {
	t.Parallel()
	table := refusals()
	for i := range table {
		c := &table[i]
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			src := c.source
			src.ID, src.Slug, src.Kind = "src_1", "acme", hub.SourceWebhook
			if src.State == "" {
				src.State = hub.SourceActive
			}
			s := newStore(&src)
			if c.change != nil {
				c.change(s)
			}
			door := doorOf(t, s, func(config *receive.Config) {
				config.PublicURL = "https://hub.example"
				config.Fingerprint = func(hub.Secret) string { return "f1f2f3f4f5f6" }
			})
			t.Cleanup(func() { _ = door.Close(t.Context()) })
			for range max(c.times, 1) {
				w := httptest.NewRecorder()
				door.ServeHTTP(w, c.request())
			}
			r := s.refusal(t)
			if r.Reason != c.reason {
				t.Fatalf("refused for %s: %s", r.Reason, r.Detail)
			}
			for _, part := range c.says {
				if !strings.Contains(r.Detail, part) {
					t.Errorf("it does not say %q: %s", part, r.Detail)
				}
			}
			for _, part := range append(c.whole(), "CANARY") {
				if strings.Contains(r.Detail, part) {
					t.Errorf("it gives away %q: %s", part, r.Detail)
				}
			}
			if events, _ := s.counts(); events != max(c.times, 1)-1 {
				t.Errorf("%d events were stored", events)
			}
		})
	}
	produced := map[string]bool{}
	for _, c := range table {
		produced[string(c.reason)] = true
	}
	if want, got := documentedReasons(t), slices.Sorted(maps.Keys(produced)); !slices.Equal(got, want) {
		t.Errorf("the reasons %v are produced, the schema has %v", got, want)
	}
}

// request is what the sender sends.
func (c *refusal) request() *http.Request {
	method, target := c.method, c.target
	if method == "" {
		method = http.MethodPost
	}
	if target == "" {
		target = "/in/acme"
	}
	r := httptest.NewRequest(method, target, strings.NewReader(c.body))
	if c.reader != nil {
		r.Body = io.NopCloser(c.reader)
	}
	if c.length != 0 {
		r.ContentLength = c.length
	}
	if c.host != "" {
		r.Host = c.host
	}
	r.RemoteAddr = "203.0.113.7:4711"
	for name, values := range c.header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	return r
}

// documentedReasons are those that the GraphQL schema has, in order.
func documentedReasons(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../schema/rejection.graphqls")
	if err != nil {
		t.Fatal(err)
	}
	_, enum, found := strings.Cut(string(text), "enum RejectionReason {")
	enum, _, closed := strings.Cut(enum, "\n}")
	if !found || !closed {
		t.Fatal("the schema has no RejectionReason")
	}
	names := regexp.MustCompile(`(?m)^  ([A-Z_]+)$`).FindAllString(enum, -1)
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	slices.Sort(names)
	return names
}
