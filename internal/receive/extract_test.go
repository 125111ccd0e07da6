package receive_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestExtraction(t *testing.T) {
	t.Parallel()
	occurred := time.Date(2026, 3, 14, 14, 53, 20, 0, time.UTC)
	long := strings.Repeat("x", 257)
	type want struct {
		eventType, dedupe, ordering string
		occurred                    time.Time
	}
	for _, c := range []struct {
		name   string
		source func(*hub.Source)
		header http.Header
		query  string
		body   string
		want   want
		fails  string // part of the detail, where the request is refused
	}{
		// Without preset and expression.
		{name: "the body's type", body: `{"type":"a.b","event":"c"}`, want: want{eventType: "a.b"}},
		{name: "else its event", body: `{"type":{"type":"x"},"event":"c"}`, want: want{eventType: "c"}},
		{name: "else the slug", body: `{"type":7,"event":null}`, want: want{eventType: "open"}},
		{name: "no type in what is nested", body: `{"data":{"type":"a"}}`, want: want{eventType: "open"}},
		{name: "no type in a list", body: `[{"type":"a"}]`, want: want{eventType: "open"}},
		{name: "no type in what is no JSON", body: `see {"type":"a"}`, want: want{eventType: "open"}},
		{name: "no type in broken JSON", body: `{"type":"a"`, want: want{eventType: "open"}},
		{name: "a form's type", header: headers("Content-Type", "application/x-www-form-urlencoded"), body: "event=b&type=a.b&type=c", want: want{eventType: "a.b"}},
		{name: "else a form's event", header: headers("Content-Type", "application/x-www-form-urlencoded"), body: "type=&event=b%2Fc", want: want{eventType: "b/c"}},
		{name: "no type in another form", header: headers("Content-Type", "application/x-www-form-urlencoded"), body: "a=type", want: want{eventType: "open"}},
		{name: "no type in a form by another name", header: headers("Content-Type", "text/plain"), body: "type=a", want: want{eventType: "open"}},
		{name: "no type in nothing", body: "", want: want{eventType: "open"}},
		{name: "an empty type", body: `{"type":"","event":"b"}`, want: want{eventType: "b"}},
		{name: "a type in another script", body: `{"type":"Rechnung.\u00fcberf\u00e4llig"}`, want: want{eventType: "Rechnung.überfällig"}},
		{name: "a type that is too long", body: `{"type":"` + long + `"}`, fails: "257 bytes"},
		{name: "a type with a line break", body: `{"type":"a\nb"}`, fails: "control character"},
		{name: "a type with NUL", body: `{"type":"a\u0000"}`, fails: "control character"},
		{name: "a type that is not UTF-8", body: "{\"type\":\"\xff\"}", fails: "UTF-8"},
		{name: "webhook-id first", header: headers("Webhook-Id", "1", "Svix-Id", "2", "Ce-Id", "3", "Idempotency-Key", "4"), want: want{"open", "1", "", time.Time{}}},
		{name: "then svix-id", header: headers("Svix-Id", "2", "Ce-Id", "3", "Idempotency-Key", "4"), want: want{"open", "2", "", time.Time{}}},
		{name: "then ce-id", header: headers("Ce-Id", "3", "Idempotency-Key", "4"), want: want{"open", "3", "", time.Time{}}},
		{name: "then idempotency-key", header: headers("Idempotency-Key", "4"), want: want{"open", "4", "", time.Time{}}},
		{name: "a dedupe key that is too long", header: headers("Webhook-Id", strings.Repeat("k", 513)), fails: "dedupe key"},
		{name: "a dedupe key that is not UTF-8", header: headers("Webhook-Id", "\xff"), fails: "dedupe key"},

		// Presets.
		{name: "standard-webhooks", source: preset("standard-webhooks"), header: headers("Webhook-Id", "msg_1"),
			body: `{"type":"a.b","timestamp":"2026-03-14T15:53:20+01:00"}`, want: want{"a.b", "msg_1", "", occurred}},
		{name: "standard-webhooks without a body of JSON", source: preset("standard-webhooks"), header: headers("Webhook-Id", "msg_1"), body: "x", want: want{"open", "msg_1", "", time.Time{}}},
		{name: "standard-webhooks with another time", source: preset("standard-webhooks"), body: `{"type":"a","timestamp":"today"}`, want: want{eventType: "a"}},
		{name: "stripe", source: preset("stripe"), header: headers("Webhook-Id", "not this"),
			body: `{"id":"evt_1","type":"invoice.paid","created":1773500000,"data":{"object":{"id":"in_1"}}}`, want: want{"invoice.paid", "evt_1", "in_1", occurred}},
		{name: "stripe, thin", source: preset("stripe"),
			body: `{"id":"evt_2","type":"v1.billing","created":"2026-03-14T14:53:20.000Z","related_object":{"id":"mtr_1"}}`, want: want{"v1.billing", "evt_2", "mtr_1", occurred}},
		{name: "github with an action", source: preset("github"), header: headers("X-Github-Event", "issues", "X-Github-Delivery", "72d3162e"),
			body: `{"action":"opened","repository":{"full_name":"a/b"}}`, want: want{"issues.opened", "72d3162e", "a/b", time.Time{}}},
		{name: "github without an action", source: preset("github"), header: headers("X-Github-Event", "push"), body: `{"action":null}`, want: want{eventType: "push"}},
		{name: "github as a form", source: preset("github"),
			header: headers("X-Github-Event", "issues", "Content-Type", "Application/x-www-form-urlencoded; charset=utf-8"),
			body:   "payload=" + url.QueryEscape(`{"action":"closed","organization":{"login":"o"}}`), want: want{"issues.closed", "", "o", time.Time{}}},
		{name: "github without its header", source: preset("github"), body: `{"action":"opened"}`, want: want{eventType: "open"}},

		// Expressions.
		{name: "expressions of all kinds", source: func(s *hub.Source) {
			s.EventType, s.DedupeKey = `"x." + body.kind`, `headers["x-id"] + "/" + query.page`
			s.OrderingKey, s.OccurredAt = `string(body.customer.id)`, `timestamp(body.at)`
		}, header: headers("X-Id", "7", "Webhook-Id", "not this"), query: "?page=2", body: `{"kind":"k","customer":{"id":12},"at":"2026-03-14T14:53:20Z"}`,
			want: want{"x.k", "7/2", "12", occurred}},
		{name: "an expression above a preset", source: func(s *hub.Source) { preset("stripe")(s); s.DedupeKey = "sha256(raw)" },
			body: `{"id":"evt_1","type":"a"}`, want: want{"a", "25a5ce68778459761faaff77a1506a7b7aa7dc7ea8a54f27e1f97ae06e2a104f", "", time.Time{}}},
		{name: "an expression that finds no key", source: func(s *hub.Source) { s.DedupeKey = `has(body.id) ? string(body.id) : ""` }, body: `{}`, want: want{eventType: "open"}},
		{name: "an expression that fails", source: func(s *hub.Source) { s.EventType = "body.missing" }, body: `{}`, fails: "eventType"},
		{name: "an expression over what is no JSON", source: func(s *hub.Source) { s.DedupeKey = "body.id" }, body: `<a/>`, fails: "dedupeKey"},
		{name: "an expression for the order that fails", source: func(s *hub.Source) { s.OrderingKey = "body.id" }, body: `{}`, fails: "orderingKey"},
		{name: "an expression for the time that fails", source: func(s *hub.Source) { s.OccurredAt = `timestamp("today")` }, body: `{}`, fails: "occurredAt"},
		{name: "an expression that yields no type", source: func(s *hub.Source) { s.EventType = `""` }, body: `{}`, fails: "is empty"},
		{name: "an expression that yields too much", source: func(s *hub.Source) { s.OrderingKey = `body.k` }, body: `{"k":"` + strings.Repeat("k", 513) + `"}`, fails: "ordering key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			source := open()
			if c.source != nil {
				c.source(source)
			}
			store := newStore(source)
			got := send(t, http.MethodPost, serve(t, store)+"/in/open"+c.query, c.header, []byte(c.body))
			if c.fails != "" {
				wantBare(t, got, 422, hub.CodeBadUserInput)
				if r := store.refusal(t); r.Reason != hub.RejectedExtraction || !strings.Contains(r.Detail, c.fails) {
					t.Errorf("%s: %s", r.Reason, r.Detail)
				}
				return
			}
			event := store.last(t)
			if found := (want{event.Type, event.DedupeKey, event.OrderingKey, event.OccurredAt}); found != c.want {
				t.Errorf("found %+v, want %+v", found, c.want)
			}
		})
	}
}

// preset names a provider for its rules, without secrets.
func preset(name string) func(*hub.Source) {
	return func(s *hub.Source) { s.Provider = name }
}
