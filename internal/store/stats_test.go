package store_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// total sums all statistics up that a filter admits, over a day around now.
func total(t testing.TB, s *store.Store, b *bundle, f hub.StatsFilter) hub.StatsBucket {
	t.Helper()
	var all hub.StatsBucket
	now := b.clock.Now()
	for _, one := range got[[]*hub.StatsBucket](t)(s.Stats(t.Context(), store.StatsQuery{
		Since: now.Add(-24 * time.Hour), Until: now.Add(24 * time.Hour), Bucket: time.Hour, Filter: f,
	})) {
		all.Received += one.Received
		all.Duplicates += one.Duplicates
		all.Rejected += one.Rejected
		all.DeliveriesCreated += one.DeliveriesCreated
		all.Delivered += one.Delivered
		all.Dead += one.Dead
		all.Attempts += one.Attempts
		all.FailedAttempts += one.FailedAttempts
	}
	return all
}

// stored is what the tables say, and how often the log of changes has a delivery end:
// one that has been retried may do so twice.
func stored(t testing.TB, s *store.Store, url string) hub.StatsBucket {
	t.Helper()
	db, _ := connect(t, url)
	var want hub.StatsBucket
	for query, count := range map[string]*int{
		"SELECT count(*) FROM events":                                                     &want.Received,
		"SELECT coalesce(sum(duplicate_count), 0) FROM events":                            &want.Duplicates,
		"SELECT count(*) FROM rejections":                                                 &want.Rejected,
		"SELECT count(*) FROM deliveries":                                                 &want.DeliveriesCreated,
		"SELECT count(*) FROM attempts":                                                   &want.Attempts,
		"SELECT count(*) FROM attempts WHERE outcome NOT IN ('SUCCEEDED', 'INTERRUPTED')": &want.FailedAttempts,
	} {
		must(t, db.QueryRowContext(t.Context(), query).Scan(count))
	}
	for _, statuses := range checkChanges(t, s) {
		for i, status := range statuses {
			switch {
			case i > 0 && statuses[i-1] == status: // an attempt whose lease was void
			case status == hub.DeliveryDelivered:
				want.Delivered++
			case status == hub.DeliveryDead:
				want.Dead++
			}
		}
	}
	return want
}

// checkCounted checks that statistics say what the tables say.
func checkCounted(t testing.TB, s *store.Store, b *bundle) {
	t.Helper()
	if all, want := total(t, s, b, hub.StatsFilter{}), stored(t, s, b.url); all != want {
		t.Errorf("counted %+v\nstored  %+v", all, want)
	}
}

// checkChanges reads the log of changes: it is dense, and the last entry of each
// delivery is how the delivery stands.
func checkChanges(t testing.TB, s *store.Store) map[string][]hub.DeliveryStatus {
	t.Helper()
	last, all := make(map[string]hub.Delivery), make(map[string][]hub.DeliveryStatus)
	var at hub.Sequence
	for {
		page := got[[]*hub.DeliveryChange](t)(s.ChangesAfter(t.Context(), at, 100))
		for _, c := range page {
			if c.Sequence != at+1 {
				t.Fatalf("change %d follows %d", c.Sequence, at)
			}
			at = c.Sequence
			last[c.Delivery.ID] = c.Delivery
			all[c.Delivery.ID] = append(all[c.Delivery.ID], c.Delivery.Status)
		}
		if len(page) == 0 {
			break
		}
	}
	if head := got[hub.Sequence](t)(s.ChangeHead(t.Context())); head != at {
		t.Fatalf("the head is %d and the last change %d", head, at)
	}
	for id, d := range last {
		now := *delivery(t, s, id)
		now.SchedulePosition = 0 // which no change tells
		if now != d {
			t.Fatalf("the last change says\n%+v\nand the delivery is\n%+v", d, now)
		}
	}
	return all
}

// workload does random things with a store until a number of steps is done, and waits
// until all of it is stored.
func workload(t testing.TB, s *store.Store, b *bundle, src *hub.Source, e *hub.Endpoint, seed uint64, steps int) {
	r := rand.New(rand.NewPCG(seed, 1))
	for range steps {
		switch r.IntN(8) {
		case 0, 1, 2:
			var events []*hub.Event
			for range 1 + r.IntN(4) {
				events = append(events, newEvent(b, src, keyed(fmt.Sprint("key ", r.IntN(50)))))
			}
			if _, err := s.Append(t.Context(), events); err != nil {
				t.Error(err)
			}
		case 3:
			if err := s.Reject(t.Context(), &hub.Rejection{
				ID: hub.NewID(hub.RejectionPrefix, b.clock.Now()), SourceID: src.ID, Reason: "SIGNATURE_INVALID", ReceivedAt: b.clock.Now(),
			}); err != nil {
				t.Error(err)
			}
		case 4, 5, 6:
			leases, err := s.Claim(t.Context(), []hub.Want{{EndpointID: e.ID, Limit: 3, Lease: time.Minute}})
			if err != nil {
				t.Error(err)
			}
			for _, l := range leases {
				outcome, status := hub.AttemptSucceeded, hub.DeliveryDelivered
				switch r.IntN(5) {
				case 0:
					outcome, status = hub.AttemptRefused, hub.DeliveryPending
				case 1:
					outcome, status = hub.AttemptRefused, hub.DeliveryDead
				case 2:
					outcome, status = hub.AttemptInterrupted, hub.DeliveryPending
				}
				result := attempt(b, l, outcome, status)
				if r.IntN(6) == 0 { // the lease is void by then
					_, _ = s.CancelDelivery(t.Context(), l.Delivery.ID)
				}
				s.Settle(result)
				if r.IntN(6) == 0 { // it comes once more
					s.Settle(result)
				}
			}
		case 7:
			page := got[hub.Slice[*hub.Delivery]](t)(s.Deliveries(t.Context(), hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryPending}}, hub.Page{Size: 1}))
			for _, d := range page.Items {
				if r.IntN(2) == 0 {
					_, _ = s.CancelDelivery(t.Context(), d.ID) // it may have ended meanwhile
				} else {
					_, _ = s.RetryDelivery(t.Context(), d.ID)
				}
			}
		}
		if r.IntN(10) == 0 {
			b.clock.advance(time.Duration(r.IntN(30)) * time.Second)
		}
	}
}

func TestStatisticsAreExact(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		sub := newSubscription(t, s, b, e)
		workload(t, s, b, src, e, 1, 300)
		must(t, s.Stop(context.Background()))
		must(t, s.Close())

		again, c := start(t, url) // another process, at the same time
		c.clock.now.Store(b.clock.now.Load())
		workload(t, again, c, src, e, 2, 300)
		must(t, again.Stop(context.Background())) // so that all results are stored

		want := stored(t, again, url)
		if want.Duplicates == 0 || want.Rejected == 0 || want.Dead == 0 || want.FailedAttempts == 0 || want.Attempts == want.FailedAttempts+want.Delivered {
			t.Fatalf("the workload leaves something out: %+v", want)
		}
		if all := total(t, again, c, hub.StatsFilter{}); all != want {
			t.Errorf("counted %+v\nstored  %+v", all, want)
		}
		if all := total(t, again, c, hub.StatsFilter{SourceIDs: []string{src.ID}}); all != want {
			t.Errorf("of the source %+v, want %+v", all, want)
		}
		want.Received, want.Duplicates, want.Rejected = 0, 0, 0
		for _, f := range []hub.StatsFilter{{EndpointIDs: []string{e.ID}}, {SubscriptionIDs: []string{sub.ID}, SourceIDs: []string{src.ID}}} {
			if all := total(t, again, c, f); all != want {
				t.Errorf("with %+v counted %+v, want %+v", f, all, want)
			}
		}
		if all := total(t, again, c, hub.StatsFilter{EndpointIDs: []string{"end_other"}}); all != (hub.StatsBucket{}) {
			t.Errorf("of another endpoint %+v", all)
		}
	})
}

func TestStatisticsOfTwoNodes(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	a, b := start(t, url)
	src, e := newSource(t, a, b), newEndpoint(t, a, b)
	newSubscription(t, a, b, e)
	nodes := []*store.Store{a}
	bundles := []*bundle{b}
	for range 2 {
		s, c := start(t, url)
		nodes, bundles = append(nodes, s), append(bundles, c)
	}
	var working sync.WaitGroup
	for i, s := range nodes {
		working.Go(func() { workload(t, s, bundles[i], src, e, uint64(10+i), 150) })
	}
	working.Wait()
	for _, s := range nodes {
		must(t, s.Stop(context.Background()))
	}
	checkCounted(t, a, b)
}

func TestStatisticsOverTime(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		newSubscription(t, s, b, e)
		begun := b.clock.Now() // 12:00
		for range 3 {
			add(t, s, newEvent(b, src))
			add(t, s, newEvent(b, src))
			b.clock.advance(20 * time.Second)
		}
		for i, l := range claim(t, s, e, 10) {
			r := attempt(b, l, hub.AttemptSucceeded, hub.DeliveryDelivered)
			r.Attempt.Duration = time.Duration(i+1) * time.Second
			r.Attempt.StartedAt = b.clock.Now().Add(-r.Attempt.Duration) // so it ended now
			settled(t, s, r)
		}
		ask := func(since, until time.Time, bucket time.Duration) []*hub.StatsBucket {
			t.Helper()
			return got[[]*hub.StatsBucket](t)(s.Stats(t.Context(), store.StatsQuery{Since: since, Until: until, Bucket: bucket}))
		}

		t.Run("buckets are aligned and none is left out", func(t *testing.T) {
			buckets := ask(begun.Add(-5*time.Second), begun.Add(61*time.Second), 20*time.Second)
			var received []int
			for i, one := range buckets {
				if want := begun.Add(time.Duration(i-1) * 20 * time.Second); !one.Start.Equal(want) {
					t.Errorf("bucket %d begins at %s, want %s", i, one.Start, want)
				}
				received = append(received, one.Received)
			}
			if !slices.Equal(received, []int{0, 2, 2, 2, 0}) {
				t.Errorf("received %v", received)
			}
			if first := buckets[0]; first.LatencyP50 != nil || first.EndToEndP99 != nil {
				t.Errorf("nothing has percentiles: %+v", first)
			}
			last := buckets[4]
			if last.Delivered != 6 || !about(last.LatencyP50, 3000) || !about(last.LatencyP99, 5000) || !about(last.EndToEndP50, 40_000) {
				t.Errorf("delivered %d, latency %v %v, end to end %v", last.Delivered, *last.LatencyP50, *last.LatencyP99, *last.EndToEndP50)
			}
		})

		t.Run("one bucket for each parent in one statement", func(t *testing.T) {
			queries := b.trace.askedBy(t, func(ctx context.Context) error {
				of, err := s.StatsOf(ctx, store.StatsOfSources, []string{src.ID, "src_none"}, begun.Add(-time.Minute), time.Time{})
				if err == nil && (of[src.ID].Received != 6 || of[src.ID].Delivered != 6 || of["src_none"].Received != 0) {
					t.Errorf("got %+v %+v", of[src.ID], of["src_none"])
				}
				return err
			})
			if len(queries) != 1 {
				t.Errorf("%d statements", len(queries))
			}
			of := got[map[string]*hub.StatsBucket](t)(s.StatsOf(t.Context(), store.StatsOfEndpoints, []string{e.ID}, begun, time.Time{}))
			if one := of[e.ID]; one.Received != 0 || one.Attempts != 6 || one.DeliveriesCreated != 6 {
				t.Errorf("got %+v", one)
			}
		})

		t.Run("what cannot be answered is said", func(t *testing.T) {
			now := b.clock.Now()
			for what, q := range map[string]store.StatsQuery{
				"since must lie before until": {Since: now, Until: now, Bucket: time.Minute},
				"since must lie before":       {Since: now.Add(time.Hour), Bucket: time.Minute},
				"multiple of PT10S":           {Since: now.Add(-time.Minute), Bucket: 15 * time.Second},
				"a multiple of PT10S":         {Since: now.Add(-time.Minute)},
				"at most 500":                 {Since: now.Add(-2*time.Hour + time.Minute), Bucket: 10 * time.Second},
				"are kept by PT1M":            {Since: now.Add(-3 * time.Hour), Until: now.Add(-2 * time.Hour), Bucket: 10 * time.Second},
				"are kept by PT5M":            {Since: now.Add(-30 * time.Hour), Bucket: 11 * time.Minute},
				"are kept by PT1H":            {Since: now.Add(-9 * 24 * time.Hour), Bucket: 30 * time.Minute},
				"longer than a hundred years": {Since: time.Time{}.Add(time.Hour), Bucket: time.Hour},
			} {
				_, err := s.Stats(t.Context(), q)
				if wantCode(t, err, hub.CodeBadUserInput); !strings.Contains(err.Error(), what) {
					t.Errorf("%s: got %v", what, err)
				}
			}
		})

		t.Run("age makes them coarser and changes no number", func(t *testing.T) {
			before := total(t, s, b, hub.StatsFilter{})
			db, _ := connect(t, url)
			rows := func() (n, widest int) {
				must(t, db.QueryRowContext(t.Context(), "SELECT count(*), max(width) FROM rollups").Scan(&n, &widest))
				return n, widest
			}
			n, _ := rows()
			for _, step := range []struct {
				age    time.Duration
				widest int
			}{{3 * time.Hour, 60}, {30 * time.Hour, 300}, {10 * 24 * time.Hour, 3600}} {
				b.clock.now.Store(begun.Add(step.age).UnixMicro())
				must(t, s.Tidy(t.Context()))
				left, widest := rows()
				if left >= n && step.widest == 60 || widest != step.widest {
					t.Errorf("after %s there are %d rows of %d, up to %d s wide", step.age, left, n, widest)
				}
				buckets := ask(begun.Add(-time.Hour), begun.Add(2*time.Hour), time.Hour)
				all := *buckets[1]
				if all.Received != before.Received || all.Delivered != before.Delivered || all.Attempts != before.Attempts ||
					all.DeliveriesCreated != before.DeliveriesCreated || !about(all.LatencyP50, 3000) || !about(all.LatencyP99, 5000) {
					t.Errorf("after %s: %+v, want %+v", step.age, all, before)
				}
			}
			b.clock.now.Store(begun.Add(11 * 24 * time.Hour).UnixMicro())
			add(t, s, newEvent(b, src)) // counted in a book of its own
			must(t, s.Tidy(t.Context()))
			if all := ask(begun, b.clock.Now(), 24*time.Hour); all[0].Received != 6 || all[len(all)-1].Received != 1 {
				t.Errorf("got %+v ... %+v", all[0], all[len(all)-1])
			}
		})
	})
}

// about allows for the error that percentiles may have.
func about(got *float64, want float64) bool { return got != nil && math.Abs(*got-want) <= 0.0101*want }

// Percentiles lie within 1 % of those of the durations themselves, however these are
// spread over rows, writers and buckets.
func TestPercentilesAreRight(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		durations := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) time.Duration {
			return time.Duration(math.Exp(rapid.Float64Range(math.Log(1e3), math.Log(1e12)).Draw(rt, "log"))) // 1 µs to 17 min
		}), 1, 300).Draw(rt, "durations")
		parts := rapid.IntRange(1, 5).Draw(rt, "parts")
		quantile := store.MergedQuantile(durations, parts)
		slices.Sort(durations)
		for _, q := range []float64{0.5, 0.95, 0.99} {
			want := float64(durations[int(q*float64(len(durations)-1))]) / 1e6
			if value := quantile(q); !about(value, want) {
				rt.Fatalf("p%g of %d is %v, want %g", 100*q, len(durations), *value, want)
			}
		}
	})
}

func TestTheLogOfChanges(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url, store.MaxChangesKept(8))
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		newSubscription(t, s, b, e)
		add(t, s, newEvent(b, src))
		l := claim(t, s, e, 1)[0]
		id := l.Delivery.ID
		settled(t, s, attempt(b, l, hub.AttemptRefused, hub.DeliveryPending))
		must2(t)(s.RetryDelivery(t.Context(), id))
		settled(t, s, attempt(b, claim(t, s, e, 1)[0], hub.AttemptSucceeded, hub.DeliveryDelivered))
		must2(t)(s.RetryDelivery(t.Context(), id))
		must2(t)(s.CancelDelivery(t.Context(), id))

		t.Run("has every change in order, by its commit", func(t *testing.T) {
			want := []hub.DeliveryStatus{"PENDING", "PENDING", "PENDING", "DELIVERED", "PENDING", "CANCELED"}
			if all := checkChanges(t, s); !slices.Equal(all[id], want) {
				t.Errorf("got %v, want %v", all[id], want)
			}
			page := got[[]*hub.DeliveryChange](t)(s.ChangesAfter(t.Context(), 1, 1))
			if d := page[0].Delivery; d.AttemptCount != 1 || !d.NextAttemptAt.Equal(b.clock.Now().Add(time.Hour)) || d.EndpointID != e.ID || d.EventID == "" {
				t.Errorf("the second change is %+v", d)
			}
		})

		t.Run("says HELD where something held it", func(t *testing.T) {
			must2(t)(s.UpdateEndpoint(t.Context(), e.ID, func(e *hub.Endpoint) error { e.State = hub.EndpointPaused; return nil }))
			add(t, s, newEvent(b, src))
			head := got[hub.Sequence](t)(s.ChangeHead(t.Context()))
			page := got[[]*hub.DeliveryChange](t)(s.ChangesAfter(t.Context(), head-1, 10))
			if len(page) != 1 || page[0].Delivery.Status != hub.DeliveryHeld || page[0].Delivery.Reason != "the endpoint is paused" {
				t.Errorf("got %+v", page)
			}
		})

		t.Run("a deleted endpoint's deliveries are canceled one by one", func(t *testing.T) {
			before := got[hub.Sequence](t)(s.ChangeHead(t.Context()))
			must(t, s.DeleteEndpoint(t.Context(), e.ID))
			page := got[[]*hub.DeliveryChange](t)(s.ChangesAfter(t.Context(), before, 10))
			if len(page) != 1 || page[0].Delivery.Status != hub.DeliveryCanceled {
				t.Errorf("got %+v", page)
			}
		})

		t.Run("is bounded, and forgets its front", func(t *testing.T) {
			must(t, s.Tidy(t.Context()))
			if oldest := got[hub.Sequence](t)(s.OldestChange(t.Context())); oldest != 1 {
				t.Errorf("eight changes fit, but the oldest is %d", oldest)
			}
			other := newEndpoint(t, s, b)
			newSubscription(t, s, b, other)
			add(t, s, newEvent(b, src))
			must(t, s.Tidy(t.Context()))
			if oldest := got[hub.Sequence](t)(s.OldestChange(t.Context())); oldest != 2 {
				t.Errorf("the oldest of nine is %d", oldest)
			}
			b.clock.advance(store.MaxChangeAge + time.Second)
			add(t, s, newEvent(b, src))
			must(t, s.Tidy(t.Context()))
			if oldest := got[hub.Sequence](t)(s.OldestChange(t.Context())); oldest != 10 {
				t.Errorf("a day later the oldest is %d", oldest)
			}
			b.clock.advance(store.MaxChangeAge + time.Second)
			must(t, s.Tidy(t.Context()))
			if oldest := got[hub.Sequence](t)(s.OldestChange(t.Context())); oldest != 0 {
				t.Errorf("nothing is young, but the oldest is %d", oldest)
			}
		})
	})
}

// must2 is must for what answers something besides.
func must2(t testing.TB) func(any, error) {
	return func(_ any, err error) {
		t.Helper()
		must(t, err)
	}
}
