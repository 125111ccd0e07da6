package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// freeWithin bounds how long a source may take to be given back.
const freeWithin = 5 * time.Second

// runner keeps the fetcher of one source going for as long as this node has the source.
type runner struct {
	store   Store
	door    Door
	clock   hub.Clock
	logger  *slog.Logger
	token   string
	fetcher Fetcher

	opened atomic.Pointer[time.Time] // when the connection that is followed was made; nil: there is none
}

func (r *runner) run(ctx context.Context, feed *Feed) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	renewed := make(chan struct{})
	go func() {
		defer close(renewed)
		r.keep(ctx, cancel, feed.Source.ID)
	}()
	wait := firstWait
	for ctx.Err() == nil {
		began := r.clock.Now()
		feed.brought = false
		err := r.fetch(ctx, feed)
		held := r.held()
		r.opened.Store(nil)
		if ctx.Err() != nil {
			break
		}
		if held {
			feed.Works()
		}
		if held || feed.brought {
			wait = firstWait
		}
		if err == nil {
			err = fmt.Errorf("the connection was closed")
		}
		pause := time.Duration(float64(wait) * (0.8 + 0.4*rand.Float64()))
		var refused *Refused
		if errors.As(err, &refused) {
			pause = refused.Wait
		}
		feed.Fails()
		next := r.clock.Now().Add(pause)
		r.logger.WarnContext(ctx, "a source could not be fetched from and is tried again", slog.Any("error", err), slog.Duration("after", pause))
		if err := feed.Save(ctx, feed.state.Progress, began, next, err.Error()); err != nil {
			if hub.CodeOf(err) == hub.CodeConflict {
				break
			}
			r.logger.WarnContext(ctx, "how far a source has come could not be stored", slog.Any("error", err))
		}
		r.pause(ctx, feed, pause)
		wait = min(2*wait, lastWait)
	}
	cancel()
	<-renewed
	free, done := context.WithTimeout(context.WithoutCancel(ctx), freeWithin)
	defer done()
	if err := r.store.FreeFetch(free, feed.Source.ID, r.token); err != nil {
		r.logger.WarnContext(free, "a source could not be given back; another node takes it when its lease ends", slog.Any("error", err))
	}
}

// held reports whether the connection that is followed has held for long enough to be
// taken to work.
func (r *runner) held() bool {
	opened := r.opened.Load()
	return opened != nil && r.clock.Now().Sub(*opened) >= lastWait
}

// fetch calls the fetcher. What breaks in it concerns its source alone.
func (r *runner) fetch(ctx context.Context, feed *Feed) (err error) {
	defer func() {
		if p := recover(); p != nil {
			r.logger.ErrorContext(ctx, "a fetcher panicked", slog.Any("panic", p))
			err = fmt.Errorf("the hub made a mistake; its log says which")
		}
	}()
	return r.fetcher.Fetch(ctx, feed)
}

// pause waits, or until somebody asks.
func (r *runner) pause(ctx context.Context, feed *Feed, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-feed.Asked:
	case <-ctx.Done():
	}
}

// keep makes the lease longer until ctx ends. A node that cannot do so in time has lost
// the source: its fetcher is ended before another one begins.
func (r *runner) keep(ctx context.Context, lost context.CancelFunc, sourceID string) {
	tick := time.NewTicker(renew)
	defer tick.Stop()
	until := r.clock.Now().Add(lease)
	var told *time.Time // the connection of which it is stored that it works
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		next := r.clock.Now().Add(lease)
		state, err := r.store.TakeFetch(ctx, sourceID, r.token, next)
		switch {
		case err == nil && state != nil:
			until = next
		case err == nil || r.clock.Now().Add(renew).After(until):
			r.logger.WarnContext(ctx, "the lease of a source was lost; whoever has it goes on", slog.Any("error", err))
			lost()
			return
		}
		if opened := r.opened.Load(); opened != told && r.held() { // where nothing comes, nobody else stores that it works
			if err := r.store.FetchWorks(ctx, sourceID, r.token); err != nil {
				r.logger.WarnContext(ctx, "that a source works could not be stored", slog.Any("error", err))
			} else {
				told = opened
			}
		}
	}
}
