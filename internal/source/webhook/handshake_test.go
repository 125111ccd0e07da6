package webhook_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

func sampleOf(provider string) *sample {
	for _, s := range samples() {
		if s.provider == provider {
			return s
		}
	}
	panic(provider)
}

// ask sends what may be a handshake the way the door does.
func ask(t *testing.T, a *webhook.Adapter, src *hub.Source, r *webhook.Request) (webhook.Answer, bool, webhook.Verdict) {
	t.Helper()
	if answer, asked := a.Handshake(t.Context(), src, r, false); asked {
		return answer, true, webhook.Verdict{}
	}
	if r.Method != http.MethodPost {
		return webhook.Answer{}, false, webhook.Verdict{}
	}
	if verdict := a.Verify(t.Context(), src, r); !verdict.Accepted() {
		return webhook.Answer{}, false, verdict
	}
	answer, asked := a.Handshake(t.Context(), src, r, true)
	return answer, asked, webhook.Verdict{}
}

func TestSignedHandshakes(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	for _, c := range []struct {
		provider, body string
		status         int
		want           string
	}{
		{"slack", `{"type":"url_verification","token":"x","challenge":"3eZbrw1a"}`, 200, "3eZbrw1a"},
		{"zoom", `{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZ"},"event_ts":1}`, 200,
			`{"encryptedToken":"` + hexSHA256(testSecret, "qgg8vlvZ") + `","plainToken":"qgg8vlvZ"}`},
		{"discord", `{"id":"1","type":1,"token":"x"}`, 200, `{"type":1}`},
		{"discord", `{"version":1,"application_id":"1","type":0}`, 204, ""},
		{"xero", `{"events":[],"firstEventSequence":0,"lastEventSequence":0,"entropy":"S"}`, 200, ""},
		{"line", `{"destination":"U1","events":[]}`, 200, ""},
	} {
		s := sampleOf(c.provider)
		answer, asked, verdict := ask(t, a, s.source(), s.request(false, now, c.body))
		if !asked || answer.Status != c.status || string(answer.Body) != c.want || !answer.Refusal.Accepted() {
			t.Errorf("%s: %v, %+v %q, %+v", c.provider, asked, answer, answer.Body, verdict)
		}
		if answer, asked, verdict := ask(t, a, s.source(), s.request(true, now, c.body)); asked || verdict.Reason != hub.RejectedSignatureInvalid {
			t.Errorf("%s answers what is signed wrong: %+v, %+v", c.provider, answer, verdict)
		}
		none := s.request(false, now, c.body)
		none.Header = http.Header{}
		if _, asked, verdict := ask(t, a, s.source(), none); asked || verdict.Reason != hub.RejectedSignatureMissing {
			t.Errorf("%s answers what is not signed", c.provider)
		}
	}
	// A challenge that is missing, no text or a huge one is not sent back, and makes no event.
	for _, c := range [][2]string{
		{"slack", `{"type":"url_verification"}`},
		{"slack", `{"type":"url_verification","challenge":["x"]}`},
		{"slack", `{"type":"url_verification","challenge":"` + strings.Repeat("x", 5000) + `"}`},
		{"zoom", `{"event":"endpoint.url_validation"}`},
		{"zoom", `{"event":"endpoint.url_validation","payload":{"plainToken":7}}`},
	} {
		s := sampleOf(c[0])
		answer, asked, _ := ask(t, a, s.source(), s.request(false, now, c[1]))
		if !asked || answer.Refusal.Reason != hub.RejectedBodyInvalid || len(answer.Body) > 0 {
			t.Errorf("%s: %.60s is answered: %v, %+v", c[0], c[1], asked, answer)
		}
	}
	// An event of Discord's with the number of a ping is none.
	for provider, body := range map[string]string{
		"discord": `{"version":1,"type":1,"event":{"type":"ENTITLEMENT_CREATE"}}`,
		"xero":    `{"events":{}}`,
	} {
		s := sampleOf(provider)
		if _, asked, verdict := ask(t, a, s.source(), s.request(false, now, body)); asked || !verdict.Accepted() {
			t.Errorf("%s: %s is a handshake, or refused: %+v", provider, body, verdict)
		}
	}
}

// TestSlacksLookAtTheCertificateIsNoEvent has a command that only says so besides.
func TestSlacksLookAtTheCertificateIsNoEvent(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	s := sampleOf("slack")
	for body, want := range map[string]bool{"ssl_check=1&token=x": true, "ssl_check=1&command=%2Fdo": false, "token=x": false} {
		r := s.request(false, now, body)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if answer, asked, verdict := ask(t, a, s.source(), r); asked != want || !verdict.Accepted() || want && answer.Status != 200 {
			t.Errorf("%s: %v, %+v, %+v", body, asked, answer, verdict)
		}
	}
}

func TestZoomAnswersUnderTheSecretThatSigned(t *testing.T) {
	t.Parallel()
	s := sampleOf("zoom")
	src := s.source()
	src.Secrets = []hub.Secret{otherSecret, testSecret}
	answer, asked, _ := ask(t, newAdapter(t, webhook.Presets()), src, s.request(false, now, `{"event":"endpoint.url_validation","payload":{"plainToken":"p"}}`))
	if !asked || !strings.Contains(string(answer.Body), hexSHA256(testSecret, "p")) {
		t.Errorf("%v %s", asked, answer.Body)
	}
}

func TestHandshakesThatAreNotSigned(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	origins := map[string]any{"allowedOrigins": []any{"events.example", "b.example"}}
	for name, c := range map[string]struct {
		provider, method, query string
		header                  http.Header
		config                  map[string]any
		body, want              string
		status                  int // 0: no handshake, 401: refused
		answered                string
	}{
		"meta":                     {"meta", "GET", "hub.mode=subscribe&hub.verify_token=vt&hub.challenge=115%3C", nil, nil, "", "115<", 200, "text/plain; charset=utf-8"},
		"meta with another token":  {"meta", "GET", "hub.mode=subscribe&hub.verify_token=vx&hub.challenge=1", nil, nil, "", "", 401, ""},
		"meta without a token":     {"meta", "GET", "hub.mode=subscribe&hub.challenge=1", nil, nil, "", "", 401, ""},
		"meta with two tokens":     {"meta", "GET", "hub.mode=subscribe&hub.verify_token=vt&hub.verify_token=vt&hub.challenge=1", nil, nil, "", "", 401, ""},
		"meta without one set":     {"meta", "GET", "hub.mode=subscribe&hub.verify_token=&hub.challenge=1", nil, map[string]any{}, "", "", 401, ""},
		"meta without a challenge": {"meta", "GET", "hub.mode=subscribe&hub.verify_token=vt", nil, nil, "", "", 401, ""},
		"meta in another mode":     {"meta", "GET", "hub.mode=x&hub.verify_token=vt&hub.challenge=1", nil, nil, "", "", 0, ""},
		"dropbox":                  {"dropbox", "GET", "challenge=abc", nil, nil, "", "abc", 200, "text/plain; charset=utf-8"},
		"dropbox, nothing":         {"dropbox", "GET", "", nil, nil, "", "", 0, ""},
		"dropbox, huge":            {"dropbox", "GET", "challenge=" + strings.Repeat("x", 5000), nil, nil, "", "", 0, ""},
		"dropbox by POST":          {"dropbox", "POST", "challenge=abc", nil, nil, "", "", 0, ""},
		"trello":                   {"trello", "HEAD", "", nil, nil, "", "", 200, ""},
		"trello by GET":            {"trello", "GET", "", nil, nil, "", "", 0, ""},
		"intercom":                 {"intercom", "HEAD", "", nil, nil, "", "", 200, ""},
		"intercom by GET":          {"intercom", "GET", "", nil, nil, "", "", 0, ""},
		"okta":                     {"okta", "GET", "", h("X-Okta-Verification-Challenge", `a"b`), nil, "", `{"verification":"a\"b"}`, 200, "application/json"},
		"okta, nothing":            {"okta", "GET", "", nil, nil, "", "", 0, ""},
		"okta, twice":              {"okta", "GET", "", h("X-Okta-Verification-Challenge", "a", "X-Okta-Verification-Challenge", "b"), nil, "", "", 0, ""},
		"cloudevents":              {"cloudevents", "OPTIONS", "", h("WebHook-Request-Origin", "Events.example"), origins, "", "", 200, ""},
		"cloudevents, any":         {"cloudevents", "OPTIONS", "", h("WebHook-Request-Origin", "x.example"), nil, "", "", 200, ""},
		"cloudevents, a foreigner": {"cloudevents", "OPTIONS", "", h("WebHook-Request-Origin", "evil.example"), origins, "", "", 401, ""},
		"cloudevents, two":         {"cloudevents", "OPTIONS", "", h("WebHook-Request-Origin", "b.example", "WebHook-Request-Origin", "b.example"), origins, "", "", 401, ""},
		"cloudevents, a preflight": {"cloudevents", "OPTIONS", "", h("Origin", "b.example"), origins, "", "", 0, ""},
		"event grid":               {"azure-eventgrid", "POST", "", nil, nil, `[{"id":"1","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":"512d"}}]`, `{"validationResponse":"512d"}`, 200, "application/json"},
		"event grid, CloudEvents":  {"azure-eventgrid", "OPTIONS", "", h("WebHook-Request-Origin", "eventgrid.azure.net"), nil, "", "", 200, ""},
		"event grid, a foreigner":  {"azure-eventgrid", "OPTIONS", "", h("WebHook-Request-Origin", "evil.example"), nil, "", "", 401, ""},
		"event grid, another":      {"azure-eventgrid", "POST", "", nil, nil, `[{"id":"1","eventType":"a","data":{"validationCode":"512d"}}]`, "", 0, ""},
		"event grid without code":  {"azure-eventgrid", "POST", "", nil, nil, `[{"id":"1","eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","data":{"validationCode":5}}]`, "", 422, ""},
		"notion":                   {"notion", "POST", "", nil, nil, `{"verification_token":"secret_x"}`, "", 200, ""},
		"notion, an event":         {"notion", "POST", "", nil, nil, `{"verification_token":"secret_x","type":"page.created"}`, "", 0, ""},
		"a handshake of another":   {"github", "GET", "challenge=abc&hub.mode=subscribe", nil, nil, "", "", 0, ""},
	} {
		s := sampleOf(c.provider)
		src := s.source()
		if c.config != nil {
			src.ProviderConfig = c.config
		}
		if c.header == nil {
			c.header = http.Header{}
		}
		r := &webhook.Request{Method: c.method, Target: "/in/acme?" + c.query, RawQuery: c.query, Header: c.header, Body: []byte(c.body), ReceivedAt: now}
		answer, asked, _ := ask(t, a, src, r)
		switch {
		case asked != (c.status != 0):
			t.Errorf("%s: asked %v", name, asked)
		case c.status == 422:
			if answer.Refusal.Reason != hub.RejectedBodyInvalid || answer.Refusal.Detail == "" {
				t.Errorf("%s is answered: %+v", name, answer)
			}
		case c.status == 401:
			if answer.Refusal.Reason != hub.RejectedCredentialsInvalid || answer.Refusal.Detail == "" {
				t.Errorf("%s is answered: %+v", name, answer)
			}
		case asked && (!answer.Refusal.Accepted() || !answer.Note.Accepted() || answer.Status != c.status || string(answer.Body) != c.want || answer.ContentType != c.answered):
			t.Errorf("%s: %+v %q", name, answer, answer.Body)
		}
		if origin := c.header.Get("WebHook-Request-Origin"); c.status == 200 && origin != "" && (answer.Header.Get("WebHook-Allowed-Origin") != origin || answer.Header.Get("Allow") != "POST" || answer.Header.Get("WebHook-Allowed-Rate") == "") {
			t.Errorf("%s is answered with %v", name, answer.Header)
		}
	}
}

func TestNotionsTokenIsKeptUntilItIsSet(t *testing.T) {
	t.Parallel()
	s := sampleOf("notion")
	src := s.source()
	src.Secrets = nil
	if problems := webhook.Presets().CheckSource(src); len(problems) > 0 {
		t.Fatalf("a source that waits for the token cannot be saved: %v", problems)
	}
	a := newAdapter(t, webhook.Presets())
	answer, asked := a.Handshake(t.Context(), src, &webhook.Request{Method: "POST", Header: http.Header{}, Body: []byte(`{"verification_token":"secret_x"}`), ReceivedAt: now}, false)
	if !asked || answer.Status != 200 || answer.Note.Detail == "" || strings.Contains(answer.Note.Detail, "secret_x") {
		t.Errorf("%v %+v", asked, answer)
	}
	if verdict := a.Verify(t.Context(), src, s.request(false, now, s.body)); verdict.Accepted() {
		t.Error("an event is accepted before there is a secret")
	}
}
