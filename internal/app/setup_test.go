package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/app"
	"github.com/hookgraph/hookgraph/internal/config"
)

const (
	operatorKey = "operator-key-of-the-tests-0123456789"
	secretKey   = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
)

func TestMain(m *testing.M) {
	if os.Getenv(inProcess) != "" {
		os.Exit(app.Execute(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"), // idle connections of the tests' own clients
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
	)
}

// client talks to a hub as its users do.
type client struct {
	t   *testing.T
	hub *app.Hub
	url string
	key string
}

// options are those of a hub under test, on a database of its own.
func options(t *testing.T) config.Server {
	t.Helper()
	return config.Server{
		Database:    config.Database{DatabaseURL: "sqlite:" + filepath.Join(t.TempDir(), "hub.db")},
		Environment: config.Development, Addr: "127.0.0.1:0", OperatorKey: operatorKey,
		AllowNetworks: []string{"127.0.0.0/8"}, MaxInFlight: 256, StreamsPerKey: 2000, ShutdownTimeout: 5 * time.Second,
		Points: config.Points{PointsMaximum: 1_000_000, PointsRestoreRate: 1_000_000},
	}
}

// start starts a hub and stops it when the test ends.
func start(t *testing.T, o config.Server) *client {
	t.Helper()
	hub, err := app.Start(t.Context(), o, secretKey, slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})))
	if err != nil {
		t.Fatalf("start the hub: %v", err)
	}
	c := &client{t: t, hub: hub, url: hub.URL(), key: operatorKey}
	t.Cleanup(c.stop)
	return c
}

// stop stops the hub; a second call does nothing.
func (c *client) stop() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := c.hub.Stop(ctx); err != nil {
		c.t.Errorf("stop the hub: %v", err)
	}
}

// answer is what GraphQL answered.
type answer struct {
	Data   json.RawMessage
	Errors []struct {
		Message    string
		Path       []any
		Extensions map[string]any
	}
}

// ask runs one operation and returns the whole answer.
func (c *client) ask(query string, variables map[string]any) answer {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		c.t.Fatal(err)
	}
	status, raw := c.send(http.MethodPost, "/graphql", http.Header{
		"Content-Type": {"application/json"}, "Authorization": {"Bearer " + c.key},
	}, body)
	var a answer
	if err := json.Unmarshal(raw, &a); err != nil {
		c.t.Fatalf("%d %s: %v", status, raw, err)
	}
	return a
}

// do runs one operation that must succeed, and decodes its data.
func (c *client) do(out any, query string, variables map[string]any) {
	c.t.Helper()
	a := c.ask(query, variables)
	if len(a.Errors) > 0 || bytes.Contains(a.Data, []byte(`"userErrors":[{`)) {
		c.t.Fatalf("%s\nwas answered %s %+v", query, a.Data, a.Errors)
	}
	if err := json.Unmarshal(a.Data, out); err != nil {
		c.t.Fatalf("%s: %v", a.Data, err)
	}
}

// send sends any request and returns status and body of the answer.
func (c *client) send(method, path string, header http.Header, body []byte) (int, []byte) {
	c.t.Helper()
	status, _, raw := c.exchange(method, path, header, body)
	return status, raw
}

func (c *client) exchange(method, path string, header http.Header, body []byte) (int, http.Header, []byte) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, c.url+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, raw
}

// source makes an unverified source and returns its ID.
func (c *client) source(slug string) string {
	c.t.Helper()
	var made struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&made, `mutation ($slug: String!) { createSource(input: {name: $slug, slug: $slug, allowUnverified: true}) { source { id } userErrors { field message } } }`,
		map[string]any{"slug": slug})
	return made.CreateSource.Source.ID
}

// endpoint makes an endpoint; extra are more fields of its input, as GraphQL.
func (c *client) endpoint(url, extra string) (id, secret string) {
	c.t.Helper()
	var made struct {
		CreateEndpoint struct {
			Endpoint      struct{ ID string }
			SigningSecret string
		}
	}
	c.do(&made, `mutation ($url: String!) { createEndpoint(input: {name: "Endpoint", url: $url `+extra+`}) { endpoint { id } signingSecret userErrors { field message } } }`,
		map[string]any{"url": url})
	return made.CreateEndpoint.Endpoint.ID, made.CreateEndpoint.SigningSecret
}

// subscribe makes a subscription; extra are more fields of its input, as GraphQL.
func (c *client) subscribe(endpointID, extra string) string {
	c.t.Helper()
	var made struct {
		CreateSubscription struct{ Subscription struct{ ID string } }
	}
	c.do(&made, `mutation ($id: ID!) { createSubscription(input: {name: "Subscription", endpointId: $id `+extra+`}) { subscription { id } userErrors { field message } } }`,
		map[string]any{"id": endpointID})
	return made.CreateSubscription.Subscription.ID
}

// receipt is the acknowledgement of an inbound request.
type receipt struct {
	ID        string
	Duplicate bool
}

// post sends a body to a source that must accept it.
func (c *client) post(slug string, header http.Header, body []byte) receipt {
	c.t.Helper()
	status, raw := c.send(http.MethodPost, "/in/"+slug, header, body)
	var r receipt
	if err := json.Unmarshal(raw, &r); err != nil || status != http.StatusOK {
		c.t.Fatalf("the source answered %d %s", status, raw)
	}
	return r
}

// delivery is what a dashboard shows of one.
type delivery struct {
	ID            string
	Status        string
	Reason        string
	AttemptCount  int
	NextAttemptAt *time.Time
	Event         struct{ ID, Type string }
	Attempts      struct {
		Nodes []struct {
			Number          int
			Outcome         string
			StatusCode      *int
			Error           *string
			RequestBody     *string
			ResponseBody    *string
			RequestHeaders  []struct{ Name, Value string }
			ResponseHeaders []struct{ Name, Value string }
		}
	}
}

// deliveries returns the deliveries of an event.
func (c *client) deliveries(eventID string) []delivery {
	c.t.Helper()
	var got struct {
		Event struct{ Deliveries struct{ Nodes []delivery } }
	}
	c.do(&got, `query ($id: ID!) { event(id: $id) { deliveries { nodes {
		id status reason attemptCount nextAttemptAt event { id type }
		attempts { nodes { number outcome statusCode error requestBody responseBody requestHeaders { name value } responseHeaders { name value } } } } } } }`,
		map[string]any{"id": eventID})
	return got.Event.Deliveries.Nodes
}

// arrival is one request that a receiver got.
type arrival struct {
	Header http.Header
	Body   []byte
}

// receiver is an endpoint's owner: a real HTTP server that behaves as it is told.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	arrivals []arrival
	behave   func(w http.ResponseWriter, r *http.Request, n int)
}

// listen starts a receiver. Behave is called for the nth request, from 0; nil
// answers 204.
func listen(t *testing.T, behave func(w http.ResponseWriter, r *http.Request, n int)) *receiver {
	t.Helper()
	rc := &receiver{behave: behave}
	rc.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		rc.mu.Lock()
		n := len(rc.arrivals)
		rc.arrivals = append(rc.arrivals, arrival{r.Header.Clone(), body})
		rc.mu.Unlock()
		if rc.behave == nil {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		rc.behave(w, r, n)
	}))
	t.Cleanup(func() { rc.CloseClientConnections(); rc.Close() })
	return rc
}

// refusing answers 503 to every nth request that is the first attempt of a delivery. Later
// attempts are taken, so that none fails as often as its schedule is long.
func refusing(nth int) func(http.ResponseWriter, *http.Request, int) {
	var came sync.Map
	return func(w http.ResponseWriter, r *http.Request, n int) {
		if _, again := came.LoadOrStore(r.Header.Get("Webhook-Id"), true); !again && n%nth == 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
}

// got returns what has arrived so far.
func (rc *receiver) got() []arrival {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	return append([]arrival(nil), rc.arrivals...)
}

func contains(text, part string) bool { return strings.Contains(text, part) }

// newLines reads long lines.
func newLines(r io.Reader) *bufio.Scanner {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	return lines
}
