package store_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eachDatabase runs a test on SQLite and on PostgreSQL, each with an empty database
// of its own.
func eachDatabase(t *testing.T, test func(t *testing.T, url string)) {
	t.Helper()
	testkit.EachDatabase(t, test)
}

// bundle is what a test gets beside its subject.
type bundle struct {
	url    string
	clock  *clock
	router *router
	wakes  *atomic.Int64
	trace  *trace
}

// open opens and migrates a store and closes it after the test; it does not start it.
func open(t testing.TB, url string, change ...func(*store.Config)) (*store.Store, *bundle) {
	t.Helper()
	b := &bundle{url: url, clock: newClock(), router: &router{}, wakes: new(atomic.Int64), trace: &trace{}}
	cfg := store.Config{
		URL: url, Keyring: sealer{}, Clock: b.clock, Router: b.router, Notify: func() { b.wakes.Add(1) },
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError})),
		Trace:  b.trace.add,
	}
	for _, f := range change {
		f(&cfg)
	}
	s, err := store.Open(t.Context(), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if _, _, err := s.Migrate(t.Context()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return s, b
}

// start opens, migrates and starts a store without a taker.
func start(t testing.TB, url string, change ...func(*store.Config)) (*store.Store, *bundle) {
	t.Helper()
	s, b := open(t, url, change...)
	must(t, s.Start(t.Context(), nil))
	return s, b
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// clock is set by tests.
type clock struct{ now atomic.Int64 }

func newClock() *clock {
	c := &clock{}
	c.now.Store(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMicro())
	return c
}

func (c *clock) Now() time.Time          { return time.UnixMicro(c.now.Load()).UTC() }
func (c *clock) advance(d time.Duration) { c.now.Add(d.Microseconds()) }

// router wants every event for every subscription whose event types list the type,
// unless a test sets another rule.
type router struct {
	rule atomic.Pointer[func(*hub.Event, *hub.Configuration) []string]
}

func (r *router) set(rule func(*hub.Event, *hub.Configuration) []string) { r.rule.Store(&rule) }

func (r *router) Route(ev *hub.Event, cfg *hub.Configuration) []string {
	if rule := r.rule.Load(); rule != nil {
		return (*rule)(ev, cfg)
	}
	var ids []string
	for _, sub := range cfg.Ordered {
		ids = append(ids, sub.ID)
	}
	return ids
}

// trace keeps the statements that are made under a context of askedBy, as those are not
// by which a store keeps up with others and keeps tidy.
type trace struct {
	mu    sync.Mutex
	asked []string
}

type askedKey struct{}

func (tr *trace) add(ctx context.Context, query string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if ctx.Value(askedKey{}) != nil {
		tr.asked = append(tr.asked, query)
	}
}

// askedBy returns the statements that do makes under its context.
func (tr *trace) askedBy(t testing.TB, do func(ctx context.Context) error) []string {
	t.Helper()
	tr.mu.Lock()
	tr.asked = nil
	tr.mu.Unlock()
	must(t, do(context.WithValue(t.Context(), askedKey{}, true)))
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return tr.asked
}

// sealer is AES-GCM with a fixed key.
type sealer struct{ key byte }

func (s sealer) aead() cipher.AEAD {
	block, err := aes.NewCipher([]byte(strings.Repeat(string('k'+rune(s.key)), 32)))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic(err)
	}
	return aead
}

func (s sealer) Seal(plain, bound []byte) ([]byte, error) {
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	return s.aead().Seal(nonce, nonce, plain, bound), nil
}

func (s sealer) Open(sealed, bound []byte) ([]byte, error) {
	if len(sealed) < 12 {
		return nil, errors.New("sealed value is too short")
	}
	return s.aead().Open(nil, sealed[:12], sealed[12:], bound)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func got[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(2 * time.Minute)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("it did not come true that %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func newSource(t testing.TB, s *store.Store, b *bundle, change ...func(*hub.Source)) *hub.Source {
	t.Helper()
	id := hub.NewID(hub.SourcePrefix, b.clock.Now())
	src := &hub.Source{
		ID: id, Name: "Source " + id, Slug: "slug-" + id[4:], Kind: hub.SourceWebhook, State: hub.SourceActive,
		AllowUnverified: true, MaxBodyBytes: hub.DefaultMaxBodyBytes, CreatedAt: b.clock.Now(), UpdatedAt: b.clock.Now(),
	}
	for _, f := range change {
		f(src)
	}
	must(t, s.CreateSource(t.Context(), src))
	return src
}

func newEndpoint(t testing.TB, s *store.Store, b *bundle, change ...func(*hub.Endpoint)) *hub.Endpoint {
	t.Helper()
	id := hub.NewID(hub.EndpointPrefix, b.clock.Now())
	e := &hub.Endpoint{
		ID: id, Name: "Endpoint " + id, Kind: hub.EndpointHTTP, URL: "https://example.com/hook", State: hub.EndpointActive,
		Timeout: hub.DefaultTimeout, MaxConcurrency: hub.DefaultMaxConcurrency, Signing: hub.SigningStandardV1,
		RetryPolicy: hub.RetryPolicy{Schedule: hub.DefaultSchedule, Jitter: hub.DefaultJitter},
		CreatedAt:   b.clock.Now(), UpdatedAt: b.clock.Now(),
	}
	for _, f := range change {
		f(e)
	}
	must(t, s.CreateEndpoint(t.Context(), e))
	return e
}

func newSubscription(t testing.TB, s *store.Store, b *bundle, e *hub.Endpoint, change ...func(*hub.Subscription)) *hub.Subscription {
	t.Helper()
	id := hub.NewID(hub.SubscriptionPrefix, b.clock.Now())
	sub := &hub.Subscription{
		ID: id, Name: "Subscription " + id, EndpointID: e.ID, State: hub.SubscriptionActive, EventTypes: []string{"*"},
		Ordering: hub.OrderingNone, Poison: hub.PoisonPark, CreatedAt: b.clock.Now(), UpdatedAt: b.clock.Now(),
	}
	for _, f := range change {
		f(sub)
	}
	must(t, s.CreateSubscription(t.Context(), sub))
	return sub
}

func newEvent(b *bundle, src *hub.Source, change ...func(*hub.Event)) *hub.Event {
	now := b.clock.Now()
	ev := &hub.Event{
		ID: hub.NewID(hub.EventPrefix, now), SourceID: src.ID, Type: "invoice.paid", ReceivedAt: now, ContentType: "application/json",
		Payload: &hub.Payload{Body: []byte(`{"n":1}`), Headers: []hub.Header{{Name: "X-A", Value: "1"}}, Query: "a=1&a=2"},
	}
	for _, f := range change {
		f(ev)
	}
	return ev
}

func keyed(key string) func(*hub.Event) { return func(ev *hub.Event) { ev.DedupeKey = key } }

func typed(name string) func(*hub.Event) { return func(ev *hub.Event) { ev.Type = name } }

// add stores one event.
func add(t testing.TB, s *store.Store, ev *hub.Event) hub.Receipt {
	t.Helper()
	receipts, err := s.Append(t.Context(), []*hub.Event{ev})
	if err != nil {
		t.Fatalf("append: %v", err)
	}
	return receipts[0]
}

// deliveriesOf returns an event's deliveries, oldest first.
func deliveriesOf(t testing.TB, s *store.Store, eventID string) []*hub.Delivery {
	t.Helper()
	page := got[map[string]hub.Slice[*hub.Delivery]](t)(
		s.DeliveriesOf(t.Context(), store.OfEvents, []string{eventID}, hub.DeliveryFilter{}, hub.Page{Size: 100}))
	items := page[eventID].Items
	for i, j := 0, len(items)-1; i < j; i, j = i+1, j-1 {
		items[i], items[j] = items[j], items[i]
	}
	return items
}

func delivery(t testing.TB, s *store.Store, id string) *hub.Delivery {
	t.Helper()
	found := got[map[string]*hub.Delivery](t)(s.DeliveriesByID(t.Context(), []string{id}))
	if found[id] == nil {
		t.Fatalf("delivery %s is gone", id)
	}
	return found[id]
}

// claim leases what is due of one endpoint.
func claim(t testing.TB, s *store.Store, e *hub.Endpoint, limit int) []hub.Lease {
	t.Helper()
	return got[[]hub.Lease](t)(s.Claim(t.Context(), []hub.Want{{EndpointID: e.ID, Limit: limit, Lease: time.Minute}}))
}

// attempt is the result of one try with a lease.
func attempt(b *bundle, l hub.Lease, outcome hub.AttemptOutcome, status hub.DeliveryStatus) hub.Settlement {
	now := b.clock.Now()
	d := l.Delivery
	d.Status = status
	if status.Ended() {
		d.CompletedAt, d.NextAttemptAt = now, time.Time{}
	} else {
		d.SchedulePosition++
		d.NextAttemptAt = now.Add(time.Hour)
	}
	return hub.Settlement{
		LeaseToken: l.Token, Delivery: d, Event: l.Event,
		Attempt: &hub.Attempt{
			ID: hub.NewID(hub.AttemptPrefix, now), DeliveryID: d.ID, StartedAt: now, Duration: 12 * time.Millisecond, Outcome: outcome,
			StatusCode: 200, RequestURL: "https://example.com/hook", ResponseBody: []byte("ok"),
		},
	}
}

// settled stores a result and waits until it is seen.
func settled(t testing.TB, s *store.Store, r hub.Settlement) *hub.Delivery {
	t.Helper()
	before := delivery(t, s, r.Delivery.ID).AttemptCount
	s.Settle(r)
	if r.Attempt != nil {
		eventually(t, "the attempt is recorded", func() bool { return delivery(t, s, r.Delivery.ID).AttemptCount > before })
	}
	return delivery(t, s, r.Delivery.ID)
}

// wantCode checks what kind of error came.
func wantCode(t testing.TB, err error, code hub.Code) {
	t.Helper()
	if hub.CodeOf(err) != code {
		t.Fatalf("the error is %v (%q), want code %q", err, hub.CodeOf(err), code)
	}
}

// taker grants a number of slots and keeps what it is handed.
type taker struct {
	mu       sync.Mutex
	slots    int
	reserved int
	leases   []hub.Lease
}

func (k *taker) Reserve(string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.reserved >= k.slots {
		return false
	}
	k.reserved++
	return true
}

func (k *taker) Release(string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reserved--
}

// Due does nothing, like Wake.
func (k *taker) Due(string) {}

// Within says so: nothing is under way for longer than the test looks.
func (k *taker) Within() bool { return true }

// Wake does nothing: the test itself claims what is due.
func (k *taker) Wake() {}

func (k *taker) Take(l hub.Lease) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leases = append(k.leases, l)
}

func (k *taker) taken() []hub.Lease {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]hub.Lease{}, k.leases...)
}

func ids[T any](items []T, id func(T) string) []string {
	out := make([]string, len(items))
	for i, item := range items {
		out[i] = id(item)
	}
	return out
}

func eventID(ev *hub.Event) string      { return ev.ID }
func deliveryID(d *hub.Delivery) string { return d.ID }
