package stream_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/stream"
)

const epoch = "epoch-1"

// memoryLog is a log that keeps its promises, in memory.
type memoryLog struct {
	mu     sync.Mutex
	events []*hub.Event // what is stored; sequences have no holes
	head   hub.Sequence
	epoch  string
	reads  int   // calls of EventsAfter
	fail   error // what every read answers
}

func newLog(n int) *memoryLog {
	l := &memoryLog{epoch: epoch}
	l.append(n, 10)
	return l
}

func (l *memoryLog) append(n, bodySize int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for range n {
		l.head++
		l.events = append(l.events, &hub.Event{
			ID: fmt.Sprintf("evt_%d", l.head), Sequence: l.head, Type: fmt.Sprintf("t%d", l.head%3),
			Payload: &hub.Payload{Body: make([]byte, bodySize)},
		})
	}
}

// forget deletes the oldest events, as retention does.
func (l *memoryLog) forget(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = l.events[min(n, len(l.events)):]
}

func (l *memoryLog) breakWith(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = err
}

func (l *memoryLog) readCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.reads
}

func (l *memoryLog) Head(context.Context) (hub.Sequence, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head, l.fail
}

func (l *memoryLog) Oldest(context.Context) (hub.Sequence, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.events) == 0 {
		return 0, l.fail
	}
	return l.events[0].Sequence, l.fail
}

func (l *memoryLog) EventsAfter(_ context.Context, after hub.Sequence, limit int) ([]*hub.Event, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reads++
	if l.fail != nil {
		return nil, l.fail
	}
	var page []*hub.Event
	for _, ev := range l.events {
		if ev.Sequence > after && len(page) < limit {
			page = append(page, ev)
		}
	}
	return page, nil
}

func (l *memoryLog) Epoch() string { return l.epoch }

func (l *memoryLog) log() stream.Log[*hub.Event] {
	return stream.Log[*hub.Event]{
		Head: l.Head, Oldest: l.Oldest, After: l.EventsAfter, Epoch: l.Epoch,
		Configuration: func() *hub.Configuration { return hub.NewConfiguration(1, nil, nil, nil) },
	}
}

// bus is a wake-up that a test gives, or withholds.
type bus struct{ wake chan struct{} }

func newBus() *bus { return &bus{wake: make(chan struct{}, 1)} }

func (b *bus) Watch() (<-chan struct{}, func()) { return b.wake, func() {} }

func (b *bus) notify() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

func start(t interface {
	Helper()
	Fatal(...any)
}, c stream.Config[*hub.Event],
) *stream.Tail[*hub.Event] {
	t.Helper()
	tail := stream.New(stream.Events, c)
	if err := tail.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	return tail
}

func open(t *testing.T, ctx context.Context, tail *stream.Tail[*hub.Event], req stream.Request[*hub.Event]) <-chan stream.Batch[*hub.Event] {
	t.Helper()
	batches, err := tail.Read(ctx, hub.WholeSight(), req)
	if err != nil {
		t.Fatal(err)
	}
	return batches
}

// take reads until n events have come, and returns their sequences and the
// cursor behind the last.
func take(t *testing.T, batches <-chan stream.Batch[*hub.Event], n int) (sequences []hub.Sequence, cursor string) {
	t.Helper()
	for len(sequences) < n {
		b, ok := <-batches
		if !ok || b.Err != nil {
			t.Fatalf("the stream ended after %d of %d events: %v", len(sequences), n, b.Err)
		}
		for _, ev := range b.Items {
			sequences = append(sequences, ev.Sequence)
		}
		cursor = b.Cursor
	}
	return sequences, cursor
}

func checkRun(t *testing.T, got []hub.Sequence, from, to hub.Sequence) {
	t.Helper()
	if len(got) != int(to-from+1) {
		t.Fatalf("got %d events, want %d to %d", len(got), from, to)
	}
	for i, s := range got {
		if s != from+hub.Sequence(i) {
			t.Fatalf("event %d has sequence %d, want %d", i, s, from+hub.Sequence(i))
		}
	}
}

var errDatabase = errors.New("the database is away")
