package stream

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Sizes of a batch.
const (
	DefaultBatch = 50
	MaxBatch     = 500
)

// Request asks for a stream.
type Request[T any] struct {
	// After is the cursor to read on from. Without one the stream begins with the
	// first entry that is committed after the request, or with the oldest one
	// stored if FromEarliest is set.
	After        string
	FromEarliest bool
	// Admit chooses among the entries in sight; nil takes all. One over which it fails is
	// not taken. It is called by one goroutine at a time.
	Admit func(T) (bool, error)
	// Batch is how many entries come at once at most; DefaultBatch if 0.
	Batch int
}

// Batch is a piece of a stream. One without items is progress: everything up to
// its cursor has been handed over.
type Batch[T any] struct {
	Cursor string
	Items  []T
	// Err, where not nil, says why the stream ends with this batch, which has no
	// items: ErrDraining, or a *hub.Error such as CURSOR_EXPIRED.
	Err error
}

// Read opens a stream of what is in sight: of the entries, those that are seen at the
// moment they are looked at. The first batch comes at once and has no items, so that
// whoever reads has a cursor to come back with. The channel is closed when the
// context ends, and after a batch that says why. It is not buffered: nothing is
// read ahead of its consumer but the one batch that is offered.
//
// The error is a *hub.Error, or ErrDraining.
func (t *Tail[T]) Read(ctx context.Context, sight hub.Sight, req Request[T]) (<-chan Batch[T], error) {
	r := &reader[T]{tail: t, sight: sight, admit: req.Admit, batch: req.Batch}
	switch {
	case req.Batch == 0:
		r.batch = DefaultBatch
	case req.Batch < 0 || req.Batch > MaxBatch:
		return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("a batch has 1 to %d entries", MaxBatch))
	}
	if err := r.begin(ctx, req); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	if !t.join(r, cancel) {
		cancel()
		return nil, ErrDraining
	}
	batches := make(chan Batch[T])
	go func() {
		defer t.leave(r)
		defer cancel()
		defer close(batches)
		r.run(ctx, batches)
	}()
	return batches, nil
}

// reader is one reader's position in the log.
type reader[T any] struct {
	tail  *Tail[T]
	sight hub.Sight
	admit func(T) (bool, error)
	batch int

	head     hub.Sequence // of the log, when the reader began
	position hub.Sequence // everything up to it has been looked at
	sent     hub.Sequence // the position of the newest cursor that was handed over
	sentAt   time.Time
	// lenient is true until the first entry of a stream from the earliest: what
	// retention takes away meanwhile is no gap for it.
	lenient bool

	timer *time.Timer // of wait, made once

	pages pager
	// pending is what has been read and not been looked at yet.
	pending []T
}

// begin finds the position to read from.
func (r *reader[T]) begin(ctx context.Context, req Request[T]) error {
	head, err := r.tail.log.Head(ctx)
	if err != nil {
		return unavailable(err)
	}
	r.head = head
	oldest, err := r.tail.log.Oldest(ctx)
	if err != nil {
		return unavailable(err)
	}
	switch {
	case req.After != "":
		epoch, after, err := r.tail.kind.DecodeCursor(req.After)
		if err != nil {
			return err
		}
		// A position beyond the head is one of a future that was lost: the database
		// has been restored from an older backup.
		if epoch != r.tail.log.Epoch() || after > head || expired(after, oldest, head) {
			return r.tail.expired()
		}
		r.position = after
	case req.FromEarliest:
		r.lenient = true
		if r.position = head; oldest > 0 {
			r.position = oldest - 1
		}
	default:
		r.position = head
	}
	r.sent = r.position
	return nil
}

// expired is the error of a reader whose cursor is too old.
func (t *Tail[T]) expired() error { return hub.NewError(hub.CodeCursorExpired, t.kind.gone) }

// expired reports whether entries that follow a position have been deleted.
// Sequences have no holes but those that retention makes.
func expired(position, oldest, head hub.Sequence) bool {
	if oldest == 0 {
		return position < head
	}
	return position+1 < oldest
}

// run hands over batches until the stream ends.
func (r *reader[T]) run(ctx context.Context, batches chan<- Batch[T]) {
	batch := Batch[T]{Cursor: r.cursor(r.position)}
	for {
		select {
		case batches <- batch:
			r.sent, r.sentAt = r.position, time.Now()
		case <-ctx.Done():
			return
		case <-r.tail.draining:
			r.end(ctx, batches, ErrDraining)
			return
		}
		var err error
		if batch, err = r.next(ctx); err != nil {
			if ctx.Err() == nil {
				r.end(ctx, batches, err)
			}
			return
		}
	}
}

// end says why the stream ends, as long as somebody listens.
func (r *reader[T]) end(ctx context.Context, batches chan<- Batch[T], why error) {
	select {
	case batches <- Batch[T]{Cursor: r.cursor(r.sent), Err: why}:
	case <-ctx.Done():
	}
}

func (r *reader[T]) cursor(position hub.Sequence) string {
	return r.tail.kind.EncodeCursor(r.tail.log.Epoch(), position)
}

// next waits for the next batch: as soon as there is an entry, without waiting
// for more to fill it.
func (r *reader[T]) next(ctx context.Context) (Batch[T], error) {
	failures := 0
	for {
		if items := r.choose(); len(items) > 0 {
			return Batch[T]{Cursor: r.cursor(r.position), Items: items}, nil
		}
		quiet := time.Since(r.sentAt)
		if r.position > r.sent && quiet >= progressInterval {
			return Batch[T]{Cursor: r.cursor(r.position)}, nil
		}
		delay := progressInterval
		if quiet < progressInterval {
			delay -= quiet
		}
		grown, err := r.read(ctx)
		switch {
		case hub.CodeOf(err) == hub.CodeCursorExpired:
			return Batch[T]{}, err
		case err != nil:
			if failures++; failures == 1 && ctx.Err() == nil {
				r.tail.logger.Warn("the log cannot be read; a stream stands still until it can", slog.Any("error", err))
			}
			delay = min(delay, retryDelay(failures))
		case grown == nil:
			failures, delay = 0, 0
		}
		if err := r.wait(ctx, grown, delay); err != nil {
			return Batch[T]{}, err
		}
	}
}

// wait waits until the ring has grown or the delay is over. It fails when the
// stream has to end.
func (r *reader[T]) wait(ctx context.Context, grown <-chan struct{}, delay time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-r.tail.draining:
		return ErrDraining
	default:
	}
	if delay <= 0 {
		return nil
	}
	if r.timer == nil {
		r.timer = time.NewTimer(delay)
	} else {
		r.timer.Reset(delay)
	}
	defer r.timer.Stop()
	select {
	case <-grown:
	case <-r.timer.C:
	case <-r.tail.draining:
		return ErrDraining
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// choose looks at what has been read, up to a full batch, and moves the position
// past all it has looked at.
func (r *reader[T]) choose() []T {
	var chosen []T
	for i, item := range r.pending {
		r.position = r.tail.kind.position(item)
		if r.admits(item) {
			if chosen = append(chosen, item); len(chosen) == r.batch {
				r.pending = r.pending[i+1:]
				return chosen
			}
		}
	}
	r.pending = nil
	return chosen
}

func (r *reader[T]) admits(item T) bool {
	if !r.sight.Whole() && !r.tail.kind.sees(r.sight, item, r.tail.log.Configuration()) {
		return false
	}
	if r.admit == nil {
		return true
	}
	ok, err := r.admit(item)
	if err != nil {
		r.tail.logger.Debug("stream filter failed", slog.Int64("sequence", int64(r.position)), slog.Any("error", err))
		return false
	}
	return ok
}

// read gets what follows the position, from the ring if that reaches back so
// far, else from the log. Where there is nothing yet, it returns a channel that is
// closed when there may be.
func (r *reader[T]) read(ctx context.Context) (grown <-chan struct{}, err error) {
	t := r.tail
	t.mu.Lock()
	items, inside := t.ring.after(r.position)
	floor, changed := t.ring.floor, t.changed
	t.mu.Unlock()
	if inside {
		if len(items) == 0 {
			return changed, nil
		}
		r.pending, r.lenient = items, false
		return nil, nil
	}

	limit := r.pages.next()
	items, err = t.log.After(ctx, r.position, limit)
	if err != nil {
		return nil, err
	}
	if err := r.checkGap(ctx, items); err != nil {
		return nil, err
	}
	r.pages.learn(len(items), t.kind.sizeOf(items))
	r.pending = items
	if len(items) == 0 {
		// The ring begins behind what the log had when it was read.
		r.position = floor
		return nil, nil
	}
	r.lenient = false
	return nil, nil
}

// checkGap finds out whether retention has passed the position before the page
// was read. It asks afterwards, so that a deletion in between cannot hide.
func (r *reader[T]) checkGap(ctx context.Context, page []T) error {
	if r.lenient || len(page) > 0 && r.tail.kind.position(page[0]) == r.position+1 {
		return nil
	}
	oldest, err := r.tail.log.Oldest(ctx)
	if err != nil {
		return err
	}
	head, err := r.tail.log.Head(ctx)
	if err != nil {
		return err
	}
	if expired(r.position, oldest, head) {
		return r.tail.expired()
	}
	return nil
}

func unavailable(err error) error {
	if hub.CodeOf(err) != hub.CodeInternal {
		return err
	}
	return &hub.Error{
		Code: hub.CodeUnavailable, Message: "the log cannot be read now; try again",
		RetryAfter: pollInterval, Err: err,
	}
}
