package graph_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/outbound"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/registry"
	"github.com/hookgraph/hookgraph/internal/secret"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/stream"
	"github.com/hookgraph/hookgraph/internal/testkit"
	"github.com/hookgraph/hookgraph/internal/wake"
)

func TestMain(m *testing.M) {
	// The cache of keys has a goroutine for good; its library offers no end to it.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/hashicorp/golang-lru/v2/expirable.NewLRU[...].func1"))
}

// operatorKey opens everything but introspection.
const operatorKey = "operator-key-of-the-graph-tests-0001"

// bundle is a hub without its delivering half, reached over HTTP.
type bundle struct {
	t       testing.TB
	store   *store.Store
	tail    *stream.Tail[*hub.Event]
	handler *graph.Handler
	url     string // of /graphql

	mu         sync.Mutex
	statements []string // reads, since the last count
}

// noTaker leaves all deliveries in the database.
type noTaker struct{}

func (noTaker) Reserve(string) bool { return false }
func (noTaker) Due(string)          {}
func (noTaker) Within() bool        { return true }
func (noTaker) Release(string)      {}
func (noTaker) Take(hub.Lease)      {}
func (noTaker) Wake()               {}

// setup starts a hub on an empty SQLite database.
func setup(t testing.TB, change ...func(*graph.Config)) *bundle {
	t.Helper()
	b := &bundle{t: t}
	ctx := t.Context()
	matcher, err := match.New()
	must(t, err)
	keyring, err := secret.NewKeyring(bytes.Repeat([]byte{7}, 32))
	must(t, err)
	bus := wake.NewLocal()
	b.store, err = store.Open(ctx, store.Config{
		URL: "sqlite:" + filepath.Join(t.TempDir(), "hookgraph.db"), Keyring: keyring, Router: matcher, Notify: bus.Notify, NotifyChanges: bus.Notify,
		Trace: func(ctx context.Context, query string) {
			if hub.ViewerFromContext(ctx) == nil { // nobody asked for it
				return
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			b.statements = append(b.statements, query)
		},
	})
	must(t, err)
	t.Cleanup(func() { _ = b.store.Close() })
	_, _, err = b.store.Migrate(ctx)
	must(t, err)
	must(t, b.store.Start(ctx, noTaker{}))
	t.Cleanup(func() { _ = b.store.Stop(context.Background()) })
	b.tail = stream.New(stream.Events, stream.Config[*hub.Event]{Bus: bus, Log: stream.Log[*hub.Event]{
		Head: b.store.Head, Oldest: b.store.Oldest, After: b.store.EventsAfter, Epoch: b.store.Epoch, Configuration: b.store.Configuration,
	}})
	must(t, b.tail.Start(ctx))
	t.Cleanup(func() { _ = b.tail.Stop(context.Background()) })
	changes := stream.New(stream.Changes, stream.Config[*hub.DeliveryChange]{Bus: bus, Log: stream.Log[*hub.DeliveryChange]{
		Head: b.store.ChangeHead, Oldest: b.store.OldestChange, After: b.store.ChangesAfter, Epoch: b.store.Epoch, Configuration: b.store.Configuration,
	}})
	must(t, changes.Start(ctx))
	t.Cleanup(func() { _ = changes.Stop(context.Background()) })

	shaper, err := graph.NewShaper(graph.ShaperConfig{View: func(sight hub.Sight) graph.View { return b.store.For(sight) }, Matcher: matcher, Fingerprint: keyring.Fingerprint})
	must(t, err)
	configured := registry.New(registry.Config{
		Store: b.store, Providers: webhook.Presets(), Expressions: matcher, Transforms: shaper, Clock: hub.SystemClock{},
		CheckURL: outbound.NewGuard().CheckURL,
	})
	must(t, configured.EnsureBuiltIn(ctx))
	door := receive.New(receive.Config{Store: b.store, Expressions: matcher, Fingerprint: keyring.Fingerprint})
	authenticator := auth.New(b.store, operatorKey, hub.SystemClock{}, discard)
	cfg := graph.Config{
		View:     func(sight hub.Sight) graph.View { return b.store.For(sight) },
		Registry: configured, Publisher: door, Keys: auth.NewIssuer(b.store, hub.SystemClock{}, discard), Tail: b.tail, Changes: changes, Matcher: matcher,
		Prober: prober{b.store}, Puller: puller{b.store}, Shaper: shaper,
		Authenticate: authenticator.Authenticate, Fingerprint: keyring.Fingerprint, PublicURL: "https://hub.example",
	}
	for _, c := range change {
		c(&cfg)
	}
	b.handler, err = graph.NewHandler(cfg)
	must(t, err)
	server := httptest.NewServer(b.handler)
	b.url = server.URL + "/graphql"
	t.Cleanup(func() {
		_ = b.handler.Drain(context.Background())
		server.Close()
		http.DefaultClient.CloseIdleConnections()
	})
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var discard = slog.New(slog.DiscardHandler)

func now() time.Time { return hub.SystemClock{}.Now() }

// key makes an API key with the given scopes.
func (b *bundle) key(scopes ...hub.Scope) string {
	b.t.Helper()
	key, text := auth.NewKey("test", hub.RoleViewer, scopes, time.Time{}, now())
	must(b.t, b.store.CreateAPIKey(b.t.Context(), key))
	return text
}

// wire makes an endpoint and a subscription that wants everything.
func (b *bundle) wire(name string) (*hub.Endpoint, *hub.Subscription) {
	b.t.Helper()
	e := &hub.Endpoint{
		ID: hub.NewID(hub.EndpointPrefix, time.Now()), Name: name, Kind: hub.EndpointHTTP, URL: "https://" + name + ".example/",
		State: hub.EndpointActive, Timeout: time.Second, MaxConcurrency: 1, Signing: hub.SigningNone,
		RetryPolicy: hub.RetryPolicy{Schedule: hub.DefaultSchedule, Jitter: hub.DefaultJitter}, CreatedAt: now(), UpdatedAt: now(),
	}
	must(b.t, b.store.CreateEndpoint(b.t.Context(), e))
	s := &hub.Subscription{
		ID: hub.NewID(hub.SubscriptionPrefix, time.Now()), Name: "to " + name, EndpointID: e.ID,
		State: hub.SubscriptionActive, EventTypes: []string{"*"}, CreatedAt: now(), UpdatedAt: now(),
	}
	must(b.t, b.store.CreateSubscription(b.t.Context(), s))
	return e, s
}

// publish stores an event and returns its ID.
func (b *bundle) publish(eventType, payload string) string {
	b.t.Helper()
	event := &hub.Event{
		ID: hub.NewID(hub.EventPrefix, time.Now()), Type: eventType, ReceivedAt: now(), ContentType: "application/json",
		SourceID: b.store.Configuration().SourcesBySlug[hub.BuiltInAPISlug].ID,
		Payload:  &hub.Payload{Body: []byte(payload), Headers: []hub.Header{{Name: "X-Test", Value: "yes"}}},
	}
	receipts, err := b.store.Append(b.t.Context(), []*hub.Event{event})
	must(b.t, err)
	return receipts[0].EventID
}

// attempt makes one attempt at every delivery of an endpoint.
func (b *bundle) attempt(e *hub.Endpoint, status int) {
	b.t.Helper()
	leases, err := b.store.Claim(b.t.Context(), []hub.Want{{EndpointID: e.ID, Limit: 1000, Lease: time.Minute}})
	must(b.t, err)
	for _, lease := range leases {
		d := lease.Delivery
		d.AttemptCount++
		d.Status, d.NextAttemptAt, d.CompletedAt = hub.DeliveryDelivered, time.Time{}, now()
		b.store.Settle(hub.Settlement{LeaseToken: lease.Token, Delivery: d, Attempt: &hub.Attempt{
			ID: hub.NewID(hub.AttemptPrefix, time.Now()), DeliveryID: d.ID, Number: d.AttemptCount, StartedAt: now(),
			Duration: 20 * time.Millisecond, Outcome: hub.AttemptSucceeded, StatusCode: status, RequestURL: e.URL,
			RequestHeaders: []hub.Header{{Name: "webhook-id", Value: d.ID}}, ResponseBody: []byte("thanks"),
		}})
	}
	testkit.Eventually(b.t, "the attempts are stored", func() bool {
		n, err := b.store.Backlog(b.t.Context(), []string{e.ID})
		must(b.t, err)
		return n[e.ID] == 0
	})
}

// counted returns the reads since the last call.
func (b *bundle) counted() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.statements
	b.statements = nil
	return out
}

// answer is a GraphQL answer.
type answer struct {
	Status int
	Header http.Header
	Raw    string
	Data   json.RawMessage
	Errors []struct {
		Message    string
		Path       []any
		Extensions map[string]any
	}
	Extensions map[string]any
}

// code is that of the first error.
func (a *answer) code() string {
	if len(a.Errors) == 0 {
		return ""
	}
	code, _ := a.Errors[0].Extensions["code"].(string)
	return code
}

// into decodes the data, and fails the test if there are errors.
func (a *answer) into(t testing.TB, target any) {
	t.Helper()
	if len(a.Errors) > 0 {
		t.Fatalf("answered %s", a.Raw)
	}
	must(t, json.Unmarshal(a.Data, target))
}

// ask sends a query with the operator key.
func (b *bundle) ask(query string, variables ...any) *answer {
	b.t.Helper()
	return b.askAs(operatorKey, query, variables...)
}

// askAs sends a query with any key. Variables are names and values in turn.
func (b *bundle) askAs(key, query string, variables ...any) *answer {
	b.t.Helper()
	values := map[string]any{}
	for i := 0; i+1 < len(variables); i += 2 {
		values[fmt.Sprint(variables[i])] = variables[i+1]
	}
	body, err := json.Marshal(map[string]any{"query": query, "variables": values})
	must(b.t, err)
	return b.send(http.MethodPost, "", string(body), "Authorization", "Bearer "+key, "Content-Type", "application/json")
}

// send sends any request.
func (b *bundle) send(method, query, body string, headers ...string) *answer {
	b.t.Helper()
	request, err := http.NewRequestWithContext(b.t.Context(), method, b.url+query, strings.NewReader(body))
	must(b.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	must(b.t, err)
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	must(b.t, err)
	out := &answer{Status: response.StatusCode, Header: response.Header, Raw: string(text)}
	if strings.Contains(response.Header.Get("Content-Type"), "json") {
		must(b.t, json.Unmarshal(text, out))
	}
	return out
}

// prober stands for the outside world: every endpoint there is answers 200.
type prober struct{ store *store.Store }

func (p prober) TestEndpoint(_ context.Context, id, _ string, _ []byte) (*hub.Attempt, error) {
	if p.store.Configuration().Endpoints[id] == nil {
		return nil, hub.ErrNotFound
	}
	return &hub.Attempt{ID: hub.NewID(hub.AttemptPrefix, now()), EndpointID: id, Number: 1, StartedAt: now(), Outcome: hub.AttemptSucceeded, StatusCode: http.StatusOK}, nil
}

func (p prober) VerifyEndpoint(_ context.Context, id string) (*hub.Endpoint, error) {
	e := p.store.Configuration().Endpoints[id]
	if e == nil {
		return nil, hub.ErrNotFound
	}
	return e, nil
}

// puller stands for the dispatcher: it leases and settles whatever it is asked for, and
// knows nothing of who asks.
type puller struct{ store *store.Store }

// leaseToken is what every delivery can be settled by.
const leaseToken = "the token"

func (p puller) Pull(endpointID string, _ int) (deliver.Pulling, error) {
	if p.store.Configuration().Endpoints[endpointID] == nil {
		return nil, hub.ErrNotFound
	}
	return &pulling{store: p.store, endpointID: endpointID}, nil
}

func (p puller) SettlePulled(ctx context.Context, settlings []hub.Settling) ([]error, error) {
	problems := make([]error, len(settlings))
	for i, s := range settlings {
		found, err := p.store.DeliveriesByID(ctx, []string{s.DeliveryID})
		switch {
		case err != nil:
			return nil, err
		case found[s.DeliveryID] == nil:
			problems[i] = hub.ErrNotFound
		case s.Token != leaseToken:
			problems[i] = hub.NewError(hub.CodeConflict, "the lease has ended")
		}
	}
	return problems, nil
}

// pulling hands over every delivery of an endpoint once, and then waits.
type pulling struct {
	store      *store.Store
	endpointID string
	done       bool
}

func (p *pulling) Next(ctx context.Context) ([]hub.Pulled, error) {
	if p.done {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	p.done = true
	found, err := p.store.Deliveries(ctx, hub.DeliveryFilter{EndpointIDs: []string{p.endpointID}}, hub.Page{Size: 100})
	if err != nil {
		return nil, err
	}
	var out []hub.Pulled
	for _, d := range found.Items {
		out = append(out, hub.Pulled{Delivery: *d, Body: []byte("body of " + d.ID), ContentType: "text/plain", Token: leaseToken, ExpiresAt: now()})
	}
	return out, nil
}

func (p *pulling) Close() {}
