package store_test

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// BenchmarkOutOfOrder stores events that say when they happened, which the writer compares
// with the newest of their source, and as many that do not, in turn, so that what else the
// machine does disturbs both alike. x-undated is the processor time of the first in
// multiples of the second, and x-undated-time that of the time they took.
func BenchmarkOutOfOrder(b *testing.B) {
	databases := map[string]func(*testing.B) string{
		"SQLite":     func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "bench.db") },
		"PostgreSQL": func(b *testing.B) string { return testkit.Postgres(b) },
	}
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		for _, batch := range []int{1, 100} {
			b.Run(fmt.Sprintf("%s/batch=%d", name, batch), func(b *testing.B) { benchOutOfOrder(b, databases[name](b), batch) })
		}
	}
}

func benchOutOfOrder(b *testing.B, url string, batch int) {
	s, bu := start(b, url)
	src := newSource(b, s, bu)
	var spent, took [2]time.Duration // without and with a moment
	happened := bu.clock.Now()
	b.ResetTimer()
	for range b.N * 1000 / batch {
		for kind := range spent {
			events := make([]*hub.Event, batch)
			for i := range events {
				happened = happened.Add(time.Microsecond)
				events[i] = newEvent(bu, src, func(ev *hub.Event) {
					if kind == 1 {
						ev.OccurredAt = happened
					}
				})
			}
			began, before := time.Now(), cpu()
			got[[]hub.Receipt](b)(s.Append(b.Context(), events))
			spent[kind], took[kind] = spent[kind]+cpu()-before, took[kind]+time.Since(began)
		}
	}
	b.ReportMetric(float64(spent[0].Microseconds())/float64(b.N*1000), "cpu-µs/undated")
	b.ReportMetric(float64(spent[1])/float64(spent[0]), "x-undated")
	b.ReportMetric(float64(took[1])/float64(took[0]), "x-undated-time")
}
