package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// DefaultMaxInFlight bounds the attempts in flight to all endpoints together,
// unless the configuration says otherwise.
const DefaultMaxInFlight = 1024

// stopGrace is how long attempts that were cut off have to be settled.
const stopGrace = 10 * time.Second

// Store is what the dispatcher needs of the database.
type Store interface {
	// Configuration returns the latest snapshot, without a query.
	Configuration() *hub.Configuration
	// Peers returns the nodes of the hub, without a query; nil while this one cannot say
	// that it is there, which is when it must begin nothing.
	Peers() *hub.Peers
	// Health returns what is stored of an endpoint, nil if nothing is.
	Health(endpointID string) *hub.EndpointHealth
	// Claim leases due deliveries, at most as many of each endpoint as wanted,
	// the ones longest due first.
	Claim(ctx context.Context, wants []hub.Want) ([]hub.Lease, error)
	// NextDue returns when the first waiting delivery of each endpoint is due.
	NextDue(ctx context.Context) (map[string]time.Time, error)
	// Stale tells whether something newer was delivered under the ordering key of a
	// delivery whose subscription skips what is stale, and what.
	Stale(ctx context.Context, delivery *hub.Delivery, event *hub.Event) (reason string, stale bool, err error)
	// KeepBody stores the body that was made for a leased delivery, and returns once
	// every later lease of it is sure to carry these bytes.
	KeepBody(ctx context.Context, lease hub.Lease, body hub.Body) error
	// RecordAttempt stores an attempt that is of no delivery.
	RecordAttempt(ctx context.Context, attempt *hub.Attempt) error
	// UpdateEndpoint changes an endpoint as edit does.
	UpdateEndpoint(ctx context.Context, id string, edit func(*hub.Endpoint) error) (*hub.Endpoint, error)
	// Leased returns those of the deliveries that are leased now, without their payloads.
	Leased(ctx context.Context, deliveryIDs []string) (map[string]hub.Lease, error)
	// Settle stores a result. It may block while too many wait to be stored.
	Settle(hub.Settlement)
}

// Shaper makes the bodies of deliveries whose subscription has a transform, with the
// rights of the partner who owns the endpoint, or of the operator for "". An error of
// hub.CodeUnavailable says that it may work later; every other one says in words for
// people why this event cannot be shaped.
type Shaper interface {
	Shape(ctx context.Context, partnerID string, transform *hub.Transform, event *hub.Event) (hub.Body, error)
}

// Config is what a dispatcher is made of. Store, Shaper, Transport, Sign and Logger are
// required.
type Config struct {
	Store     Store
	Shaper    Shaper
	Transport http.RoundTripper // dials through the outbound guard; follows no redirects
	// Guard is dialled through where an endpoint needs connections of its own, with a
	// client certificate. nil permits public addresses alone.
	Guard  *outbound.Guard
	Sign   SignFunc
	Logger *slog.Logger

	Clock       hub.Clock
	Version     string // of the hub, for the User-Agent
	MaxInFlight int    // attempts to all endpoints together; 0: DefaultMaxInFlight
	// Observe, if set, is told of each finished attempt. It must not block.
	Observe func(Observation)
	// Random returns a number in [0, 1), for jitter.
	Random func() float64
}

// Dispatcher makes deliveries. It implements the store's Taker: Reserve, Release
// and Take never block.
type Dispatcher struct {
	config    Config
	clock     hub.Clock
	logger    *slog.Logger
	userAgent string
	sender    *sender
	book      *credential.Book
	brokers   *broker.Book
	prober    prober
	slots     *slots
	agenda    *agenda
	returns   *returns

	wake     chan struct{} // capacity 1: look for due deliveries
	work     chan job      // unbuffered: to a worker that waits
	resolved chan struct{} // capacity 1: no reservation is open, while stopping
	reserved atomic.Int64  // reservations that were neither released nor taken up
	inFlight atomic.Int64
	idle     atomic.Int64 // workers that wait

	base   context.Context // of all attempts and queries; cancelled with errStopping
	cancel context.CancelCauseFunc
	quit   chan struct{} // closed: the loop and waiting workers end
	began  time.Time     // when it was started

	loops    sync.WaitGroup
	workers  sync.WaitGroup
	lastWord chan struct{}  // closed: returns ends once it is empty
	returner sync.WaitGroup // of returns

	mu      sync.RWMutex
	lanes   map[string]*lane
	started bool
	closed  bool

	stopOnce sync.Once
	stopped  error // of the first Stop
}

// New makes a dispatcher. Nothing happens before Start.
func New(c Config) (*Dispatcher, error) {
	if c.Store == nil || c.Shaper == nil || c.Transport == nil || c.Sign == nil || c.Logger == nil {
		return nil, errors.New("a dispatcher needs a store, a shaper, a transport, a way to sign and a logger")
	}
	if c.Clock == nil {
		c.Clock = hub.SystemClock{}
	}
	if c.Guard == nil {
		c.Guard = outbound.NewGuard()
	}
	if c.Random == nil {
		c.Random = rand.Float64
	}
	logger := c.Logger.With(slog.String("component", "deliver"))
	brokers := broker.NewBook(c.Guard.Dialer(brokerDial))
	d := &Dispatcher{
		config: c, clock: c.Clock, logger: logger,
		userAgent: "Hookgraph/" + cmp.Or(c.Version, "dev"),
		sender:    newSender(c.Sign, brokers, c.Clock, logger),
		book:      credential.NewBook(c.Transport, c.Guard, c.Clock),
		brokers:   brokers,
		prober:    newProber(),
		agenda:    newAgenda(),
		returns:   newReturns(),
		wake:      make(chan struct{}, 1),
		work:      make(chan job),
		resolved:  make(chan struct{}, 1),
		quit:      make(chan struct{}),
		lastWord:  make(chan struct{}),
		lanes:     make(map[string]*lane),
	}
	limit := cmp.Or(max(c.MaxInFlight, 0), DefaultMaxInFlight)
	d.slots = newSlots(limit, func(l *lane) { d.agenda.at(l, d.clock.Now()) })
	return d, nil
}

// Start begins to claim and to take deliveries, and returns. The context's values
// reach every attempt; its end does not stop the dispatcher, Stop does.
func (d *Dispatcher) Start(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.started || d.closed {
		return errors.New("start dispatcher: it was started or stopped before")
	}
	d.started, d.began = true, d.clock.Now()
	d.base, d.cancel = context.WithCancelCause(context.WithoutCancel(ctx))
	d.returner.Go(func() { d.returns.run(d.config.Store.Settle, d.lastWord) })
	d.loops.Go(func() { d.loop(d.base) })
	return nil
}

// Stop stops claiming and taking, gives unused leases back, and waits for the
// attempts under way. Those still under way when the context ends are cut off and
// recorded as INTERRUPTED. All results are with the store when it returns nil.
// A second Stop waits for the first and returns the same.
func (d *Dispatcher) Stop(ctx context.Context) error {
	d.stopOnce.Do(func() { d.stopped = d.stop(ctx) })
	return d.stopped
}

func (d *Dispatcher) stop(ctx context.Context) error {
	defer d.book.Close()
	defer d.brokers.Close()
	d.mu.Lock()
	d.closed = true
	started := d.started
	d.mu.Unlock()
	if !started {
		return nil
	}
	// Once a lane is closed nothing begins in it, so afterwards the number of
	// workers can only fall.
	for _, l := range d.all() {
		l.mu.Lock()
		l.closed = true
		l.returnQueue(l.queue.len())
		l.mu.Unlock()
		for _, c := range l.consumersNow() {
			c.end(ErrDraining)
		}
	}
	close(d.quit)
	drained := make(chan struct{})
	go func() {
		d.loops.Wait() // a claim under way is not lost: what it leased is given back
		d.workers.Wait()
		close(drained)
	}()
	err := d.drain(ctx, drained)
	for err == nil && d.reserved.Load() > 0 && ctx.Err() == nil {
		select {
		case <-d.resolved:
		case <-ctx.Done(): // a lease that comes later ends by itself
		}
	}
	close(d.lastWord)
	if err != nil {
		return err // the store no longer takes results, so returns may be stuck as well
	}
	d.returner.Wait()
	return nil
}

// drain waits for the workers, and cuts their attempts off when ctx ends.
func (d *Dispatcher) drain(ctx context.Context, drained <-chan struct{}) error {
	defer d.cancel(errStopping)
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
	}
	d.logger.WarnContext(ctx, "attempts.interrupted", slog.Int64("count", d.inFlight.Load()))
	d.cancel(errStopping)
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-drained:
		return nil
	case <-grace.C:
		return fmt.Errorf("stop dispatcher: %d attempts could not be settled; their deliveries are made again once their leases end",
			d.inFlight.Load())
	}
}

// Wake says that there may be something new: deliveries of another node, a
// changed endpoint, a delivery to be retried. It may be called at any time and as
// often as one likes, and does not block.
func (d *Dispatcher) Wake() { ring(d.wake) }

// Due says that a delivery of an endpoint is due, which nobody was handed. Like Wake, it
// does not block.
func (d *Dispatcher) Due(endpointID string) {
	if l := d.lane(endpointID); l != nil {
		d.agenda.at(l, d.clock.Now())
	}
}

// Within reports whether no more is under way to any endpoint than this node's share of
// what it permits to all.
func (d *Dispatcher) Within() bool {
	now := d.clock.Now()
	for _, l := range d.all() {
		l.mu.Lock()
		within := l.within(now)
		l.mu.Unlock()
		if !within {
			return false
		}
	}
	return true
}

// InFlight returns how many attempts are under way.
func (d *Dispatcher) InFlight() int { return int(d.inFlight.Load()) }

// Crowded reports whether an endpoint has to wait because others take every slot.
// If that lasts, MaxInFlight is too low for so many busy endpoints.
func (d *Dispatcher) Crowded() bool { return d.slots.crowded() }

// Reserve makes room for a delivery that is about to be committed. If it returns
// true, exactly one of Release and Take must follow; if not, the delivery is to
// wait in the database.
func (d *Dispatcher) Reserve(endpointID string) bool {
	l := d.lane(endpointID)
	if l == nil {
		return false
	}
	now := d.clock.Now()
	l.mu.Lock()
	ok := l.reserve(now)
	if ok {
		d.reserved.Add(1)
	}
	l.mu.Unlock()
	return ok
}

// Release gives up a reservation: the delivery was not committed.
func (d *Dispatcher) Release(endpointID string) {
	if l := d.lane(endpointID); l != nil {
		l.mu.Lock()
		l.release()
		l.mu.Unlock()
	}
	d.resolve()
}

// Take takes up a reservation: the delivery is committed, and leased.
func (d *Dispatcher) Take(lease hub.Lease) {
	if l := d.lane(lease.Delivery.EndpointID); l != nil {
		d.accept(l, lease)
	} else {
		d.returns.add(lease)
	}
	d.resolve()
}

func (d *Dispatcher) resolve() {
	if d.reserved.Add(-1) == 0 {
		ring(d.resolved)
	}
}

// accept puts a lease into its lane and starts on what can be started on.
func (d *Dispatcher) accept(l *lane, lease hub.Lease) {
	now := d.clock.Now()
	l.mu.Lock()
	if j, ok := l.accept(lease, now); ok {
		d.start(j)
	}
	l.mu.Unlock()
}

// all returns the lanes there are.
func (d *Dispatcher) all() []*lane {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Collect(maps.Values(d.lanes))
}

// lane returns the lane of an endpoint, nil if the endpoint is not known or
// nothing is to begin any more.
func (d *Dispatcher) lane(endpointID string) *lane {
	d.mu.RLock()
	l := d.lanes[endpointID]
	ready := d.started
	d.mu.RUnlock()
	if l != nil || !ready {
		return l
	}
	if d.config.Store.Configuration().Endpoints[endpointID] == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if l = d.lanes[endpointID]; l == nil && !d.closed {
		l = &lane{id: endpointID, d: d, state: newState(d.config.Store, endpointID)}
		d.lanes[endpointID] = l
	}
	return l
}
