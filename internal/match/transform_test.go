package match_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

func TestWhatTransformsMake(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	for expr, want := range map[string]string{
		`{"id": event.id, "amount": body.amount, "who": {"name": body.customer.name}}`: `{"amount":4200,"id":"evt_1","who":{"name":"Ünal"}}`,
		`body.customer`:                           `{"name":"Ünal","tier":3}`,
		`body.tags.map(t, t + "!")`:               `["a!","b!"]`,
		`[body.tags, body.none, body.live]`:       `[["a","b"],null,true]`,
		`body.big`:                                `9007199254740993`,
		`[body.rate, 2.0, 1e21, 3u, -7]`:          `[1.5,2,1e+21,3,-7]`,
		`body.huge`:                               `1.2345678901234568e+29`,
		`"<&> \u2028 \u0000"`:                     `"<&> \u2028 \u0000"`,
		`event.occurredAt`:                        `"2026-03-01T12:00:00Z"`,
		`event.receivedAt - event.occurredAt`:     `"5s"`,
		`duration("1500ms")`:                      `"1.5s"`,
		`b"\x00\xff"`:                             `"AP8="`,
		`headers["x-region"]`:                     `"eu"`,
		`headers`:                                 `{"via":"a, b","x-region":"eu"}`,
		`null`:                                    `null`,
		`{1: "int", true: "bool", 2u: "uint"}`:    `{"1":"int","2":"uint","true":"bool"}`,
		`has(body.missing) ? body.missing : 0`:    `0`,
		`{"b": 1, "a": 2, "c": {"z": 1, "y": 2}}`: `{"a":2,"b":1,"c":{"y":2,"z":1}}`,
	} {
		if err := m.CheckTransform(expr); err != nil {
			t.Errorf("%s: %v", expr, err)
			continue
		}
		got, err := m.Transform(expr, jsonEvent(invoice), "billing")
		if err != nil || string(got) != want {
			t.Errorf("%s\n got %s, %v\nwant %s", expr, got, err, want)
		}
	}
}

func TestWhatTransformsCannotMake(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	for expr, want := range map[string]string{
		`body.missing`:                   "no such key: missing",
		`{"a": body.beyond}`:             "JSON has no number",
		`{"e": event}`:                   "type Event is no JSON",
		`[type(body)]`:                   "is no JSON",
		`{1: "a", "1": "b"}`:             `has the key "1" twice`,
		`{1.5: "a"}`:                     "a key of type double is no JSON",
		`body.amount / 0`:                "division by zero",
		`body.tags[7]`:                   "index out of bounds",
		`[body.pad, body.pad, body.pad]`: "larger than 1048576 bytes",
		`[1,2,3].map(x, body.list).map(l, l.map(y, [y, y, y, y, y, y]))`: "larger than",
	} {
		body := strings.TrimSuffix(invoice, "}") + `,"pad":"` + strings.Repeat("x", 400<<10) + `","list":[` +
			strings.Repeat(`"`+strings.Repeat("x", 60)+`",`, 1500) + `1]}`
		got, err := m.Transform(expr, jsonEvent(body), "billing")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %.50s, %v", expr, got, err)
		}
	}
}

func TestWhereATransformIsWrong(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	for expr, want := range map[string]match.ExpressionError{
		"{\n  \"id\": event.idd\n}": {Message: "undefined field 'idd'", Line: 2, Column: 14},
		"{'a': }":                   {Message: "mismatched input '}'", Line: 1, Column: 7},
		"":                          {Message: "the expression is empty", Line: 1, Column: 1},
		"event":                     {Message: "a transform must build JSON, and this is of type Event", Line: 1, Column: 1},
		"type(body)":                {Message: "a transform must build JSON", Line: 1, Column: 1},
	} {
		var got *match.ExpressionError
		if err := m.CheckTransform(expr); !errors.As(err, &got) || got.Line != want.Line || got.Column != want.Column ||
			!strings.Contains(got.Message, want.Message) {
			t.Errorf("%q: got %v, want %v", expr, err, &want)
		}
	}
}

func anyJSON(depth int) *rapid.Generator[any] {
	leaves := []*rapid.Generator[any]{
		rapid.Int64().AsAny(), rapid.Float64Range(-1e300, 1e300).AsAny(), rapid.String().AsAny(), rapid.Bool().AsAny(), rapid.Just[any](nil),
	}
	if depth > 0 {
		leaves = append(leaves,
			rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[any] { return anyJSON(depth - 1) }), 0, 4).AsAny(),
			rapid.MapOfN(rapid.String(), rapid.Deferred(func() *rapid.Generator[any] { return anyJSON(depth - 1) }), 0, 4).AsAny())
	}
	return rapid.OneOf(leaves...)
}

// A body that is passed through, or taken apart and put together again, keeps its
// meaning, and the same event always gives the same bytes.
func TestTransformsKeepWhatABodyMeans(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.Marshal(anyJSON(3).Draw(t, "body"))
		if err != nil {
			t.Fatal(err)
		}
		ev := jsonEvent(string(text))
		got, err := m.Transform(`{"same": body, "list": [body]}`, ev, "s")
		if err != nil {
			t.Fatal(err)
		}
		again, err := m.Transform(`{"list": [body], "same": body}`, jsonEvent(string(text)), "s")
		if err != nil || !bytes.Equal(got, again) {
			t.Fatalf("%s, then %s, %v", got, again, err)
		}
		var made struct {
			Same json.RawMessage
			List []json.RawMessage
		}
		if err := json.Unmarshal(got, &made); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
		if want := canonical(t, text); canonical(t, made.Same) != want || canonical(t, made.List[0]) != want {
			t.Fatalf("%s became %s", text, got)
		}
	})
}

func canonical(t *rapid.T, text []byte) string {
	var value any
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return fmt.Sprintf("%#v", number(value))
}

// number reads a number as an integer if it is one that fits, else as a double.
func number(value any) any {
	switch v := value.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return fmt.Sprint(i)
		}
		f, _ := v.Float64()
		if i := int64(f); float64(i) == f && f < 1e18 && f > -1e18 {
			return fmt.Sprint(i)
		}
		return fmt.Sprint(f)
	case []any:
		for i := range v {
			v[i] = number(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = number(v[k])
		}
	}
	return value
}

// Whatever somebody writes and whatever somebody sends: a transform gives valid JSON
// within its bounds or an error, in bounded time, and the same bytes again.
func FuzzTransform(f *testing.F) {
	m := newMatcher(f)
	for i, expr := range []string{
		`body`, `{"id": event.id, "b": body}`, `body.map(x, x)`, `[raw, headers, query]`, `event`, `[type(body)]`,
		`body.map(x, body).map(y, body)`, `{body: body}`, `timestamp(body)`, `duration("1h")`, `1.0/0.0`, `[optional.none()]`,
		`dyn([1, 2u, "x", b"\xff", 1.5, null, {true: 1}])`, `{1: 2, "1": 3}`, `cel.bind(x, body, [x, x, x])`,
	} {
		f.Add(expr, []string{invoice, `[1,[2,[3]]]`, strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "a=b", "\xff", "1e999"}[i%6], "application/json")
	}
	f.Fuzz(func(t *testing.T, expr, body, contentType string) {
		start := time.Now()
		if err := m.CheckTransform(expr); err != nil {
			var e *match.ExpressionError
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 || e.Message == "" {
				t.Fatalf("error %#v", err)
			}
		}
		event := func() *hub.Event {
			return &hub.Event{ID: "evt_1", Type: expr, ContentType: contentType, Payload: &hub.Payload{Body: []byte(body), Query: body}}
		}
		made, err := m.Transform(expr, event(), "s")
		if took := time.Since(start); took > time.Minute {
			t.Fatalf("took %v", took)
		}
		if err != nil {
			if reason := match.Reason(err); reason == "" || len(reason) > 600 {
				t.Fatalf("the reason is %q", reason)
			}
			return
		}
		if !json.Valid(made) || len(made) > hub.MaxShapedBytes {
			t.Fatalf("made %.200q", made)
		}
		if again, err := m.Transform(expr, event(), "s"); err != nil || !bytes.Equal(made, again) {
			t.Fatalf("made %.200q, then %.200q, %v", made, again, err)
		}
	})
}

func TestJudge(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	for name, c := range map[string]struct {
		rule    hub.Rule
		verdict match.Verdict
		reason  string
	}{
		"everything":     {hub.Rule{EventTypes: []string{"*"}}, match.Matched, ""},
		"another type":   {hub.Rule{EventTypes: []string{"order.*"}}, match.OtherType, "invoice.paid"},
		"another source": {hub.Rule{EventTypes: []string{"*"}, SourceIDs: []string{"src_2"}}, match.OtherSource, "source"},
		"a no":           {hub.Rule{EventTypes: []string{"*"}, Filter: "body.amount < 1"}, match.FilterFalse, "body.amount < 1"},
		"a failure":      {hub.Rule{EventTypes: []string{"*"}, Filter: "body.missing < 1"}, match.FilterFailed, "no such key: missing"},
	} {
		verdict, reason := m.Judge(c.rule, jsonEvent(invoice), "billing")
		if verdict != c.verdict || !strings.Contains(reason, c.reason) || (reason == "") != (c.reason == "") {
			t.Errorf("%s: %s, %q", name, verdict, reason)
		}
	}
}

// What each kind of expression costs per event, beside decoding its body, which all but
// the last share.
func BenchmarkTransform(b *testing.B) {
	m := newMatcher(b)
	body := `{"id":"in_1","amount":4200,"customer":{"tier":3,"name":"Ada"},"pad":"` + strings.Repeat("x", 900) + `"}`
	for name, expr := range map[string]string{
		"five fields": `{"id": event.id, "type": event.type, "amount": body.amount, "name": body.customer.name, "tier": body.customer.tier}`,
		"whole body":  `body`,
		"no body":     `{"id": event.id, "type": event.type}`,
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := m.Transform(expr, jsonEvent(body), "s"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
