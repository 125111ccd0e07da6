package store_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// eachDeployment runs a test on one node with SQLite and on two with PostgreSQL.
func eachDeployment(t *testing.T, test func(t *testing.T, nodes [2]*store.Store, b *bundle)) {
	t.Helper()
	t.Run("one node on SQLite", func(t *testing.T) {
		t.Parallel()
		s, b := start(t, "sqlite:"+t.TempDir()+"/hookgraph.db")
		test(t, [2]*store.Store{s, s}, b)
	})
	t.Run("two nodes on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		one, two, b := twoNodes(t)
		test(t, [2]*store.Store{one, two}, b)
	})
}

func rejection(b *bundle, src *hub.Source, reason hub.RejectionReason, body []byte) *hub.Rejection {
	return &hub.Rejection{
		ID: hub.NewID(hub.RejectionPrefix, b.clock.Now()), SourceID: src.ID, Reason: reason, Detail: "detail",
		Method: "POST", Headers: []hub.Header{{Name: "A", Value: "b"}}, Body: body, ReceivedAt: b.clock.Now(),
	}
}

func TestExactlyAsManyRequestsAreCapturedAsWereOrdered(t *testing.T) {
	t.Parallel()
	eachDeployment(t, func(t *testing.T, nodes [2]*store.Store, b *bundle) {
		src := newSource(t, nodes[0], b)
		const ordered, sent = 17, 100
		_, err := nodes[0].UpdateSource(t.Context(), src.ID, func(src *hub.Source) error {
			src.Capturing = ordered
			return nil
		})
		must(t, err)
		var captured atomic.Int64
		var senders sync.WaitGroup
		for i := range sent {
			senders.Go(func() {
				kept, err := nodes[i%2].Capture(t.Context(), rejection(b, src, hub.RejectedCaptured, []byte("{}")))
				if err != nil {
					t.Error(err)
				}
				if kept {
					captured.Add(1)
				}
			})
		}
		senders.Wait()
		n := got[int](t)(nodes[1].CountRejections(t.Context(), hub.RejectionFilter{Reasons: []hub.RejectionReason{hub.RejectedCaptured}}))
		if captured.Load() != ordered || n != ordered {
			t.Errorf("%d were told to be captured and %d are stored, of %d", captured.Load(), n, ordered)
		}
		for _, s := range nodes {
			must(t, s.Refresh(t.Context()))
			if left := s.Configuration().Sources[src.ID].Capturing; left != 0 {
				t.Errorf("%d are left", left)
			}
		}
		if sum := total(t, nodes[0], b, hub.StatsFilter{}); sum.Rejected != 0 {
			t.Errorf("%d count as rejected", sum.Rejected)
		}
	})
}

func TestARejectionIsToldAnew(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		r := rejection(b, src, hub.RejectedRate, nil)
		must(t, s.Reject(t.Context(), r))
		r.Detail, r.Requests = "41 more", 41
		must(t, s.Reject(t.Context(), r))
		list := got[hub.Slice[*hub.Rejection]](t)(s.Rejections(t.Context(), hub.RejectionFilter{}, hub.Page{Size: 10}))
		if len(list.Items) != 1 || list.Items[0].Detail != "41 more" {
			t.Errorf("%d are kept, the first says %q", len(list.Items), list.Items[0].Detail)
		}
		if sum := total(t, s, b, hub.StatsFilter{}); sum.Rejected != 42 {
			t.Errorf("%d count as rejected", sum.Rejected)
		}
	})
}

// What is kept of a source is at any time the longest run of its newest rejections that
// is within both bounds, whatever came in which order and size.
func TestTheNewestRejectionsWithinBoundsAreKept(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		sources := []*hub.Source{newSource(t, s, b), newSource(t, s, b)}
		random := rand.New(rand.NewPCG(1, 2))
		type kept struct {
			id   string
			size int
		}
		model := map[string][]kept{}
		for round := range 12 {
			mu, senders := sync.Mutex{}, sync.WaitGroup{}
			for range 120 {
				src := sources[random.IntN(2)]
				size := 0
				if random.IntN(10) < 8 {
					size = random.IntN(hub.MaxRejectionBodyBytes + 1)
				}
				r := rejection(b, src, hub.RejectedSignatureInvalid, make([]byte, size))
				// What counts is the body, the headers, the detail and the method.
				entry := kept{r.ID, size + len(`[{"name":"A","value":"b"}]`) + len("detail") + len("POST")}
				senders.Go(func() {
					if err := s.Reject(t.Context(), r); err != nil {
						t.Error(err)
					}
					mu.Lock()
					model[src.ID] = append(model[src.ID], entry)
					mu.Unlock()
				})
			}
			senders.Wait()
			for _, src := range sources {
				all := model[src.ID]
				slices.SortFunc(all, func(a, b kept) int { return cmp.Compare(b.id, a.id) })
				var want []string
				total := 0
				for i, one := range all {
					if total += one.size; i >= hub.MaxRejections || total > hub.MaxRejectionBytes {
						break
					}
					want = append(want, one.id)
				}
				if have := rejectionsOf(t, s, src.ID); !slices.Equal(have, want) {
					t.Fatalf("round %d: %d are kept, want %d of %d", round, len(have), len(want), len(all))
				}
				model[src.ID] = all[:len(want)]
			}
		}
	})
}

func TestAFloodOfRejectionsLeavesRoom(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		const flood, senders = 2_000, 64
		body := make([]byte, hub.MaxRejectionBodyBytes)
		var next atomic.Int64
		var wg sync.WaitGroup
		for range senders {
			wg.Go(func() {
				for next.Add(1) <= flood {
					if err := s.Reject(t.Context(), rejection(b, src, hub.RejectedSignatureInvalid, body)); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		n := got[int](t)(s.CountRejections(t.Context(), hub.RejectionFilter{SourceIDs: []string{src.ID}}))
		if n == 0 || n > hub.MaxRejections || n*len(body) > hub.MaxRejectionBytes {
			t.Errorf("%d of %d bytes each are kept", n, len(body))
		}
	})
}

// An event is out of order where an event of its source has a smaller sequence and a
// later time.
func TestEventsOutOfOrder(t *testing.T) {
	t.Parallel()
	eachDeployment(t, func(t *testing.T, nodes [2]*store.Store, b *bundle) {
		sources := []*hub.Source{newSource(t, nodes[0], b), newSource(t, nodes[0], b)}
		must(t, nodes[1].Refresh(t.Context()))
		base := b.clock.Now()
		var senders sync.WaitGroup
		for w := range 8 {
			random := rand.New(rand.NewPCG(3, uint64(w)))
			senders.Go(func() {
				for i := range 40 {
					ev := newEvent(b, sources[random.IntN(2)])
					if random.IntN(5) > 0 {
						ev.OccurredAt = base.Add(time.Duration(i*20+random.IntN(40)) * time.Millisecond)
					}
					if random.IntN(4) == 0 {
						keyed(fmt.Sprint(random.IntN(50)))(ev)
					}
					receipts, err := nodes[w%2].Append(t.Context(), []*hub.Event{ev})
					if err != nil {
						t.Error(err)
						return
					}
					if receipts[0].Duplicate && receipts[0].OutOfOrder {
						t.Error("a duplicate is said to be out of order")
					}
				}
			})
		}
		senders.Wait()
		list := got[[]*hub.Event](t)(nodes[0].EventsAfter(t.Context(), 0, 1000))
		newest, late := map[string]time.Time{}, 0
		for _, ev := range list {
			want := !ev.OccurredAt.IsZero() && ev.OccurredAt.Before(newest[ev.SourceID])
			if ev.OutOfOrder != want {
				t.Fatalf("event %d, which happened at %s, is said to be out of order: %t; the newest is of %s", ev.Sequence, ev.OccurredAt, ev.OutOfOrder, newest[ev.SourceID])
			}
			if want {
				late++
			}
			if ev.OccurredAt.After(newest[ev.SourceID]) {
				newest[ev.SourceID] = ev.OccurredAt
			}
		}
		if late == 0 || late == len(list) {
			t.Fatalf("%d of %d were out of order, which tells nothing", late, len(list))
		}
	})
}

func TestATimeFarAheadMakesNoOtherEventLate(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		at := func(d time.Duration) func(*hub.Event) {
			return func(ev *hub.Event) { ev.OccurredAt = b.clock.Now().Add(d) }
		}
		for _, c := range []struct {
			ahead time.Duration
			late  bool
		}{{48 * time.Hour, false}, {0, false}, {time.Hour, false}, {time.Minute, true}, {-time.Minute, true}, {time.Hour, false}} {
			if r := add(t, s, newEvent(b, src, at(c.ahead))); r.OutOfOrder != c.late {
				t.Errorf("one that happened at %+d is out of order: %t", c.ahead, r.OutOfOrder)
			}
		}
	})
}

// rejectionsOf lists what is kept of a source, newest first.
func rejectionsOf(t *testing.T, s *store.Store, sourceID string) []string {
	t.Helper()
	var have []string
	for page := (hub.Page{Size: 100}); ; {
		list := got[hub.Slice[*hub.Rejection]](t)(s.Rejections(t.Context(), hub.RejectionFilter{SourceIDs: []string{sourceID}}, page))
		for _, r := range list.Items {
			have = append(have, r.ID)
		}
		if !list.HasNext {
			return have
		}
		page.After = have[len(have)-1]
	}
}
