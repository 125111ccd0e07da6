package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

func TestAppend(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)

		t.Run("gives dense sequences in the order of the slice", func(t *testing.T) {
			before := got[hub.Sequence](t)(s.Head(t.Context()))
			var events []*hub.Event
			for range 300 { // more than one batch takes of others, yet one transaction
				events = append(events, newEvent(b, src))
			}
			receipts := got[[]hub.Receipt](t)(s.Append(t.Context(), events))
			for i, r := range receipts {
				if r.Sequence != before+1+hub.Sequence(i) || r.EventID != events[i].ID || r.Duplicate {
					t.Fatalf("receipt %d is %+v", i, r)
				}
			}
			if head := got[hub.Sequence](t)(s.Head(t.Context())); head != before+300 {
				t.Fatalf("head is %d, want %d", head, before+300)
			}
		})

		t.Run("keeps bodies byte for byte", func(t *testing.T) {
			all := make([]byte, 256)
			for i := range all {
				all[i] = byte(i)
			}
			for _, body := range [][]byte{nil, {}, {0}, all, bytes.Repeat([]byte{0, 0xff}, 100_000), []byte("naïve ✓")} {
				ev := newEvent(b, src, func(ev *hub.Event) { ev.Payload.Body = body })
				add(t, s, ev)
				payloads := got[map[string]*hub.Payload](t)(s.Payloads(t.Context(), []string{ev.ID}))
				if p := payloads[ev.ID]; !bytes.Equal(p.Body, body) || p.Query != ev.Payload.Query || !slices.Equal(p.Headers, ev.Payload.Headers) {
					t.Fatalf("stored %d bytes, query %q, headers %v; want %d bytes", len(p.Body), p.Query, p.Headers, len(body))
				}
			}
		})

		t.Run("keeps what a list shows, without the payload", func(t *testing.T) {
			ev := newEvent(b, src, keyed("listed"), func(ev *hub.Event) {
				ev.OrderingKey, ev.OccurredAt = "customer-1", b.clock.Now().Add(-time.Hour)
			})
			receipt := add(t, s, ev)
			want := *ev
			want.Payload, want.Sequence = nil, receipt.Sequence
			found := got[map[string]*hub.Event](t)(s.EventsByID(t.Context(), []string{ev.ID, "evt_none"}))
			if len(found) != 1 || *found[ev.ID] != want {
				t.Fatalf("found %+v, want %+v", found[ev.ID], want)
			}
		})

		t.Run("takes text that a database would refuse", func(t *testing.T) {
			ev := newEvent(b, src, typed("a\x00b"), keyed("k\xff\x00"), func(ev *hub.Event) {
				ev.ContentType, ev.OrderingKey = "text/\xfe", "o\x00"
				ev.Payload.Headers = []hub.Header{{Name: "X-\xff", Value: "\x00"}}
				ev.Payload.Query = "q=\xff\x00"
			})
			add(t, s, ev)
			if again := add(t, s, newEvent(b, src, keyed("k\xff\x00"))); again.EventID != ev.ID {
				t.Fatalf("the key was not recognised: %+v", again)
			}
			found := got[map[string]*hub.Payload](t)(s.Payloads(t.Context(), []string{ev.ID}))
			if found[ev.ID].Query != "q=\xff\x00" {
				t.Fatalf("the query is %q", found[ev.ID].Query)
			}
		})

		t.Run("refuses a source that does not exist and keys that are too long", func(t *testing.T) {
			_, err := s.Append(t.Context(), []*hub.Event{newEvent(b, src), newEvent(b, &hub.Source{ID: "src_none"})})
			if !errors.Is(err, hub.ErrNotFound) {
				t.Fatalf("the error is %v", err)
			}
			_, err = s.Append(t.Context(), []*hub.Event{newEvent(b, src, typed(string(bytes.Repeat([]byte("a"), store.MaxKeyBytes+1))))})
			wantCode(t, err, hub.CodeBadUserInput)
			add(t, s, newEvent(b, src, typed(string(bytes.Repeat([]byte("é"), store.MaxKeyBytes/2)))))
		})

		t.Run("contains a panic of the router", func(t *testing.T) {
			b.router.set(func(ev *hub.Event, _ *hub.Configuration) []string {
				if ev.Type == "panics" {
					panic("bad filter")
				}
				return nil
			})
			_, err := s.Append(t.Context(), []*hub.Event{newEvent(b, src, typed("panics"))})
			wantCode(t, err, hub.CodeInternal)
			add(t, s, newEvent(b, src))
		})

		t.Run("stores nothing when the caller gave up first", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			ev := newEvent(b, src)
			_, err := s.Append(ctx, []*hub.Event{ev})
			found := got[map[string]*hub.Event](t)(s.EventsByID(t.Context(), []string{ev.ID}))
			if (err == nil) != (len(found) == 1) {
				t.Fatalf("the error is %v, but %d events are stored", err, len(found))
			}
		})

		t.Run("wakes readers after the commit", func(t *testing.T) {
			before := b.wakes.Load()
			add(t, s, newEvent(b, src))
			if b.wakes.Load() <= before {
				t.Fatal("nobody was woken")
			}
		})
	})
}

func TestDedupe(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, other := newSource(t, s, b), newSource(t, s, b)

		t.Run("a key makes one event, whose duplicates are counted", func(t *testing.T) {
			first := add(t, s, newEvent(b, src, keyed("once")))
			b.clock.advance(time.Second)
			for range 2 {
				if again := add(t, s, newEvent(b, src, keyed("once"))); !again.Duplicate || again.EventID != first.EventID || again.Sequence != first.Sequence {
					t.Fatalf("receipt is %+v, want a duplicate of %+v", again, first)
				}
			}
			ev := got[map[string]*hub.Event](t)(s.EventsByID(t.Context(), []string{first.EventID}))[first.EventID]
			if ev.DuplicateCount != 2 || !ev.LastDuplicateAt.Equal(b.clock.Now()) {
				t.Fatalf("counted %d, last at %v", ev.DuplicateCount, ev.LastDuplicateAt)
			}
		})

		t.Run("the same key of another source is another event", func(t *testing.T) {
			add(t, s, newEvent(b, src, keyed("shared")))
			if r := add(t, s, newEvent(b, other, keyed("shared"))); r.Duplicate {
				t.Fatal("taken for a duplicate")
			}
		})

		t.Run("duplicates within one transaction", func(t *testing.T) {
			events := []*hub.Event{
				newEvent(b, src, keyed("batch")), newEvent(b, src), newEvent(b, src, keyed("batch")), newEvent(b, other, keyed("batch")), newEvent(b, src, keyed("batch")),
			}
			receipts := got[[]hub.Receipt](t)(s.Append(t.Context(), events))
			var duplicates []bool
			for _, r := range receipts {
				duplicates = append(duplicates, r.Duplicate)
			}
			if !slices.Equal(duplicates, []bool{false, false, true, false, true}) || receipts[4].EventID != events[0].ID {
				t.Fatalf("receipts are %+v", receipts)
			}
			if ev := got[map[string]*hub.Event](t)(s.EventsByID(t.Context(), []string{events[0].ID}))[events[0].ID]; ev.DuplicateCount != 2 {
				t.Fatalf("counted %d", ev.DuplicateCount)
			}
		})

		t.Run("100 at once make one event", func(t *testing.T) {
			var wg sync.WaitGroup
			receipts := make([]hub.Receipt, 100)
			for i := range receipts {
				wg.Go(func() {
					r, err := s.Append(t.Context(), []*hub.Event{newEvent(b, src, keyed("at once"))})
					if err != nil {
						t.Error(err)
						return
					}
					receipts[i] = r[0]
				})
			}
			wg.Wait()
			firsts := 0
			for _, r := range receipts {
				if r.EventID != receipts[0].EventID {
					t.Fatalf("two events: %s and %s", r.EventID, receipts[0].EventID)
				}
				if !r.Duplicate {
					firsts++
				}
			}
			ev := got[map[string]*hub.Event](t)(s.EventsByID(t.Context(), []string{receipts[0].EventID}))[receipts[0].EventID]
			if firsts != 1 || ev.DuplicateCount != 99 {
				t.Fatalf("%d firsts, %d counted", firsts, ev.DuplicateCount)
			}
		})

		t.Run("a key's own window counts where the source has none", func(t *testing.T) {
			hashed := func(key string) func(*hub.Event) {
				return func(ev *hub.Event) { ev.DedupeKey, ev.DedupeWindow = key, time.Minute }
			}
			windowed := newSource(t, s, b, func(src *hub.Source) { src.DedupeWindow = time.Hour })
			for _, where := range []*hub.Source{src, windowed} {
				add(t, s, newEvent(b, where, hashed("own")))
			}
			b.clock.advance(time.Minute - time.Microsecond)
			if r := add(t, s, newEvent(b, src, hashed("own"))); !r.Duplicate {
				t.Fatal("not a duplicate just before its end")
			}
			b.clock.advance(time.Microsecond)
			if r := add(t, s, newEvent(b, src, hashed("own"))); r.Duplicate {
				t.Fatal("still a duplicate at its end")
			}
			if r := add(t, s, newEvent(b, windowed, hashed("own"))); !r.Duplicate {
				t.Fatal("it counts although the source has a window")
			}
		})

		t.Run("a source's window is kept to the microsecond", func(t *testing.T) {
			windowed := newSource(t, s, b, func(src *hub.Source) { src.DedupeWindow = time.Minute })
			first := add(t, s, newEvent(b, windowed, keyed("w")))
			known := func() map[string]bool {
				return got[map[string]bool](t)(s.KnownKeys(t.Context(), windowed.ID, []string{"w", "other"}))
			}
			b.clock.advance(time.Minute - time.Microsecond)
			if k := known(); len(k) != 1 || !k["w"] {
				t.Fatalf("just before the window's end it knows %v", k)
			}
			if k := got[map[string]bool](t)(s.KnownKeys(t.Context(), src.ID, []string{"w"})); len(k) != 0 {
				t.Fatalf("another source knows %v", k)
			}
			if r := add(t, s, newEvent(b, windowed, keyed("w"))); !r.Duplicate {
				t.Fatal("not a duplicate just before the window's end")
			}
			b.clock.advance(time.Microsecond)
			if k := known(); len(k) != 0 {
				t.Fatalf("at the window's end it knows %v", k)
			}
			second := add(t, s, newEvent(b, windowed, keyed("w")))
			if second.Duplicate {
				t.Fatal("still a duplicate at the window's end")
			}
			if r := add(t, s, newEvent(b, windowed, keyed("w"))); !r.Duplicate || r.EventID != second.EventID {
				t.Fatalf("receipt is %+v, want a duplicate of the second event", r)
			}
			found := got[hub.Slice[*hub.Event]](t)(s.Events(t.Context(), store.EventQuery{
				Filter: hub.EventFilter{DedupeKey: "w"}, OldestFirst: true, Page: hub.Page{Size: 10},
			}))
			if !slices.Equal(ids(found.Items, eventID), []string{first.EventID, second.EventID}) {
				t.Fatalf("found %v", ids(found.Items, eventID))
			}
		})
	})
}

func TestReadingTheLog(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		if oldest := got[hub.Sequence](t)(s.Oldest(t.Context())); oldest != 0 {
			t.Fatalf("the oldest of an empty log is %d", oldest)
		}
		var want []string
		for i := range 25 {
			ev := newEvent(b, src, func(ev *hub.Event) { ev.Payload.Body = fmt.Append(nil, i) })
			add(t, s, ev)
			want = append(want, ev.ID)
		}
		var read []string
		for after := hub.Sequence(0); ; {
			events := got[[]*hub.Event](t)(s.EventsAfter(t.Context(), after, 10))
			if len(events) == 0 {
				break
			}
			for _, ev := range events {
				if string(ev.Payload.Body) != fmt.Sprint(len(read)) {
					t.Fatalf("event %d has body %s", len(read), ev.Payload.Body)
				}
				read = append(read, ev.ID)
				after = ev.Sequence
			}
		}
		if !slices.Equal(read, want) {
			t.Fatalf("read %v, want %v", read, want)
		}
		head := got[hub.Sequence](t)(s.Head(t.Context()))
		for range 12 { // as large as a source may allow: not all of them in one page
			add(t, s, newEvent(b, src, func(ev *hub.Event) { ev.Payload.Body = make([]byte, 1<<20) }))
		}
		for at, want := range map[hub.Sequence]int{head - 1: 9, head: 8, head + 3: 8, head + 4: 8, head + 5: 7, head + 12: 0} {
			if page := got[[]*hub.Event](t)(s.EventsAfter(t.Context(), at, 100)); len(page) != want || want > 0 && page[0].Sequence != at+1 {
				t.Fatalf("the page after %d of %d has %d events, want %d", at, head, len(page), want)
			}
		}
		if page := got[[]*hub.Event](t)(s.EventsAfter(t.Context(), head, 3)); len(page) != 3 {
			t.Fatalf("the page of 3 has %d events", len(page))
		}
		if oldest, epoch := got[hub.Sequence](t)(s.Oldest(t.Context())), s.Epoch(); oldest != 1 || len(epoch) != 16 {
			t.Fatalf("oldest %d, epoch %q", oldest, epoch)
		}
		last := got[map[string]time.Time](t)(s.LastEventAt(t.Context(), []string{src.ID, "src_none"}))
		if len(last) != 1 || !last[src.ID].Equal(b.clock.Now()) {
			t.Fatalf("last events at %v", last)
		}
	})
}
