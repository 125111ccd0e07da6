package receive_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func vendorSource(provider string, config map[string]any, secrets ...hub.Secret) *hub.Source {
	return &hub.Source{
		ID: "src_1", Slug: "acme", Kind: hub.SourceWebhook, State: hub.SourceActive, Provider: provider, ProviderConfig: config, Secrets: secrets,
	}
}

// TestHandshakesOfPresets sends what vendors send before their first event.
func TestHandshakesOfPresets(t *testing.T) {
	t.Parallel()
	token := map[string]any{"verifyToken": "vt"}
	for name, c := range map[string]struct {
		source               *hub.Source
		method, query        string
		header               http.Header
		body                 string
		status               int
		want                 string
		answered, its, notes string
	}{
		"Meta":             {vendorSource("meta", token, "s"), "GET", "?hub.mode=subscribe&hub.verify_token=vt&hub.challenge=42", nil, "", 200, "42", "X-Content-Type-Options", "nosniff", ""},
		"Meta, wrong":      {vendorSource("meta", token, "s"), "GET", "?hub.mode=subscribe&hub.verify_token=no&hub.challenge=42", nil, "", 401, "", "", "", "CREDENTIALS_INVALID"},
		"Dropbox":          {vendorSource("dropbox", nil, "s"), "GET", "?challenge=abc", nil, "", 200, "abc", "Content-Type", "text/plain; charset=utf-8", ""},
		"Trello":           {vendorSource("trello", nil, "s"), "HEAD", "", nil, "", 200, "", "", "", ""},
		"Intercom":         {vendorSource("intercom", nil, "s"), "HEAD", "", nil, "", 200, "", "", "", ""},
		"Event Grid, void": {vendorSource("azure-eventgrid", nil, "s"), "POST", "", nil, `[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{}}]`, 422, "", "", "", "BODY_INVALID"},
		"Okta":             {vendorSource("okta", map[string]any{"authSecret": "s"}), "GET", "", headers("X-Okta-Verification-Challenge", "v"), "", 200, `{"verification":"v"}`, "Content-Type", "application/json", ""},
		"CloudEvents":      {vendorSource("cloudevents", nil, "s"), "OPTIONS", "", headers("WebHook-Request-Origin", "a.example"), "", 200, "", "WebHook-Allowed-Origin", "a.example", ""},
		"Event Grid":       {vendorSource("azure-eventgrid", nil, "s"), "POST", "", nil, `[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"5"}}]`, 200, `{"validationResponse":"5"}`, "", "", ""},
		"Notion, unset":    {vendorSource("notion", nil), "POST", "", nil, `{"verification_token":"secret_1"}`, 200, "", "", "", "SIGNATURE_MISSING"},
		"Notion, set":      {vendorSource("notion", nil, "s"), "POST", "", nil, `{"verification_token":"secret_1"}`, 200, "", "", "", ""},
		"Xero":             {vendorSource("xero", nil, "s"), "POST", "", headers("X-Xero-Signature", "AAAA"), `{"events":[]}`, 401, "", "", "", "SIGNATURE_INVALID"},
		"a browser's look": {vendorSource("meta", token, "s"), "GET", "", nil, "", 405, "", "Allow", "POST, PUT, PATCH", "METHOD_NOT_ALLOWED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := newStore(c.source)
			got := send(t, c.method, serve(t, store)+"/in/acme"+c.query, c.header, []byte(c.body))
			if got.status != c.status || c.status == 200 && got.body != c.want || c.answered != "" && got.header.Get(c.answered) != c.its {
				t.Errorf("answered %d %q %v; %s", got.status, got.body, got.header, store.why())
			}
			events, rejections := store.counts()
			if events != 0 || (rejections > 0) != (c.notes != "") {
				t.Fatalf("%d events, %d rejections", events, rejections)
			}
			if c.notes != "" && !strings.HasPrefix(store.why(), c.notes) && c.status != 405 {
				t.Errorf("kept: %s", store.why())
			}
		})
	}
}

// TestXerosIntentIsRefusedWithoutABody has what Xero demands of an answer to its intent
// to receive, right or wrong. A wrong signature on an event is told as everywhere.
func TestXerosIntentIsRefusedWithoutABody(t *testing.T) {
	t.Parallel()
	for body, bare := range map[string]bool{`{"events":[],"entropy":"x"}`: true, `{"events":[{"resourceId":"r1"}]}`: false} {
		for _, header := range []http.Header{headers("X-Xero-Signature", "AAAA"), nil} {
			store := newStore(vendorSource("xero", nil, "s"))
			got := send(t, http.MethodPost, serve(t, store)+"/in/acme", header, []byte(body))
			if got.status != 401 || (got.body == "") != bare || (got.header.Get("Content-Type") == "") != bare || got.header.Get("Set-Cookie") != "" {
				t.Errorf("%s is answered %d %q %v", body, got.status, got.body, got.header)
			}
			if events, rejections := store.counts(); events != 0 || rejections != 1 {
				t.Errorf("%s: %d events, %d rejections", body, events, rejections)
			}
		}
	}
}

// TestCredentialsAreNotStored covers those in places whose names do not tell.
func TestCredentialsAreNotStored(t *testing.T) {
	t.Parallel()
	store := newStore(vendorSource("azure-eventgrid", nil, "s3cr3t"))
	if got := send(t, http.MethodPost, serve(t, store)+"/in/acme?a=b&code=s3cr3t", nil, []byte(`[]`)); got.status != 200 {
		t.Fatal(store.why())
	}
	if query := store.last(t).Payload.Query; query != "a=b&code=REDACTED" {
		t.Errorf("the query is stored as %q", query)
	}
	store = newStore(vendorSource("okta", map[string]any{"authHeader": "X-Hook", "authSecret": "s3cr3t"}))
	if got := send(t, http.MethodPost, serve(t, store)+"/in/acme", headers("X-Hook", "s3cr3t"), []byte(`{}`)); got.status != 200 {
		t.Fatal(store.why())
	}
	for _, header := range store.last(t).Payload.Headers {
		if strings.Contains(header.Value, "s3cr3t") {
			t.Errorf("the header %s is stored", header.Name)
		}
	}
}

func TestSlackAnswersOnlyWhatIsSigned(t *testing.T) {
	t.Parallel()
	const body = `{"type":"url_verification","challenge":"c"}`
	store := newStore(vendorSource("slack", nil, "s"))
	target := serve(t, store) + "/in/acme"
	stamp := "1773500966"
	mac := hmac.New(sha256.New, []byte("s"))
	mac.Write([]byte("v0:" + stamp + ":" + body))
	if got := send(t, http.MethodPost, target, headers("X-Slack-Request-Timestamp", stamp, "X-Slack-Signature", "v0="+hex.EncodeToString(mac.Sum(nil))), []byte(body)); got.status != 200 || got.body != "c" {
		t.Errorf("%d %q %s", got.status, got.body, store.why())
	}
	if got := send(t, http.MethodPost, target, headers("X-Slack-Request-Timestamp", stamp, "X-Slack-Signature", "v0=00"), []byte(body)); got.status != 401 {
		t.Errorf("%d %q", got.status, got.body)
	}
	if events, _ := store.counts(); events != 0 {
		t.Errorf("%d events", events)
	}
}
