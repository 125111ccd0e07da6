package match_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// Whatever somebody writes and whatever somebody sends: the answer comes in
// bounded time, errors point into the expression, and nothing panics.
func FuzzFilter(f *testing.F) {
	m := newMatcher(f)
	bodies := []string{
		invoice, "", "null", "a=b&c", "\xff\xfe", `{"a":1e999,"b":-0,"c":[[],{}]}`,
		strings.Repeat("[", 9000) + strings.Repeat("]", 9000),
		strings.Repeat("[", 11000) + strings.Repeat("]", 11000),
		strings.Repeat(`{"a":`, 5000) + "1" + strings.Repeat("}", 5000),
	}
	for i, expr := range []string{
		`body.amount > 100`, `body == body`, `event.type == "a" || headers["x"] == query.y`,
		`body.all(x, x == body)`, `raw == b"\xff"`, `sha256(raw) == ""`, `type(body) == type(event)`,
		`body.a.b.c[0]["d"] == 1`, `has(body.a)`, `((((((((true))))))))`, strings.Repeat("!", 4000) + "true",
		strings.Repeat("(", 2000), `"` + strings.Repeat(`\`, 99), `body.matches("(")`, `1/0 == 1`, `"%.100f".format([1.0]) == ""`,
		`[1].map(x, [1].map(y, [1].map(z, [1].map(w, [1].map(v, true))))).size() > 0`, `timestamp(body) > event.receivedAt`,
		`Event{id: "x"} == event`, `event in {event: 1}`, `-9223372036854775808 - 1 == 0`, `body ? body : !body`, "\x00", "ü.ü",
	} {
		f.Add(expr, bodies[i%len(bodies)], "application/json")
	}
	f.Fuzz(func(t *testing.T, expr, body, contentType string) {
		start := time.Now()
		if err := m.CheckFilter(expr); err != nil {
			var e *match.ExpressionError
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Message == "" {
				t.Fatalf("error %#v", err)
			}
		}
		ev := &hub.Event{
			ID: "evt_1", Type: expr, ContentType: contentType,
			Payload: &hub.Payload{Body: []byte(body), Query: body, Headers: []hub.Header{{Name: contentType, Value: body}}},
		}
		if ok, err := m.Admits(expr, ev, "s"); ok && err != nil && expr != "" {
			t.Fatalf("admitted with %v", err)
		}
		in := &match.Inbound{Body: []byte(body), ContentType: contentType}
		_, _ = m.EvalText(expr, in)
		_, _ = m.EvalTime(expr, in)
		_, _ = m.EvalBytes(expr, in)
		if took := time.Since(start); took > time.Minute {
			t.Fatalf("took %v", took)
		}
	})
}
