package receive

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	// tellFlood is how often a flood's rejection is brought up to date.
	tellFlood = time.Second
	// quietFlood is after how many looks that found nothing new a flood is over.
	quietFlood = 10
	// newFlood is how long one rejection stands for a flood that does not end.
	newFlood = time.Minute
)

// floods keep one rejection for all requests that were beyond a limit one after
// another, so that these neither fill the disk nor push out the rejections of others.
// The statistics count each of them.
type floods struct {
	store  Store
	logger *slog.Logger

	mu     sync.Mutex // guards what follows
	closed bool
	open   map[floodKey]*flood
	timers sync.WaitGroup // those that run, and what they do
}

type floodKey struct {
	sourceID string
	which    string // limit
}

type flood struct {
	rejection hub.Rejection // of its first request
	count     int           // of its requests
	told      int           // how many of them are stored
	last      time.Time     // when the last one came
	quiet     int           // looks in a row that found nothing new
	timer     *time.Timer   // nil while its rejection is being stored
}

func newFloods(store Store, logger *slog.Logger) *floods {
	return &floods{store: store, logger: logger, open: make(map[floodKey]*flood)}
}

// add counts a request. The one that begins a flood is stored when add returns; the
// context must not end with that request.
func (f *floods) add(ctx context.Context, which string, first func() *hub.Rejection, sourceID string, at time.Time) {
	key := floodKey{sourceID, which}
	f.mu.Lock()
	if known := f.open[key]; known != nil {
		known.count++
		known.last = at
		f.mu.Unlock()
		return
	}
	begun := &flood{rejection: *first(), count: 1, last: at}
	f.open[key] = begun
	f.mu.Unlock()
	f.tell(ctx, key, begun)
}

// tell stores how far a flood has come, and looks again a while later. It is called
// by one goroutine at a time for each flood.
func (f *floods) tell(ctx context.Context, key floodKey, one *flood) {
	f.mu.Lock()
	one.timer = nil
	news := one.count - one.told
	if news == 0 {
		if one.quiet++; one.quiet >= quietFlood || f.closed {
			delete(f.open, key)
		} else {
			f.wait(ctx, key, one)
		}
		f.mu.Unlock()
		return
	}
	one.quiet = 0
	aged := one.last.Sub(one.rejection.ReceivedAt) >= newFlood
	if aged { // what comes from now on has a rejection of its own
		delete(f.open, key)
	}
	rejection := one.rejection
	rejection.Requests = news
	if one.count > 1 {
		rejection.Detail += fmt.Sprintf(" It stands for %d requests that were refused until %s.", one.count, one.last.UTC().Format(time.RFC3339))
	}
	f.mu.Unlock()

	bounded, cancel := context.WithTimeout(ctx, DefaultCommitTimeout)
	defer cancel()
	err := f.store.Reject(bounded, &rejection)
	if err != nil {
		f.logger.WarnContext(ctx, "rejections not stored",
			slog.String("source_id", key.sourceID), slog.Int("requests", news), slog.Any("error", err))
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	if err == nil {
		one.told += news
	}
	if !aged && !f.closed {
		f.wait(ctx, key, one)
	}
}

// wait has a flood told of again a while later. The caller holds mu.
func (f *floods) wait(ctx context.Context, key floodKey, one *flood) {
	f.timers.Add(1)
	one.timer = time.AfterFunc(tellFlood, func() {
		defer f.timers.Done()
		f.tell(ctx, key, one)
	})
}

// close stores what is left to be told, once nothing is added any more.
func (f *floods) close(ctx context.Context) {
	f.mu.Lock()
	f.closed = true
	left := make(map[floodKey]*flood)
	for key, one := range f.open {
		if one.timer != nil && one.timer.Stop() {
			f.timers.Done()
			left[key] = one
		}
	}
	f.mu.Unlock()
	for key, one := range left {
		f.tell(ctx, key, one)
	}
	f.timers.Wait()
}
