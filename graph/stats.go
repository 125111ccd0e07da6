package graph

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/graph/transport"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Bounds of statsUpdates.
const (
	minStatsInterval = time.Second
	maxStatsInterval = time.Hour
	maxLiveBucket    = time.Hour
)

// checkStatsFilter refuses what a filter of statistics may not say.
func checkStatsFilter(f *hub.StatsFilter) error {
	if f == nil {
		return nil
	}
	return checkLengths(len(f.SourceIDs), len(f.EndpointIDs), len(f.SubscriptionIDs), len(f.PartnerIDs))
}

// liveQuestion is what statsUpdates asks again and again.
type liveQuestion struct {
	interval, bucket time.Duration
	filter           string    // as JSON, so that equal ones are equal
	sight            hub.Sight // of whoever asks
}

// liveStats evaluates each question of statsUpdates once for all who ask the same.
// Its zero value is ready.
type liveStats struct {
	mu        sync.Mutex // guards all below and the answers' readers
	questions map[liveQuestion]*liveAnswer
}

// liveAnswer is a question under evaluation.
type liveAnswer struct {
	readers map[chan []*hub.StatsBucket]struct{}
	newest  []*hub.StatsBucket
	cancel  context.CancelFunc
}

// join has a reader take part in the evaluation of a question, and begins it where
// nobody asks it yet. The channel holds the newest answer alone: a slow reader misses
// those between. leave must be called once.
//
// An answer is the newest bucket, after the one before it where that has just ended.
func (l *liveStats) join(
	q liveQuestion, evaluate func(context.Context) ([]*hub.StatsBucket, error),
) (answers <-chan []*hub.StatsBucket, leave func()) {
	reader := make(chan []*hub.StatsBucket, 1)
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.questions[q]
	if a == nil {
		ctx, cancel := context.WithCancel(context.Background())
		a = &liveAnswer{readers: make(map[chan []*hub.StatsBucket]struct{}), cancel: cancel}
		if l.questions == nil {
			l.questions = make(map[liveQuestion]*liveAnswer)
		}
		l.questions[q] = a
		go l.run(ctx, a, q.interval, evaluate)
	}
	a.readers[reader] = struct{}{}
	if len(a.newest) > 0 {
		reader <- a.newest[len(a.newest)-1:]
	}
	return reader, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(a.readers, reader)
		if len(a.readers) == 0 {
			a.cancel()
			if l.questions[q] == a {
				delete(l.questions, q)
			}
		}
	}
}

// run evaluates a question at once and then each interval, until nobody asks it.
func (l *liveStats) run(
	ctx context.Context, a *liveAnswer, interval time.Duration, evaluate func(context.Context) ([]*hub.StatsBucket, error),
) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if answer, err := evaluate(ctx); err == nil {
			l.mu.Lock()
			a.newest = answer
			for reader := range a.readers {
				offer(reader, answer)
			}
			l.mu.Unlock()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// offer replaces what a reader has not taken, but for a bucket that has ended. Only one
// goroutine offers.
func offer(reader chan []*hub.StatsBucket, answer []*hub.StatsBucket) {
	select {
	case old := <-reader:
		if len(answer) == 1 && old[0].Start.Before(answer[0].Start) {
			answer = []*hub.StatsBucket{old[0], answer[0]}
		}
	default:
	}
	reader <- answer // there is room: nobody else puts anything in while mu is held
}

// statsUpdates hands the newest bucket over, again and again.
func (r *Resolver) statsUpdates(ctx context.Context, interval, bucket time.Duration, filter *hub.StatsFilter) (<-chan *hub.StatsBucket, error) {
	if interval < minStatsInterval || interval > maxStatsInterval {
		return nil, hub.NewError(hub.CodeBadUserInput, "interval is PT1S to PT1H")
	}
	if bucket > maxLiveBucket {
		return nil, hub.NewError(hub.CodeBadUserInput, "bucket is at most PT1H")
	}
	if err := checkStatsFilter(filter); err != nil {
		return nil, err
	}
	text, err := json.Marshal(valueOf(filter))
	if err != nil {
		return nil, fmt.Errorf("encode filter: %w", err)
	}
	view := r.store(ctx)
	newest := r.newestStats(view, bucket, valueOf(filter))
	if _, err := newest(ctx); err != nil { // what is wrong with the question, before it is asked for good
		return nil, err
	}
	answers, leave := r.live.join(liveQuestion{interval, bucket, string(text), view.Sight()}, newest)
	context.AfterFunc(ctx, leave)
	var ahead []*hub.StatsBucket
	var shown time.Time // start of the newest bucket that was handed over
	return transport.Feed(ctx, func(ctx context.Context) (message transport.Message[*hub.StatsBucket], err error) {
		for len(ahead) == 0 {
			select {
			case ahead = <-answers:
			case <-ctx.Done():
				return message, io.EOF
			}
			if len(ahead) > 1 && !ahead[0].Start.Equal(shown) {
				ahead = ahead[1:] // it ended before this reader had seen any of it
			}
		}
		one := ahead[0]
		ahead, shown = ahead[1:], one.Start
		message.Payload = func() *hub.StatsBucket { return one }
		return message, nil
	}), nil
}

// newestStats evaluates the bucket of now, after the one before it where that has
// ended since the last time. It does so with the eyes of a view, since nobody in
// particular asks again and again.
func (r *Resolver) newestStats(view View, bucket time.Duration, filter hub.StatsFilter) func(context.Context) ([]*hub.StatsBucket, error) {
	var last time.Time // start of the newest bucket of the last evaluation
	return func(ctx context.Context) (answer []*hub.StatsBucket, err error) {
		defer func() {
			if reason := recover(); reason != nil { // most of the time there is no request around to do so
				err = fmt.Errorf("panic in live statistics: %v\n%s", reason, debug.Stack())
			}
			if err != nil && ctx.Err() == nil && hub.CodeOf(err) == hub.CodeInternal {
				r.logger.WarnContext(ctx, "live statistics could not be read; tried again", slog.Any("error", err))
			}
		}()
		if answer, err = view.NewestStats(ctx, bucket, filter, last); err != nil {
			return nil, err
		}
		last = answer[len(answer)-1].Start
		return answer, nil
	}
}
