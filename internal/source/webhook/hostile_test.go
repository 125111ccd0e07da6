package webhook_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

func TestEveryPresetHasASample(t *testing.T) {
	t.Parallel()
	known := map[string]bool{}
	for _, s := range samples() {
		known[s.provider] = true
		if problems := webhook.Presets().CheckSource(s.source()); len(problems) > 0 {
			t.Errorf("%s cannot be saved: %v", s.provider, problems)
		}
	}
	for _, p := range webhook.Presets().Of(hub.SourceWebhook) {
		if !known[p.Name] {
			t.Errorf("%s has none", p.Name)
		}
	}
}

func TestPresetsAcceptAndDescribe(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	for _, s := range samples() {
		t.Run(s.provider, func(t *testing.T) {
			t.Parallel()
			src, r := s.source(), s.request(false, now, s.body)
			if answer, asked := a.Handshake(t.Context(), src, r, false); asked {
				t.Fatalf("an event is a handshake: %+v", answer)
			}
			if verdict := a.Verify(t.Context(), src, r); !verdict.Accepted() {
				t.Fatalf("%+v", verdict)
			}
			if answer, asked := a.Handshake(t.Context(), src, r, true); asked {
				t.Fatalf("an event is a handshake: %+v", answer)
			}
			got, verdict := a.Extract(src, r, webhook.Extracted{})
			if s.want.DedupeKey == "*" && strings.HasPrefix(got.DedupeKey, "sha256:") {
				got.DedupeKey, got.DedupeWindow = "*", 0
			}
			if !verdict.Accepted() || got != s.want {
				t.Fatalf("got  %+v, %+v\nwant %+v", got, verdict, s.want)
			}
			// A secret is rotated by giving both; all of them are tried.
			if len(src.Secrets) > 0 {
				src.Secrets = []hub.Secret{otherSecret, src.Secrets[0]}
				if verdict := a.Verify(t.Context(), src, s.request(false, now, s.body)); !verdict.Accepted() {
					t.Errorf("the second secret is not tried: %+v", verdict)
				}
			}
			if s.hex {
				r := s.request(false, now, s.body)
				upper := r.Header.Get(s.header)
				if i := strings.LastIndexByte(upper, '='); !strings.Contains(upper, ",") {
					r.Header.Set(s.header, upper[:i+1]+strings.ToUpper(upper[i+1:]))
				}
				if verdict := a.Verify(t.Context(), src, r); !verdict.Accepted() {
					t.Errorf("upper-case hexadecimal: %+v", verdict)
				}
			}
			if !s.json && s.provider != "twilio-json" {
				const raw = "\xff\xfe\x00\xc3("
				if verdict := a.Verify(t.Context(), src, s.request(false, now, raw)); !verdict.Accepted() {
					t.Errorf("a body that is not UTF-8: %+v", verdict)
				}
			}
		})
	}
}

func TestPresetsRefuseTheHostile(t *testing.T) {
	t.Parallel()
	a := newAdapter(t, webhook.Presets())
	for _, s := range samples() {
		t.Run(s.provider, func(t *testing.T) {
			t.Parallel()
			src := s.source()
			refused := func(name string, r *webhook.Request, reasons ...hub.RejectionReason) {
				t.Helper()
				verdict := a.Verify(t.Context(), src, r)
				if verdict.Accepted() || verdict.Detail == "" {
					t.Errorf("%s is accepted", name)
					return
				}
				for _, secret := range append(src.Secrets, testSecret) {
					if strings.Contains(verdict.Detail, secret.Reveal()) {
						t.Errorf("%s: the detail gives a secret away: %s", name, verdict.Detail)
					}
				}
				for _, reason := range reasons {
					if verdict.Reason != reason {
						t.Errorf("%s is refused for %s (%s), want %s", name, verdict.Reason, verdict.Detail, reason)
					}
				}
			}
			changed := func(change func(*webhook.Request)) *webhook.Request {
				r := s.request(false, now, s.body)
				change(r)
				return r
			}
			header := func(name string, values ...string) *webhook.Request {
				return changed(func(r *webhook.Request) { r.Header[http.CanonicalHeaderKey(name)] = values })
			}
			right := s.request(false, now, s.body)
			refused("a wrong secret", s.request(true, now, s.body))
			if !s.open {
				for _, body := range []string{"", "x" + string(right.Body), string(right.Body[:len(right.Body)-1]), strings.ToUpper(string(right.Body)) + "X"} {
					refused("a changed body", changed(func(r *webhook.Request) { r.Body = []byte(body) }))
				}
			}
			if s.tolerance > 0 {
				for _, offset := range []time.Duration{-s.tolerance - time.Second, s.tolerance + time.Second, -87600 * time.Hour} {
					refused("a time off by "+offset.String(), s.request(false, now.Add(offset), s.body), hub.RejectedTimestamp)
				}
				for _, offset := range []time.Duration{-s.tolerance, s.tolerance} {
					if verdict := a.Verify(t.Context(), src, s.request(false, now.Add(offset), s.body)); !verdict.Accepted() {
						t.Errorf("a time off by %s is refused: %+v", offset, verdict)
					}
				}
			}
			if s.json {
				for _, body := range []string{"", "{", "[]", "null", `"x"`, "\xff\xfe", `{"notificationItems":[{}],"signature":{},"Type":"Notification"}`, strings.Repeat("[", 100_000)} {
					refused("a body of nonsense", changed(func(r *webhook.Request) { r.Body = []byte(body) }))
				}
				twice := strings.Replace(string(right.Body), "{", `{"live":"x","live":"y",`, 1)
				refused("a member named twice", changed(func(r *webhook.Request) { r.Body = []byte(twice) }))
			}
			for _, name := range append(append([]string{}, s.others...), s.header) {
				if name == "" {
					continue
				}
				value := right.Header.Get(name)
				refused(name+" missing", header(name))
				refused(name+" empty", header(name, ""))
				refused(name+" twice", header(name, value, value))
				refused(name+" twice, the first wrong", header(name, "x", value))
				refused(name+" huge", header(name, value+strings.Repeat(" x", 8<<10)))
				refused(name+" of nonsense", header(name, "\"'%00 ;,=,=\xff"))
				if name == s.header {
					refused(name+" truncated", header(name, value[:len(value)/2]))
					refused(name+" cut by one", header(name, strings.TrimSuffix(value, ",v0=00")[:len(strings.TrimRight(strings.TrimSuffix(value, ",v0=00"), "="))-1]))
				}
			}
			src.Secrets, src.ProviderConfig = nil, nil
			refused("a source without anything to verify with", right)
		})
	}
}

// BenchmarkPresets is what verifying one request of each vendor costs.
func BenchmarkPresets(b *testing.B) {
	a := newAdapter(b, webhook.Presets())
	for _, s := range samples() {
		b.Run(s.provider, func(b *testing.B) {
			src, r := s.source(), s.request(false, now, s.body)
			b.ReportAllocs()
			for b.Loop() {
				again := *r // without what the first one has parsed
				if verdict := a.Verify(b.Context(), src, &again); !verdict.Accepted() {
					b.Fatal(verdict.Detail)
				}
			}
		})
	}
}
