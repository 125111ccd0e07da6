package catalogue_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/catalogue"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// BenchmarkLearner stores events of about 1 KiB of JSON in ten types, by as many callers at
// once as its name says, in turn without anybody who learns from them and with a learner
// that has to have counted all of them before its time is up. It reports the ratios of
// both, in one run, since machines vary: x-rate of the events stored a second, and x-cpu of
// the processor time of an event, that of the database in another process aside.
func BenchmarkLearner(b *testing.B) {
	for _, database := range []string{"SQLite", "PostgreSQL"} {
		for _, callers := range []int{1, 64} {
			b.Run(fmt.Sprintf("%s/callers=%d", database, callers), func(b *testing.B) {
				url := "sqlite:" + filepath.Join(b.TempDir(), "bench.db")
				if database == "PostgreSQL" {
					url = testkit.Postgres(b)
				}
				benchLearner(b, setup(b, url), callers)
			})
		}
	}
}

func benchLearner(b *testing.B, bu *bundle, callers int) {
	const round = 2000
	learn := func() (stop func()) {
		keeper := catalogue.Start(b.Context(), catalogue.Config{
			Store: bu.store, Clock: bu.clock, Logger: slog.New(slog.DiscardHandler),
			TypeOf: func(*hub.Source, *hub.Rejection) string { return "captured" },
		})
		return func() { must(b, keeper.Stop(b.Context())) }
	}
	finish := func() {
		keeper := bu.newKeeper()
		must(b, keeper.Look(b.Context()))
		keeper.Free(b.Context())
	}
	counted := func() (n int) {
		for kind := range 10 {
			_, seen := bu.typed(fmt.Sprintf("bench.%d", kind))
			n += seen.EventCount
		}
		return n
	}
	var rates, costs [2]float64 // without and with a learner: seconds and seconds of processor time
	stored := 0
	b.ResetTimer()
	for range b.N {
		for with := range 2 {
			var stop func()
			if with == 1 {
				finish() // what the other half has left
				stop = learn()
			}
			began, worked := time.Now(), processor(b)
			bu.store1KiB(round, callers)
			rates[with] += time.Since(began).Seconds()
			stored += round
			if with == 1 {
				stop()
				finish()
			}
			costs[with] += processor(b) - worked
		}
	}
	if n := counted(); n != stored {
		b.Fatalf("%d of %d events were counted", n, stored)
	}
	b.ReportMetric(round*float64(b.N)/rates[0], "events/s-without")
	b.ReportMetric(rates[0]/rates[1], "x-rate")
	b.ReportMetric(costs[0]/round/float64(b.N)*1e6, "µs-cpu-without")
	b.ReportMetric(costs[1]/costs[0], "x-cpu")
}

// store1KiB stores events one by one, by several callers at once.
func (b *bundle) store1KiB(events, callers int) {
	b.t.Helper()
	filler := strings.Repeat("x", 900)
	var wg sync.WaitGroup
	for caller := range callers {
		wg.Go(func() {
			for n := caller; n < events; n += callers {
				body := fmt.Sprintf(`{"id": %d, "kind_%d": {"amount": %d.50, "paid": true}, "lines": [{"sku": "a", "count": %d}], "note": %q}`, n, n%30, n, n, filler)
				_, err := b.store.Append(b.t.Context(), []*hub.Event{{
					ID: hub.NewID(hub.EventPrefix, b.clock.Now()), SourceID: b.source.ID, Type: fmt.Sprintf("bench.%d", n%10), ReceivedAt: b.clock.Now(),
					ContentType: "application/json", Payload: &hub.Payload{Body: []byte(body)},
				}})
				if err != nil {
					b.t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// processor is the processor time of this process so far, in seconds.
func processor(t testing.TB) float64 {
	t.Helper()
	var usage syscall.Rusage
	must(t, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
}
