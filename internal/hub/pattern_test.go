package hub_test

import (
	"regexp"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestTypeMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, eventType string
		want               bool
	}{
		{"*", "", true},
		{"*", "anything.at all", true},
		{"invoice.paid", "invoice.paid", true},
		{"invoice.paid", "invoice.paid.late", false},
		{"invoice.*", "invoice.paid", true},
		{"invoice.*", "invoice.item.added", true},
		{"invoice.*", "invoice", false},
		{"invoice.*", "invoices.paid", false},
		{"*.paid", "invoice.paid", true},
		{"*.paid", "invoice.paid.late", false},
		{"a*b*c", "abc", true},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "acb", false},
		{"aa*aa", "aaa", false},
		{"", "", true},
		{"", "x", false},
	} {
		if got := hub.TypeMatches(c.pattern, c.eventType); got != c.want {
			t.Errorf("%q on %q: got %v", c.pattern, c.eventType, got)
		}
	}
}

func TestPatternsAgreeWithRegularExpressions(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		pattern := rapid.StringMatching(`[ab.*]{0,12}`).Draw(t, "pattern")
		eventType := rapid.StringMatching(`[ab.]{0,12}`).Draw(t, "type")
		re := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$")
		if got, want := hub.TypeMatches(pattern, eventType), re.MatchString(eventType); got != want {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}
