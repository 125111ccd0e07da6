package stream_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble runs a story in which time stands still but for what it waits for.
func bubble(t *testing.T, story func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, story)
}

func stop(t *testing.T, tail *stream.Tail[*hub.Event]) {
	t.Helper()
	if err := tail.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func TestAStreamFromTheLatestBeginsWithWhatIsCommittedNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newLog(5), newBus()
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus})
		ctx, cancel := context.WithCancel(t.Context())
		batches := open(t, ctx, tail, stream.Request[*hub.Event]{})

		if first := <-batches; len(first.Items) > 0 || first.Cursor != stream.Events.EncodeCursor(epoch, 5) {
			t.Fatalf("first batch: %+v", first)
		}
		log.append(2, 10)
		bus.notify()
		got, cursor := take(t, batches, 2)
		checkRun(t, got, 6, 7)
		if cursor != stream.Events.EncodeCursor(epoch, 7) {
			t.Fatal("the cursor is not behind the last event")
		}
		cancel()
		if _, open := <-batches; open {
			t.Fatal("the channel is open after the context's end")
		}
		stop(t, tail)
	})
}

func TestHistoryRunsIntoTheLiveStream(t *testing.T) {
	for name, req := range map[string]stream.Request[*hub.Event]{
		"from the earliest":   {FromEarliest: true},
		"from a cursor":       {After: stream.Events.EncodeCursor(epoch, 0)},
		"in batches of one":   {FromEarliest: true, Batch: 1},
		"in the largest ones": {FromEarliest: true, Batch: stream.MaxBatch},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				log, bus := newLog(1200), newBus()
				tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus, RingSize: 50})
				batches := open(t, t.Context(), tail, req)
				got, _ := take(t, batches, 700)
				log.append(100, 10)
				bus.notify()
				more, _ := take(t, batches, 1300-len(got))
				checkRun(t, append(got, more...), 1, 1300)
				go func() {
					for range batches { // takes the end
					}
				}()
				stop(t, tail)
			})
		})
	}
}

func TestALostWakeUpCostsLatencyAndNoEvent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLog(0)
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: newBus()})
		ctx, cancel := context.WithCancel(t.Context())
		batches := open(t, ctx, tail, stream.Request[*hub.Event]{})
		<-batches
		log.append(3, 10)
		began := time.Now()
		got, _ := take(t, batches, 3)
		checkRun(t, got, 1, 3)
		if took := time.Since(began); took > 1200*time.Millisecond {
			t.Fatalf("took %v", took)
		}
		cancel()
		stop(t, tail)
	})
}

func TestReadersInsideTheRingDoNotReadTheLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newLog(10), newBus()
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus})
		ctx, cancel := context.WithCancel(t.Context())
		var streams []<-chan stream.Batch[*hub.Event]
		for range 20 {
			streams = append(streams, open(t, ctx, tail, stream.Request[*hub.Event]{}))
		}
		log.append(100, 10)
		bus.notify()
		for _, batches := range streams {
			got, _ := take(t, batches, 100)
			checkRun(t, got, 11, 110)
		}
		if n := log.readCount(); n > 10 { // the tail's own pages
			t.Fatalf("the log was read %d times", n)
		}
		if n := tail.Readers(); n != 20 {
			t.Fatalf("%d readers", n)
		}
		cancel()
		stop(t, tail)
	})
}

func TestALogThatNobodyStreamsIsNotRead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newLog(10), newBus()
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus})
		for range 5 {
			log.append(100, 10)
			bus.notify()
			time.Sleep(time.Minute) // of the bubble's clock
		}
		if n := log.readCount(); n != 0 {
			t.Fatalf("the log was read %d times", n)
		}
		// The first reader, and one that comes after all have gone, miss nothing.
		for range 2 {
			ctx, cancel := context.WithCancel(t.Context())
			batches := open(t, ctx, tail, stream.Request[*hub.Event]{})
			<-batches
			log.append(3, 10)
			bus.notify()
			if got, _ := take(t, batches, 3); len(got) != 3 {
				t.Fatalf("got %d events", len(got))
			}
			cancel()
			synctest.Wait()
			log.append(50, 10)
			bus.notify()
			synctest.Wait()
		}
		stop(t, tail)
	})
}

func TestASlowReaderIsNotReadAheadOf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newLog(0), newBus()
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus, RingSize: 10})
		batches := open(t, t.Context(), tail, stream.Request[*hub.Event]{Batch: 10})
		<-batches
		log.append(1, 10)
		bus.notify()
		synctest.Wait() // one batch is on offer
		for range 30 {
			log.append(100, 10)
			bus.notify()
			synctest.Wait()
		}
		before := log.readCount()
		synctest.Wait()
		if n := log.readCount() - before; n != 0 {
			t.Fatalf("the log was read %d times for nobody", n)
		}
		got, _ := take(t, batches, 3001)
		checkRun(t, got, 1, 3001)
		go func() {
			for range batches {
			}
		}()
		stop(t, tail)
	})
}

func TestAFilterIsAppliedForItsReaderAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newLog(300), newBus()
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus})
		ctx, cancel := context.WithCancel(t.Context())
		third := open(t, ctx, tail, stream.Request[*hub.Event]{FromEarliest: true, Admit: func(ev *hub.Event) (bool, error) {
			if ev.Sequence == 3 {
				return true, errors.New("no such key")
			}
			return ev.Type == "t0", nil
		}})
		all := open(t, ctx, tail, stream.Request[*hub.Event]{FromEarliest: true})
		got, _ := take(t, all, 300)
		checkRun(t, got, 1, 300)
		got, _ = take(t, third, 99)
		for i, s := range got {
			if s != hub.Sequence(3*i+6) {
				t.Fatalf("event %d has sequence %d", i, s)
			}
		}
		cancel()
		stop(t, tail)
	})
}

func TestAFilteredStreamSendsProgress(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newLog(0), newBus()
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus})
		ctx, cancel := context.WithCancel(t.Context())
		batches := open(t, ctx, tail, stream.Request[*hub.Event]{Admit: func(*hub.Event) (bool, error) { return false, nil }})
		<-batches
		began := time.Now()
		log.append(7, 10)
		bus.notify()
		progress := <-batches
		if len(progress.Items) > 0 || progress.Cursor != stream.Events.EncodeCursor(epoch, 7) {
			t.Fatalf("got %+v", progress)
		}
		if took := time.Since(began); took != 15*time.Second {
			t.Fatalf("after %v", took)
		}
		t.Log("and is silent while nothing happens")
		select {
		case b := <-batches:
			t.Fatalf("got %+v", b)
		case <-time.After(time.Hour):
		}
		cancel()
		stop(t, tail)
	})
}

func TestCursorsThatLeadNowhere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLog(10)
		log.forget(4) // 5 is the oldest
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: newBus()})
		for name, c := range map[string]struct {
			req  stream.Request[*hub.Event]
			code hub.Code
		}{
			"retention has passed it":  {stream.Request[*hub.Event]{After: stream.Events.EncodeCursor(epoch, 3)}, hub.CodeCursorExpired},
			"of another database":      {stream.Request[*hub.Event]{After: stream.Events.EncodeCursor("epoch-2", 7)}, hub.CodeCursorExpired},
			"beyond a restored backup": {stream.Request[*hub.Event]{After: stream.Events.EncodeCursor(epoch, 11)}, hub.CodeCursorExpired},
			"no cursor at all":         {stream.Request[*hub.Event]{After: "7"}, hub.CodeBadUserInput},
			"too large a batch":        {stream.Request[*hub.Event]{Batch: 501}, hub.CodeBadUserInput},
			"a negative batch":         {stream.Request[*hub.Event]{Batch: -1}, hub.CodeBadUserInput},
		} {
			if _, err := tail.Read(t.Context(), hub.WholeSight(), c.req); hub.CodeOf(err) != c.code {
				t.Errorf("%s: %v", name, err)
			}
		}
		for name, req := range map[string]stream.Request[*hub.Event]{
			"right before the oldest": {After: stream.Events.EncodeCursor(epoch, 4)},
			"from the earliest":       {FromEarliest: true},
		} {
			ctx, cancel := context.WithCancel(t.Context())
			got, _ := take(t, open(t, ctx, tail, req), 6)
			t.Log(name)
			checkRun(t, got, 5, 10)
			cancel()
		}
		stop(t, tail)
	})
}

func TestAnEmptiedLog(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newLog(10), newBus()
		log.forget(10)
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus})
		if _, err := tail.Read(t.Context(), hub.WholeSight(), stream.Request[*hub.Event]{After: stream.Events.EncodeCursor(epoch, 9)}); hub.CodeOf(err) != hub.CodeCursorExpired {
			t.Fatalf("got %v", err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		at := open(t, ctx, tail, stream.Request[*hub.Event]{After: stream.Events.EncodeCursor(epoch, 10)})
		earliest := open(t, ctx, tail, stream.Request[*hub.Event]{FromEarliest: true})
		log.append(1, 10)
		bus.notify()
		for _, batches := range []<-chan stream.Batch[*hub.Event]{at, earliest} {
			got, _ := take(t, batches, 1)
			checkRun(t, got, 11, 11)
		}
		cancel()
		stop(t, tail)
	})
}

func TestRetentionThatPassesASlowReaderEndsItsStream(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newLog(100), newBus()
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus, RingSize: 5})
		batches := open(t, t.Context(), tail, stream.Request[*hub.Event]{FromEarliest: true, Batch: 16})
		got, cursor := take(t, batches, 16)
		checkRun(t, got, 1, 16)
		synctest.Wait() // 17 to 32 are on offer
		log.forget(95)  // it has read ahead one page, as far as 80
		for b := range batches {
			if b.Err != nil {
				if hub.CodeOf(b.Err) != hub.CodeCursorExpired || b.Cursor != cursor {
					t.Fatalf("got %+v", b)
				}
				break
			}
			cursor = b.Cursor
		}
		if _, open := <-batches; open {
			t.Fatal("the channel is open")
		}
		stop(t, tail)
	})
}

func TestAStreamFromTheEarliestIsNotOutrunByRetentionAtItsStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log := newLog(100)
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: newBus()})
		ctx, cancel := context.WithCancel(t.Context())
		batches := open(t, ctx, tail, stream.Request[*hub.Event]{FromEarliest: true})
		synctest.Wait() // the first batch, without events, is on offer
		log.forget(10)
		got, _ := take(t, batches, 90)
		checkRun(t, got, 11, 100)
		cancel()
		stop(t, tail)
	})
}

func TestALogThatCannotBeReadForAWhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		log, bus := newLog(100), newBus()
		tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: bus, RingSize: 1})
		ctx, cancel := context.WithCancel(t.Context())
		behind := open(t, ctx, tail, stream.Request[*hub.Event]{FromEarliest: true})
		live := open(t, ctx, tail, stream.Request[*hub.Event]{})
		<-behind
		<-live
		log.breakWith(errDatabase)
		if _, err := tail.Read(ctx, hub.WholeSight(), stream.Request[*hub.Event]{}); hub.CodeOf(err) != hub.CodeUnavailable || !errors.Is(err, errDatabase) {
			t.Fatalf("got %v", err)
		}
		before := log.readCount()
		go func() {
			for range 1000 { // wake-ups do not turn the outage into a busy loop
				bus.notify()
				time.Sleep(10 * time.Millisecond)
			}
		}()
		time.Sleep(time.Minute)
		if n := log.readCount() - before; n > 40 {
			t.Errorf("read %d times in a minute", n)
		}
		log.append(2, 10)
		log.breakWith(nil)
		got, _ := take(t, live, 2)
		checkRun(t, got, 101, 102)
		got, _ = take(t, behind, 102)
		checkRun(t, got, 1, 102)
		cancel()
		stop(t, tail)
	})
}

func TestDraining(t *testing.T) {
	t.Run("every reader is told", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			log := newLog(1000)
			tail := start(t, stream.Config[*hub.Event]{Log: log.log(), Bus: newBus(), RingSize: 1})
			idle := open(t, t.Context(), tail, stream.Request[*hub.Event]{})
			busy := open(t, t.Context(), tail, stream.Request[*hub.Event]{FromEarliest: true})
			<-idle
			take(t, busy, 100)
			ended := make(chan stream.Batch[*hub.Event], 2)
			for _, batches := range []<-chan stream.Batch[*hub.Event]{idle, busy} {
				go func() {
					var last stream.Batch[*hub.Event]
					for b := range batches {
						last = b
					}
					ended <- last
				}()
			}
			stop(t, tail)
			for range 2 {
				if b := <-ended; !errors.Is(b.Err, stream.ErrDraining) || len(b.Items) > 0 || b.Cursor == "" {
					t.Fatalf("got %+v", b)
				}
			}
			if _, err := tail.Read(t.Context(), hub.WholeSight(), stream.Request[*hub.Event]{}); !errors.Is(err, stream.ErrDraining) {
				t.Fatalf("got %v", err)
			}
		})
	})
	t.Run("a reader that nobody listens to is left behind", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			tail := start(t, stream.Config[*hub.Event]{Log: newLog(0).log(), Bus: newBus()})
			open(t, t.Context(), tail, stream.Request[*hub.Event]{})
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			began := time.Now()
			if err := tail.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			if took := time.Since(began); took != 5*time.Second {
				t.Fatalf("took %v", took)
			}
		})
	})
	t.Run("stopping twice or before the start does no harm", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			tail := stream.New(stream.Events, stream.Config[*hub.Event]{Log: newLog(0).log(), Bus: newBus()})
			stop(t, tail)
			if err := tail.Start(t.Context()); err == nil {
				t.Fatal("it started after its end")
			}
			tail = start(t, stream.Config[*hub.Event]{Log: newLog(0).log(), Bus: newBus()})
			if err := tail.Start(t.Context()); err == nil {
				t.Fatal("it started twice")
			}
			stop(t, tail)
			stop(t, tail)
		})
	})
	t.Run("a log that is away keeps a tail from starting", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			log := newLog(0)
			log.breakWith(errDatabase)
			if err := stream.New(stream.Events, stream.Config[*hub.Event]{Log: log.log(), Bus: newBus()}).Start(t.Context()); !errors.Is(err, errDatabase) {
				t.Fatalf("got %v", err)
			}
		})
	})
}
