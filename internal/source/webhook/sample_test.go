package webhook_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"hash"
	"hash/crc32"
	"math/big"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// sample is a vendor's sender as its documentation describes it, written without
// the code that it is to test.
type sample struct {
	provider string
	secrets  []string
	config   map[string]any
	target   string // default: /in/acme
	body     string
	// sign returns the headers of a request and its body, which some vendors sign
	// within. Wrong is true for a sender that has other keys.
	sign func(s *sample, wrong bool, at time.Time, body string) (http.Header, string)
	// header carries the signature or credential; "" where the body does.
	header string
	// others are further headers without which nothing can be verified.
	others []string
	// open: the body is not signed. json: the body has to be JSON.
	open, json bool
	tolerance  time.Duration // 0: the time is not signed, or not judged
	hex        bool          // the signature is hexadecimal
	want       webhook.Extracted
}

const (
	testSecret  = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	otherSecret = "whsec_b3RoZXJvdGhlcm90aGVyb3RoZXJvdGhlcm90aGVy"
	adyenSecret = "44782DEF547AAA06C910C43932B1EB0C71FC68D9D0C057550C48EC2ACF6BA056"
	publicURL   = "https://hub.example"
)

func macOf(h func() hash.Hash, key []byte, text string) []byte {
	m := hmac.New(h, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func (s *sample) key(wrong bool) string {
	if wrong {
		return otherSecret
	}
	return s.secrets[0]
}

func hexSHA256(key, text string) string {
	return hex.EncodeToString(macOf(sha256.New, []byte(key), text))
}

func b64SHA256(key, text string) string {
	return base64.StdEncoding.EncodeToString(macOf(sha256.New, []byte(key), text))
}

func b64SHA1(key, text string) string {
	return base64.StdEncoding.EncodeToString(macOf(sha1.New, []byte(key), text))
}

func seconds(at time.Time) string { return strconv.FormatInt(at.Unix(), 10) }
func millis(at time.Time) string  { return strconv.FormatInt(at.UnixMilli(), 10) }

// h makes headers of pairs.
func h(pairs ...string) http.Header {
	header := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		header.Add(pairs[i], pairs[i+1])
	}
	return header
}

// keys are made once for all tests.
type keyring struct {
	rsa   *rsa.PrivateKey
	pem   string
	ec    *ecdsa.PrivateKey
	spki  string
	jwk   map[string]any
	ed    ed25519.PrivateKey
	edPub ed25519.PublicKey
}

var ours, theirs = sync.OnceValue(newKeyring), sync.OnceValue(newKeyring)

func keysOf(wrong bool) *keyring {
	if wrong {
		return theirs()
	}
	return ours()
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newKeyring() *keyring {
	k := &keyring{rsa: must(rsa.GenerateKey(rand.Reader, 2048)), ec: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test.paypal.com"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	der := must(x509.CreateCertificate(rand.Reader, template, template, &k.rsa.PublicKey, k.rsa))
	k.pem = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	k.spki = base64.StdEncoding.EncodeToString(must(x509.MarshalPKIXPublicKey(&k.ec.PublicKey)))
	point := must(k.ec.PublicKey.Bytes())
	k.jwk = map[string]any{
		"kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "key-1", "use": "sig",
		"x": base64.RawURLEncoding.EncodeToString(point[1:33]), "y": base64.RawURLEncoding.EncodeToString(point[33:]),
	}
	k.edPub, k.ed = must2(ed25519.GenerateKey(rand.Reader))
	return k
}

func must2[A, B any](a A, b B, err error) (A, B) {
	if err != nil {
		panic(err)
	}
	return a, b
}

func signRSA(wrong bool, text string) string {
	digest := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(must(rsa.SignPKCS1v15(rand.Reader, keysOf(wrong).rsa, crypto.SHA256, digest[:])))
}

// jwt writes a token by ES256 over the hash of a body.
func jwt(wrong bool, header, claims map[string]any) string {
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }
	text := part(header) + "." + part(claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(signES256(wrong, text))
}

func signES256(wrong bool, text string) []byte {
	digest := sha256.Sum256([]byte(text))
	r, s := must2(ecdsa.Sign(rand.Reader, keysOf(wrong).ec, digest[:]))
	raw := make([]byte, 64)
	r.FillBytes(raw[:32])
	s.FillBytes(raw[32:])
	return raw
}

func plaidClaims(at time.Time, body string) map[string]any {
	digest := sha256.Sum256([]byte(body))
	return map[string]any{"iat": at.Unix(), "request_body_sha256": hex.EncodeToString(digest[:])}
}

// hexBody, base64Body: a hash of the body, in one header.
func hexBody(header, prefix string) func(*sample, bool, time.Time, string) (http.Header, string) {
	return func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
		return h(header, prefix+hexSHA256(s.key(wrong), body)), body
	}
}

func base64Body(header, prefix string) func(*sample, bool, time.Time, string) (http.Header, string) {
	return func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
		return h(header, prefix+b64SHA256(s.key(wrong), body)), body
	}
}

// paired: t and v1 in one header, with the text that separates time and body.
func paired(header, form, between string, stamp func(time.Time) string) func(*sample, bool, time.Time, string) (http.Header, string) {
	return func(s *sample, wrong bool, at time.Time, body string) (http.Header, string) {
		return h(header, fmt.Sprintf(form, stamp(at), hexSHA256(s.key(wrong), stamp(at)+between+body))), body
	}
}

// standard: Standard Webhooks with a prefix of the three headers.
func standard(prefix string) func(*sample, bool, time.Time, string) (http.Header, string) {
	return func(s *sample, wrong bool, at time.Time, body string) (http.Header, string) {
		key := must(base64.StdEncoding.DecodeString(strings.TrimPrefix(s.key(wrong), "whsec_")))
		mac := macOf(sha256.New, key, "msg_1."+seconds(at)+"."+body)
		return h(prefix+"-id", "msg_1", prefix+"-timestamp", seconds(at), prefix+"-signature", "v1,"+base64.StdEncoding.EncodeToString(mac)), body
	}
}

func versionZero(header, timestamp string) func(*sample, bool, time.Time, string) (http.Header, string) {
	return func(s *sample, wrong bool, at time.Time, body string) (http.Header, string) {
		return h(header, "v0="+hexSHA256(s.key(wrong), "v0:"+seconds(at)+":"+body), timestamp, seconds(at)), body
	}
}

func static(header string) func(*sample, bool, time.Time, string) (http.Header, string) {
	return func(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
		return h(header, s.key(wrong)), body
	}
}

// set writes a member of a JSON object, and leaves what is none as it is.
func set(body string, path []string, value any) string {
	var document map[string]any
	if json.Unmarshal([]byte(body), &document) != nil || document == nil {
		return body
	}
	at := document
	for _, name := range path[:len(path)-1] {
		next, ok := at[name].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[name] = next
		}
		at = next
	}
	at[path[len(path)-1]] = value
	return string(must(json.Marshal(document)))
}

func signSNS(_ *sample, wrong bool, at time.Time, body string) (http.Header, string) {
	body = set(body, []string{"Timestamp"}, at.Format(time.RFC3339))
	var m map[string]string
	if json.Unmarshal([]byte(body), &m) != nil {
		return h(), body
	}
	var b strings.Builder
	for _, name := range []string{"Message", "MessageId", "Subject", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"} {
		if m[name] != "" {
			b.WriteString(name + "\n" + m[name] + "\n")
		}
	}
	return h(), set(body, []string{"Signature"}, signRSA(wrong, b.String()))
}

func signTwilioForm(s *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
	form, _ := url.ParseQuery(body)
	names := make([]string, 0, len(form))
	for name := range form {
		names = append(names, name)
	}
	sort.Strings(names)
	text := publicURL + s.path()
	for _, name := range names {
		text += name + form.Get(name)
	}
	return h("X-Twilio-Signature", b64SHA1(s.key(wrong), text), "Content-Type", "application/x-www-form-urlencoded",
		"I-Twilio-Idempotency-Token", "tok_1"), body
}

func signPayPal(_ *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
	sum := crc32.ChecksumIEEE([]byte(body))
	return h("PAYPAL-TRANSMISSION-ID", "tid", "PAYPAL-TRANSMISSION-TIME", "2026-03-14T15:09:26Z", "PAYPAL-AUTH-ALGO", "SHA256withRSA",
		"PAYPAL-CERT-URL", "https://api.paypal.com/v1/notifications/certs/CERT-1",
		"PAYPAL-TRANSMISSION-SIG", signRSA(wrong, fmt.Sprintf("tid|2026-03-14T15:09:26Z|WH-1|%d", sum))), body
}

func signAdyen(_ *sample, wrong bool, _ time.Time, body string) (http.Header, string) {
	key := must(hex.DecodeString(adyenSecret))
	if wrong {
		key = []byte("wrong")
	}
	var m struct {
		NotificationItems []struct {
			NotificationRequestItem struct {
				PspReference, OriginalReference, MerchantAccountCode, MerchantReference, EventCode, Success string
				Amount                                                                                      struct {
					Value    json.Number
					Currency string
				}
			}
		}
	}
	if json.Unmarshal([]byte(body), &m) != nil || len(m.NotificationItems) == 0 {
		return h(), body
	}
	i := m.NotificationItems[0].NotificationRequestItem
	text := strings.Join([]string{
		i.PspReference, i.OriginalReference, i.MerchantAccountCode, i.MerchantReference, i.Amount.Value.String(), i.Amount.Currency, i.EventCode, i.Success,
	}, ":")
	return h(), strings.Replace(body, "SIGNATURE", base64.StdEncoding.EncodeToString(macOf(sha256.New, key, text)), 1)
}

func (s *sample) path() string {
	if s.target == "" {
		return "/in/acme"
	}
	return s.target
}

// request is what the sender sends.
func (s *sample) request(wrong bool, at time.Time, body string) *webhook.Request {
	header, body := s.sign(s, wrong, at, body)
	_, query, _ := strings.Cut(s.path(), "?")
	return &webhook.Request{
		Method: http.MethodPost, Target: s.path(), RawQuery: query, PublicURL: publicURL, Host: "evil.example",
		Header: header, Body: []byte(body), ReceivedAt: now,
	}
}

func (s *sample) source() *hub.Source {
	src := &hub.Source{ID: "src_1", Slug: "acme", Kind: hub.SourceWebhook, Provider: s.provider, ProviderConfig: s.config}
	for _, secret := range s.secrets {
		src.Secrets = append(src.Secrets, hub.Secret(secret))
	}
	return src
}

func twilioJSONTarget(body string) string {
	digest := sha256.Sum256([]byte(body))
	return "/in/acme?bodySHA256=" + hex.EncodeToString(digest[:])
}

func jsonOf(value any) ([]byte, error) { return json.Marshal(value) }
