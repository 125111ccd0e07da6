package stream_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/stream"
)

// The law of the stream: whatever is appended, however the node's memory is
// bounded, whichever wake-ups are lost, however often readers go away and come
// back with their cursor, on this node or the next, each of them sees every
// sequence that its filter admits once and in order.
func TestEverySequenceOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		// Wrapped, as rapid would ask a *testing.T for its deadline, which has no meaning
		// in a bubble of its own time.
		rapid.Check(struct{ *testing.T }{t}, func(rt *rapid.T) {
			log, bus := newLog(rapid.IntRange(0, 60).Draw(rt, "stored")), newBus()
			newTail := func() *stream.Tail[*hub.Event] {
				return start(rt, stream.Config[*hub.Event]{
					Log: log.log(), Bus: bus,
					RingSize:  rapid.IntRange(1, 80).Draw(rt, "ring size"),
					RingBytes: rapid.SampledFrom([]int{1, 3000, 1 << 20}).Draw(rt, "ring bytes"),
				})
			}
			tail := newTail()
			readers := make([]*modelReader, rapid.IntRange(1, 4).Draw(rt, "readers"))
			for i := range readers {
				readers[i] = &modelReader{
					every:  hub.Sequence(rapid.IntRange(1, 7).Draw(rt, "every")),
					batch:  rapid.IntRange(1, 20).Draw(rt, "batch"),
					cursor: stream.Events.EncodeCursor(epoch, 0),
				}
			}
			for range rapid.IntRange(1, 25).Draw(rt, "steps") {
				r := rapid.SampledFrom(readers).Draw(rt, "reader")
				switch rapid.IntRange(0, 5).Draw(rt, "step") {
				case 0:
					log.append(rapid.IntRange(1, 120).Draw(rt, "appended"), rapid.SampledFrom([]int{0, 10, 5000}).Draw(rt, "body"))
				case 1:
					bus.notify()
				case 2:
					r.read(rt, tail, rapid.IntRange(1, 5).Draw(rt, "batches"))
				case 3:
					r.close()
				case 4:
					time.Sleep(time.Duration(rapid.IntRange(1, 20_000).Draw(rt, "ms")) * time.Millisecond)
				case 5: // another node takes over
					for _, r := range readers {
						r.close()
					}
					if err := tail.Stop(context.Background()); err != nil {
						rt.Fatal(err)
					}
					tail = newTail()
				}
			}
			head, _ := log.Head(context.Background())
			for _, r := range readers {
				for r.position < head-head%r.every {
					r.read(rt, tail, 1)
				}
				r.close()
				want := hub.Sequence(0)
				for _, s := range r.seen {
					if want += r.every; s != want {
						rt.Fatalf("got %d, want %d", s, want)
					}
				}
				if want != head-head%r.every {
					rt.Fatalf("got up to %d of %d", want, head)
				}
			}
			if err := tail.Stop(context.Background()); err != nil {
				rt.Fatal(err)
			}
		})
	})
}

// modelReader is a client that stores its cursor with what it has seen.
type modelReader struct {
	every    hub.Sequence // admits each so-manieth event
	batch    int
	cursor   string
	position hub.Sequence // of the cursor
	seen     []hub.Sequence

	batches <-chan stream.Batch[*hub.Event]
	cancel  context.CancelFunc
}

func (r *modelReader) read(t *rapid.T, tail *stream.Tail[*hub.Event], n int) {
	if r.batches == nil {
		var ctx context.Context
		ctx, r.cancel = context.WithCancel(context.Background())
		batches, err := tail.Read(ctx, hub.WholeSight(), stream.Request[*hub.Event]{
			After: r.cursor, Batch: r.batch,
			Admit: func(ev *hub.Event) (bool, error) { return ev.Sequence%r.every == 0, nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		r.batches = batches
	}
	for range n {
		select {
		case b, ok := <-r.batches:
			if !ok || errors.Is(b.Err, stream.ErrDraining) {
				r.batches = nil
				return
			}
			if b.Err != nil {
				t.Fatal(b.Err)
			}
			if len(b.Items) > r.batch {
				t.Fatalf("a batch of %d events", len(b.Items))
			}
			_, position, err := stream.Events.DecodeCursor(b.Cursor)
			if err != nil || position < r.position {
				t.Fatalf("cursor at %d after %d, %v", position, r.position, err)
			}
			for _, ev := range b.Items {
				r.seen = append(r.seen, ev.Sequence)
			}
			r.cursor, r.position = b.Cursor, position
		case <-time.After(30 * time.Second):
			return // nothing to come
		}
	}
}

// close goes away, with a batch on offer or without.
func (r *modelReader) close() {
	if r.batches == nil {
		return
	}
	r.cancel()
	for range r.batches { // what comes after the cursor was stored is lost to this client
	}
	r.batches = nil
}
