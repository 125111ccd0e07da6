package deliver

import (
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestTokensGivenBackDoNotOverfillTheBucket(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var b bucket
	b.configure(&hub.RateLimit{Limit: 10, Period: time.Minute}, false, now)
	takeAll := func() (n int) {
		for b.take(now) {
			n++
		}
		return n
	}
	for range 5 { // claims that made room and found next to nothing due
		n := takeAll()
		if n != 10 {
			t.Fatalf("%d attempts at once, want the 10 of one period", n)
		}
		for range n {
			b.put()
		}
		now = now.Add(time.Minute)
	}
	takeAll()
	if b.put(); takeAll() != 1 {
		t.Error("a token that was given back is lost")
	}
}
