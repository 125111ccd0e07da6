package webhook_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/signature"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

var now = time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)

func newAdapter(t testing.TB, table *webhook.Table) *webhook.Adapter {
	t.Helper()
	m, err := match.New()
	if err != nil {
		t.Fatal(err)
	}
	return webhook.New(table, m)
}

// TestDeclarations covers what rows can declare and no preset of today does.
func TestDeclarations(t *testing.T) {
	t.Parallel()
	table := webhook.NewTable(webhook.Provider{
		Name: "acme", Title: "Acme",
		Scheme: &webhook.Scheme{
			Header: "X-Acme-Signature", Format: signature.Plain("", signature.Base64), Algorithm: signature.SHA256,
			Key: func(s hub.Secret) ([]byte, error) { return signature.Hex.Decode(s.Reveal()) },
			Content: []webhook.Part{
				webhook.SignedMethod, webhook.Literal("\n"), webhook.SignedURL, webhook.Literal("\n"), webhook.SignedTimestamp, webhook.SignedBody,
			},
			Timestamp: &webhook.Timestamp{Header: "X-Acme-Time", Form: signature.UnixMillis, Tolerance: time.Minute},
		},
		Type:       webhook.Rule{{Header: "X-Acme-Topic"}, {Path: "events.0.topic"}},
		OccurredAt: webhook.TimeRule{Rule: webhook.Rule{{Path: "at"}}, Forms: []signature.TimeForm{signature.UnixMillis}},
	})
	source := &hub.Source{Slug: "acme", Kind: hub.SourceWebhook, Provider: "acme", Secrets: []hub.Secret{"not hex", "00ff"}}
	request := func() *webhook.Request {
		body := `{"at":1773500966000,"events":[{"topic":"a.b"}]}`
		mac := signature.SHA256.Sign([]byte{0, 0xff}, []byte("PUT\nhttps://hub.example/in/acme?a=%20b\n1773500966000"+body))
		return &webhook.Request{
			Method: http.MethodPut, Target: "/in/acme?a=%20b", PublicURL: "https://hub.example", Host: "evil.example", Body: []byte(body), ReceivedAt: now,
			Header: http.Header{"X-Acme-Signature": {signature.Base64.Encode(mac)}, "X-Acme-Time": {"1773500966000"}},
		}
	}
	a := newAdapter(t, table)
	if verdict := a.Verify(t.Context(), source, request()); !verdict.Accepted() {
		t.Fatalf("%+v", verdict)
	}
	got, verdict := a.Extract(source, request(), webhook.Extracted{})
	if !verdict.Accepted() || got.Type != "a.b" || !got.OccurredAt.Equal(now) {
		t.Fatalf("%+v, %+v", got, verdict)
	}
	if got, _ := a.Extract(source, request(), webhook.Extracted{Type: "given"}); got.Type != "given" {
		t.Errorf("what is given is not kept: %+v", got)
	}
	for name, c := range map[string]struct {
		change func(*webhook.Request)
		want   hub.RejectionReason
	}{
		"another method":        {func(r *webhook.Request) { r.Method = http.MethodPost }, hub.RejectedSignatureInvalid},
		"another query":         {func(r *webhook.Request) { r.Target = "/in/acme?a=%20c" }, hub.RejectedSignatureInvalid},
		"another public URL":    {func(r *webhook.Request) { r.PublicURL = "https://evil.example" }, hub.RejectedSignatureInvalid},
		"no time":               {func(r *webhook.Request) { r.Header.Del("X-Acme-Time") }, hub.RejectedSignatureMissing},
		"two times":             {func(r *webhook.Request) { r.Header.Add("X-Acme-Time", "1773500966000") }, hub.RejectedSignatureInvalid},
		"a minute and a second": {func(r *webhook.Request) { r.ReceivedAt = now.Add(61 * time.Second) }, hub.RejectedTimestamp},
	} {
		r := request()
		c.change(r)
		if verdict := a.Verify(t.Context(), source, r); verdict.Reason != c.want || verdict.Detail == "" {
			t.Errorf("%s: %+v, want %s", name, verdict, c.want)
		}
	}
	gone := *source
	gone.Provider = "gone"
	if verdict := a.Verify(t.Context(), &gone, request()); verdict.Reason != hub.RejectedSignatureInvalid {
		t.Errorf("a provider that is gone from the table: %+v", verdict)
	}
}

func TestAMismatchNamesSecretsByTheGivenFingerprintAlone(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	detail := func(fingerprint func(hub.Secret) string, secrets ...hub.Secret) string {
		r := &webhook.Request{
			Header: http.Header{"X-Hub-Signature-256": {"sha256=" + strings.Repeat("0", 64)}}, ReceivedAt: now, Fingerprint: fingerprint,
		}
		return a.Verify(t.Context(), &hub.Source{Provider: "github", Secrets: secrets}, r).Detail
	}
	named := func(s hub.Secret) string { return "<" + strconv.Itoa(len(s)) + ">" }
	for want, got := range map[string]string{
		"under the source's secret (fingerprint <3>);":                  detail(named, "one"),
		"under any of the source's 2 secrets (fingerprints <3>, <5>);":  detail(named, "two", "three"),
		"under the source's secret;":                                    detail(nil, "one"),
		"under any of the source's 2 secrets;":                          detail(nil, "two", "three"),
		"under any secret: the source has none; the body has 0 bytes, ": detail(named),
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, want %q in it", got, want)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	a := newAdapter(b, webhook.Presets())
	body := make([]byte, 1024)
	secret := hub.Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	list, err := signature.SignStandard(secret, "msg_1", now, body)
	if err != nil {
		b.Fatal(err)
	}
	text := func(content ...[]byte) string {
		return signature.Hex.Encode(signature.SHA256.Sign([]byte(secret.Reveal()), content...))
	}
	for _, c := range []struct {
		name   string
		source hub.Source
		header http.Header
	}{
		{"standard-webhooks", hub.Source{Provider: "standard-webhooks"}, http.Header{"Webhook-Id": {"msg_1"}, "Webhook-Timestamp": {"1773500966"}, "Webhook-Signature": {list}}},
		{"github", hub.Source{Provider: "github"}, http.Header{"X-Hub-Signature-256": {"sha256=" + text(body)}}},
		{"stripe", hub.Source{Provider: "stripe"}, http.Header{"Stripe-Signature": {"t=1773500966,v1=" + text([]byte("1773500966."), body)}}},
		{"hmac", hub.Source{Verification: &hub.Verification{HMAC: &hub.HMACVerification{Header: "X-Sig", Algorithm: "SHA256", Encoding: "HEX"}}}, http.Header{"X-Sig": {text(body)}}},
		{"hmac by expression", hub.Source{Verification: &hub.Verification{HMAC: &hub.HMACVerification{Header: "X-Sig", Algorithm: "SHA256", Encoding: "HEX", SignedContent: "raw"}}}, http.Header{"X-Sig": {text(body)}}},
		{"api key", hub.Source{Verification: &hub.Verification{APIKey: &hub.APIKeyVerification{Header: "X-Key"}}}, http.Header{"X-Key": {secret.Reveal()}}},
		{"eight secrets", hub.Source{Provider: "github", Secrets: []hub.Secret{"1", "2", "3", "4", "5", "6", "7", secret}}, http.Header{"X-Hub-Signature-256": {"sha256=" + text(body)}}},
	} {
		b.Run(c.name, func(b *testing.B) {
			if c.source.Secrets == nil {
				c.source.Secrets = []hub.Secret{secret}
			}
			b.ReportAllocs()
			for b.Loop() {
				r := &webhook.Request{Header: c.header, Body: body, ReceivedAt: now}
				if verdict := a.Verify(b.Context(), &c.source, r); !verdict.Accepted() {
					b.Fatal(verdict.Detail)
				}
			}
		})
	}
}
