package match_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/match"
)

func TestOrderingKeys(t *testing.T) {
	t.Parallel()
	m := newMatcher(t)
	long := strings.Repeat("k", 100_000)
	ev := jsonEvent(strings.Replace(invoice, `"id":"in_1"`, `"id":"in_1","minus":-7,"long":"`+long+`"`, 1))
	for expr, want := range map[string]string{
		`body.id`:                      "in_1",
		`event.orderingKey`:            "cus_7",
		`event.source + "/" + body.id`: "billing/in_1",
		`body.amount`:                  "4200",
		`body.minus`:                   "-7",
		`body.big`:                     "9007199254740993",
		`uint(3)`:                      "3",
		`body.live`:                    "true",
		`!body.live`:                   "false",
		`null`:                         "",
		`body.none`:                    "",
		`""`:                           "",
		`has(body.missing) ? body.missing : null`: "",
		`headers["x-region"]`:                     "eu",
		`body.long`:                               long, // it is not stored, and so has no bound of its own
	} {
		if err := m.CheckOrderingKey(expr); err != nil {
			t.Errorf("%s is refused: %v", expr, err)
		}
		if key, err := m.OrderingKey(expr, ev, "billing"); err != nil || key != want {
			t.Errorf("%s yields %.40q, %v, want %.40q", expr, key, err, want)
		}
	}
	for _, expr := range []string{`body.missing`, `body.id + 1`, `body.rate`, `body.huge`, `body.tags`, `body.customer`, `event.occurredAt`, `raw`, `headers["x-absent"]`} {
		if key, err := m.OrderingKey(expr, ev, "billing"); err == nil || key != "" {
			t.Errorf("%s yields %q and no error", expr, key)
		} else if strings.Contains(err.Error(), "in_1") {
			t.Errorf("%s quotes the event: %v", expr, err)
		}
	}
	if _, err := m.OrderingKey(`body.id`, jsonEvent(`not JSON`), "billing"); err == nil {
		t.Error("a body that is no JSON has a key")
	}

	short := `event.id == "` + strings.Repeat("x", match.MaxExpressionLength-14) + `"`
	if len(short) != match.MaxExpressionLength {
		t.Fatalf("the expression has %d bytes", len(short))
	}
	for expr, wrong := range map[string]string{
		short:              "",
		short + " ":        "at most 4096 bytes",
		`event.occurredAt`: "must yield a text",
		`[body.id]`:        "must yield a text",
		`{"k": body.id}`:   "must yield a text",
		`1.5`:              "must yield a text",
		`b"key"`:           "must yield a text",
		`body.`:            "",
		``:                 "",
	} {
		err := m.CheckOrderingKey(expr)
		var of *match.ExpressionError
		switch {
		case expr == short:
			if err != nil {
				t.Errorf("one of the length that is allowed is refused: %v", err)
			}
		case !errors.As(err, &of) || of.Line < 1 || of.Column < 1 || !strings.Contains(of.Message, wrong):
			t.Errorf("%.40s: %v", expr, err)
		}
	}
}
