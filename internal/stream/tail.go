package stream

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Log is a durable log, as the store keeps it.
type Log[T any] struct {
	// Head returns the newest committed sequence, 0 if there never was one.
	Head func(ctx context.Context) (hub.Sequence, error)
	// Oldest returns the first sequence that is still stored, 0 if none is. Entries are
	// forgotten from the front alone.
	Oldest func(ctx context.Context) (hub.Sequence, error)
	// After returns the first entries that follow a position, in sequence order. Whatever
	// it leaves out before the last one it returns will never be committed. Where there are
	// any it returns one at least, but it may stop before the limit once they come to
	// pageBytes or more.
	After func(ctx context.Context, after hub.Sequence, limit int) ([]T, error)
	// Configuration says what is shared with whom right now.
	Configuration func() *hub.Configuration
	// Epoch names the database.
	Epoch func() string
}

// Bus says when to look again.
type Bus interface {
	Watch() (wake <-chan struct{}, stop func())
}

// Config is what a Tail is made of.
type Config[T any] struct {
	Log    Log[T]
	Bus    Bus
	Logger *slog.Logger
	// RingSize and RingBytes bound the newest entries that are kept in memory for
	// all readers; 10,000 and 32 MiB if 0.
	RingSize, RingBytes int
}

// Timing of the tail and its readers.
const (
	// pollInterval is how often the tail looks without being woken.
	pollInterval = time.Second
	// progressInterval is how long a reader whose cursor moves on without an entry
	// for it keeps that to itself.
	progressInterval = 15 * time.Second
	// maxRetryDelay bounds the wait after the log could not be read again and again.
	maxRetryDelay = 10 * time.Second
)

// ErrDraining ends the streams of a node that is about to stop. Reading on from
// the last cursor, on this node or another, misses nothing.
var ErrDraining = errors.New("this node is about to stop; read on from the last cursor")

// Tail follows the log for all readers of the node. Use New.
type Tail[T any] struct {
	kind     *Kind[T]
	log      Log[T]
	bus      Bus
	logger   *slog.Logger
	draining chan struct{}  // closed by Stop
	stopped  chan struct{}  // closed when the tail's goroutine has ended
	joined   chan struct{}  // capacity 1: there is a first reader
	running  sync.WaitGroup // the readers' goroutines

	mu      sync.Mutex // guards all below
	started bool
	ended   bool
	readers map[*reader[T]]context.CancelFunc
	ring    ring[T]
	// idle is true while the ring does not follow the log, because nobody reads.
	idle bool
	// changed is closed, and replaced, whenever the ring has grown.
	changed chan struct{}
}

// New makes a Tail. Start it before use.
func New[T any](kind *Kind[T], c Config[T]) *Tail[T] {
	logger := c.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Tail[T]{
		kind:     kind,
		log:      c.Log,
		bus:      c.Bus,
		logger:   logger,
		draining: make(chan struct{}),
		stopped:  make(chan struct{}),
		joined:   make(chan struct{}, 1),
		changed:  make(chan struct{}),
		readers:  make(map[*reader[T]]context.CancelFunc),
		ring:     ring[T]{kind: kind, maxItems: cmp.Or(c.RingSize, 10_000), maxBytes: cmp.Or(c.RingBytes, 32<<20)},
	}
}

// Start finds the head of the log and follows it until Stop. The context is for
// the start alone.
func (t *Tail[T]) Start(ctx context.Context) error {
	// Watch before looking: what is committed in between wakes the tail.
	wake, unwatch := t.bus.Watch()
	head, err := t.log.Head(ctx)
	if err != nil {
		unwatch()
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.started || t.ended {
		unwatch()
		return errors.New("the tail has been started before")
	}
	t.started, t.idle = true, true
	t.ring.reset(head)
	go func() {
		defer close(t.stopped)
		defer unwatch()
		t.follow(wake)
	}()
	return nil
}

// Stop ends all readers with ErrDraining and waits until they are gone. Readers
// whose consumers have not taken that up by the end of the context are left
// without it. Stopping twice, or without having started, does no harm.
func (t *Tail[T]) Stop(ctx context.Context) error {
	t.mu.Lock()
	started, first := t.started, !t.ended
	t.ended = true
	if first {
		close(t.draining)
	}
	t.mu.Unlock()
	if !started {
		return nil
	}
	gone := make(chan struct{})
	go func() {
		t.running.Wait()
		<-t.stopped
		close(gone)
	}()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
	}
	t.mu.Lock()
	for _, cancel := range t.readers {
		cancel()
	}
	t.mu.Unlock()
	<-gone
	return context.Cause(ctx)
}

// join enters a reader, unless the tail does not run. The first one sets the ring
// going.
func (t *Tail[T]) join(r *reader[T], cancel context.CancelFunc) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.started || t.ended {
		return false
	}
	t.readers[r] = cancel
	t.running.Add(1)
	if t.idle { // the ring begins where the log ended when the reader looked
		t.idle = false
		t.ring.reset(r.head)
		select {
		case t.joined <- struct{}{}:
		default:
		}
	}
	return true
}

func (t *Tail[T]) leave(r *reader[T]) {
	t.mu.Lock()
	delete(t.readers, r)
	t.mu.Unlock()
	t.running.Done()
}

// Readers returns how many streams are open.
func (t *Tail[T]) Readers() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.readers)
}

// follow reads the log to its end each time it is woken, until the tail drains.
func (t *Tail[T]) follow(wake <-chan struct{}) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // a read that hangs does not hold up the stop
		<-t.draining
		cancel()
	}()

	var pages pager
	failures := 0
	for {
		if !t.attended() {
			select {
			case <-t.joined:
			case <-t.draining:
				return
			}
			continue
		}
		more, err := t.read(ctx, &pages)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if failures++; failures == 1 {
				t.logger.Warn("the log cannot be read; live streams stand still until it can", slog.Any("error", err))
			}
		case failures > 0:
			failures = 0
			t.logger.Info("the log can be read again")
		}
		if more {
			continue
		}
		delay := retryDelay(failures)
		timer := time.NewTimer(delay)
		select {
		case <-wake:
			if failures > 0 { // a busy hub must not turn an outage into a busy loop
				select {
				case <-timer.C:
				case <-t.draining:
				}
			}
		case <-timer.C:
		case <-t.draining:
		}
		timer.Stop()
	}
}

// attended reports whether anybody reads. If not, it lets go of the ring, which is
// then not kept up either: a hub without live streams pays nothing for them.
func (t *Tail[T]) attended() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.readers) == 0 {
		t.idle = true
		t.ring.reset(t.ring.head)
	}
	return len(t.readers) > 0
}

// retryDelay is how long to wait before looking again, after so many failures
// in a row: 80 to 120 % of pollInterval, doubled with each failure.
func retryDelay(failures int) time.Duration {
	delay := min(pollInterval<<min(failures, 10), maxRetryDelay)
	return time.Duration((0.8 + 0.4*rand.Float64()) * float64(delay))
}

// read takes one page of the log into the ring and reports whether there may be
// more.
func (t *Tail[T]) read(ctx context.Context, pages *pager) (bool, error) {
	t.mu.Lock()
	head := t.ring.head
	t.mu.Unlock()
	limit := pages.next()
	items, err := t.log.After(ctx, head, limit)
	if err != nil || len(items) == 0 {
		return false, err
	}
	size := t.kind.sizeOf(items)
	pages.learn(len(items), size)
	t.mu.Lock()
	t.ring.add(items)
	t.grown()
	t.mu.Unlock()
	return len(items) >= limit || size >= pageBytes, nil
}

// grown tells the readers that wait. The caller holds mu.
func (t *Tail[T]) grown() {
	close(t.changed)
	t.changed = make(chan struct{})
}
