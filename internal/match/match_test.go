package match_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

func newMatcher(t testing.TB) *match.Matcher {
	t.Helper()
	m, err := match.New()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func jsonEvent(body string) *hub.Event {
	return &hub.Event{
		ID: "evt_1", Type: "invoice.paid", SourceID: "src_1", DedupeKey: "in_1", OrderingKey: "cus_7",
		OccurredAt:  time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		ReceivedAt:  time.Date(2026, 3, 1, 12, 0, 5, 0, time.UTC),
		ContentType: "application/json",
		Payload: &hub.Payload{
			Body:    []byte(body),
			Headers: []hub.Header{{Name: "X-Region", Value: "eu"}, {Name: "Via", Value: "a"}, {Name: "via", Value: "b"}},
			Query:   "tag=one&tag=two&empty=",
		},
	}
}

const invoice = `{"id":"in_1","amount":4200,"rate":1.5,"live":true,"none":null,"tags":["a","b"],
	"customer":{"name":"Ünal","tier":3},"big":9007199254740993,"huge":123456789012345678901234567890,"beyond":1e999}`

func TestWhatFiltersSee(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	admitted := []string{
		`event.id == "evt_1"`,
		`event.type == "invoice.paid" && event.type.startsWith("invoice.")`,
		`event.source == "billing"`,
		`event.dedupeKey == "in_1" && event.orderingKey == "cus_7" && event.partnerId == ""`,
		`has(event.dedupeKey) && !has(event.partnerId) && has(event.occurredAt)`,
		`event.occurredAt < event.receivedAt && event.receivedAt - event.occurredAt == duration("5s")`,
		`event.receivedAt.getHours() == 12`,
		`event == event && type(event) == type(event) && [event].size() == 1`,
		`headers["x-region"] == "eu"`,
		`headers["via"] == "a, b"`,
		`query.tag == "one" && query.empty == ""`,
		`body.id == "in_1" && body.amount == 4200 && type(body.amount) == int`,
		`body.amount > 4199.5`,
		`body.rate == 1.5 && type(body.rate) == double`,
		`body.live && body.none == null`,
		`"b" in body.tags && body.tags.exists(t, t == "a") && body.tags[1] == "b"`,
		`body.customer.name.upperAscii() == "ÜNAL" && body.customer.name.size() == 4`,
		`body.big == 9007199254740993`,
		`type(body.huge) == double && body.huge > 1e29 && body.beyond > 1e300`,
		`has(body.customer.tier) && !has(body.customer.missing)`,
		`!("missing" in body)`,
		`raw.size() > 10 && string(raw).contains("in_1")`,
		`sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"`,
		`body.id.replace("in_", "") == "1" && "a,b".split(",").join("-") == "a-b"`,
		`body.id.matches("^in_[0-9]+$") && matches(body.id, "in_") && body.id.matches("^" + "in")`,
		`"%s is %d".format([body.id, body.amount]) == "in_1 is 4200"`,
		`body.id.indexOf("_") == 2 && body.id.lastIndexOf("1") == 3`,
	}
	for _, expr := range admitted {
		t.Run(expr, func(t *testing.T) {
			t.Parallel()
			if err := m.CheckFilter(expr); err != nil {
				t.Fatalf("refused: %v", err)
			}
			ok, err := m.Admits(expr, jsonEvent(invoice), "billing")
			if err != nil || !ok {
				t.Fatalf("got %v, %v", ok, err)
			}
		})
	}
}

func TestTheEmptyFilterAdmitsEverything(t *testing.T) {
	t.Parallel()
	if ok, err := newMatcher(t).Admits("", &hub.Event{}, ""); !ok || err != nil {
		t.Fatalf("got %v, %v", ok, err)
	}
}

func TestFiltersThatFailOverAnEvent(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	for _, expr := range []string{
		`body.missing == 1`,
		`headers["x-missing"] == ""`,
		`body.tags[7] == "a"`,
		`body.customer`, // not a bool
		`body.amount / 0 == 1`,
		`body.id.matches(body.id + "(")`,
	} {
		t.Run(expr, func(t *testing.T) {
			t.Parallel()
			if err := m.CheckFilter(expr); err != nil {
				t.Fatalf("refused at save: %v", err)
			}
			if ok, err := m.Admits(expr, jsonEvent(invoice), ""); ok || err == nil {
				t.Fatalf("got %v, %v", ok, err)
			}
		})
	}
	t.Run("a time that the source did not give", func(t *testing.T) {
		t.Parallel()
		ev := jsonEvent("{}")
		ev.OccurredAt = time.Time{}
		_, err := m.Admits(`event.occurredAt > timestamp("2026-01-01T00:00:00Z")`, ev, "")
		if err == nil || !strings.Contains(err.Error(), "has(event.occurredAt)") {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("an event without its payload has a null body", func(t *testing.T) {
		t.Parallel()
		ok, err := m.Admits(`body == null && raw.size() == 0 && headers.size() == 0 && query.size() == 0`, &hub.Event{}, "")
		if err != nil || !ok {
			t.Fatalf("got %v, %v", ok, err)
		}
	})
}

func TestWhatABodyIs(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	for name, c := range map[string]struct{ contentType, body, expr string }{
		"JSON by its type":                 {"application/json", `{"a":1}`, `body.a == 1`},
		"JSON by another type":             {"text/plain", ` {"a":1} `, `body.a == 1`},
		"JSON without a type":              {"", `[1,2]`, `body == [1, 2]`},
		"a JSON scalar":                    {"application/json", `"x"`, `body == "x"`},
		"JSON that curl calls a form":      {"application/x-www-form-urlencoded", `{"a":"b=c"}`, `body.a == "b=c"`},
		"a form as first values":           {"application/x-www-form-urlencoded; charset=utf-8", `a=1&a=2&b=x+y%21`, `body == {"a": "1", "b": "x y!"}`},
		"a form of digits":                 {"application/x-www-form-urlencoded", `123`, `body == {"123": ""}`},
		"a broken form":                    {"application/x-www-form-urlencoded", `a=%zz`, `body == null`},
		"XML":                              {"application/xml", `<a/>`, `body == null`},
		"an empty body":                    {"application/json", ``, `body == null`},
		"two JSON values":                  {"application/json", `{}{}`, `body == null`},
		"JSON with something behind":       {"application/json", `{} x`, `body == null`},
		"the last of two equal names":      {"application/json", `{"a":1,"a":2}`, `body.a == 2`},
		"a JSON number that is an integer": {"application/json", `-9223372036854775808`, `body == -9223372036854775808`},
		"one that does not fit":            {"application/json", `9223372036854775808`, `type(body) == double`},
		"one with an exponent":             {"application/json", `1e3`, `type(body) == double && body == 1000.0`},
		"invalid UTF-8 in JSON":            {"application/json", "{\"a\":\"\xff\"}", `body.a == "\ufffd"`},
		"binary":                           {"application/octet-stream", "\x00\xff", `body == null && raw == b"\x00\xff"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ev := &hub.Event{ContentType: c.contentType, Payload: &hub.Payload{Body: []byte(c.body)}}
			if ok, err := m.Admits(c.expr, ev, ""); err != nil || !ok {
				t.Fatalf("got %v, %v", ok, err)
			}
		})
	}
}

func TestErrorsOfExpressionsPointAtTheirPlace(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	for _, c := range []struct {
		expr, message string
		line, column  int
	}{
		{`event.tpye == "a"`, `undefined field 'tpye'`, 1, 6},
		{"body.a == 1 &&\n  bdy.b == 2", `undeclared reference to 'bdy'`, 2, 3},
		{`event.type == 1`, `found no matching overload for '_==_' applied to '(string, int)'`, 1, 12},
		{`body.a ==`, `mismatched input '<EOF>'`, 1, 10},
		{`"ü" == event.typo`, `undefined field 'typo'`, 1, 13},
		{`event.type`, `a filter must be true or false, and this is of type string`, 1, 1},
		{`event.type.matches("(")`, "invalid matches argument", 1, 20},
		{`event.receivedAt > timestamp("yesterday")`, "invalid timestamp argument", 1, 30},
		{` `, `the expression is empty`, 1, 1},
		{strings.Repeat("a", match.MaxExpressionLength+1), `an expression has at most 4096 bytes`, 1, 1},
	} {
		t.Run(c.message, func(t *testing.T) {
			t.Parallel()
			var e *match.ExpressionError
			if err := m.CheckFilter(c.expr); !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			if e.Message != c.message || e.Line != c.line || e.Column != c.column {
				t.Fatalf("got %d:%d: %s", e.Line, e.Column, e.Message)
			}
		})
	}
}

func TestSourceExpressions(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	in := func() *match.Inbound {
		return &match.Inbound{
			Headers: []hub.Header{{Name: "X-Event", Value: "push"}, {Name: "X-Time", Value: "1767225600"}},
			Query:   url.Values{"id": {"7", "8"}},
			Body:    []byte(`{"id":42,"ok":true,"at":1767225600,"ms":1767225600123,"iso":"2026-01-01T02:00:00+02:00","none":null,"list":[]}`),
		}
	}
	t.Run("have no event", func(t *testing.T) {
		t.Parallel()
		err := m.CheckSource(`event.type`, match.Text)
		var e *match.ExpressionError
		if !errors.As(err, &e) || e.Message != "undeclared reference to 'event'" || e.Column != 1 {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("yield texts", func(t *testing.T) {
		t.Parallel()
		for expr, want := range map[string]string{
			`headers["x-event"]`:             "push",
			`body.id`:                        "42",
			`string(body.id) + query.id`:     "427",
			`body.ok`:                        "true",
			`body.none`:                      "",
			`has(body.x) ? body.x : body.id`: "42",
		} {
			if err := m.CheckSource(expr, match.Text); err != nil {
				t.Errorf("%s: refused: %v", expr, err)
			}
			if got, err := m.EvalText(expr, in()); err != nil || got != want {
				t.Errorf("%s: got %q, %v", expr, got, err)
			}
		}
		for _, expr := range []string{`body.list`, `body.missing`, `headers["none"]`, `body.id / 0`} {
			if got, err := m.EvalText(expr, in()); err == nil {
				t.Errorf("%s: got %q", expr, got)
			}
		}
		if err := m.CheckSource(`[1]`, match.Text); err == nil || !strings.Contains(err.Error(), "the expression must yield a text, and this is of type list(int)") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("yield times", func(t *testing.T) {
		t.Parallel()
		newYear := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		for expr, want := range map[string]time.Time{
			`body.at`:                              newYear,
			`body.ms`:                              newYear.Add(123 * time.Millisecond),
			`body.iso`:                             newYear,
			`headers["x-time"]`:                    newYear,
			`timestamp(body.iso) + duration("1s")`: newYear.Add(time.Second),
			`1767225600.25`:                        newYear.Add(250 * time.Millisecond),
			`1767225600123456`:                     newYear.Add(123456 * time.Microsecond),
			`body.none`:                            {},
		} {
			if err := m.CheckSource(expr, match.Time); err != nil {
				t.Errorf("%s: refused: %v", expr, err)
			}
			got, err := m.EvalTime(expr, in())
			if err != nil || !got.Equal(want) || got.Location() != time.UTC {
				t.Errorf("%s: got %v, %v", expr, got, err)
			}
		}
		for _, expr := range []string{`headers["x-event"]`, `body.ok`, `1e300`, `"NaN"`, `-99999999999`, `body.list`} {
			if got, err := m.EvalTime(expr, in()); err == nil {
				t.Errorf("%s: got %v", expr, got)
			}
		}
		if err := m.CheckSource(`true`, match.Time); err == nil {
			t.Error("a bool was taken for a time")
		}
	})
	t.Run("yield bytes", func(t *testing.T) {
		t.Parallel()
		expr := `bytes(headers["x-time"] + ".") + raw`
		if err := m.CheckSource(expr, match.Bytes); err != nil {
			t.Fatal(err)
		}
		got, err := m.EvalBytes(expr, in())
		if err != nil || string(got) != "1767225600."+string(in().Body) {
			t.Fatalf("got %q, %v", got, err)
		}
		if got, err := m.EvalBytes(`headers["x-time"]`, in()); err != nil || string(got) != "1767225600" {
			t.Fatalf("got %q, %v", got, err)
		}
		if err := m.CheckSource(`1`, match.Bytes); err == nil {
			t.Error("an int was taken for bytes")
		}
		if _, err := m.EvalBytes(`body.id`, in()); err == nil {
			t.Error("an int was taken for bytes")
		}
	})
}

// An expression that needs more than it may have ends early with an error,
// however it goes about it.
func TestCostIsBounded(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	body := `{"s":"` + strings.Repeat("a", 1<<20) + `","n":[` + strings.Repeat("1,", 100_000) + `1]}`
	for name, expr := range map[string]string{
		"nested loops":           `body.n.all(a, body.n.all(b, a == b))`,
		"a long search":          `body.s.indexOf(body.s.substring(0, 500000) + "b") < 0`,
		"a regular expression":   `body.s.matches("(a?){100}b")`,
		"one out of the body":    `body.s.matches(body.s)`,
		"a replacement":          `body.s.replace("a", body.s).size() > 0`,
		"a bounded replacement":  `body.s.replace("", body.s, 1000000).size() > 0`,
		"a join":                 `body.n.map(n, body.s).join(body.s).size() > 0`,
		"a split":                `body.s.split("").size() > 0`,
		"formats":                `"` + strings.Repeat("%s", 100) + `".format([` + strings.Repeat("body,", 99) + `body]).size() > 0`,
		"doubling":               `[1,2,3,4,5,6,7,8,9,10,11,12,13,14].map(i, body.s + body.s + body.s).size() > 0`,
		"comparisons of a whole": `body.n.all(a, [body] == [body])`,
	} {
		t.Run(name, func(t *testing.T) {
			if err := m.CheckFilter(expr); err != nil {
				t.Fatalf("refused at save: %v", err)
			}
			start := time.Now()
			ok, err := m.Admits(expr, jsonEvent(body), "")
			if took := time.Since(start); took > time.Minute {
				t.Errorf("took %v", took)
			}
			if ok || err == nil {
				t.Fatalf("got %v, %v", ok, err)
			}
		})
	}
	t.Run("an expression that is too costly in itself is refused at save", func(t *testing.T) {
		list := `[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20]`
		expr := list + `.map(a, ` + list + `.map(b, ` + list + `.map(c, ` + list + `.map(d, [a, b, c, d])))).size() > 0`
		if err := m.CheckFilter(expr); err == nil || !strings.Contains(err.Error(), "more time or memory") {
			t.Fatalf("got %v", err)
		}
	})
}
