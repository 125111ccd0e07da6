package catalogue

import (
	"context"
	"crypto/rand"
	"log/slog"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

const (
	lookEvery = time.Second      // for new events
	takeEvery = 5 * time.Second  // for the catalogue, where another node has it
	lease     = 30 * time.Second // after which another node takes it over
	renew     = 10 * time.Second // how often the lease is made longer
	freeIn    = 5 * time.Second  // bounds giving it back
)

// Store keeps the catalogue.
type Store interface {
	Configuration() *hub.Configuration
	TakeCatalogue(ctx context.Context, token string, until time.Time) (*hub.Learning, error)
	FreeCatalogue(ctx context.Context, token string) error

	LogEntries(ctx context.Context, after hub.Sequence, limit int) ([]hub.LogEntry, error)
	EventBodies(ctx context.Context, sequences []hub.Sequence) (map[hub.Sequence][]byte, error)
	Captured(ctx context.Context, since time.Time, limit int) ([]string, error)
	RejectionsByID(ctx context.Context, ids []string) (map[string]*hub.Rejection, error)
	Sightings(ctx context.Context, keys []hub.SightingKey) (map[hub.SightingKey]*hub.Sighting, error)
	Shapes(ctx context.Context, sightings []*hub.Sighting) error
	Rooms(ctx context.Context, sourceIDs []string) (map[string]store.Room, error)
	SaveLearned(ctx context.Context, token string, step *hub.Learned) error

	AllWatches(ctx context.Context) (map[string]*hub.Watch, error)
	Activity(ctx context.Context, since time.Time) ([]hub.Activity, error)
	LastHeard(ctx context.Context, sourceIDs []string) (map[string]time.Time, error)
	Refusals(ctx context.Context, sourceID string, since time.Time) (map[hub.RejectionReason]int, error)
	FailingFetches(ctx context.Context) (map[string]*hub.Fetch, error)
	Untold(ctx context.Context, before time.Time, limit int) ([]*hub.Sighting, error)
	SaveWatch(ctx context.Context, token string, at time.Time, watches []*hub.Watch, drifted []*hub.Sighting, announcements []*hub.Announcement) error
}

// Config is what a Keeper needs. All of it is needed.
type Config struct {
	Store Store
	// TypeOf returns the type that the event of a captured request would have had.
	TypeOf func(*hub.Source, *hub.Rejection) string
	Clock  hub.Clock
	Logger *slog.Logger
}

// Keeper works on the catalogue for as long as this node has it.
type Keeper struct {
	Config
	token string // of this process

	// What follows belongs to the goroutine that runs.
	state     *hub.Learning // nil: another node has the catalogue, or nobody
	until     time.Time     // end of the lease
	tryAt     time.Time     // when to try for it again
	watchedAt time.Time     // when this process looked at the sources last
	captures  captures

	cancel context.CancelFunc
	done   chan struct{}
}

// Start starts a keeper, which works until it is stopped.
func Start(ctx context.Context, c Config) *Keeper {
	k := newKeeper(c)
	ctx, k.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go k.run(ctx)
	return k
}

func newKeeper(c Config) *Keeper {
	return &Keeper{Config: c, token: rand.Text(), done: make(chan struct{})}
}

// Stop ends the keeper and gives the catalogue to another node.
func (k *Keeper) Stop(context.Context) error {
	k.cancel()
	<-k.done
	return nil
}

func (k *Keeper) run(ctx context.Context) {
	defer close(k.done)
	defer k.free(ctx)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		if err := k.look(ctx); err != nil && ctx.Err() == nil {
			k.Logger.WarnContext(ctx, "the catalogue of event types could not be brought up to date and is tried again", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look does whatever is to be done, if this node has the catalogue.
func (k *Keeper) look(ctx context.Context) error {
	err := k.work(ctx)
	if store.IsLost(err) {
		k.state = nil
		return nil
	}
	return err
}

func (k *Keeper) work(ctx context.Context) error {
	for {
		if err := k.hold(ctx); err != nil || k.state == nil {
			return err
		}
		began := time.Now()
		more, err := k.learn(ctx)
		if err != nil {
			return err
		}
		if err := k.capture(ctx); err != nil {
			return err
		}
		if err := k.watch(ctx); err != nil {
			return err
		}
		if !more {
			return nil
		}
		rest(ctx, time.Since(began)) // others want the machine, too
	}
}

// hold takes the catalogue or makes the lease longer.
func (k *Keeper) hold(ctx context.Context) error {
	now := k.Clock.Now()
	if k.state != nil && now.Before(k.until.Add(renew-lease)) || k.state == nil && now.Before(k.tryAt) {
		return nil
	}
	state, err := k.Store.TakeCatalogue(ctx, k.token, now.Add(lease))
	if err != nil {
		k.state = nil // it may be lost meanwhile
		return err
	}
	if k.state == nil && state != nil {
		k.watchedAt, k.captures = time.Time{}, captures{until: now.Add(captureOverlap)}
	}
	k.state, k.until, k.tryAt = state, now.Add(lease), now.Add(takeEvery)
	return nil
}

func (k *Keeper) free(ctx context.Context) {
	if k.state == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), freeIn)
	defer cancel()
	if err := k.Store.FreeCatalogue(ctx, k.token); err != nil {
		k.Logger.WarnContext(ctx, "the catalogue could not be given back; another node takes it when its lease ends", slog.Any("error", err))
	}
}

// rest waits, but not beyond the end of ctx.
func rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
