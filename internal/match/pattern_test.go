package match_test

import (
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/match"
)

func TestCheckTypePattern(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"*", "invoice.paid", "invoice.*", "*.paid", "Order Created", "größe.*", "a*b*c"} {
		if err := match.CheckTypePattern(pattern); err != nil {
			t.Errorf("%q: %v", pattern, err)
		}
	}
	for _, pattern := range []string{"", " a", "a ", "a\nb", "a\x00", "**", "a.**", "\xff", strings.Repeat("a", match.MaxTypeBytes+1)} {
		if err := match.CheckTypePattern(pattern); err == nil {
			t.Errorf("%q was taken", pattern)
		}
	}
}
