package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"entgo.io/ent/dialect"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Config is what a Store needs.
type Config struct {
	// URL is sqlite:PATH or postgres://…
	URL string
	// Keyring seals secrets at rest. A Tool that touches none needs none.
	Keyring Sealer
	// Clock defaults to the system's.
	Clock hub.Clock
	// Logger defaults to silence.
	Logger *slog.Logger
	// Router chooses the subscriptions of each event. Without one, none is chosen.
	Router Router
	// Admits evaluates a filter expression over an event. Replays need it.
	Admits func(expression string, event *hub.Event, sourceSlug string) (bool, error)
	// OrderingKey evaluates the ordering key of an event by an expression. Subscriptions
	// that have one need it.
	OrderingKey func(expression string, event *hub.Event, sourceSlug string) (string, error)
	// Verification says which endpoints get nothing before they are verified.
	Verification hub.VerificationDemand
	// Notify, where given, is called after each commit that made events or changed
	// configuration. It must not block.
	Notify func()
	// NotifyChanges, where given, is called likewise after each commit that changed
	// deliveries.
	NotifyChanges func()
	// Tool says that this is a command-line tool, perhaps beside a running server:
	// it takes no exclusive lock, has no writer and voids no leases. Append, Reject,
	// Settle and Claim do not work.
	Tool bool
	// Trace, where given, is called with each SQL statement that goes through ent,
	// which is every read, and with the context of whoever makes it. Tests count
	// statements with it.
	Trace func(ctx context.Context, query string)

	wal        walBounds // of SQLite; tests make them small
	maxChanges int       // MaxChanges, likewise
}

// Sealer encrypts secrets at rest. What was sealed for one bound does not open
// for another.
type Sealer interface {
	Seal(plain, bound []byte) ([]byte, error)
	Open(sealed, bound []byte) ([]byte, error)
}

// Router chooses which subscriptions want an event, by their IDs.
type Router interface {
	Route(*hub.Event, *hub.Configuration) []string
}

// Taker works on deliveries. None of its methods may block.
type Taker interface {
	// Reserve asks for a free slot for a delivery that is about to be stored. If it
	// grants one, exactly one of Release and Take follows.
	Reserve(endpointID string) bool
	// Release gives a slot back: the commit did not happen.
	Release(endpointID string)
	// Take hands the delivery over: it is stored and leased to this process.
	Take(hub.Lease)
	// Due says that a delivery of an endpoint is due, which nobody was handed.
	Due(endpointID string)
	// Within reports whether no more is under way to any endpoint than this node's share of
	// what it permits to all nodes, as Peers has them.
	Within() bool
	// Wake says that deliveries may be due which nobody was handed: one that is to be
	// retried, or those that a change of configuration no longer holds.
	Wake()
}

// LeaseMargin is how much longer than the endpoint's timeout a fresh delivery is
// leased, for signing, queueing and storing the result.
const LeaseMargin = 15 * time.Second

// Errors by which Open and Start say that this process cannot use the database.
var (
	ErrSchemaNewer = errors.New("the database was written by a newer version of hookgraph: run that version or a newer one")
	ErrSchemaOlder = errors.New("the database has not been migrated to this version: run hookgraph migrate")
	ErrInUse       = errors.New("another hookgraph process uses this database file: stop it, or use PostgreSQL for several nodes")
)

// Store is a database of Hookgraph. Its methods may be called at once from many
// goroutines.
type Store struct {
	*View // of everything

	cfg    Config
	clock  hub.Clock
	log    *slog.Logger
	engine engine
	reads  dialect.Driver // beneath read, for what ent cannot say
	writes dialect.Driver // beneath write, likewise
	read   *ent.Client
	write  *ent.Client // on SQLite the one connection that writes

	config atomic.Pointer[hub.Configuration]
	health healthBook
	book   rollupBook // of the writer
	epoch  atomic.Pointer[string]

	// changing lets one change of configuration at a time wait for log_head, so that
	// such waits cannot use up the connections the writer needs.
	changing sync.Mutex

	sorting chan struct{} // capacity 1: there may be a backlog to sort out
	missed  missedLines
	unkeyed atomic.Bool // there may be deliveries whose ordering key is to be made

	replaying  chan struct{} // capacity 1: there is a replay to go on with
	announcing chan struct{} // capacity 1: there are announcements

	queue   *queue
	taker   Taker
	present atomic.Pointer[presence]
	stopped chan struct{}      // closed when the writer and the refresher have ended
	cancel  context.CancelFunc // ends the refresher, and the writer where Stop ran out of time
	started atomic.Bool
	closing sync.Once
	closed  error
}

// Open connects to the database. It neither reads nor changes its schema: Migrate
// and Start do.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Keyring == nil && !cfg.Tool {
		return nil, errors.New("open store: a keyring is required")
	}
	cfg.maxChanges = cmp.Or(cfg.maxChanges, MaxChanges)
	if cfg.Clock == nil {
		cfg.Clock = hub.SystemClock{}
	}
	eng, err := connect(ctx, cfg)
	if err != nil {
		return nil, err
	}
	s := &Store{
		cfg: cfg, clock: cfg.Clock,
		log:       cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)).WithGroup("store"),
		engine:    eng,
		queue:     newQueue(),
		replaying: make(chan struct{}, 1), announcing: make(chan struct{}, 1),
		sorting: make(chan struct{}, 1),
	}
	s.View = s.For(hub.WholeSight())
	s.reads = traced(eng.readDriver(), cfg.Trace)
	s.read = ent.NewClient(ent.Driver(s.reads))
	s.writes = traced(eng.writeDriver(), cfg.Trace)
	s.write = ent.NewClient(ent.Driver(s.writes))
	s.config.Store(hub.NewConfiguration(0, nil, nil, nil))
	return s, nil
}

// Start checks the schema and the durability of commits, loads the configuration
// and starts the writer, which offers fresh deliveries to taker where it is not
// nil. On SQLite the leases of the process before are void from here.
func (s *Store) Start(ctx context.Context, taker Taker) error {
	current, wanted, err := s.SchemaVersion(ctx)
	switch {
	case err != nil:
		return err
	case current > wanted:
		return ErrSchemaNewer
	case current < wanted:
		return ErrSchemaOlder
	}
	if err := s.engine.assertDurable(ctx); err != nil {
		return err
	}
	head, err := s.read.LogHead.Get(ctx, 1)
	if err != nil {
		return fmt.Errorf("read the head of the log: %w", err)
	}
	s.epoch.Store(&head.Epoch)
	if err := s.Refresh(ctx); err != nil {
		return err
	}
	if s.cfg.Tool {
		return nil
	}
	if err := s.engine.voidLeases(ctx, s.clock.Now()); err != nil {
		return err
	}
	if err := s.cancelOrphans(ctx, s.reads); err != nil {
		return err
	}
	if err := s.forgetMarks(ctx); err != nil {
		return err
	}
	seat, err := s.takeSeat(ctx)
	if err != nil {
		return err
	}
	if !s.started.CompareAndSwap(false, true) {
		seat.leave()
		return errors.New("start store: it was started before")
	}
	s.taker = taker
	s.stopped = make(chan struct{})
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	var running sync.WaitGroup
	running.Go(func() { newWriter(s).run(run) })
	running.Go(func() { s.follow(run) })
	running.Go(func() { seat.keep(run) })
	running.Go(func() { s.runReplays(run) })
	running.Go(func() { s.keepTidy(run) })
	running.Go(func() { s.housekeep(run) })
	go func() {
		running.Wait()
		seat.leave()
		close(s.stopped)
	}()
	return nil
}

// Stop takes no more work, commits what waits and ends the writer. If ctx ends
// first, what has not been committed is given up; none of it was acknowledged.
func (s *Store) Stop(ctx context.Context) error {
	s.queue.close()
	if !s.started.Load() {
		return nil
	}
	defer s.cancel()
	select {
	case <-s.queue.drained:
		s.cancel()
		<-s.stopped
		return nil
	case <-ctx.Done():
		s.cancel()
		<-s.stopped
		return fmt.Errorf("stop store: %w", ctx.Err())
	}
}

// Close stops the store at once if Stop has not, and closes its connections.
func (s *Store) Close() error {
	s.closing.Do(func() {
		done, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Stop(done) // nothing to drain any more, or nobody who would wait for it
		s.closed = s.engine.close()
	})
	return s.closed
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error { return s.engine.ping(ctx) }

// Epoch returns the random name of this database's log, a part of every cursor.
func (s *Store) Epoch() string {
	if e := s.epoch.Load(); e != nil {
		return *e
	}
	return ""
}

// unavailable is what callers get while the database cannot take their work.
func unavailable(err error) error {
	return &hub.Error{
		Code: hub.CodeUnavailable, Message: "this cannot be stored right now; try again",
		RetryAfter: time.Second, Err: err,
	}
}
