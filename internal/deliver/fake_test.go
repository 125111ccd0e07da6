package deliver_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for a fact before it gives up. No test is
// measured against it.
const patience = 30 * time.Second

// row is a delivery as a database would keep it.
type row struct {
	delivery hub.Delivery
	event    *hub.Event
	body     *hub.Body
	due      time.Time
	token    string
}

var quiet = slog.New(slog.DiscardHandler)

// fakeStore is the database of these tests: deliveries with leases, in memory.
type fakeStore struct {
	clock hub.Clock
	taker *deliver.Dispatcher // offered fresh deliveries, unless nil

	mu            sync.Mutex
	changed       *sync.Cond
	configuration *hub.Configuration
	peers         *hub.Peers
	health        map[string]*hub.EndpointHealth
	rows          map[string]*row
	order         []string // IDs of deliveries as they were made
	attempts      map[string][]*hub.Attempt
	returned      int // leases given back unused
	claims        int
	claimErr      error
	keepErr       error
	partnerID     string         // of the deliveries that are published
	transform     *hub.Transform // of all subscriptions
	mark          string         // of the deliveries that are published
	stale         string         // why all of them are stale; "": none is
	tokens        int
}

func newFakeStore(endpoints ...*hub.Endpoint) *fakeStore {
	s := &fakeStore{
		clock: hub.SystemClock{}, health: map[string]*hub.EndpointHealth{},
		rows: map[string]*row{}, attempts: map[string][]*hub.Attempt{}, peers: &hub.Peers{},
	}
	s.changed = sync.NewCond(&s.mu)
	s.configure(endpoints...)
	return s
}

// configure replaces all endpoints; each gets the subscription sub_<its ID>.
func (s *fakeStore) configure(endpoints ...*hub.Endpoint) {
	var subscriptions []*hub.Subscription
	for _, e := range endpoints {
		subscriptions = append(subscriptions, &hub.Subscription{ID: "sub_" + e.ID, EndpointID: e.ID, State: hub.SubscriptionActive, Transform: s.transform})
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configuration = hub.NewConfiguration(0, nil, endpoints, subscriptions)
}

func (s *fakeStore) Configuration() *hub.Configuration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.configuration
}

func (s *fakeStore) Peers() *hub.Peers {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers
}

// meet tells which nodes there are.
func (s *fakeStore) meet(peers *hub.Peers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers = peers
}

func (s *fakeStore) Health(id string) *hub.EndpointHealth {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.health[id]
}

func (s *fakeStore) lease(r *row, until time.Time) hub.Lease {
	s.tokens++
	r.token, r.due = fmt.Sprint("token_", s.tokens), until
	return hub.Lease{Delivery: r.delivery, Event: r.event, Body: r.body, Token: r.token, ExpiresAt: until}
}

func (s *fakeStore) Claim(_ context.Context, wants []hub.Want) ([]hub.Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.claims++
	s.changed.Broadcast()
	if s.claimErr != nil {
		return nil, s.claimErr
	}
	now := s.clock.Now()
	var out []hub.Lease
	for _, want := range wants {
		var due []*row
		for _, id := range s.order {
			r := s.rows[id]
			if r.delivery.EndpointID == want.EndpointID && r.delivery.Status == hub.DeliveryPending && !r.due.After(now) && !s.paused(r) {
				due = append(due, r)
			}
		}
		slices.SortStableFunc(due, func(a, b *row) int { return a.due.Compare(b.due) })
		for _, r := range due[:min(len(due), want.Limit)] {
			out = append(out, s.lease(r, now.Add(want.Lease)))
		}
	}
	return out, nil
}

func (s *fakeStore) paused(r *row) bool {
	sub := s.configuration.Subscriptions[r.delivery.SubscriptionID]
	return sub != nil && sub.State == hub.SubscriptionPaused
}

func (s *fakeStore) NextDue(context.Context) (map[string]time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]time.Time{}
	for _, r := range s.rows {
		if r.delivery.Status != hub.DeliveryPending || s.paused(r) {
			continue
		}
		if at, ok := out[r.delivery.EndpointID]; !ok || r.due.Before(at) {
			out[r.delivery.EndpointID] = r.due
		}
	}
	return out, nil
}

func (s *fakeStore) Leased(_ context.Context, ids []string) (map[string]hub.Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]hub.Lease{}
	for _, id := range ids {
		if r := s.rows[id]; r != nil && r.token != "" {
			out[id] = hub.Lease{Delivery: r.delivery, Event: r.event, Token: r.token, ExpiresAt: r.due}
		}
	}
	return out, nil
}

// Stale says of every delivery what skip was given.
func (s *fakeStore) Stale(context.Context, *hub.Delivery, *hub.Event) (string, bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stale, s.stale != "", nil
}

// skip has every delivery be stale from now on.
func (s *fakeStore) skip(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stale = reason
}

func (s *fakeStore) KeepBody(_ context.Context, lease hub.Lease, body hub.Body) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keepErr != nil {
		return s.keepErr
	}
	r := s.rows[lease.Delivery.ID]
	if r == nil || r.token != lease.Token {
		return hub.NewError(hub.CodeConflict, "the lease is void")
	}
	r.delivery.BodyForm, r.body = hub.BodyShaped, &body
	return nil
}

func (s *fakeStore) Settle(st hub.Settlement) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed.Broadcast()
	id := st.Delivery.ID
	if st.Attempt != nil {
		s.attempts[id] = append(s.attempts[id], st.Attempt)
	} else {
		s.returned++
	}
	if st.Health != nil {
		s.health[st.Health.EndpointID] = st.Health
	}
	if st.Disable != "" {
		endpoints := maps.Clone(s.configuration.Endpoints)
		e := *endpoints[st.Delivery.EndpointID]
		e.State, e.StateReason, e.UpdatedAt = hub.EndpointDisabled, st.Disable, s.clock.Now()
		endpoints[e.ID] = &e
		s.configuration = hub.NewConfiguration(0, nil, slices.Collect(maps.Values(endpoints)), s.configuration.Ordered)
	}
	applied := false
	if r := s.rows[id]; r != nil && r.token == st.LeaseToken {
		applied = true
		form := r.delivery.BodyForm
		r.delivery, r.due, r.token = st.Delivery, st.Delivery.NextAttemptAt, ""
		r.delivery.BodyForm = form
	}
	if st.Stored != nil {
		st.Stored(applied, nil)
	}
}

// publish makes a delivery of each body to the endpoint in one commit, as the
// store does: rooms are reserved first, and taken up after the commit.
func (s *fakeStore) publish(endpointID string, bodies ...string) []string {
	return s.publishVia(s.taker, endpointID, bodies...)
}

func (s *fakeStore) publishVia(taker *deliver.Dispatcher, endpointID string, bodies ...string) []string {
	reserved := make([]bool, len(bodies))
	for i := range bodies {
		reserved[i] = taker != nil && taker.Reserve(endpointID)
	}
	var ids []string
	var leases []hub.Lease
	s.mu.Lock()
	for i, body := range bodies {
		now := s.clock.Now()
		ev := &hub.Event{
			ID: hub.NewID(hub.EventPrefix, now), Type: "test", ContentType: "application/json", ReceivedAt: now,
			Payload: &hub.Payload{Body: []byte(body)},
		}
		r := &row{event: ev, due: now, delivery: hub.Delivery{
			ID: hub.NewID(hub.DeliveryPrefix, now), EventID: ev.ID, EndpointID: endpointID, SubscriptionID: "sub_" + endpointID,
			Status: hub.DeliveryPending, CreatedAt: now, NextAttemptAt: now, PartnerID: s.partnerID, Mark: s.mark,
		}}
		if s.transform != nil {
			r.delivery.BodyForm = hub.BodyUnshaped
		}
		s.rows[r.delivery.ID] = r
		s.order = append(s.order, r.delivery.ID)
		ids = append(ids, r.delivery.ID)
		if reserved[i] {
			leases = append(leases, s.lease(r, now.Add(time.Minute)))
		}
	}
	s.mu.Unlock()
	for _, l := range leases {
		taker.Take(l)
	}
	return ids
}

func (s *fakeStore) RecordAttempt(_ context.Context, a *hub.Attempt) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed.Broadcast()
	s.attempts[a.EndpointID] = append(s.attempts[a.EndpointID], a)
	return nil
}

func (s *fakeStore) UpdateEndpoint(_ context.Context, id string, edit func(*hub.Endpoint) error) (*hub.Endpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.changed.Broadcast()
	endpoints := maps.Clone(s.configuration.Endpoints)
	if endpoints[id] == nil {
		return nil, hub.ErrNotFound
	}
	e := *endpoints[id]
	if err := edit(&e); err != nil {
		return nil, err
	}
	e.UpdatedAt = s.clock.Now()
	endpoints[id] = &e
	s.configuration = hub.NewConfiguration(0, nil, slices.Collect(maps.Values(endpoints)), s.configuration.Ordered)
	return &e, nil
}

func (s *fakeStore) delivery(id string) hub.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows[id].delivery
}

func (s *fakeStore) attemptsOf(id string) []*hub.Attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.attempts[id])
}

// count returns how many deliveries to the endpoint have the status.
func (s *fakeStore) count(endpointID string, status hub.DeliveryStatus) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, r := range s.rows {
		if r.delivery.EndpointID == endpointID && r.delivery.Status == status {
			n++
		}
	}
	return n
}

// await waits until the condition holds, looking whenever something has changed.
func (s *fakeStore) await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	expired := false
	timer := time.AfterFunc(patience, func() {
		s.mu.Lock()
		expired = true
		s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer timer.Stop()
	for {
		s.mu.Lock()
		gaveUp := expired
		s.mu.Unlock()
		if condition() {
			return
		}
		if gaveUp {
			t.Fatalf("gave up waiting for %s", what)
		}
		s.mu.Lock()
		if !expired && !gaveUp {
			wake := time.AfterFunc(10*time.Millisecond, s.changed.Broadcast) // the condition may be about something else
			s.changed.Wait()
			wake.Stop()
		}
		s.mu.Unlock()
	}
}

// awaitAttempts waits for the nth attempt of a delivery and returns it.
func (s *fakeStore) awaitAttempts(t testing.TB, id string, n int) *hub.Attempt {
	t.Helper()
	s.await(t, fmt.Sprintf("attempt %d", n), func() bool { return len(s.attemptsOf(id)) >= n })
	return s.attemptsOf(id)[n-1]
}

// sign is Standard Webhooks v1, written down once more from its specification.
func sign(secret hub.Secret, id string, at time.Time, body []byte) (string, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret.Reveal(), "whsec_"))
	if err != nil {
		return "", err
	}
	mac := hmac.New(sha256.New, key)
	_, _ = fmt.Fprintf(mac, "%s.%d.%s", id, at.Unix(), body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)), nil
}

const (
	secretA = hub.Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	secretB = hub.Secret("whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")
)

func newEndpoint(id, url string, change ...func(*hub.Endpoint)) *hub.Endpoint {
	e := &hub.Endpoint{
		ID: id, Kind: hub.EndpointHTTP, URL: url, State: hub.EndpointActive,
		Timeout: hub.DefaultTimeout, MaxConcurrency: 4,
		RetryPolicy:    hub.RetryPolicy{Schedule: hub.DefaultSchedule},
		Signing:        hub.SigningStandardV1,
		SigningSecrets: []hub.SigningSecret{{ID: "sec_a", Secret: secretA}},
	}
	for _, c := range change {
		c(e)
	}
	return e
}

// newDispatcher makes and starts a dispatcher over the store and connects the
// two. It is stopped when the test ends.
func newDispatcher(t testing.TB, s *fakeStore, transport http.RoundTripper, change ...func(*deliver.Config)) *deliver.Dispatcher {
	t.Helper()
	config := deliver.Config{
		Store: s, Shaper: &shaper{}, Transport: transport, Sign: sign, Logger: quiet, Version: "1.2.3",
		Random: func() float64 { return 0.5 },
	}
	for _, c := range change {
		c(&config)
	}
	d, err := deliver.New(config)
	if err != nil {
		t.Fatal(err)
	}
	s.taker = d
	if err := d.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what still hangs is cut off
		if err := d.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return d
}

// roundTrip answers requests in place of a network.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func answer(status int, pairs ...string) *http.Response {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return &http.Response{StatusCode: status, Header: h, Body: http.NoBody}
}

// shaper makes the body {"shaped":n} at its nth call, unless it is to fail.
type shaper struct {
	mu    sync.Mutex
	calls int
	owner string // with whose rights the newest was made
	fail  func(call int) error
}

func (s *shaper) Shape(_ context.Context, partnerID string, _ *hub.Transform, _ *hub.Event) (hub.Body, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	s.owner = partnerID
	if s.fail != nil {
		if err := s.fail(s.calls); err != nil {
			return hub.Body{}, err
		}
	}
	return hub.Body{ContentType: "application/json", Bytes: fmt.Appendf(nil, `{"shaped":%d}`, s.calls)}, nil
}
