package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// faults makes one method of what resolvers depend on fail, and notes which are called.
type faults struct {
	// mu guards what follows.
	mu     sync.Mutex
	method string
	fail   func() error
	seen   map[string]bool
}

func (f *faults) call(_ context.Context, method string) error {
	f.called(method)
	f.mu.Lock()
	fail := f.fail
	if f.method != method {
		fail = nil
	}
	f.mu.Unlock()
	if fail == nil {
		return nil
	}
	return fail()
}

func (f *faults) called(method string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.seen[method] = true
}

// set makes a method fail from now on, "" none, and forgets what was called.
func (f *faults) set(method string, fail func() error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.method, f.fail, f.seen = method, fail, make(map[string]bool)
}

func (f *faults) calls() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Collect(maps.Keys(f.seen))
}

// marker stands in every injected failure, in the ways that drivers put it.
const marker = `m4rk3r`

const inside = `pq: SELECT secret FROM ` + marker + ` WHERE host='10.1.2.3:5432' in /var/lib/` + marker

// stable are the codes that a failing dependency may lead to.
var stable = map[string]bool{"INTERNAL": true, "TIMEOUT": true, "UNAVAILABLE": true}

// corpus asks for every root field, and for what lies under it that is read from the
// store. ID, SOURCE and so on stand for what faultyHub has made.
var corpus = []string{
	`{ viewer { role } providers { name } source(id: "SOURCE") { name lastEventAt events { totalCount nodes { id } } rejections { totalCount nodes { id } } } }`,
	`{ viewer { role } sources { totalCount nodes { lastEventAt url } } }`,
	`{ viewer { role } node(id: "EVENT") { id } }`,
	`{ viewer { role } nodes(ids: ["EVENT", "REJECTION", "DELIVERY", "ATTEMPT", "KEY", "DOCUMENT", "SOURCE"]) { id } }`,
	`{ viewer { role } event(id: "EVENT") { id payload rawBody headers { name } hops deliveries { totalCount nodes { id attempts { totalCount nodes { requestBody } } event { id } } } } }`,
	`{ viewer { role } event(id: "EVENT") { id trace { step detail } } }`,
	`{ viewer { role } events(first: 1) { totalCount nodes { payload source { name } } } }`,
	`{ viewer { role } events(filter: {expression: "true"}) { totalCount nodes { id } } }`,
	`{ viewer { role } rejections { totalCount nodes { id source { name } } } }`,
	`{ viewer { role } endpoint(id: "ENDPOINT") { backlog subscriptions { totalCount nodes { id } } deliveries { totalCount nodes { id } } } }`,
	`{ viewer { role } endpoints { totalCount nodes { id backlog } } }`,
	`{ viewer { role } subscription(id: "SUBSCRIPTION") { id deliveries { totalCount nodes { id } } } }`,
	`{ viewer { role } subscriptions { totalCount nodes { id } } }`,
	`{ viewer { role } delivery(id: "DELIVERY") { id event { id } attempts { totalCount nodes { id } } } }`,
	`{ viewer { role } deliveries { totalCount nodes { id event { id } attempts { totalCount nodes { id } } } } }`,
	`{ viewer { role } eventTypes { totalCount nodes { name schema learnedSchema sampleCount lastSeenAt driftedAt sources { name } } } }`,
	`{ viewer { role } eventTypes(filter: {nameContains: "one", sourceIds: ["SOURCE"]}) { nodes { id } } node(id: "CATALOGUED") { id } event(id: "EVENT") { eventType { name } } }`,
	`{ viewer { role } source(id: "SOURCE") { expectedEvery silentSince rejectingSince uncataloguedCount eventTypes { totalCount nodes { id } } } }`,
	`{ viewer { role } event(id: "EVENT") { eventType { schemaOrigin } } }`,
	`{ viewer { role } event(id: "EVENT") { eventType { eventCount } } }`,
	`{ viewer { role } exportEventTypes(format: TYPESCRIPT) }`,
	`{ viewer { role } exportEventTypes(format: GRAPHQL, names: ["one"]) }`,
	`mutation { putEventType(input: {name: "one", description: "One"}) { eventType { id schema } userErrors { message } } }`,
	`{ viewer { role } apiKeys { totalCount nodes { id } } }`,
	`{ viewer { role } documents { totalCount nodes { id } } }`,
	`{ viewer { role partner { id } } partner(id: "PARTNER") { name endpoints { totalCount } } partners { totalCount } }`,
	`{ viewer { role } stats(since: "SINCE", bucket: "PT1H") { received } }`,
	`{ viewer { role } source(id: "SOURCE") { stats(since: "SINCE") { received } } endpoint(id: "ENDPOINT") { stats(since: "SINCE") { received } } }`,
	`mutation { createPartner(input: {name: "One"}) { partner { id } userErrors { message } } }`,
	`mutation { updatePartner(input: {id: "PARTNER", name: "Renamed"}) { partner { id } userErrors { message } } }`,
	`mutation { createSource(input: {name: "One", allowUnverified: true}) { source { id lastEventAt } userErrors { message } } }`,
	`mutation { updateSource(input: {id: "SOURCE", name: "Renamed"}) { source { id } userErrors { message } } }`,
	`mutation { deleteSource(input: {id: "NOTHING"}) { deletedId userErrors { message } } }`,
	`mutation { pauseSource(id: "SOURCE") { source { id } userErrors { message } } }`,
	`mutation { captureSource(id: "SOURCE", count: 2) { source { id } userErrors { message } } }`,
	`mutation { fetchSource(id: "POLLED") { source { id fetch { fetchedCount } } userErrors { message } } }`,
	`mutation { resumeSource(id: "SOURCE") { source { id } userErrors { message } } }`,
	`mutation { createEndpoint(input: {name: "One", url: "https://one.example/"}) { endpoint { id backlog } signingSecret userErrors { message } } }`,
	`mutation { updateEndpoint(input: {id: "ENDPOINT", name: "Renamed"}) { endpoint { id } userErrors { message } } }`,
	`mutation { deleteEndpoint(input: {id: "NOTHING"}) { deletedId userErrors { message } } }`,
	`mutation { disableEndpoint(id: "ENDPOINT", reason: "x") { endpoint { id } userErrors { message } } }`,
	`mutation { pauseEndpoint(id: "ENDPOINT") { endpoint { id } userErrors { message } } }`,
	`mutation { resumeEndpoint(id: "ENDPOINT") { endpoint { id } userErrors { message } } }`,
	`mutation { verifyEndpoint(id: "ENDPOINT") { endpoint { id } userErrors { message } } }`,
	`mutation { testEndpoint(id: "ENDPOINT") { attempt { id } userErrors { message } } }`,
	`mutation { rotateEndpointSecret(id: "ENDPOINT") { endpoint { id } userErrors { message } } }`,
	`mutation { createSubscription(input: {name: "One", endpointId: "ENDPOINT"}) { subscription { id } userErrors { message } } }`,
	`mutation { createSubscription(input: {name: "One", endpointId: "NOTHING"}) { subscription { id } userErrors { message } } }`,
	`mutation { updateSubscription(input: {id: "SUBSCRIPTION", name: "Renamed"}) { subscription { id } userErrors { message } } }`,
	`mutation { deleteSubscription(input: {id: "NOTHING"}) { deletedId userErrors { message } } }`,
	`mutation { pauseSubscription(id: "SUBSCRIPTION") { subscription { id } userErrors { message } } }`,
	`mutation { resumeSubscription(id: "SUBSCRIPTION") { subscription { id } userErrors { message } } }`,
	`mutation { previewSubscription(input: {eventTypes: ["*"], last: 2}) { results { matched body } userErrors { message } } }`,
	`mutation { previewSubscription(input: {eventIds: ["EVENT"]}) { results { matched body } userErrors { message } } }`,
	`mutation { publishEvent(input: {type: "one", payload: {}}) { event { id payload deliveries { totalCount } } userErrors { message } } }`,
	`mutation { publishEvents(input: [{type: "one", payload: {}}, {type: "two", payload: {}}]) { event { id } userErrors { message } } }`,
	`mutation { retryDelivery(id: "DELIVERY") { delivery { id event { id } } userErrors { message } } }`,
	`mutation { cancelDelivery(id: "DELIVERY") { delivery { id } userErrors { message } } }`,
	`{ viewer { role } replay(id: "NOTHING_REPLAY") { id } replays { totalCount nodes { id } } }`,
	`mutation { startReplay(input: {deliveries: {}}) { replay { id } count userErrors { message } } }`,
	`mutation { cancelReplay(id: "NOTHING_REPLAY") { replay { id } userErrors { message } } }`,
	`mutation { createApiKey(input: {name: "One", role: VIEWER}) { apiKey { id } key userErrors { message } } }`,
	`mutation { revokeApiKey(id: "NOTHING") { apiKey { id } userErrors { message } } }`,
	`mutation { registerDocument(input: {document: "{ viewer { role } }"}) { document { id } userErrors { message } } }`,
	`mutation { removeDocument(input: {id: "NOTHING"}) { deletedId userErrors { message } } }`,
	`mutation { settleDeliveries(input: [{deliveryId: "DELIVERY", leaseToken: "the token", outcome: ACKNOWLEDGE}]) { delivery { id } userErrors { message } } }`,
	`subscription { deliveryStream(endpointId: "ENDPOINT") { deliveries { body delivery { id event { id } } } } }`,
	`subscription { eventStream(from: EARLIEST, batchSize: 2) { cursor events { id payload deliveries(first: 2) { nodes { id attempts(first: 2) { nodes { id } } } } } } }`,
	`subscription { deliveryUpdates(from: EARLIEST, batchSize: 2) { cursor deliveries { id event { id } } } }`,
	`subscription { statsUpdates(interval: "PT1H") { received } }`,
}

// faultyHub is a hub whose dependencies can be made to fail, with one of each thing.
func faultyHub(t *testing.T) (*bundle, *faults, *testkit.Output, []string) {
	t.Helper()
	f, log := &faults{}, &testkit.Output{}
	f.set("", nil)
	b := setup(t, func(cfg *graph.Config) {
		unmetered(cfg)
		whole := cfg.View
		cfg.View = func(sight hub.Sight) graph.View { return faultyView{whole(sight), f} }
		cfg.Prober = faultyProber{cfg.Prober, f}
		cfg.Puller = faultyPuller{cfg.Puller, f}
		cfg.Publisher, cfg.Keys = faultyPublisher{cfg.Publisher, f}, faultyKeys{cfg.Keys, f}
		cfg.Tail, cfg.Changes = faultyTail[*hub.Event]{cfg.Tail, f}, faultyTail[*hub.DeliveryChange]{cfg.Changes, f}
		cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	endpoint, subscription := b.wire("one")
	shaping := &hub.Subscription{
		ID: hub.NewID(hub.SubscriptionPrefix, time.Now()), Name: "shaped", EndpointID: endpoint.ID, State: hub.SubscriptionActive,
		EventTypes: []string{"*"}, Transform: &hub.Transform{Kind: hub.TransformCEL, Expression: "body"}, CreatedAt: now(), UpdatedAt: now(),
	}
	must(t, b.store.CreateSubscription(t.Context(), shaping))
	event := b.publish("one", `{"n": 1}`)
	b.attempt(endpoint, http.StatusOK)
	var got struct {
		Deliveries struct {
			Nodes []struct {
				ID       string
				Attempts struct{ Nodes []struct{ ID string } }
			}
		}
	}
	b.ask(`{ deliveries { nodes { id attempts { nodes { id } } } } }`).into(t, &got)
	partner := &hub.Partner{ID: hub.NewID(hub.PartnerPrefix, time.Now()), Name: "Partner"}
	must(t, b.store.CreatePartner(t.Context(), partner))
	polled := &hub.Source{
		ID: hub.NewID(hub.SourcePrefix, time.Now()), Name: "Polled", Slug: "polled", Kind: hub.SourcePoll, State: hub.SourceActive,
		MaxBodyBytes: hub.DefaultMaxBodyBytes, Poll: &hub.Poll{URL: "https://api.example.com/items", Interval: time.Minute, Items: "$[*]"},
	}
	must(t, b.store.CreateSource(t.Context(), polled))
	described, err := b.store.PutEventType(t.Context(), "one", func(*hub.EventType, []*hub.EventType) error { return nil })
	must(t, err)
	nothing := func(prefix string) string { return hub.NewID(prefix, time.Now()) }
	names := strings.NewReplacer(
		"NOTHING_REPLAY", nothing(hub.ReplayPrefix), "CATALOGUED", described.ID,
		"POLLED", polled.ID, "SOURCE", b.store.Configuration().SourcesBySlug[hub.BuiltInAPISlug].ID, "EVENT", event,
		"SINCE", time.Now().UTC().Format("2006-01-02T00:00:00Z"), "PARTNER", partner.ID, "ENDPOINT", endpoint.ID, "SUBSCRIPTION", subscription.ID,
		"DELIVERY", got.Deliveries.Nodes[0].ID, "ATTEMPT", got.Deliveries.Nodes[0].Attempts.Nodes[0].ID,
		"DOCUMENT", b.register(t, "one", roleQuery), "REJECTION", nothing(hub.RejectionPrefix), "KEY", nothing(hub.APIKeyPrefix), "NOTHING", nothing(hub.SourcePrefix),
	)
	operations := make([]string, len(corpus))
	for i, text := range corpus {
		operations[i] = names.Replace(text)
	}
	return b, f, log, operations
}

// outcomes executes an operation over every transport that takes it.
func (b *bundle) outcomes(t *testing.T, query string) map[string]string {
	t.Helper()
	if !strings.HasPrefix(query, "subscription") {
		return b.everywhere(t, map[string]any{"query": query})
	}
	done := func(text string) bool {
		return strings.Contains(text, `"errors"`) || strings.Contains(text, `"evt_`) || strings.Contains(text, `"received"`)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := map[string]string{}
	_, next := b.events(ctx, t, query)
	for !done(out["SSE"]) {
		e, err := next()
		must(t, err)
		out["SSE"] = e.data
	}
	s := b.dial(t)
	s.init()
	text, err := json.Marshal(query)
	must(t, err)
	s.send(fmt.Sprintf(`{"type":"subscribe","id":"1","payload":{"query":%s}}`, text))
	for !done(out["WebSocket"]) {
		m, err := s.read()
		must(t, err)
		if out["WebSocket"] = string(m.Payload); m.Type == "error" {
			break
		}
	}
	must(t, s.conn.CloseNow())
	return out
}

// methods are all of an interface.
func methods[T any]() []string {
	of := reflect.TypeFor[T]()
	var out []string
	for i := range of.NumMethod() {
		out = append(out, nameOf(of)+"."+of.Method(i).Name)
	}
	return out
}

// nameOf is the name of a type without its parameters.
func nameOf(of reflect.Type) string {
	name, _, _ := strings.Cut(of.Name(), "[")
	return name
}

func TestNothingInternalLeaksWhateverFails(t *testing.T) {
	t.Parallel()
	b, f, log, operations := faultyHub(t)

	// What calls what, and that nothing is left out.
	schema := graph.Schema()
	uncovered := make(map[string]bool)
	for _, root := range []*ast.Definition{schema.Query, schema.Mutation, schema.Subscription} {
		for _, field := range root.Fields {
			if !strings.HasPrefix(field.Name, "__") {
				uncovered[root.Name+"."+field.Name] = true
			}
		}
	}
	callers := make(map[string][]string)
	for _, query := range operations {
		parsed, errs := gqlparser.LoadQueryWithRules(schema, query, rules.NewDefaultRules())
		if errs != nil {
			t.Fatalf("%s: %v", query, errs)
		}
		for _, selection := range parsed.Operations[0].SelectionSet {
			if field, ok := selection.(*ast.Field); ok {
				delete(uncovered, field.ObjectDefinition.Name+"."+field.Name)
			}
		}
		f.set("", nil)
		for transport, answer := range b.outcomes(t, query) {
			if strings.Contains(answer, `"errors"`) && !strings.Contains(transport, "GET") {
				t.Errorf("%s over %s: %s", query, transport, answer)
			}
		}
		for _, method := range f.calls() {
			callers[method] = append(callers[method], query)
		}
	}
	if len(uncovered) > 0 {
		t.Errorf("no operation asks for %v", slices.Sorted(maps.Keys(uncovered)))
	}
	all := slices.Concat(methods[graph.View](), methods[graph.Puller](), methods[graph.Publisher](), methods[graph.Keys](), methods[graph.Tail[*hub.Event]]())
	for _, method := range all {
		if len(callers[method]) == 0 {
			t.Errorf("no operation calls %s", method)
		}
	}

	for _, method := range all {
		for code, fail := range map[string]func() error{
			"INTERNAL":               func() error { return errors.New(inside) },
			"INTERNAL after a panic": func() error { panic(inside) },
			"TIMEOUT":                func() error { return fmt.Errorf("%s: %w", inside, context.DeadlineExceeded) },
			"UNAVAILABLE": func() error {
				return fmt.Errorf("%s: %w", inside, &hub.Error{Code: hub.CodeUnavailable, Message: "try again", Err: errors.New(inside)})
			},
		} {
			code, _, _ = strings.Cut(code, " ")
			failed := false
			for _, query := range callers[method] {
				f.set(method, fail)
				for transport, answer := range b.outcomes(t, query) {
					where := fmt.Sprintf("%s fails with %s in %s over %s", method, code, query, transport)
					if strings.Contains(transport, "GET") && strings.HasPrefix(query, "mutation") {
						continue
					}
					failed = checkFailure(t, where, query, answer, code, log.String()) || failed
				}
			}
			f.set("", nil)
			if !failed && slices.Contains(fallible(), method) {
				t.Errorf("nobody is told that %s fails with %s", method, code)
			}
		}
	}
	if t.Failed() {
		return
	}
	t.Logf("%d methods, %d operations", len(all), len(operations))
}

// fallible are the methods that return an error.
func fallible() []string {
	var out []string
	for _, of := range []reflect.Type{
		reflect.TypeFor[graph.View](), reflect.TypeFor[graph.Publisher](),
		reflect.TypeFor[graph.Keys](), reflect.TypeFor[graph.Tail[*hub.Event]](),
	} {
		for i := range of.NumMethod() {
			m := of.Method(i)
			if n := m.Type.NumOut(); n > 0 && m.Type.Out(n-1) == reflect.TypeFor[error]() {
				out = append(out, nameOf(of)+"."+m.Name)
			}
		}
	}
	return out
}

// checkFailure reads an answer and reports whether it tells of a failure.
func checkFailure(t *testing.T, where, query, text, code, log string) bool {
	t.Helper()
	for _, hidden := range []string{marker, "10.1.2.3", "SELECT", "/var/lib", "goroutine", "panic", ".go:"} {
		if strings.Contains(text, hidden) {
			t.Errorf("%s: the answer shows %q: %s", where, hidden, text)
		}
	}
	var got answer
	for line := range strings.Lines(text) { // of an event stream, else there is one
		line = strings.TrimPrefix(strings.TrimSpace(line), "data: ")
		if strings.HasPrefix(line, "[") { // the error message of a WebSocket
			line = `{"errors":` + line + `}`
		}
		if strings.HasPrefix(line, "{") {
			must(t, json.Unmarshal([]byte(line), &got))
		}
	}
	for _, e := range got.Errors {
		told := fmt.Sprint(e.Extensions["code"])
		if !stable[told] || told != code {
			t.Errorf("%s: got %s", where, text)
		}
		id, _ := e.Extensions["requestId"].(string)
		switch {
		case told != "INTERNAL":
		case id == "":
			t.Errorf("%s: no requestId: %s", where, text)
		default:
			logged := ""
			for line := range strings.Lines(log) {
				if strings.Contains(line, id) {
					logged += line
				}
			}
			if strings.Count(logged, "\n") != 1 || !strings.Contains(logged, marker) {
				t.Errorf("%s: logged %q", where, logged)
			}
		}
		if e.Path != nil && len(got.Data) > 0 { // a stream that failed to start has none
			checkStanding(t, where, query, e.Path, got.Data)
		}
	}
	return len(got.Errors) > 0
}

// checkStanding requires that an error took no more of the answer with it than the
// schema says: the nearest field around it that may be null.
func checkStanding(t *testing.T, where, query string, path []any, data json.RawMessage) {
	t.Helper()
	parsed, errs := gqlparser.LoadQueryWithRules(graph.Schema(), query, rules.NewDefaultRules())
	if errs != nil {
		t.Fatal(errs)
	}
	set, typ := parsed.Operations[0].SelectionSet, (*ast.Type)(nil)
	taken := 0 // how many steps of the path lead to what must be null
	for i, step := range path {
		if name, isField := step.(string); isField {
			field := fieldOf(set, name)
			if field == nil {
				t.Errorf("%s: %v leads nowhere", where, path)
				return
			}
			set, typ = field.SelectionSet, field.Definition.Type
		} else {
			typ = typ.Elem
		}
		if !typ.NonNull {
			taken = i + 1
		}
	}
	var at any
	must(t, json.Unmarshal(data, &at))
	for i, step := range path[:taken] {
		switch parent := at.(type) {
		case map[string]any:
			at = parent[fmt.Sprint(step)]
		case []any:
			at = parent[int(step.(float64))]
		default:
			t.Errorf("%s: at %v nothing is left of %s, though %v may be null", where, path[:i], data, path[:taken])
			return
		}
	}
	if at != nil {
		t.Errorf("%s: %v is %v, in spite of an error at %v", where, path[:taken], at, path)
	}
}

func fieldOf(set ast.SelectionSet, name string) *ast.Field {
	for _, selection := range set {
		if field, ok := selection.(*ast.Field); ok && field.Alias == name {
			return field
		}
	}
	return nil
}
