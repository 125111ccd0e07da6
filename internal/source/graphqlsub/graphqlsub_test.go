package graphqlsub_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/fetch"
	"github.com/hookgraph/hookgraph/internal/source/graphqlsub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is the store and the door of one source.
type world struct {
	t      *testing.T
	source *hub.Source

	mu       sync.Mutex
	bodies   []string
	keys     []string
	state    hub.Fetch
	saves    int
	busy     int    // so many calls are refused
	ahead    string // the state that was stored ahead of what is durable
	progress func(json.RawMessage) int
}

func (w *world) Configuration() *hub.Configuration {
	return hub.NewConfiguration(1, []*hub.Source{w.source}, nil, nil)
}

func (w *world) FetchMarks(context.Context) (map[string]hub.FetchMark, error) { return nil, nil }

func (w *world) TakeFetch(context.Context, string, string, time.Time) (*hub.Fetch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	state := w.state
	return &state, nil
}

func (w *world) SaveFetch(_ context.Context, f *hub.Fetch, _ string, _ time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = *f
	w.saves++
	if w.progress != nil && w.progress(f.Progress) > len(w.bodies) {
		w.ahead = string(f.Progress)
	}
	return nil
}

func (w *world) FetchWorks(context.Context, string, string) error { return nil }

func (w *world) FreeFetch(context.Context, string, string) error { return nil }

func (w *world) Fetched(_ context.Context, _, _ *hub.Source, items []receive.Item) (receive.Fetched, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.busy > 0 {
		w.busy--
		return receive.Fetched{}, hub.NewError(hub.CodeUnavailable, "the store is busy")
	}
	for _, item := range items {
		w.bodies, w.keys = append(w.bodies, string(item.Body)), append(w.keys, item.Found.DedupeKey)
	}
	return receive.Fetched{Stored: len(items), Receipts: make([]hub.Receipt, len(items))}, nil
}

func (w *world) seen() (bodies []string, state hub.Fetch) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.bodies), w.state
}

// follow follows an upstream and returns a function that stops that.
func follow(t *testing.T, w *world, up *hub.Upstream) (stop func()) {
	t.Helper()
	w.t, w.source = t, &hub.Source{ID: "src_1", Slug: "up", Kind: hub.SourceGraphQL, State: hub.SourceActive, Upstream: up, UpdatedAt: time.Now()}
	guard := outbound.NewGuard(netip.MustParsePrefix("127.0.0.0/8"))
	transport := outbound.NewTransport(guard, outbound.TransportOptions{})
	credentials := credential.NewBook(transport, guard, hub.SystemClock{})
	s := fetch.Start(t.Context(), fetch.Config{
		Store: w, Door: w, Clock: hub.SystemClock{}, Logger: slog.New(slog.DiscardHandler),
		Fetchers: map[hub.SourceKind]fetch.Fetcher{hub.SourceGraphQL: graphqlsub.New(credentials, hub.SystemClock{}, "hub_test", graphqlsub.Bounds{Answer: time.Minute, Silence: 5 * time.Minute})},
	})
	stop = sync.OnceFunc(func() {
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		credentials.Close()
		transport.CloseIdleConnections()
	})
	t.Cleanup(stop)
	return stop
}

// serve is an upstream that sends results as events, and what is asked of it.
func serve(t *testing.T, results func(variables json.RawMessage, say func(string))) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var operation struct{ Variables json.RawMessage }
		if json.NewDecoder(r.Body).Decode(&operation) != nil {
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		flush := http.NewResponseController(w)
		_ = flush.Flush()
		results(operation.Variables, func(result string) {
			_, _ = fmt.Fprintf(w, "event: next\ndata: %s\n\n", result)
			_ = flush.Flush()
		})
		<-r.Context().Done()
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return server.URL
}

func TestOneEventForEachItem(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		items, data string
		want        []string
	}{
		"the value":           {"", `{"x": {"id" : 1.0}}`, []string{`{"id" : 1.0}`}},
		"the only list":       {"", `{"x": {"cursor": 1, "all": [{"id":1}, null, 2]}}`, []string{`{"id":1}`, "2"}},
		"a list":              {"", `{"x": [1, "two"]}`, []string{"1", `"two"`}},
		"several lists":       {"", `{"x": {"a": [1], "b": []}}`, []string{`{"a": [1], "b": []}`}},
		"an empty list":       {"", `{"x": {"all": []}}`, nil},
		"nothing":             {"", `{"x": null}`, nil},
		"a path":              {"$.x.edges[*].node", `{"x": {"edges": [{"node": {"a": 1}}, {"node": {"a": 2}}]}}`, []string{`{"a": 1}`, `{"a": 2}`}},
		"a path that is lost": {"$.y[*]", `{"x": 1}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := &world{}
			follow(t, w, &hub.Upstream{Document: "subscription { x }", Items: test.items, ResumeVariable: "after", ResumePath: "$.extensions.at",
				URL: serve(t, func(_ json.RawMessage, say func(string)) { say(`{"data": ` + test.data + `, "extensions": {"at": 7}}`) })})
			testkit.Eventually(t, "the place is stored", func() bool {
				_, state := w.seen()
				return strings.Contains(string(state.Progress), `"value":7`)
			})
			if got, _ := w.seen(); !slices.Equal(got, test.want) {
				t.Errorf("%q came, not %q", got, test.want)
			}
		})
	}
}

func TestThePlaceIsNeverAheadOfWhatIsDurable(t *testing.T) {
	t.Parallel()
	const total = 3000
	place := func(progress json.RawMessage) int {
		var stored struct{ Value int }
		if len(progress) > 0 && json.Unmarshal(progress, &stored) != nil {
			return total + 1
		}
		return stored.Value
	}
	url := serve(t, func(variables json.RawMessage, say func(string)) {
		var asked struct{ After int }
		if json.Unmarshal(variables, &asked) != nil {
			return
		}
		for n := asked.After + 1; n <= total; n++ {
			say(fmt.Sprintf(`{"data": {"x": {"id": %d}}, "extensions": {"at": %d}}`, n, n))
		}
	})
	w := &world{busy: 2, progress: place}
	up := &hub.Upstream{URL: url, Document: "subscription { x }", ResumeVariable: "after", ResumePath: "$.extensions.at", Variables: json.RawMessage(`{"after": 0}`)}
	stop := follow(t, w, up)
	testkit.Eventually(t, "some have come", func() bool { got, _ := w.seen(); return len(got) > 0 })
	stop()
	got, state := w.seen()
	if place(state.Progress) != len(got) {
		t.Errorf("after the stop %d are durable, and it goes on at %s", len(got), state.Progress)
	}
	follow(t, w, up)
	testkit.Eventually(t, "all have come", func() bool { got, _ := w.seen(); return len(got) >= total })
	testkit.Eventually(t, "the last place is stored", func() bool { _, state := w.seen(); return place(state.Progress) == total })
	got, _ = w.seen()
	for i, body := range got {
		if want := fmt.Sprintf(`{"id": %d}`, i+1); body != want {
			t.Fatalf("at %d came %s", i, body)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ahead != "" {
		t.Errorf("stored too early: %s", w.ahead)
	}
	if w.saves > 200 {
		t.Errorf("%d times the place was stored", w.saves)
	}
}

func TestAnotherSubscriptionBeginsAnew(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 4)
	url := serve(t, func(variables json.RawMessage, say func(string)) {
		asked <- string(variables)
		say(`{"data": {"x": 1}, "extensions": {"at": "p1"}}`)
	})
	up := hub.Upstream{URL: url, Document: "subscription { x }", ResumeVariable: "after", ResumePath: "$.extensions.at", Variables: json.RawMessage(`{"kind":"a"}`)}
	w := &world{}
	round := func(up hub.Upstream) string {
		stop := follow(t, w, &up)
		defer stop()
		got := <-asked
		testkit.Eventually(t, "the place is stored", func() bool { _, state := w.seen(); return strings.Contains(string(state.Progress), "p1") })
		return got
	}
	other := up
	other.Variables = json.RawMessage(`{"kind":"b"}`)
	for i, want := range []string{`{"kind":"a"}`, `{"after":"p1","kind":"a"}`} {
		if got := round(up); got != want {
			t.Errorf("round %d asked with %s, not %s", i, got, want)
		}
	}
	if got := round(other); got != `{"kind":"b"}` {
		t.Errorf("the other asked with %s", got)
	}
}

func TestAnUpstreamThatLetsTheHubInAndThrowsItOutIsFailing(t *testing.T) {
	t.Parallel()
	for name, one := range map[string]struct{ result, says string }{
		"it says nothing":         {"", "ended the stream"},
		"it says what is wrong":   {`{"errors": [{"message": "there is no field x", "extensions": {"code": "A_BAD_MOMENT"}}]}`, "there is no field x"},
		"it shows only what fell": {`{"data": {"x": null}, "errors": [{"message": "x is broken"}]}`, "x is broken"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/event-stream")
				if one.result != "" {
					_, _ = fmt.Fprintf(w, "event: next\ndata: %s\n\n", one.result)
				}
			}))
			t.Cleanup(server.Close)
			w := &world{}
			follow(t, w, &hub.Upstream{URL: server.URL, Document: "subscription { x }"})
			testkit.Eventually(t, "it has failed once", func() bool { _, state := w.seen(); return state.Failures > 0 })
			_, first := w.seen()
			var state hub.Fetch
			testkit.Eventually(t, "it has failed three times", func() bool {
				_, state = w.seen()
				return state.Failures >= 3 && state.Error != "" // there is none while it is connected
			})
			if first.FailingSince.IsZero() || !state.FailingSince.Equal(first.FailingSince) || !strings.Contains(state.Error, one.says) {
				t.Errorf("it was failing since %v and is since %v: %q", first.FailingSince, state.FailingSince, state.Error)
			}
		})
	}
}

func TestResultsInPartAreNoFailure(t *testing.T) {
	t.Parallel()
	w := &world{}
	follow(t, w, &hub.Upstream{Document: "subscription { x { a b } }", ResumeVariable: "after", ResumePath: "$.extensions.at", URL: serve(t, func(_ json.RawMessage, say func(string)) {
		for n := range 300 {
			say(fmt.Sprintf(`{"data": {"x": {"a": %d, "b": null}}, "errors": [{"message": "b is broken"}], "extensions": {"at": %d}}`, n, n))
		}
	})})
	testkit.Eventually(t, "all have come and are stored", func() bool {
		bodies, state := w.seen()
		return len(bodies) == 300 && strings.Contains(string(state.Progress), `"value":299`)
	})
	if _, state := w.seen(); state.Failures != 0 || !state.FailingSince.IsZero() || !strings.Contains(state.Error, "b is broken") {
		t.Errorf("it has failed %d times since %v: %q", state.Failures, state.FailingSince, state.Error)
	}
}
