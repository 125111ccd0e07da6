package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// vendor is the outside world: it answers each URL with what it is told.
type vendor struct {
	mu      sync.Mutex // guards what follows
	asked   []string
	answers map[string]string
	status  int
}

func (v *vendor) RoundTrip(r *http.Request) (*http.Response, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	address := r.URL.String()
	v.asked = append(v.asked, address)
	if r.Method == http.MethodPost {
		body, _ := io.ReadAll(r.Body)
		address += " " + string(body)
	}
	body, found := v.answers[address]
	if !found {
		return nil, errors.New("nobody is there")
	}
	status := v.status
	if status == 0 {
		status = http.StatusOK
	}
	return &http.Response{StatusCode: status, Header: http.Header{"Location": {"https://evil.example/"}}, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

const certURL = "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-1.pem"

func unpinned(s *sample, keys ...string) *hub.Source {
	src := s.source()
	config := map[string]any{}
	for name, value := range src.ProviderConfig {
		if !slices.Contains(keys, name) {
			config[name] = value
		}
	}
	src.ProviderConfig = config
	return src
}

func TestCertificatesAreFetchedOnce(t *testing.T) {
	t.Parallel()
	s := sampleOf("aws-sns")
	src := unpinned(s, "signingCertPem")
	if problems := webhook.Presets().CheckSource(src); len(problems) != 1 || problems[0].Code != hub.InputRequired {
		t.Errorf("a source that would have to fetch is saved where nothing can be: %v", problems)
	}
	if verdict := newAdapter(t, webhook.Presets()).Verify(t.Context(), src, s.request(false, now, s.body)); verdict.Accepted() {
		t.Error("accepted without a certificate")
	}
	v := &vendor{answers: map[string]string{certURL: ours().pem}}
	table := webhook.Presets().Fetching(v)
	if problems := table.CheckSource(src); len(problems) > 0 {
		t.Errorf("%v", problems)
	}
	a := newAdapter(t, table)
	for range 3 {
		if verdict := a.Verify(t.Context(), src, s.request(false, now, s.body)); !verdict.Accepted() {
			t.Fatalf("%+v", verdict)
		}
	}
	if len(v.asked) != 1 {
		t.Errorf("asked for %q", v.asked)
	}
	if verdict := a.Verify(t.Context(), src, s.request(true, now, s.body)); verdict.Accepted() {
		t.Error("another key is accepted")
	}
	late := s.request(false, now.Add(2*time.Hour), s.body)
	late.ReceivedAt = now.Add(25 * time.Hour)
	if verdict := a.Verify(t.Context(), src, late); verdict.Accepted() {
		t.Error("a certificate that has expired is trusted")
	}
}

func TestVersionOneOfSNS(t *testing.T) {
	t.Parallel()
	s := sampleOf("aws-sns")
	r := s.request(false, now, strings.Replace(s.body, `"SignatureVersion":"2"`, `"SignatureVersion":"1"`, 1))
	if verdict := newAdapter(t, webhook.Presets()).Verify(t.Context(), s.source(), r); verdict.Accepted() {
		t.Error("a signature by SHA-256 is one of version 1")
	}
}

// foreignCertificates are addresses that are none of the vendor's, however they look.
var foreignCertificates = map[string][]string{
	"aws-sns": {
		"", "x", "https://evil.example/a.pem", "http://sns.us-east-1.amazonaws.com/a.pem", "https://sns.us-east-1.amazonaws.com.evil.example/a.pem",
		"https://sns.us-east-1.amazonaws.com@evil.example/a.pem", "https://evil.example#sns.us-east-1.amazonaws.com/a.pem", "https://sns.us-east-1.amazonaws.com:444/a.pem",
		"https://s3.us-east-1.amazonaws.com/a.pem", "https://sns.us-east-1.amazonaws.com/a.txt", "https://sns.us-east-1.amazonaws.com/?a.pem", "https://evil-sns.us-east-1.amazonaws.com/a.pem",
		"https://127.0.0.1/a.pem", "https://sns.us-east-1.amazonaws.com/" + strings.Repeat("a", 9000) + ".pem", "https://sns.us-east-1.amazonaws.com\n.evil.example/a.pem",
	},
	"paypal": {
		"https://evil.example/c", "http://api.paypal.com/c", "https://paypal.com.evil.example/c", "https://evilpaypal.com/c", "https://api.paypal.com@evil.example/", "https://api.paypal.com:8443/c",
		"https://api.paypal.com\\@evil.example/", "//api.paypal.com/c",
	},
}

func TestForeignCertificateHosts(t *testing.T) {
	t.Parallel()
	v := &vendor{}
	a := newAdapter(t, webhook.Presets().Fetching(v))
	sns, paypal := sampleOf("aws-sns"), sampleOf("paypal")
	for _, address := range foreignCertificates["aws-sns"] {
		body := set(sns.body, []string{"SigningCertURL"}, address)
		for _, src := range []*hub.Source{sns.source(), unpinned(sns, "signingCertPem")} {
			if verdict := a.Verify(t.Context(), src, sns.request(false, now, body)); verdict.Accepted() {
				t.Errorf("SNS: %q is accepted", address)
			}
		}
	}
	for _, address := range foreignCertificates["paypal"] {
		for _, src := range []*hub.Source{paypal.source(), unpinned(paypal, "signingCertPem")} {
			r := paypal.request(false, now, paypal.body)
			r.Header.Set("PAYPAL-CERT-URL", address)
			if verdict := a.Verify(t.Context(), src, r); verdict.Accepted() {
				t.Errorf("PayPal: %q is accepted", address)
			}
		}
	}
	if len(v.asked) > 0 {
		t.Errorf("asked for %q", v.asked)
	}
	// Whose certificate no authority vouches for is not PayPal's.
	v.answers = map[string]string{"https://api.paypal.com/v1/notifications/certs/CERT-1": ours().pem}
	if verdict := a.Verify(t.Context(), unpinned(paypal, "signingCertPem"), paypal.request(false, now, paypal.body)); verdict.Accepted() || len(v.asked) != 1 {
		t.Errorf("%+v after %q", verdict, v.asked)
	}
}

func TestAnotherTopicIsRefused(t *testing.T) {
	t.Parallel()
	s := sampleOf("aws-sns")
	body := strings.Replace(s.body, "us-east-1:1:t", "us-east-1:2:t", 1)
	if verdict := newAdapter(t, webhook.Presets()).Verify(t.Context(), s.source(), s.request(false, now, body)); verdict.Accepted() {
		t.Error("a message of somebody else's topic is accepted")
	}
}

func TestSubscriptionsAreConfirmed(t *testing.T) {
	t.Parallel()
	const address = "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-east-1:1:t&Token=k"
	s := sampleOf("aws-sns")
	message := func(address string) *webhook.Request {
		body := set(set(s.body, []string{"Type"}, "SubscriptionConfirmation"), []string{"SubscribeURL"}, address)
		body = strings.Replace(body, `"Subject":"s",`, "", 1)
		return s.request(false, now, set(body, []string{"Token"}, "k"))
	}
	v := &vendor{answers: map[string]string{address: "<ok/>"}}
	answer, asked, verdict := ask(t, newAdapter(t, webhook.Presets().Fetching(v)), s.source(), message(address))
	if !asked || answer.Status != 200 || !answer.Note.Accepted() || !slices.Equal(v.asked, []string{address}) {
		t.Errorf("%v %+v %+v %q", asked, answer, verdict, v.asked)
	}
	// Without a way out the confirmation is left to people, who find it on a rejection.
	for _, table := range []*webhook.Table{webhook.Presets(), webhook.Presets().Fetching(&vendor{})} {
		answer, asked, _ = ask(t, newAdapter(t, table), s.source(), message(address))
		if !asked || answer.Status != 200 || answer.Note.Detail == "" {
			t.Errorf("%v %+v", asked, answer)
		}
	}
	for _, other := range []string{
		"https://evil.example/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-east-1:1:t", "http" + address[5:],
		strings.Replace(address, "ConfirmSubscription", "Unsubscribe", 1), strings.Replace(address, "1:1:t", "1:2:t", 1), "x",
	} {
		v := &vendor{}
		answer, asked, _ := ask(t, newAdapter(t, webhook.Presets().Fetching(v)), s.source(), message(other))
		if !asked || answer.Refusal.Accepted() || len(v.asked) > 0 {
			t.Errorf("%q: %+v, asked %q", other, answer, v.asked)
		}
	}
}

// confusedTokens are tokens that say to be signed in another way than Plaid's, or are
// not those of the sample's body. Other vendors have none.
func confusedTokens(s *sample) map[string]string {
	if s.provider != "plaid" {
		return nil
	}
	part := func(v any) string { return base64.RawURLEncoding.EncodeToString(must(json.Marshal(v))) }
	claims := plaidClaims(now, s.body)
	confused := func(alg string, key string) string {
		text := part(map[string]any{"alg": alg, "kid": "key-1"}) + "." + part(claims)
		mac := hmac.New(sha256.New, []byte(key))
		mac.Write([]byte(text))
		return text + "." + base64.RawURLEncoding.EncodeToString(append(mac.Sum(nil), mac.Sum(nil)...))
	}
	good := jwt(false, map[string]any{"alg": "ES256", "kid": "key-1"}, claims)
	parts := strings.Split(good, ".")
	return map[string]string{
		"none":                part(map[string]any{"alg": "none"}) + "." + part(claims) + ".",
		"none with bytes":     confused("none", ""),
		"HS256 of the key":    confused("HS256", string(must(json.Marshal(ours().jwk)))),
		"another case":        jwt(false, map[string]any{"alg": "es256", "kid": "key-1"}, claims),
		"ES384":               jwt(false, map[string]any{"alg": "ES384", "kid": "key-1"}, claims),
		"no algorithm":        jwt(false, map[string]any{"kid": "key-1"}, claims),
		"an algorithm's list": jwt(false, map[string]any{"alg": []string{"ES256"}, "kid": "key-1"}, claims),
		"a critical header":   jwt(false, map[string]any{"alg": "ES256", "kid": "key-1", "crit": []string{"x"}}, claims),
		"a key of its own":    jwt(true, map[string]any{"alg": "ES256", "kid": "key-1", "jwk": theirs().jwk}, claims),
		"another key's name":  jwt(false, map[string]any{"alg": "ES256", "kid": "key-2"}, claims),
		"no time":             jwt(false, map[string]any{"alg": "ES256", "kid": "key-1"}, map[string]any{"request_body_sha256": claims["request_body_sha256"]}),
		"a time as text":      jwt(false, map[string]any{"alg": "ES256", "kid": "key-1"}, map[string]any{"iat": seconds(now), "request_body_sha256": claims["request_body_sha256"]}),
		"no hash":             jwt(false, map[string]any{"alg": "ES256", "kid": "key-1"}, map[string]any{"iat": now.Unix()}),
		"zeroes":              parts[0] + "." + parts[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
		"four parts":          good + ".x",
		"two parts":           parts[0] + "." + parts[1],
		"padding":             good + "==",
		"a blank":             good + " ",
	}
}

func TestTokensOfOtherAlgorithms(t *testing.T) {
	t.Parallel()
	s := sampleOf("plaid")
	a := newAdapter(t, webhook.Presets())
	for name, token := range confusedTokens(s) {
		r := s.request(false, now, s.body)
		r.Header.Set("Plaid-Verification", token)
		if verdict := a.Verify(t.Context(), s.source(), r); verdict.Accepted() {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestPlaidsKeysAreFetched(t *testing.T) {
	t.Parallel()
	s := sampleOf("plaid")
	src := s.source()
	src.Secrets, src.ProviderConfig = []hub.Secret{"api"}, map[string]any{"clientId": "c1", "environment": "sandbox"}
	ask := `https://sandbox.plaid.com/webhook_verification_key/get {"client_id":"c1","key_id":"key-1","secret":"api"}`
	v := &vendor{answers: map[string]string{ask: string(must(json.Marshal(map[string]any{"key": ours().jwk})))}}
	table := webhook.Presets().Fetching(v)
	if problems := table.CheckSource(src); len(problems) > 0 {
		t.Fatalf("%v", problems)
	}
	a := newAdapter(t, table)
	for range 2 {
		if verdict := a.Verify(t.Context(), src, s.request(false, now, s.body)); !verdict.Accepted() || len(v.asked) != 1 {
			t.Fatalf("%+v after %q", verdict, v.asked)
		}
	}
	// What is no token of this body makes no call, and what fails makes one for a while.
	r := s.request(false, now, s.body)
	r.Body = []byte("{}")
	if verdict := a.Verify(t.Context(), src, r); verdict.Accepted() || len(v.asked) != 1 {
		t.Errorf("%+v after %q", verdict, v.asked)
	}
	r = s.request(false, now, s.body)
	r.Header.Set("Plaid-Verification", jwt(true, map[string]any{"alg": "ES256", "kid": "unknown"}, plaidClaims(now, s.body)))
	for range 3 {
		if verdict := a.Verify(t.Context(), src, r); verdict.Accepted() || len(v.asked) != 2 || strings.Contains(verdict.Detail, "api\"") {
			t.Errorf("%+v after %q", verdict, v.asked)
		}
	}
	expired := map[string]any{"expired_at": now.Unix() - 1}
	for name, value := range ours().jwk {
		expired[name] = value
	}
	v.answers[ask] = string(must(json.Marshal(map[string]any{"key": expired})))
	if verdict := newAdapter(t, webhook.Presets().Fetching(v)).Verify(t.Context(), src, s.request(false, now, s.body)); verdict.Accepted() {
		t.Error("a key that has expired is used")
	}
	src.Secrets = nil
	if problems := table.CheckSource(src); len(problems) != 1 {
		t.Errorf("%v", problems)
	}
}

func TestFetchingIsBounded(t *testing.T) {
	t.Parallel()
	s := sampleOf("aws-sns")
	src := unpinned(s, "signingCertPem")
	for name, v := range map[string]*vendor{
		"a redirect":     {answers: map[string]string{certURL: "", "https://evil.example/": ours().pem}, status: http.StatusFound},
		"too much":       {answers: map[string]string{certURL: ours().pem + strings.Repeat(" ", 1<<20)}},
		"no certificate": {answers: map[string]string{certURL: "<html>"}},
		"an error":       {answers: map[string]string{certURL: ours().pem}, status: http.StatusBadGateway},
	} {
		if verdict := newAdapter(t, webhook.Presets().Fetching(v)).Verify(t.Context(), src, s.request(false, now, s.body)); verdict.Accepted() || len(v.asked) != 1 {
			t.Errorf("%s: %+v after %q", name, verdict, v.asked)
		}
	}
	// A flood of names that are none is not passed on.
	v := &vendor{}
	a := newAdapter(t, webhook.Presets().Fetching(v))
	for i := range 500 {
		body := set(s.body, []string{"SigningCertURL"}, "https://sns.us-east-1.amazonaws.com/"+hex.EncodeToString([]byte{byte(i >> 8), byte(i)})+".pem")
		a.Verify(t.Context(), src, s.request(false, now, body))
	}
	if len(v.asked) > 60 {
		t.Errorf("made %d calls", len(v.asked))
	}
}

// TestDeepBodiesCostLittle covers documents that are deep where it matters that no
// name comes twice: of those who cannot sign, and of those who can.
func TestDeepBodiesCostLittle(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	deep := strings.Repeat(`{"a":`, 4000) + "1" + strings.Repeat("}", 4000)
	wide := "[" + strings.Repeat("0,", 400_000) + "0]"
	for _, provider := range []string{"adyen", "mailgun", "aws-sns"} {
		s := sampleOf(provider)
		for _, more := range []string{deep, `{"a":` + strings.Repeat(" ", 1<<20) + deep + "}"} {
			for _, wrong := range []bool{false, true} {
				r := s.request(wrong, now, s.body)
				r.Body = []byte(strings.Replace(string(r.Body), "{", `{"more":`+more+",", 1))
				if verdict := a.Verify(t.Context(), s.source(), r); verdict.Accepted() {
					t.Errorf("%s accepts what cannot be looked through", provider)
				}
			}
		}
		r := s.request(false, now, s.body)
		r.Body = []byte(`{"notificationItems":` + wide + `}`)
		if verdict := a.Verify(t.Context(), s.source(), r); verdict.Accepted() {
			t.Errorf("%s accepts items that are none", provider)
		}
	}
}

func TestTokensOfMailgunCountOnce(t *testing.T) {
	t.Parallel()
	s := sampleOf("mailgun")
	a, r := newAdapter(t, webhook.Presets()), s.request(false, now, s.body)
	for range 2 { // the vendor tries again with the same
		if verdict := a.Verify(t.Context(), s.source(), r); !verdict.Accepted() {
			t.Fatalf("%+v", verdict)
		}
	}
	r.Body = []byte(strings.Replace(string(r.Body), "opened", "failed", 1))
	if verdict := a.Verify(t.Context(), s.source(), r); verdict.Accepted() {
		t.Error("another body under the same token is accepted")
	}
}

func TestPublishedVectorsOfVendors(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	seen := map[string]bool{}
	for _, c := range []struct {
		provider, secret string
		config           map[string]any
		request          webhook.Request
		at               time.Time
	}{
		{"slack", "8f742231b10e8888abcd99yyyzzz85a5", nil, webhook.Request{
			Header: h("X-Slack-Request-Timestamp", "1531420618", "X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
			Body:   []byte("token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"),
		}, time.Unix(1531420618, 0)},
		{"adyen", adyenSecret, nil, webhook.Request{
			Header: http.Header{}, Body: []byte(strings.Replace(adyenBody, "SIGNATURE", "coqCmt/IZ4E3CzPvMY8zTjQVL5hYJUiBRg8UU+iCWo0=", 1)),
		}, now},
		{"twilio", "12345", nil, webhook.Request{
			PublicURL: "https://mycompany.com", Target: "/myapp.php?foo=1&bar=2",
			Header: h("X-Twilio-Signature", "0/KCTR6DLpKmkAf8muzZqo1nDgQ="),
			Body:   []byte("CallSid=CA1234567890ABCDE&Caller=%2B12349013030&Digits=1234&From=%2B12349013030&To=%2B18005551212"),
		}, now},
		{"github", "It's a Secret to Everybody", nil, webhook.Request{
			Header: h("X-Hub-Signature-256", "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"), Body: []byte("Hello, World!"),
		}, now},
		{"bitbucket", "It's a Secret to Everybody", nil, webhook.Request{
			Header: h("X-Hub-Signature", "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"), Body: []byte("Hello World!"),
		}, now},
		{"standard-webhooks", testSecret, nil, webhook.Request{
			Header: h("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp", "1614265330", "webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
			Body:   []byte(`{"test": 2432232314}`),
		}, time.Unix(1614265330, 0)},
		{"square", "Ibxx_5AKakO-3qeNVR61Dw", nil, webhook.Request{
			PublicURL: "https://webhook.site", Target: "/679a4f3a-dcfa-49ee-bac5-9d0edad886b9",
			Header: h("x-square-hmacsha256-signature", "GF4YkrJgGBDZ9NIYbNXBnMzqb2HoL4RW/S6vkZ9/2N4="),
			Body:   []byte(`{"merchant_id":"MLEFBHHSJGVHD","type":"webhooks.test_notification","event_id":"ac3ac95b-f97d-458c-a6e6-18981597e05f","created_at":"2022-07-13T20:30:59.037339943Z","data":{"type":"webhooks","id":"bc368e64-01aa-407e-b46e-3231809b1129"}}`),
		}, now},
		{"sendgrid", "", map[string]any{"publicKey": "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpVKS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="}, webhook.Request{
			Header: h("X-Twilio-Email-Event-Webhook-Timestamp", "1600112502", "X-Twilio-Email-Event-Webhook-Signature", "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqHh89M15TluLtEZtM="),
			Body: []byte(`[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address","sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",` +
				`"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0","smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>","timestamp":1600112492}]` + "\r\n"),
		}, time.Unix(1600112502, 0)},
	} {
		src := &hub.Source{ID: "src_1", Kind: hub.SourceWebhook, Provider: c.provider, ProviderConfig: c.config}
		if c.secret != "" {
			src.Secrets = []hub.Secret{hub.Secret(c.secret)}
		}
		c.request.Method, c.request.ReceivedAt = http.MethodPost, c.at
		if verdict := a.Verify(t.Context(), src, &c.request); !verdict.Accepted() {
			t.Errorf("%s: %+v", c.provider, verdict)
		}
		seen[c.provider] = true
	}
	for provider, e := range webhook.EvidenceOf {
		if seen[provider] != (e.Published != "") {
			t.Errorf("%s: the table of evidence says %q, and an example is here: %v", provider, e.Published, seen[provider])
		}
	}
}

// TestTwilioMaySignAnotherSpelling covers URLs that Twilio signs otherwise than it
// calls them.
func TestTwilioMaySignAnotherSpelling(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	src := &hub.Source{ID: "src_1", Kind: hub.SourceWebhook, Provider: "twilio", Secrets: []hub.Secret{testSecret}}
	for _, c := range []struct {
		public, target, signed string
		accepted               bool
	}{
		{"https://hub.example", "/in/a?x=O'Brien", "https://hub.example/in/a?x=O'Brien", true},
		{"https://hub.example", "/in/a?x=O'Brien", "https://hub.example/in/a?x=O%27Brien", true},
		{"https://hub.example", "/in/a?x=O'Brien", "https://hub.example:443/in/a?x=O%27Brien", true},
		{"https://hub.example:8443", "/in/a?to=a:b/c&x=1+2", "https://hub.example/in/a?to=a%3Ab%2Fc&x=1%202", true},
		{"https://hub.example", "/in/a?x=1&y&x=%C3%A9", "https://hub.example/in/a?x=1&x=%C3%A9&y=", true},
		{"http://hub.example", "/in/a?", "http://hub.example:80/in/a?", true},
		{"https://hub.example", "/in/a?x=1", "https://hub.example/in/a", false},
		{"https://hub.example", "/in/a?x=1&y=2", "https://hub.example/in/a?y=2&x=1", false},
		{"https://hub.example", "/in/a?x=%zz", "https://hub.example/in/a?x=%25zz", false},
		{"https://hub.example", "/in/a%2Fb", "https://hub.example/in/a/b", false},
	} {
		r := &webhook.Request{
			Method: http.MethodPost, PublicURL: c.public, Target: c.target, Body: []byte("a=1"), ReceivedAt: now,
			Header: h("X-Twilio-Signature", b64SHA1(testSecret, c.signed+"a1")),
		}
		if verdict := a.Verify(t.Context(), src, r); verdict.Accepted() != c.accepted {
			t.Errorf("%s%s, signed as %s: %+v", c.public, c.target, c.signed, verdict)
		}
	}
}
