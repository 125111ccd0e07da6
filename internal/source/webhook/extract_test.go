package webhook_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// TestSvixUnderTheNamesOfTheStandard has what Svix sends for customers who want no
// brand in their headers. An ID that no signature covers must not count beside it.
func TestSvixUnderTheNamesOfTheStandard(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	for _, provider := range []string{"svix", "resend"} {
		s := sampleOf(provider)
		for _, wrong := range []bool{false, true} {
			r := s.request(wrong, now, s.body)
			for _, name := range []string{"id", "timestamp", "signature"} {
				r.Header.Set("webhook-"+name, r.Header.Get("svix-"+name))
				r.Header.Del("svix-" + name)
			}
			verdict := a.Verify(t.Context(), s.source(), r)
			if wrong != (verdict.Reason == hub.RejectedSignatureInvalid) || wrong == verdict.Accepted() {
				t.Errorf("%s, wrong %v: %+v", provider, wrong, verdict)
			}
			if got, _ := a.Extract(s.source(), r, webhook.Extracted{}); got.DedupeKey != "msg_1" {
				t.Errorf("%s: the key is %q", provider, got.DedupeKey)
			}
			r.Header.Set("svix-id", "msg_2")
			if verdict := a.Verify(t.Context(), s.source(), r); verdict.Reason != hub.RejectedSignatureMissing {
				t.Errorf("%s: an ID that is not signed is taken: %+v", provider, verdict)
			}
		}
	}
}

// TestOtherShapes covers what vendors send besides what the samples show.
func TestOtherShapes(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	form := h("Content-Type", "application/x-www-form-urlencoded")
	for name, c := range map[string]struct {
		provider string
		header   http.Header
		body     string
		want     webhook.Extracted
	}{
		"a Slack interaction":    {"slack", form, "payload=%7B%22type%22%3A%22block_actions%22%7D", webhook.Extracted{Type: "block_actions"}},
		"a Slack command":        {"slack", form, "command=%2Fdo&text=x", webhook.Extracted{Type: "/do"}},
		"a call at Twilio":       {"twilio", form, "CallStatus=ringing&CallSid=CA1", webhook.Extracted{Type: "ringing", OrderingKey: "CA1"}},
		"a batch of SendGrid":    {"sendgrid", nil, `[{"event":"open","sg_event_id":"a"},{"event":"click","sg_event_id":"b"}]`, webhook.Extracted{Type: "open", DedupeKey: hashOf("a\nb")}},
		"a batch without an ID":  {"sendgrid", nil, `[{"event":"open","sg_event_id":"a"},{"event":"click"}]`, webhook.Extracted{Type: "open"}},
		"a batch of nothing":     {"sendgrid", nil, `[]`, webhook.Extracted{Type: "acme"}},
		"structured CloudEvents": {"cloudevents", nil, `{"specversion":"1.0","id":"c1","source":"/a","type":"t","time":"2026-03-14T15:09:26Z","partitionkey":"p"}`, webhook.Extracted{Type: "t", DedupeKey: "/a:c1", OrderingKey: "p", OccurredAt: now}},
		"a CloudEvents batch":    {"cloudevents", nil, `[{"id":"c1","source":"/a","type":"t"}]`, webhook.Extracted{Type: "t", DedupeKey: "/a:c1"}},
		"a status of WhatsApp":   {"meta", nil, `{"entry":[{"changes":[{"field":"messages","value":{"statuses":[{"id":"w1","status":"read","timestamp":"1773500966"}]}}]}]}`, webhook.Extracted{Type: "messages", DedupeKey: "w1:read", OccurredAt: now}},
		"a webhook event":        {"discord", nil, `{"version":1,"type":1,"event":{"type":"ENTITLEMENT_CREATE","timestamp":"2026-03-14T15:09:26Z"}}`, webhook.Extracted{Type: "ENTITLEMENT_CREATE", DedupeKey: "*", OccurredAt: now}},
		// Without a zone, as Discord's documentation shows it and its servers write it.
		"a time without a zone":     {"discord", nil, `{"version":1,"type":1,"event":{"type":"ENTITLEMENT_CREATE","timestamp":"2026-03-14T15:09:26.000000"}}`, webhook.Extracted{Type: "ENTITLEMENT_CREATE", DedupeKey: "*", OccurredAt: now}},
		"a GitLab merge request":    {"gitlab", nil, `{"object_attributes":{"updated_at":"2026-03-14 15:09:26 UTC"}}`, webhook.Extracted{Type: "acme", OccurredAt: now}},
		"a GitLab pipeline":         {"gitlab-signing-token", nil, `{"object_attributes":{"created_at":"2026-03-14 15:09:00 UTC","finished_at":"2026-03-14 15:09:26 UTC"}}`, webhook.Extracted{Type: "acme", OccurredAt: now}},
		"the time of a call":        {"twilio", form, "CallStatus=completed&CallSid=CA1&Timestamp=Sat%2C+14+Mar+2026+15%3A09%3A26+%2B0000", webhook.Extracted{Type: "completed", OrderingKey: "CA1", OccurredAt: now}},
		"an edited message":         {"telegram", nil, `{"update_id":8,"edited_message":{"date":1773500966,"chat":{"id":5}}}`, webhook.Extracted{Type: "edited_message", DedupeKey: "8", OrderingKey: "5", OccurredAt: now}},
		"an update of odd names":    {"telegram", nil, `{"update_id":8,"a.b|@this":{"date":1}}`, webhook.Extracted{Type: "a.b|@this", DedupeKey: "8"}},
		"opens at Postmark":         {"postmark", nil, `{"RecordType":"Open","MessageID":"m1","ReceivedAt":"2026-03-14T15:09:26.0000000Z"}`, webhook.Extracted{Type: "Open", DedupeKey: "m1:Open:2026-03-14T15:09:26.0000000Z", OrderingKey: "m1", OccurredAt: now}},
		"a long key":                {"docusign", nil, `{"event":"e","data":{"envelopeId":"` + strings.Repeat("x", 600) + `"}}`, webhook.Extracted{}},
		"no event at all":           {"stripe", nil, `<a/>`, webhook.Extracted{Type: "acme"}},
		"an Event Grid CloudEvent":  {"azure-eventgrid", nil, `{"id":"1","type":"t","subject":"s"}`, webhook.Extracted{Type: "t", DedupeKey: "1", OrderingKey: "s"}},
		"Shopify before its events": {"shopify", h("X-Shopify-Webhook-Id", "w1", "X-Shopify-Topic", "a/b"), `{}`, webhook.Extracted{Type: "a/b", DedupeKey: "w1"}},
	} {
		if c.header == nil {
			c.header = http.Header{}
		}
		src := &hub.Source{Slug: "acme", Kind: hub.SourceWebhook, Provider: c.provider, AllowUnverified: true}
		r := &webhook.Request{Method: "POST", Header: c.header, Body: []byte(c.body), ReceivedAt: now}
		a.Handshake(t.Context(), src, r, true) // looks at the same document first
		got, verdict := a.Extract(src, r, webhook.Extracted{})
		if c.want.DedupeKey == "*" && strings.HasPrefix(got.DedupeKey, "sha256:") {
			got.DedupeKey, got.DedupeWindow = "*", 0
		}
		if c.want == (webhook.Extracted{}) { // refused, since the ordering key cannot be stored
			if verdict.Reason != hub.RejectedExtraction {
				t.Errorf("%s: %+v", name, verdict)
			}
			continue
		}
		if !verdict.Accepted() || got != c.want {
			t.Errorf("%s: got %+v, %+v, want %+v", name, got, verdict, c.want)
		}
	}
}

func hashOf(text string) string {
	digest := sha256.Sum256([]byte(text))
	const digits = "0123456789abcdef"
	var b strings.Builder
	b.WriteString("sha256:")
	for _, c := range digest {
		b.WriteByte(digits[c>>4])
		b.WriteByte(digits[c&15])
	}
	return b.String()
}

func TestBodyHashesHoldForADay(t *testing.T) {
	t.Parallel()
	a, s := newAdapter(t, webhook.Presets()), sampleOf("zoom")
	extracted := func(at time.Time, body string) webhook.Extracted {
		r := s.request(false, at, body)
		r.ReceivedAt = at
		e, _ := a.Extract(s.source(), r, webhook.Extracted{})
		return e
	}
	first := extracted(now, s.body)
	if first.DedupeKey == "" || first.DedupeWindow != 24*time.Hour {
		t.Errorf("the key is %q for %v", first.DedupeKey, first.DedupeWindow)
	}
	// A retry after midnight is the same event.
	if extracted(now.Add(12*time.Hour), s.body) != first || extracted(now, s.body+" ").DedupeKey == first.DedupeKey {
		t.Error("the key is not that of the body")
	}
	if e, _ := a.Extract(sampleOf("stripe").source(), sampleOf("stripe").request(false, now, sampleOf("stripe").body), webhook.Extracted{}); e.DedupeKey == "" || e.DedupeWindow != 0 {
		t.Errorf("an ID of the vendor's counts for %v", e.DedupeWindow)
	}
}

func TestSpellingsOfURLs(t *testing.T) {
	t.Parallel()
	a, s := newAdapter(t, webhook.Presets()), sampleOf("twilio")
	for _, c := range []struct{ public, signed string }{
		{"https://hub.example", "https://hub.example"},
		{"https://hub.example", "https://hub.example:443"},
		{"http://hub.example", "http://hub.example:80"},
		{"https://hub.example:8443", "https://hub.example"},
		{"https://[::1]", "https://[::1]:443"},
		{"https://hub.example/base", "https://hub.example:443/base"},
	} {
		r := s.request(false, now, "")
		r.PublicURL = c.public
		r.Header.Set("X-Twilio-Signature", b64SHA1(testSecret, c.signed+s.path()))
		if verdict := a.Verify(t.Context(), s.source(), r); !verdict.Accepted() {
			t.Errorf("%s signed as %s: %+v", c.public, c.signed, verdict)
		}
		r.PublicURL = "https://evil.example"
		if verdict := a.Verify(t.Context(), s.source(), r); verdict.Accepted() {
			t.Errorf("%s is accepted elsewhere", c.signed)
		}
	}
	// Of a name with several values each value counts once, in order.
	r := s.request(false, now, "b=2&a=z&b=1&b=2")
	r.Header.Set("X-Twilio-Signature", b64SHA1(testSecret, publicURL+s.path()+"azb1b2"))
	if verdict := a.Verify(t.Context(), s.source(), r); !verdict.Accepted() {
		t.Errorf("%+v", verdict)
	}
}

func TestKeysOfAccounts(t *testing.T) {
	t.Parallel()
	a, s := newAdapter(t, webhook.Presets()), sampleOf("docusign")
	r := s.request(false, now, s.body)
	right := r.Header.Get("X-DocuSign-Signature-1")
	r.Header.Set("X-DocuSign-Signature-1", b64SHA256("another key of the account", s.body))
	r.Header.Set("X-DocuSign-Signature-2", right)
	if verdict := a.Verify(t.Context(), s.source(), r); !verdict.Accepted() {
		t.Errorf("the second key's signature: %+v", verdict)
	}
	// Public keys change by a list of both.
	s = sampleOf("sendgrid")
	src := s.source()
	src.ProviderConfig = map[string]any{"publicKey": []any{theirs().spki, ours().spki}}
	if problems := webhook.Presets().CheckSource(src); len(problems) > 0 {
		t.Errorf("%v", problems)
	}
	for _, wrong := range []bool{false, true} {
		if verdict := a.Verify(t.Context(), src, s.request(wrong, now, s.body)); !verdict.Accepted() {
			t.Errorf("%+v", verdict)
		}
	}
}

func TestCredentialsInTheURL(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	for query, accepted := range map[string]bool{
		"code=" + testSecret: true, "code=x": false, "code=": false, "code=" + testSecret + "&code=x": false, "": false,
		"other=" + testSecret: false, strings.Repeat("a=b&", 100) + "code=" + testSecret: false,
	} {
		r := &webhook.Request{Method: "POST", RawQuery: query, Header: http.Header{}, Body: []byte("[]"), ReceivedAt: now}
		if verdict := a.Verify(t.Context(), sampleOf("azure-eventgrid").source(), r); verdict.Accepted() != accepted {
			t.Errorf("%q: %+v", query, verdict)
		}
	}
	src := sampleOf("cloudevents").source()
	if got := webhook.RedactQuery(src, "a=b&access_token="+testSecret+"&c"); got != "a=b&access_token=REDACTED&c" {
		t.Errorf("stored is %q", got)
	}
	if got := webhook.CredentialHeaders(sampleOf("okta").source()); len(got) != 1 || got[0] != "X-Hook" {
		t.Errorf("not for storing are %q", got)
	}
}

func TestSettingsAreChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		provider, key string
		value         any
	}{
		{"discord", "publicKey", "zz"},
		{"discord", "publicKey", 7},
		{"discord", "publicKey", []any{}},
		{"discord", "publicKey", []any{strings.Repeat("0", 64), "x"}},
		{"sendgrid", "publicKey", base64.StdEncoding.EncodeToString([]byte("no key"))},
		{"standard-webhooks-v1a", "publicKey", "whpk_AAAA"},
		{"aws-sns", "signingCertPem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"},
		{"aws-sns", "topicArn", ""},
		{"paypal", "webhookId", " x"},
		{"plaid", "jwk", map[string]any{"kty": "oct", "k": "AAAA"}},
		{"plaid", "jwk", "{"},
		{"plaid", "environment", "evil.example"},
		{"okta", "authHeader", "a b"},
		{"okta", "authHeader", "Host"},
		{"github", "publicKey", "x"},
	} {
		src := sampleOf(c.provider).source()
		config := map[string]any{c.key: c.value}
		for name, value := range src.ProviderConfig {
			if name != c.key {
				config[name] = value
			}
		}
		src.ProviderConfig = config
		found := false
		for _, problem := range webhook.Presets().CheckSource(src) {
			found = found || strings.Join(problem.Field, ".") == "input.providerConfig."+c.key
		}
		if !found {
			t.Errorf("%s: %s may be %v", c.provider, c.key, c.value)
		}
	}
	for _, provider := range []string{"postmark", "okta", "aws-sns", "paypal", "discord", "sendgrid", "plaid", "adyen", "gitlab", "telegram"} {
		src := sampleOf(provider).source()
		src.ProviderConfig, src.Secrets = nil, nil
		if len(webhook.Presets().CheckSource(src)) == 0 {
			t.Errorf("%s needs nothing to be set", provider)
		}
	}
	src := sampleOf("adyen").source()
	src.Secrets = []hub.Secret{"not hexadecimal"}
	if len(webhook.Presets().CheckSource(src)) != 1 {
		t.Error("a key of Adyen's may be any text")
	}
	src = sampleOf("plaid").source()
	src.ProviderConfig["jwk"] = string(must(jsonOf(src.ProviderConfig["jwk"])))
	if problems := webhook.Presets().CheckSource(src); len(problems) > 0 {
		t.Errorf("a JWK as text: %v", problems)
	}
}
