package graph_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestPagesOfOtherHostsOpenNoWebSocketUnlessAllowed(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) { cfg.OriginPatterns = []string{"app.example.com", "*.example.org"} })
	own := strings.TrimSuffix(b.url, "/graphql")
	for origin, allowed := range map[string]bool{
		own: true, "https://app.example.com": true, "https://a.example.org": true, "": true,
		"https://example.com": false, "https://example.org": false, "https://app.example.com.evil.example": false, "null": false,
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		conn, response, err := websocket.Dial(t.Context(), b.url, &websocket.DialOptions{
			Subprotocols: []string{"graphql-transport-ws"}, HTTPHeader: header,
		})
		switch {
		case allowed && err != nil:
			t.Errorf("%q: %v", origin, err)
		case !allowed && (err == nil || response.StatusCode != http.StatusForbidden):
			t.Errorf("%q was let in: %v", origin, response)
		case !allowed:
			told, err := io.ReadAll(response.Body)
			if err != nil || !strings.Contains(string(told), `"code":"FORBIDDEN"`) || !strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
				t.Errorf("%q: %s %v", origin, told, err)
			}
		}
		if conn != nil {
			_ = conn.CloseNow()
		}
	}
}

func TestAHandshakeThatFailsSaysWhy(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for version, status := range map[string]int{"12": http.StatusBadRequest, "13": http.StatusBadRequest} { // without a key
		a := b.send(http.MethodGet, "", "", "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", version)
		if a.Status != status || a.code() != "BAD_USER_INPUT" {
			t.Errorf("%s: got %d %s", version, a.Status, a.Raw)
		}
	}
}

func TestStreamsAreBoundedForEachKey(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) { cfg.StreamsPerKey = 2 })
	key, other := b.key(hub.ScopeEventsRead), b.key(hub.ScopeEventsRead)
	const query = `subscription { eventStream { cursor } }`
	open := func(key string) error {
		s := b.dial(t)
		s.send(`{"type":"connection_init","payload":{"authorization":"Bearer ` + key + `"}}`)
		_, err := s.read()
		return err
	}
	held := b.subscribed(t, key, query, nil)
	ctx, cancel := context.WithCancel(t.Context())
	_, next := b.events(ctx, t, query, "Authorization", "Bearer "+key)
	_, err := next()
	must(t, err)

	if code := websocket.CloseStatus(open(key)); code != websocket.StatusTryAgainLater {
		t.Errorf("a third one got %d", code)
	}
	response, _ := b.events(t.Context(), t, query, "Authorization", "Bearer "+key)
	body, err := io.ReadAll(response.Body)
	must(t, err)
	if response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") == "" || !strings.Contains(string(body), "RATE_LIMITED") {
		t.Errorf("a third one got %d %s", response.StatusCode, body)
	}
	must(t, open(other))

	_ = held.conn.CloseNow()
	testkit.Eventually(t, "the closed connection is free again", func() bool { return open(key) == nil })
	cancel()
	testkit.Eventually(t, "the closed event stream is free again", func() bool { return open(key) == nil })
}

// stalled opens a stream over a socket that holds little, and reads its first
// message alone. It returns where that stood.
func (b *bundle) stalled(t testing.TB, query string) (cursor string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if tcp, ok := conn.(*net.TCPConn); ok {
				err = tcp.SetReadBuffer(4 << 10)
			}
			return conn, err
		},
	}}
	conn, _, err := websocket.Dial(t.Context(), b.url, &websocket.DialOptions{
		Subprotocols: []string{"graphql-transport-ws"}, HTTPClient: client,
	})
	must(t, err)
	t.Cleanup(func() { _ = conn.CloseNow() })
	s := &socket{t, conn}
	s.init()
	s.send(fmt.Sprintf(subscribe, "1", query))
	var m streamed
	must(t, json.Unmarshal(s.expect("next").Payload, &m))
	return m.Data.EventStream.Cursor
}

// A reader that stops reading is cut off within the deadline, holds up nobody, is
// not read ahead for, and comes back to everything by its cursor.
func TestAReaderThatStopsReadingComesBackByItsCursor(t *testing.T) {
	// Not parallel: it measures the memory of the process.
	const readers, events, size = 16, 100, 128 << 10
	b := setup(t) // the deadline is five seconds, so that the steady one keeps it on a busy machine too
	const query = `subscription { eventStream { cursor events { id rawBody } } }`
	cursor := ""
	for range readers {
		cursor = b.stalled(t, query)
	}
	steady := b.subscribed(t, operatorKey, query, nil)
	if got := b.tail.Readers(); got != readers+1 {
		t.Fatalf("%d readers", got)
	}
	var want []string
	body := `"` + strings.Repeat("x", size) + `"`
	read := func(s *socket, got []string) []string {
		t.Helper()
		var m streamed
		must(t, json.Unmarshal(s.expect("next").Payload, &m))
		for _, e := range m.Data.EventStream.Events {
			got = append(got, e.ID)
		}
		return got
	}
	var got []string
	for range events { // the steady one gets each right away
		want = append(want, b.publish("a", body))
		got = read(steady, got)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the steady reader got %d events, want %d in order", len(got), len(want))
	}
	var memory runtime.MemStats
	runtime.GC() // what lives counts
	runtime.ReadMemStats(&memory)
	if queued := uint64(readers * events * size); memory.HeapAlloc > queued*3/4 {
		t.Errorf("%d MiB are in use, where what was not read is %d MiB", memory.HeapAlloc>>20, queued>>20)
	}
	testkit.Eventually(t, "those that do not read are cut off", func() bool { return b.tail.Readers() == 1 })

	back := b.subscribed(t, operatorKey,
		`subscription ($after: String) { eventStream(after: $after) { cursor events { id } } }`, map[string]any{"after": cursor})
	got = nil
	for len(got) < len(want) {
		got = read(back, got)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("coming back it got %v, want %v", got, want)
	}
}

// Whatever way streams begin and end, nothing of them is left. That no goroutine is,
// the package's TestMain finds out.
func TestStreamsLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) { cfg.StreamsPerKey = 100 })
	const query = `subscription { eventStream(from: EARLIEST) { cursor events { id deliveries { totalCount } } } }`
	b.publish("a", "1")
	var clients sync.WaitGroup
	for client := range 8 {
		clients.Go(func() {
			for round := range 40 {
				switch (client + round) % 5 {
				case 0: // completed by the client, then closed
					s := b.subscribed(t, operatorKey, query, nil)
					s.send(`{"type":"complete","id":"1"}`)
					s.send(`{"type":"ping"}`)
					for {
						if m, err := s.read(); err != nil || m.Type == "pong" {
							break
						}
					}
					_ = s.conn.Close(websocket.StatusNormalClosure, "")
				case 1: // cut
					_ = b.subscribed(t, operatorKey, query, nil).conn.CloseNow()
				case 2: // cut before anything is known
					_ = b.dial(t).conn.CloseNow()
				case 3: // aborted over SSE
					ctx, cancel := context.WithCancel(t.Context())
					_, next := b.events(ctx, t, query)
					_, _ = next()
					cancel()
				case 4: // closed by the server
					s := b.subscribed(t, operatorKey, query, nil)
					s.send(`{"type":"connection_init"}`)
					s.closed(4429)
				}
			}
		})
	}
	for n := range 50 {
		b.publish("a", fmt.Sprint(n))
	}
	clients.Wait()
	testkit.Eventually(t, "no stream is left", func() bool { return b.tail.Readers() == 0 })
	for range 90 { // or the count for the key would be full
		_ = b.subscribed(t, operatorKey, query, nil)
	}
	must(t, b.handler.Drain(t.Context()))
	testkit.Eventually(t, "no stream is left", func() bool { return b.tail.Readers() == 0 })
}
