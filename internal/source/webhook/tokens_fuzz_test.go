package webhook_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// FuzzPlaid states what a token has to say to be accepted, whatever else it says,
// and although it is signed with the right key.
func FuzzPlaid(f *testing.F) {
	s := sampleOf("plaid")
	digest := sha256.Sum256([]byte(s.body))
	hash := hex.EncodeToString(digest[:])
	claims := fmt.Sprintf(`{"iat":%d,"request_body_sha256":"%s"}`, now.Unix(), hash)
	f.Add(`{"alg":"ES256","kid":"key-1","typ":"JWT"}`, claims)
	f.Add(`{"alg":"ES256","kid":"key-1","alg":"none"}`, claims)
	f.Add(`{"alg":"none","kid":"key-1"}`, claims)
	f.Add(`{"\u0061lg":"ES256","kid":"key-1","crit":[]}`, claims)
	f.Add(`{"alg":"ES256","kid":"key-1"}`, strings.Replace(claims, `"iat":`, `"iat":0,"IAT":`, 1))
	f.Add(`{"alg":"ES256","kid":null}`, `[]`)
	f.Add(`{"alg":"ES256"}`, fmt.Sprintf(`{"iat":%d.5,"request_body_sha256":"%s"}`, now.Unix(), strings.ToUpper(hash)))
	a, src := newAdapter(f, webhook.Presets()), s.source()
	f.Fuzz(func(t *testing.T, head, claims string) {
		part := base64.RawURLEncoding.EncodeToString
		text := part([]byte(head)) + "." + part([]byte(claims))
		r := s.request(false, now, s.body)
		r.Header.Set("Plaid-Verification", text+"."+part(signES256(false, text)))
		verdict := a.Verify(t.Context(), src, r)
		if !verdict.Accepted() {
			if verdict.Detail == "" || !utf8.ValidString(verdict.Detail) {
				t.Fatalf("%+v", verdict)
			}
			return
		}
		var h, c map[string]any
		if json.Unmarshal([]byte(head), &h) != nil || json.Unmarshal([]byte(claims), &c) != nil {
			t.Fatalf("%q %q is accepted", head, claims)
		}
		said, _ := c["request_body_sha256"].(string)
		made, _ := c["iat"].(float64)
		_, critical := h["crit"]
		if h["alg"] != "ES256" || critical || h["kid"] != "key-1" || !strings.EqualFold(said, hash) || time.Unix(int64(made), 0).Sub(now).Abs() > 5*time.Minute {
			t.Fatalf("%q %q is accepted", head, claims)
		}
		// The same by somebody else.
		r.Header.Set("Plaid-Verification", text+"."+part(signES256(true, text)))
		if verdict := a.Verify(t.Context(), src, r); verdict.Accepted() {
			t.Fatalf("%q %q is accepted under another key", head, claims)
		}
	})
}

// FuzzMailgun states the same of the signatures that stand in Mailgun's bodies: what
// is around them is no way in.
func FuzzMailgun(f *testing.F) {
	f.Add(seconds(now), "0123456789abcdef", `"event-data":{"event":"opened"}`)
	f.Add(seconds(now), "t", `"signature":{"timestamp":"1","token":"t","signature":"00"}`)
	f.Add(millis(now), "", `"a":{"a":1,"a":2}`)
	f.Add("1773500966.5", `"`, `"signature.token":"x"`)
	f.Add("-1", "t", "}{")
	s := sampleOf("mailgun")
	src := s.source()
	f.Fuzz(func(t *testing.T, stamp, token, more string) {
		if !utf8.ValidString(stamp + token) {
			return // JSON cannot carry it
		}
		a := newAdapterOf(t)
		for _, wrong := range []bool{false, true} {
			signed := must(json.Marshal(map[string]string{"timestamp": stamp, "token": token, "signature": hexSHA256(s.key(wrong), stamp+token)}))
			body := fmt.Sprintf(`{"signature":%s,%s}`, signed, more)
			verdict := a.Verify(t.Context(), src, &webhook.Request{Method: http.MethodPost, Header: http.Header{}, Body: []byte(body), ReceivedAt: now})
			if !verdict.Accepted() {
				if verdict.Detail == "" || !utf8.ValidString(verdict.Detail) {
					t.Fatalf("%+v", verdict)
				}
				continue
			}
			if wrong || stamp < seconds(now.Add(-5*time.Minute)) || stamp > seconds(now.Add(5*time.Minute)) || !json.Valid([]byte(body)) || token == "" {
				t.Fatalf("%s is accepted", body)
			}
		}
	})
}

var shared *webhook.Adapter

// newAdapterOf returns one adapter for all calls of a fuzzer, whose one-time tokens
// would otherwise be forgotten; the matcher takes long to make.
func newAdapterOf(t testing.TB) *webhook.Adapter {
	if shared == nil {
		shared = newAdapter(t, webhook.Presets())
	}
	return shared
}

// FuzzExpressions states that what a source's own expressions extract can be stored,
// whatever was sent, and that what fails refuses the request with a sentence.
func FuzzExpressions(f *testing.F) {
	f.Add("application/json", "x", "id=1&at=2026-03-14T15:09:26Z", []byte(`{"type":"a","id":7,"at":"2026-03-14T15:09:26Z","list":[{"k":"v"}]}`))
	f.Add("application/x-www-form-urlencoded", "\xff", "id=%ff", []byte("type=a&id=%00"))
	f.Add("", "", "", []byte(`{"type":null,"id":1e400,"at":"0000-01-01T00:00:00Z"}`))
	f.Add("text/plain", "a, b", "&&", []byte("\xff\xfe"))
	f.Add("application/json", "x", "id", []byte(`{"type":"\ud800","id":-9223372036854775809,"at":253402300800}`))
	a := newAdapter(f, webhook.Presets())
	sources := []*hub.Source{
		{EventType: `body.type`, DedupeKey: `string(body.id)`, OrderingKey: `body.list[0].k`, OccurredAt: `timestamp(body.at)`},
		{EventType: `"a." + headers["x-topic"]`, DedupeKey: `sha256(raw)`, OrderingKey: `headers["content-type"]`, OccurredAt: `timestamp(query["at"])`},
		{EventType: `has(body.type) ? body.type : "none"`, DedupeKey: `query["id"] + ":" + string(raw)`, OccurredAt: `timestamp(int(body.at))`},
	}
	f.Fuzz(func(t *testing.T, contentType, value, query string, body []byte) {
		for _, src := range sources {
			src.Slug, src.Kind, src.AllowUnverified = "acme", hub.SourceWebhook, true
			got, verdict := a.Extract(src, &webhook.Request{
				Method: http.MethodPost, RawQuery: query, Body: body, ReceivedAt: now,
				Header: http.Header{"Content-Type": {contentType}, "X-Topic": {value}},
			}, webhook.Extracted{})
			storable(t, got, verdict)
		}
	})
}

// storable fails where what was extracted is neither refused nor fit for the store.
func storable(t *testing.T, got webhook.Extracted, verdict webhook.Verdict) {
	t.Helper()
	if !verdict.Accepted() {
		if verdict.Reason != hub.RejectedExtraction || verdict.Detail == "" || !utf8.ValidString(verdict.Detail) {
			t.Fatalf("%+v", verdict)
		}
		return
	}
	if got.Type == "" || len(got.Type) > match.MaxTypeBytes || len(got.DedupeKey) > webhook.MaxKeyBytes || len(got.OrderingKey) > webhook.MaxKeyBytes {
		t.Fatalf("%+v", got)
	}
	for _, text := range []string{got.Type, got.DedupeKey, got.OrderingKey} {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			t.Fatalf("%q cannot be stored", text)
		}
	}
	if _, err := got.OccurredAt.MarshalJSON(); err != nil {
		t.Fatal(err)
	}
}
