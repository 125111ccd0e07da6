package store_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// BenchmarkLive stores 500 events a second, each delivered at once, while nothing else
// goes on and while the backlog of another endpoint is claimed and settled at 2,000 a
// second, in turn, a second each. It measures how long an event waits for its commit,
// which is what the writer does to live traffic, without the network. The ratios are
// medians of those of neighbouring seconds, so that what else the machine does disturbs
// both alike; b.N is the number of such pairs.
func BenchmarkLive(b *testing.B) {
	b.Run("SQLite", func(b *testing.B) { benchLive(b, "sqlite:"+filepath.Join(b.TempDir(), "bench.db")) })
	b.Run("PostgreSQL", func(b *testing.B) { benchLive(b, testkit.Postgres(b)) })
}

const (
	livePerSecond    = 500
	backlogPerSecond = 2000
	claimedAtOnce    = 32 // as the dispatcher does
)

func benchLive(b *testing.B, url string) {
	s, bu := open(b, url)
	k := &liveTaker{settle: func(l hub.Lease) { s.Settle(attempt(bu, l, hub.AttemptSucceeded, hub.DeliveryDelivered)) }}
	must(b, s.Start(b.Context(), k))
	src := newSource(b, s, bu)
	live, late := newEndpoint(b, s, bu), newEndpoint(b, s, bu)
	toLive, toLate := newSubscription(b, s, bu, live), newSubscription(b, s, bu, late)
	k.endpointID = live.ID
	bu.router.set(func(*hub.Event, *hub.Configuration) []string { return []string{toLate.ID} })
	for range (b.N + 1) * backlogPerSecond / 250 {
		events := make([]*hub.Event, 250)
		for i := range events {
			events[i] = newEvent(bu, src)
		}
		got[[]hub.Receipt](b)(s.Append(b.Context(), events))
	}
	bu.router.set(func(*hub.Event, *hub.Configuration) []string { return []string{toLive.ID} })

	var medians, tails, waits []float64
	b.ResetTimer()
	for range b.N {
		alone := liveSecond(b, s, bu, src)
		var draining sync.WaitGroup
		ctx, stop := context.WithCancel(b.Context())
		draining.Go(func() { drain(ctx, b, s, bu, late) })
		beside := liveSecond(b, s, bu, src)
		stop()
		draining.Wait()
		medians = append(medians, beside[len(beside)/2]/alone[len(alone)/2])
		tails = append(tails, beside[len(beside)*95/100]/alone[len(alone)*95/100])
		waits = append(waits, alone[len(alone)/2])
	}
	b.StopTimer()
	k.settling.Wait()
	must(b, s.Stop(context.Background()))
	middle := func(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }
	b.ReportMetric(middle(waits), "ms-p50-alone")
	b.ReportMetric(middle(medians), "x-p50")
	b.ReportMetric(middle(tails), "x-p95")
}

// liveSecond stores events at an even pace for a second and returns what each waited for
// its commit, in milliseconds, the shortest first.
func liveSecond(b *testing.B, s *store.Store, bu *bundle, src *hub.Source) []float64 {
	b.Helper()
	waits := make([]float64, livePerSecond)
	var adding sync.WaitGroup
	began := time.Now()
	for i := range waits {
		due := began.Add(time.Duration(i) * time.Second / livePerSecond)
		time.Sleep(time.Until(due))
		adding.Go(func() {
			if _, err := s.Append(b.Context(), []*hub.Event{newEvent(bu, src)}); err != nil {
				b.Error(err)
			}
			waits[i] = time.Since(due).Seconds() * 1000
		})
	}
	adding.Wait()
	slices.Sort(waits)
	return waits
}

// drain claims and settles deliveries of an endpoint at an even pace until ctx ends.
func drain(ctx context.Context, b *testing.B, s *store.Store, bu *bundle, e *hub.Endpoint) {
	b.Helper()
	began, done := time.Now(), 0
	for ctx.Err() == nil {
		leases, err := s.Claim(b.Context(), []hub.Want{{EndpointID: e.ID, Limit: claimedAtOnce, Lease: time.Minute}})
		if err != nil || len(leases) == 0 {
			b.Error(fmt.Errorf("a claim leased %d: %w", len(leases), err))
			return
		}
		for _, l := range leases {
			time.Sleep(time.Until(began.Add(time.Duration(done) * time.Second / backlogPerSecond)))
			s.Settle(attempt(bu, l, hub.AttemptSucceeded, hub.DeliveryDelivered))
			done++
		}
	}
}

// liveTaker delivers at once what is for one endpoint.
type liveTaker struct {
	endpointID string // set before anything is stored for it
	settle     func(hub.Lease)
	settling   sync.WaitGroup
}

func (k *liveTaker) Reserve(endpointID string) bool { return endpointID == k.endpointID }
func (k *liveTaker) Release(string)                 {}
func (k *liveTaker) Due(string)                     {}
func (k *liveTaker) Within() bool                   { return true }
func (k *liveTaker) Wake()                          {}
func (k *liveTaker) Take(l hub.Lease)               { k.settling.Go(func() { k.settle(l) }) }
