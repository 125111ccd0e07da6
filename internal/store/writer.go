package store

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// How long failed settlements wait before they are tried again.
const (
	firstBackoff = 50 * time.Millisecond
	lastBackoff  = 2 * time.Second

	complainEvery = 5 * time.Second

	// maxLoneFailures is how often a settlement may fail all by itself, while others
	// can be stored, before it is given up: then the lease runs out and the delivery is
	// attempted again, which is better than to hold up every result behind it.
	maxLoneFailures = 5
)

// writer is the one goroutine that commits.
type writer struct {
	store *Store
	queue *queue

	// failed are settlements whose transaction failed, in groups. A group is tried by
	// itself, so that it fails nobody else, and halved when it fails again: so one that
	// cannot be stored is singled out.
	failed  [][]*settlement
	backoff time.Duration
	due     <-chan time.Time // fires when the next group is to be tried; nil while there is none
	commits int              // that succeeded

	complained time.Time
}

func newWriter(s *Store) *writer { return &writer{store: s, queue: s.queue} }

// run commits batches until the queue is closed and empty, or ctx ends.
func (w *writer) run(ctx context.Context) {
	defer close(w.queue.drained)
	defer w.abandon()
	for {
		b, open := w.queue.next(ctx.Done(), w.due)
		switch {
		case ctx.Err() != nil && b == nil:
			return
		case b != nil:
			w.commit(ctx, b)
		case open:
			w.retry(ctx)
		case len(w.failed) == 0:
			return
		default: // closed, but not all is stored
			select {
			case <-ctx.Done():
				return
			case <-w.due:
				w.retry(ctx)
			}
		}
	}
}

// schedule sets when the next group of failed settlements is tried.
func (w *writer) schedule() {
	w.due = nil
	if len(w.failed) > 0 {
		w.due = time.After(w.backoff)
	}
}

// abandon answers what still waits when the writer has to end.
func (w *writer) abandon() {
	w.queue.close()
	w.queue.mu.Lock()
	b := &batch{}
	for w.queue.waiting() {
		more := w.queue.take()
		b.appends = append(b.appends, more.appends...)
		b.rejections = append(b.rejections, more.rejections...)
		b.claims = append(b.claims, more.claims...)
		b.bodies = append(b.bodies, more.bodies...)
		w.failed = append(w.failed, more.settlements)
	}
	w.queue.mu.Unlock()
	for _, group := range w.failed {
		for _, s := range group {
			s.stored(unavailable(errStopping))
		}
	}
	b.answer(unavailable(errStopping))
}

// commit stores a batch and answers it.
func (w *writer) commit(ctx context.Context, b *batch) {
	p, err := w.store.store(ctx, b)
	if err != nil {
		if len(b.settlements) > 0 {
			w.failed = append(w.failed, b.settlements)
			if w.due == nil {
				w.backoff = firstBackoff
				w.schedule()
			}
		}
		w.complain(ctx, b, err)
		b.answer(unavailable(err))
		return
	}
	w.commits++
	w.queue.settled(len(b.settlements))
	w.store.committed(ctx, p)
	tellStored(b.settlements)
	b.answer(nil)
}

// complain logs a failed batch, at most once in complainEvery: during an outage each
// caller's request would fail one.
func (w *writer) complain(ctx context.Context, b *batch, err error) {
	if time.Since(w.complained) < complainEvery {
		return
	}
	w.complained = time.Now()
	w.store.log.ErrorContext(ctx, "batch could not be stored", "error", err,
		"appends", len(b.appends), "settlements", len(b.settlements), "rejections", len(b.rejections), "claims", len(b.claims), "bodies", len(b.bodies))
}

// retry tries the oldest group of failed settlements by itself.
func (w *writer) retry(ctx context.Context) {
	defer w.schedule()
	group := w.failed[0]
	p, err := w.store.store(ctx, &batch{settlements: group})
	if err == nil {
		w.failed = w.failed[1:]
		w.backoff = firstBackoff
		w.commits++
		w.queue.settled(len(group))
		w.store.committed(ctx, p)
		tellStored(group)
		return
	}
	w.backoff = min(2*w.backoff, lastBackoff)
	w.failed = w.failed[1:]
	if len(group) > 1 {
		half := len(group) / 2
		w.failed = append(w.failed, group[:half], group[half:])
		w.store.log.WarnContext(ctx, "results could not be stored and are kept", "error", err, "settlements", len(group))
		return
	}
	lone := group[0]
	if lone.loneFailures == 0 || lone.commitsBefore != w.commits || w.queue.isClosed() {
		lone.loneFailures++ // others could be stored since, so the fault is in this one; or no others will come
	}
	lone.commitsBefore = w.commits
	if lone.loneFailures < maxLoneFailures {
		w.failed = append(w.failed, group)
		return
	}
	w.queue.settled(1)
	lone.stored(unavailable(err))
	w.store.log.ErrorContext(ctx, "result given up: it cannot be stored, so the delivery will be attempted again",
		"error", err, "delivery_id", lone.Delivery.ID)
}

// answer tells every caller of the batch what became of it.
func (b *batch) answer(err error) {
	for _, r := range b.appends {
		select {
		case <-r.done: // refused by itself while the batch was planned
		default:
			r.answer(err)
		}
	}
	for _, r := range b.rejections {
		r.answer(err)
	}
	for _, r := range b.claims {
		r.answer(err)
	}
	for _, r := range b.bodies {
		r.answer(err)
	}
}

// store commits a batch in one transaction. After an error nothing of it is stored
// as far as anyone was told, and no slot stays reserved.
func (s *Store) store(ctx context.Context, b *batch) (committed *plan, err error) {
	ctx, cancel := s.engine.bound(ctx)
	defer cancel()
	tx, err := s.engine.begin(ctx)
	if err != nil {
		return nil, err
	}
	var p *plan
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("store batch: panic: %v", r)
		}
		if err != nil {
			tx.rollback(context.WithoutCancel(ctx))
			s.book.close()
			if p != nil && s.taker != nil {
				p.release(s.taker)
			}
		}
	}()

	var head logHead
	var known knowledge
	now, cfg := s.clock.Now(), s.config.Load()
	if b.ordered() {
		for _, r := range b.settlements {
			r.settlementOutcome = settlementOutcome{} // of a transaction before that failed
		}
		if head, known, err = tx.lock(ctx, now, b.settlements, b.bodies, b.keys(), b.dated()); err != nil {
			return nil, fmt.Errorf("write results and lock the log: %w", err)
		}
		if head.revision != cfg.Revision {
			if cfg, err = s.loadConfiguration(ctx); err != nil {
				return nil, err
			}
		}
	}
	pl := s.newPlanner(now, cfg, head, known)
	p = pl.plan
	pl.settle(b.settlements)
	routed := pl.routed(b.appends)
	if err := pl.moveLines(ctx, tx, b.settlements, routed); err != nil {
		return nil, err
	}
	for _, r := range routed {
		pl.appendAll(r)
	}
	pl.reject(b.rejections)
	p.bodies = b.bodies
	p.rollups = pl.tally.written()
	p.claims = b.claims
	if len(b.claims) > 0 {
		p.claimable = claimableIn(cfg)
	}
	if err := tx.write(ctx, p); err != nil {
		return nil, fmt.Errorf("write batch: %w", err)
	}
	return p, nil
}

// ordered reports whether the batch must hold log_head.
func (b *batch) ordered() bool {
	return len(b.appends) > 0 || len(b.settlements) > 0 ||
		slices.ContainsFunc(b.rejections, func(r *rejectRequest) bool { return r.capture })
}

// dated lists the sources of which the batch has events that say when they happened.
func (b *batch) dated() []string {
	var ids []string
	for _, r := range b.appends {
		for _, ev := range r.events {
			if id := ev.event.SourceID; !ev.event.OccurredAt.IsZero() && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// keys lists the dedupe keys of the batch.
func (b *batch) keys() []string {
	var keys []string
	for _, r := range b.appends {
		for _, ev := range r.events {
			if ev.keyID != "" {
				keys = append(keys, ev.keyID)
			}
		}
	}
	return keys
}

// committed follows a commit up: it hands over what is leased, makes the new state
// this process's own and wakes whoever reads the log.
func (s *Store) committed(ctx context.Context, p *plan) {
	if s.taker != nil {
		p.handOver(s.taker)
	}
	s.movedOn(p.moved)
	s.health.committed(p.health)
	if p.reconfigure {
		if _, err := s.loadConfiguration(ctx); err != nil {
			s.log.WarnContext(ctx, "configuration could not be refreshed", "error", err)
		}
	}
	s.book.forget(p.rollups, p.now)
	if p.changesLog() {
		s.notify()
	}
	if len(p.changes) > 0 {
		s.notifyChanges()
	}
	if len(p.announcements) > 0 {
		s.announced()
	}
}
