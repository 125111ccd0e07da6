package app_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

// cutter forwards connections and cuts each off after some bytes.
type cutter struct {
	listener net.Listener
	to       string
	cuts     func() int64 // after how many bytes of answers; 0: never

	wg sync.WaitGroup
}

func cut(t *testing.T, to string, cuts func() int64) *cutter {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{listener: l, to: to, cuts: cuts}
	ctx, cancel := context.WithCancel(context.Background())
	c.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.forward(ctx, conn) })
		}
	})
	t.Cleanup(func() { cancel(); _ = l.Close(); c.wg.Wait() })
	return c
}

func (c *cutter) forward(ctx context.Context, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	up, err := new(net.Dialer).DialContext(ctx, "tcp", c.to)
	if err != nil {
		return
	}
	defer func() { _ = up.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close(); _ = up.Close() })()
	c.wg.Go(func() { _, _ = io.Copy(up, conn); _ = up.Close() })
	if n := c.cuts(); n > 0 {
		_, _ = io.CopyN(conn, up, n)
		return
	}
	_, _ = io.Copy(conn, up)
}

// follow makes a source that follows another hub.
func (c *client) follow(slug, url, more string) string {
	c.t.Helper()
	var made struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&made, `mutation ($slug: String!, $url: String!, $key: String!) { createSource(input: {name: $slug, slug: $slug, kind: GRAPHQL, provider: "hookgraph",
		graphql: {url: $url, auth: {bearer: $key} `+more+`}}) { source { id } userErrors { code field message } } }`,
		map[string]any{"slug": slug, "url": url, "key": operatorKey})
	return made.CreateSource.Source.ID
}

type followed struct {
	ID, Type, DedupeKey, RawBody string
	OrderingKey, ContentType     *string
	DuplicateCount               int
	OccurredAt                   *time.Time
	Headers                      []struct{ Name, Value string }
}

// eventsOf returns all events of a source, oldest first.
func (c *client) eventsOf(sourceID string) []followed {
	c.t.Helper()
	var all []followed
	for after := any(nil); ; {
		var page struct {
			Events struct {
				Nodes    []followed
				PageInfo struct {
					HasNextPage bool
					EndCursor   string
				}
			}
		}
		c.do(&page, `query ($id: ID!, $after: String) { events(first: 100, after: $after, orderBy: OLDEST_FIRST, filter: {sourceIds: [$id]}) {
			nodes { id type dedupeKey orderingKey contentType occurredAt rawBody duplicateCount headers { name value } } pageInfo { hasNextPage endCursor } } }`,
			map[string]any{"id": sourceID, "after": after})
		all = append(all, page.Events.Nodes...)
		if !page.Events.PageInfo.HasNextPage {
			return all
		}
		after = page.Events.PageInfo.EndCursor
	}
}

func (c *client) countOf(sourceID string) int {
	var got struct{ Events struct{ TotalCount int } }
	c.do(&got, `query ($id: ID!) { events(first: 1, filter: {sourceIds: [$id]}) { totalCount } }`, map[string]any{"id": sourceID})
	return got.Events.TotalCount
}

// TestTwoHubsInARowLoseAndRepeatNothing kills both hubs and cuts what connects them, while
// events come in at the first.
func TestTwoHubsInARowLoseAndRepeatNothing(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"ws", "http"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			const total = 2000
			first, second := launch(t, options(t)), launch(t, options(t))
			a, b := first.client, second.client
			a.source("s")
			random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // where connections are cut, not a secret
			var mu sync.Mutex
			calm := false
			proxy := cut(t, first.o.Addr, func() int64 {
				mu.Lock()
				defer mu.Unlock()
				if calm {
					return 0
				}
				return 2000 + random.Int64N(120_000)
			})
			source := b.follow("chained", scheme+"://"+proxy.listener.Addr().String()+"/graphql", "")
			sent := 0
			burst := func(n int) {
				input := make([]string, n)
				for i := range input {
					input[i] = fmt.Sprintf(`{type: "n.%d", payload: {n: %d}, orderingKey: "k%d", occurredAt: "2026-01-02T03:04:05Z"}`, sent%7, sent, sent%3)
					sent++
				}
				var ignored any
				a.do(&ignored, `mutation { publishEvents(input: [`+strings.Join(input, ",")+`]) { userErrors { message } } }`, nil)
			}
			for sent < total {
				for range 4 {
					burst(50)
				}
				switch (sent / 200) % 4 {
				case 1:
					first.kill()
					first.start()
				case 2:
					testkit.Eventually(t, "some have come", func() bool { return b.countOf(source) > 0 })
				case 3:
					second.kill()
					second.start()
				}
			}
			mu.Lock()
			calm = true
			mu.Unlock()
			testkit.Eventually(t, "all have come", func() bool { return b.countOf(source) >= total })
			want, got := a.eventsOf(a.apiSource()), b.eventsOf(source)
			if len(want) != total || len(got) != total {
				t.Fatalf("%d were sent and %d came", len(want), len(got))
			}
			for i, w := range want {
				g := got[i]
				if g.DedupeKey != w.ID || g.Type != w.Type || g.RawBody != w.RawBody || *g.OrderingKey != *w.OrderingKey || !g.OccurredAt.Equal(*w.OccurredAt) || *g.ContentType != *w.ContentType {
					t.Fatalf("at %d came %+v, not %+v", i, g, w)
				}
			}
			b.t = t
			var state struct {
				Source struct {
					Fetch struct {
						FetchedCount int
						Error        *string
					}
				}
			}
			b.do(&state, `query ($id: ID!) { source(id: $id) { fetch { fetchedCount error } } }`, map[string]any{"id": source})
			if state.Source.Fetch.FetchedCount == 0 {
				t.Errorf("the source says %+v", state.Source.Fetch)
			}
		})
	}
}

// apiSource is the ID of the source of what is published.
func (c *client) apiSource() string {
	var got struct{ Source struct{ ID string } }
	c.do(&got, `{ source(slug: "api") { id } }`, nil)
	return got.Source.ID
}

func TestAChainedEventLooksLikeTheFirst(t *testing.T) {
	t.Parallel()
	a, b := start(t, options(t)), start(t, options(t))
	a.source("s")
	sent := a.post("s", http.Header{"Content-Type": {"text/plain"}, "Webhook-Id": {"same"}, "X-Own": {"1"}}, []byte("\xff no JSON"))
	big := a.post("s", nil, []byte(`{"type":"big","n":12345678901234567890.50}`))
	source := b.follow("chained", "ws"+strings.TrimPrefix(a.url, "http")+"/graphql", `, variables: {filter: {types: ["*"]}}`)
	testkit.Eventually(t, "both have come", func() bool { return b.countOf(source) == 2 })
	got := b.eventsOf(source)
	if e := got[0]; e.Type != "s" || e.DedupeKey != sent.ID || *e.ContentType != "text/plain" || e.RawBody != base64.StdEncoding.EncodeToString([]byte("\xff no JSON")) {
		t.Errorf("came %+v", e)
	}
	if !contains(fmt.Sprint(got[0].Headers), "X-Own") && !contains(fmt.Sprint(got[0].Headers), "x-own") {
		t.Errorf("came with %v", got[0].Headers)
	}
	if e := got[1]; e.Type != "big" || e.DedupeKey != big.ID || e.RawBody != base64.StdEncoding.EncodeToString([]byte(`{"type":"big","n":12345678901234567890.50}`)) {
		t.Errorf("came %+v", e)
	}

	// While it is paused nothing comes, and afterwards what came meanwhile.
	var ignored any
	b.do(&ignored, `mutation ($id: ID!) { pauseSource(id: $id) { userErrors { message } } }`, map[string]any{"id": source})
	testkit.Eventually(t, "the stream has ended", func() bool { return a.streams() == 0 })
	a.post("s", nil, []byte(`{"type":"later"}`))
	b.do(&ignored, `mutation ($id: ID!) { resumeSource(id: $id) { userErrors { message } } }`, map[string]any{"id": source})
	testkit.Eventually(t, "what came meanwhile has come", func() bool { return b.countOf(source) == 3 })

	// An upstream that does not know the key says so, and is not asked again and again.
	b.do(&ignored, `mutation ($id: ID!, $url: String!) { updateSource(input: {id: $id, graphql: {url: $url, auth: {bearer: "not-the-key-of-anybody-0123456789"}}}) { userErrors { message } } }`,
		map[string]any{"id": source, "url": a.url + "/graphql"})
	var state struct {
		Source struct {
			Fetch struct {
				Error  *string
				NextAt *time.Time
			}
			Graphql struct{ Document, ResumeVariable, Items string }
		}
	}
	testkit.Eventually(t, "the source says why it cannot", func() bool {
		b.do(&state, `query ($id: ID!) { source(id: $id) { fetch { error nextAt } graphql { document resumeVariable items } } }`, map[string]any{"id": source})
		return state.Source.Fetch.Error != nil && contains(*state.Source.Fetch.Error, "UNAUTHENTICATED")
	})
	if n := state.Source.Fetch.NextAt; n == nil || time.Until(*n) < time.Minute {
		t.Errorf("it is asked again at %v", n)
	}
	// Whoever saves it with a key that is known need not wait, nor ask for it.
	a.post("s", nil, []byte(`{"type":"mended"}`))
	b.do(&ignored, `mutation ($id: ID!, $url: String!, $key: String!) { updateSource(input: {id: $id, graphql: {url: $url, auth: {bearer: $key}}}) { userErrors { message } } }`,
		map[string]any{"id": source, "url": a.url + "/graphql", "key": operatorKey})
	testkit.Eventually(t, "it goes on once it is mended", func() bool { return b.countOf(source) == 4 })
	b.do(&state, `query ($id: ID!) { source(id: $id) { fetch { error nextAt } graphql { document resumeVariable items } } }`, map[string]any{"id": source})
	if g := state.Source.Graphql; g.ResumeVariable != "after" || !contains(g.Document, "eventStream") {
		t.Errorf("it follows %+v", g)
	}
}

// streams is how many live streams the hub serves.
func (c *client) streams() int {
	_, raw := c.send(http.MethodGet, "/metrics", nil, nil)
	for line := range strings.SplitSeq(string(raw), "\n") {
		var n int
		if _, err := fmt.Sscanf(line, "hookgraph_stream_readers %d", &n); err == nil {
			return n
		}
	}
	return -1
}

// offsets is a GraphQL server of another kind: numbers with an offset to resume by, each
// result one of them or several. It breaks off again and again, and repeats some.
func offsets(t *testing.T, total int) (url string, asked func() []float64) {
	t.Helper()
	var mu sync.Mutex
	var after []float64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"graphql-transport-ws"}})
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		say := func(text string) error { return conn.Write(r.Context(), websocket.MessageText, []byte(text)) }
		for {
			_, raw, err := conn.Read(r.Context())
			if err != nil {
				return
			}
			var m struct {
				Type    string
				Payload struct{ Variables struct{ After float64 } }
			}
			if json.Unmarshal(raw, &m) != nil || m.Type == "connection_init" && (!contains(string(raw), "a-token-of-the-tests") || say(`{"type":"connection_ack"}`) != nil) {
				_ = conn.Close(4403, "who are you, a-token-of-nobody?")
				return
			}
			if m.Type == "subscribe" {
				mu.Lock()
				after = append(after, m.Payload.Variables.After)
				mu.Unlock()
				for n := int(m.Payload.Variables.After) + 1; n <= total; n++ {
					if n%5 == 0 && say(`{"id":"1","type":"next","payload":{"data":null,"errors":[{"message":"a bad moment"}]}}`) != nil {
						return
					}
					if say(fmt.Sprintf(`{"id":"1","type":"next","payload":{"data":{"counted":{"id": %d, "type":"number", "price": %d.50, "occurredAt": "2026-01-02T03:04:05Z"}},"extensions":{"offset":%d}}}`, n, n, n)) != nil {
						return
					}
					if n%40 == 0 {
						return
					}
				}
			}
		}
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return "ws" + strings.TrimPrefix(server.URL, "http"), func() []float64 {
		mu.Lock()
		defer mu.Unlock()
		return append([]float64(nil), after...)
	}
}

func TestAnotherServerIsFollowedByItsOffset(t *testing.T) {
	t.Parallel()
	const total = 100
	url, asked := offsets(t, total)
	c := start(t, options(t))
	var made struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&made, `mutation ($url: String!) { createSource(input: {name: "Numbers", kind: GRAPHQL, orderingKey: "string(body.id)", graphql: {
		url: $url, document: "subscription ($after: Int, $other: Int) { counted(after: $after) { id type price occurredAt } }", connectionPayload: {authorization: "Bearer a-token-of-the-tests"},
		resumeVariable: "after", resumePath: "$.extensions.offset", variables: {other: 1}}}) { source { id } userErrors { code field message } } }`, map[string]any{"url": url})
	source := made.CreateSource.Source.ID
	testkit.Eventually(t, "all have come", func() bool { return c.countOf(source) >= total })
	for i, e := range c.eventsOf(source) {
		body := fmt.Sprintf(`{"id": %d, "type":"number", "price": %d.50, "occurredAt": "2026-01-02T03:04:05Z"}`, i+1, i+1)
		if e.RawBody != base64.StdEncoding.EncodeToString([]byte(body)) || e.Type != "number" || !strings.HasPrefix(e.DedupeKey, fmt.Sprintf("%d:", i+1)) || e.OccurredAt == nil || e.OrderingKey == nil {
			t.Fatalf("at %d came %+v", i, e)
		}
	}
	if got := c.countOf(source); got != total {
		t.Errorf("%d events came", got)
	}
	if got := asked(); len(got) != 3 || got[0] != 0 || got[1] != 40 || got[2] != 80 {
		t.Errorf("it was asked for what comes after %v", got)
	}

	var ignored any
	c.do(&ignored, `mutation ($id: ID!, $url: String!) { updateSource(input: {id: $id, graphql: {url: $url, document: "subscription { counted { id } }", connectionPayload: {authorization: "Bearer a-token-of-nobody"}}}) { userErrors { message } } }`,
		map[string]any{"id": source, "url": url})
	testkit.Eventually(t, "the source says why it cannot", func() bool {
		said := c.fetched(source).Error
		return said != nil && contains(*said, "does not accept the credentials") && !contains(*said, "a-token-of-nobody")
	})
}
