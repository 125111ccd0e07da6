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

var errCursorExpired = hub.NewError(hub.CodeCursorExpired,
	"events behind this cursor are not stored any more; read the stored ones with FROM EARLIEST, or go on with the latest")

// Request asks for a stream.
type Request struct {
	// After is the cursor to read on from. Without one the stream begins with the
	// first event that is committed after the request, or with the oldest one
	// stored if FromEarliest is set.
	After        string
	FromEarliest bool
	// Admit chooses the events; nil takes all. An event over which it fails is not
	// taken. It is called by one goroutine at a time.
	Admit func(*hub.Event) (bool, error)
	// Batch is how many events come at once at most; DefaultBatch if 0.
	Batch int
}

// Batch is a piece of a stream. One without events is progress: everything up to
// its cursor has been handed over.
type Batch struct {
	Cursor string
	Events []*hub.Event
	// Err, where not nil, says why the stream ends with this batch, which has no
	// events: ErrDraining, or a *hub.Error such as CURSOR_EXPIRED.
	Err error
}

// Events opens a stream. The first batch comes at once and has no events, so that
// whoever reads has a cursor to come back with. The channel is closed when the
// context ends, and after a batch that says why. It is not buffered: nothing is
// read ahead of its consumer but the one batch that is offered.
//
// The error is a *hub.Error, or ErrDraining.
func (t *Tail) Events(ctx context.Context, req Request) (<-chan Batch, error) {
	r := &reader{tail: t, admit: req.Admit, batch: req.Batch}
	switch {
	case req.Batch == 0:
		r.batch = DefaultBatch
	case req.Batch < 0 || req.Batch > MaxBatch:
		return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("a batch has 1 to %d events", MaxBatch))
	}
	if err := r.begin(ctx, req); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	if !t.join(r, cancel) {
		cancel()
		return nil, ErrDraining
	}
	batches := make(chan Batch)
	go func() {
		defer t.leave(r)
		defer cancel()
		defer close(batches)
		r.run(ctx, batches)
	}()
	return batches, nil
}

// reader is one reader's position in the log.
type reader struct {
	tail  *Tail
	admit func(*hub.Event) (bool, error)
	batch int

	head     hub.Sequence // of the log, when the reader began
	position hub.Sequence // everything up to it has been looked at
	sent     hub.Sequence // the position of the newest cursor that was handed over
	sentAt   time.Time
	// lenient is true until the first event of a stream from the earliest: what
	// retention takes away meanwhile is no gap for it.
	lenient bool

	pages pager
	// pending is what has been read and not been looked at yet.
	pending []*hub.Event
}

// begin finds the position to read from.
func (r *reader) begin(ctx context.Context, req Request) error {
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
		epoch, after, err := DecodeCursor(req.After)
		if err != nil {
			return err
		}
		// A position beyond the head is one of a future that was lost: the database
		// has been restored from an older backup.
		if epoch != r.tail.log.Epoch() || after > head || expired(after, oldest, head) {
			return errCursorExpired
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

// expired reports whether events that follow a position have been deleted.
// Sequences have no holes but those that retention makes.
func expired(position, oldest, head hub.Sequence) bool {
	if oldest == 0 {
		return position < head
	}
	return position+1 < oldest
}

// run hands over batches until the stream ends.
func (r *reader) run(ctx context.Context, batches chan<- Batch) {
	batch := Batch{Cursor: r.cursor(r.position)}
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
func (r *reader) end(ctx context.Context, batches chan<- Batch, why error) {
	select {
	case batches <- Batch{Cursor: r.cursor(r.sent), Err: why}:
	case <-ctx.Done():
	}
}

func (r *reader) cursor(position hub.Sequence) string {
	return EncodeCursor(r.tail.log.Epoch(), position)
}

// next waits for the next batch: as soon as there is an event, without waiting
// for more to fill it.
func (r *reader) next(ctx context.Context) (Batch, error) {
	failures := 0
	for {
		if events := r.choose(); len(events) > 0 {
			return Batch{Cursor: r.cursor(r.position), Events: events}, nil
		}
		quiet := time.Since(r.sentAt)
		if r.position > r.sent && quiet >= progressInterval {
			return Batch{Cursor: r.cursor(r.position)}, nil
		}
		delay := progressInterval
		if quiet < progressInterval {
			delay -= quiet
		}
		grown, err := r.read(ctx)
		switch {
		case hub.CodeOf(err) == hub.CodeCursorExpired:
			return Batch{}, err
		case err != nil:
			if failures++; failures == 1 && ctx.Err() == nil {
				r.tail.logger.Warn("the log cannot be read; a stream stands still until it can", slog.Any("error", err))
			}
			delay = min(delay, retryDelay(failures))
		case grown == nil:
			failures, delay = 0, 0
		}
		if err := r.wait(ctx, grown, delay); err != nil {
			return Batch{}, err
		}
	}
}

// wait waits until the ring has grown or the delay is over. It fails when the
// stream has to end.
func (r *reader) wait(ctx context.Context, grown <-chan struct{}, delay time.Duration) error {
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
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-grown:
	case <-timer.C:
	case <-r.tail.draining:
		return ErrDraining
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// choose looks at what has been read, up to a full batch, and moves the position
// past all it has looked at.
func (r *reader) choose() []*hub.Event {
	var chosen []*hub.Event
	for i, ev := range r.pending {
		r.position = ev.Sequence
		if r.admits(ev) {
			if chosen = append(chosen, ev); len(chosen) == r.batch {
				r.pending = r.pending[i+1:]
				return chosen
			}
		}
	}
	r.pending = nil
	return chosen
}

func (r *reader) admits(ev *hub.Event) bool {
	if r.admit == nil {
		return true
	}
	ok, err := r.admit(ev)
	if err != nil {
		r.tail.logger.Debug("stream filter failed over event", slog.String("event_id", ev.ID), slog.Any("error", err))
		return false
	}
	return ok
}

// read gets what follows the position, from the ring if that reaches back so
// far, else from the log. Where there is nothing yet, it returns a channel that is
// closed when there may be.
func (r *reader) read(ctx context.Context) (grown <-chan struct{}, err error) {
	t := r.tail
	t.mu.Lock()
	events, inside := t.ring.after(r.position)
	floor, changed := t.ring.floor, t.changed
	t.mu.Unlock()
	if inside {
		if len(events) == 0 {
			return changed, nil
		}
		r.pending, r.lenient = events, false
		return nil, nil
	}

	limit := r.pages.next()
	events, err = t.log.EventsAfter(ctx, r.position, limit)
	if err != nil {
		return nil, err
	}
	if err := r.checkGap(ctx, events); err != nil {
		return nil, err
	}
	r.pages.learn(events)
	r.pending = events
	if len(events) == 0 {
		// The ring begins behind what the log had when it was read.
		r.position = floor
		return nil, nil
	}
	r.lenient = false
	return nil, nil
}

// checkGap finds out whether retention has passed the position before the page
// was read. It asks afterwards, so that a deletion in between cannot hide.
func (r *reader) checkGap(ctx context.Context, page []*hub.Event) error {
	if r.lenient || len(page) > 0 && page[0].Sequence == r.position+1 {
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
		return errCursorExpired
	}
	return nil
}

func unavailable(err error) error {
	if hub.CodeOf(err) != hub.CodeInternal {
		return err
	}
	return &hub.Error{
		Code: hub.CodeUnavailable, Message: "the events cannot be read now; try again",
		RetryAfter: pollInterval, Err: err,
	}
}
