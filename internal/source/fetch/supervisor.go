package fetch

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
)

const (
	lookEvery = time.Second      // for changed sources, ended leases and what is asked for
	lease     = 15 * time.Second // after which another node takes a source over
	renew     = 5 * time.Second  // how often a lease is made longer

	firstWait = time.Second
	lastWait  = time.Minute
)

// Store keeps how far sources have come.
type Store interface {
	Configuration() *hub.Configuration
	FetchMarks(ctx context.Context) (map[string]hub.FetchMark, error)
	TakeFetch(ctx context.Context, sourceID, token string, until time.Time) (*hub.Fetch, error)
	SaveFetch(ctx context.Context, fetch *hub.Fetch, token string, until time.Time) error
	FetchWorks(ctx context.Context, sourceID, token string) error
	FreeFetch(ctx context.Context, sourceID, token string) error
}

// Door takes in what is fetched.
type Door interface {
	Fetched(ctx context.Context, src, of *hub.Source, items []receive.Item) (receive.Fetched, error)
}

// Config is what a Supervisor is made of. All of it is needed.
type Config struct {
	Store    Store
	Door     Door
	Fetchers map[hub.SourceKind]Fetcher
	Clock    hub.Clock
	Logger   *slog.Logger
}

// Supervisor runs the fetchers of this node.
type Supervisor struct {
	Config
	token string // of this process

	cancel context.CancelFunc
	done   chan struct{}
	wg     sync.WaitGroup
}

// running is a source that this process fetches from.
type running struct {
	source *hub.Source
	asked  chan struct{}
	seen   time.Time // when it was asked for, as far as its fetcher knows
	cancel context.CancelFunc
	done   chan struct{}
}

// Start starts a supervisor, which works until it is stopped.
func Start(ctx context.Context, c Config) *Supervisor {
	s := &Supervisor{Config: c, token: rand.Text(), done: make(chan struct{})}
	ctx, s.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go s.run(ctx)
	return s
}

// Stop ends all fetchers and gives their sources to other nodes.
func (s *Supervisor) Stop(context.Context) error {
	s.cancel()
	<-s.done
	return nil
}

func (s *Supervisor) run(ctx context.Context) {
	defer close(s.done)
	defer s.wg.Wait()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	at := make(map[string]*running)
	for {
		s.look(ctx, at)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look ends the fetchers of sources that have changed, starts those of sources that
// nobody fetches from, and passes on what is asked for.
func (s *Supervisor) look(ctx context.Context, at map[string]*running) {
	sources := s.Store.Configuration().Sources
	for id, r := range at {
		select {
		case <-r.done:
			delete(at, id)
			continue
		default:
		}
		if src := sources[id]; src == nil || src.State != hub.SourceActive || !src.UpdatedAt.Equal(r.source.UpdatedAt) {
			r.cancel() // it is started anew once it has ended
		}
	}
	var marks map[string]hub.FetchMark
	for id, src := range sources {
		if !src.Fetches() || src.State != hub.SourceActive || s.Fetchers[src.Kind] == nil {
			continue
		}
		if marks == nil {
			var err error
			if marks, err = s.Store.FetchMarks(ctx); err != nil {
				s.complain(ctx, "who fetches from sources could not be read", id, err)
				return
			}
		}
		r, mark := at[id], marks[id]
		if r == nil {
			if mark.Token != s.token && mark.Until.After(s.Clock.Now()) {
				continue // another node has it
			}
			if r = s.take(ctx, src); r == nil {
				continue
			}
			at[id] = r
		}
		if mark.AskedAt.After(r.seen) {
			r.seen = mark.AskedAt
			select {
			case r.asked <- struct{}{}:
			default:
			}
		}
	}
}

// take starts the fetcher of a source, unless another node has it.
func (s *Supervisor) take(ctx context.Context, src *hub.Source) *running {
	state, err := s.Store.TakeFetch(ctx, src.ID, s.token, s.Clock.Now().Add(lease))
	if err != nil {
		s.complain(ctx, "a source could not be taken to fetch from it", src.ID, err)
	}
	if state == nil {
		return nil
	}
	r := &running{source: src, asked: make(chan struct{}, 1), done: make(chan struct{})}
	if r.seen = state.AskedAt; state.AskedAt.After(state.LastAt) {
		r.asked <- struct{}{}
	}
	ctx, r.cancel = context.WithCancel(ctx)
	work := &runner{
		store: s.Store, door: s.Door, clock: s.Clock, logger: s.Logger.With(slog.String("source_id", src.ID)), token: s.token,
		fetcher: s.Fetchers[src.Kind],
	}
	s.wg.Go(func() {
		defer close(r.done)
		defer r.cancel()
		work.run(ctx, &Feed{Source: src, Asked: r.asked, runner: work, state: *state})
	})
	return r
}

func (s *Supervisor) complain(ctx context.Context, message, sourceID string, err error) {
	if ctx.Err() == nil {
		s.Logger.WarnContext(ctx, message, slog.String("source_id", sourceID), slog.Any("error", err))
	}
}

// sleep waits, and reports whether ctx outlasted it.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
