package receive

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	// lookTimeout bounds a look for what other nodes have changed.
	lookTimeout = 5 * time.Second
	// lookEvery is how often the refusals of one source ask for a look, lookRate is how often
	// in a second those of all sources together do.
	lookEvery = time.Second
	lookRate  = 20
)

// fresh lets the door know what another node has changed a moment ago. Whoever has made
// a source may have it called at once, through any node, and a provider that is told of
// no such source gives up; and what is signed with a new secret must not be refused by
// a node that knows the old one alone.
type fresh struct {
	store Store

	// mu lets one request look at a time, however many have a reason to.
	mu     sync.Mutex
	looked time.Time            // when the last look began
	asked  map[string]time.Time // when a refusal of each source asked for one
	rate   *rate.Limiter        // of all sources together
}

func newFresh(store Store) *fresh {
	return &fresh{store: store, asked: make(map[string]time.Time), rate: rate.NewLimiter(lookRate, lookRate)}
}

// source returns the source of a slug, looking for it where this node does not know it.
func (f *fresh) source(ctx context.Context, slug string) *hub.Source {
	if src := f.store.Configuration().SourcesBySlug[slug]; src != nil {
		return src
	}
	came := time.Now()
	f.mu.Lock()
	f.look(ctx, came)
	f.mu.Unlock()
	return f.store.Configuration().SourcesBySlug[slug]
}

// newer returns a source as it has become since, or nil if it is as it was or deleted. However much
// is refused, it looks once in lookEvery, and lookRate times a second for all sources together.
func (f *fresh) newer(ctx context.Context, src *hub.Source) *hub.Source {
	came := time.Now()
	f.mu.Lock()
	if came.Sub(f.asked[src.ID]) >= lookEvery && f.rate.AllowN(came, 1) {
		for id := range f.asked { // so that it never has more than there are sources
			if f.store.Configuration().Sources[id] == nil {
				delete(f.asked, id)
			}
		}
		f.asked[src.ID] = came
		f.look(ctx, came)
	}
	f.mu.Unlock()
	now := f.store.Configuration().Sources[src.ID]
	if now == src { // nothing at all has changed
		return nil
	}
	return now
}

// look brings the configuration up to date for a request that came at the given time,
// unless a look that began later has done so. The caller holds mu.
func (f *fresh) look(ctx context.Context, came time.Time) {
	if f.looked.After(came) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	began := time.Now()
	if f.store.Refresh(ctx) == nil { // else all stays as it was; the store reports a database that is away
		f.looked = began
	}
}
