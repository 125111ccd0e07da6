package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// socket is a client of graphql-transport-ws.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
}

type frame struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

func (c *client) dial() *socket {
	c.t.Helper()
	conn, _, err := websocket.Dial(context.Background(), "ws"+strings.TrimPrefix(c.url, "http")+"/graphql",
		&websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		c.t.Fatalf("open a socket: %v", err)
	}
	conn.SetReadLimit(16 << 20)
	c.t.Cleanup(func() { _ = conn.CloseNow() })
	s := &socket{c.t, conn}
	s.send(frame{Type: "connection_init", Payload: json.RawMessage(`{"authorization":"Bearer ` + c.key + `"}`)})
	if f, err := s.read(); err != nil || f.Type != "connection_ack" {
		c.t.Fatalf("connection_init was answered %+v, %v", f, err)
	}
	return s
}

func (s *socket) send(f frame) {
	s.t.Helper()
	raw, err := json.Marshal(f)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.conn.Write(context.Background(), websocket.MessageText, raw); err != nil {
		s.t.Fatalf("write to the socket: %v", err)
	}
}

// read returns the next frame that is not a ping or pong.
func (s *socket) read() (frame, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		_, raw, err := s.conn.Read(ctx)
		if err != nil {
			return frame{}, err
		}
		var f frame
		if err := json.Unmarshal(raw, &f); err != nil {
			return frame{}, err
		}
		if f.Type != "ping" && f.Type != "pong" {
			return f, nil
		}
	}
}

func (s *socket) subscribe(query string, variables map[string]any) {
	s.t.Helper()
	payload, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		s.t.Fatal(err)
	}
	s.send(frame{ID: "1", Type: "subscribe", Payload: payload})
}

// batch is one message of eventStream.
type batch struct {
	Cursor string
	Events []struct{ ID, Sequence, Type string }
}

func (s *socket) batch() (batch, error) {
	f, err := s.read()
	if err != nil {
		return batch{}, err
	}
	var next struct {
		Data   struct{ EventStream batch }
		Errors json.RawMessage
	}
	if f.Type != "next" {
		return batch{}, fmt.Errorf("frame %s %s", f.Type, f.Payload)
	}
	if err := json.Unmarshal(f.Payload, &next); err != nil || next.Errors != nil {
		return batch{}, fmt.Errorf("payload %s: %w", f.Payload, err)
	}
	return next.Data.EventStream, nil
}

const eventStream = `subscription ($after: String, $from: StreamStart, $filter: EventFilter, $size: Int) {
	eventStream(after: $after, from: $from, filter: $filter, batchSize: $size) { cursor events { id sequence type } } }`

func TestAStreamGoesOnBehindItsCursor(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		c.source("s")
		const total = 400
		var senders sync.WaitGroup
		for w := range 4 {
			senders.Go(func() {
				for n := range total / 4 {
					c.post("s", nil, fmt.Appendf(nil, `{"type":"t%d","n":%d}`, w, n))
				}
			})
		}
		// A reader that hangs up after every few batches, over both transports in turn.
		var seen []string
		cursor := ""
		for connection := 0; len(seen) < total; connection++ {
			variables := map[string]any{"from": "EARLIEST", "size": 7}
			if cursor != "" {
				variables["after"] = cursor
			}
			if connection%2 == 0 {
				s := c.dial()
				s.subscribe(eventStream, variables)
				for range 3 {
					b, err := s.batch()
					if err != nil {
						t.Fatal(err)
					}
					cursor = b.Cursor
					for _, e := range b.Events {
						seen = append(seen, e.Sequence)
					}
					if len(seen) >= total {
						break
					}
				}
				_ = s.conn.CloseNow()
				continue
			}
			c.sse(variables, func(b batch) bool {
				cursor = b.Cursor
				for _, e := range b.Events {
					seen = append(seen, e.Sequence)
				}
				return len(b.Events) == 0 && len(seen) < total
			})
		}
		senders.Wait()
		for i := 1; i < len(seen); i++ {
			if seen[i] <= seen[i-1] {
				t.Fatalf("%s came after %s", seen[i], seen[i-1])
			}
		}
		if len(seen) != total {
			t.Errorf("%d events were handed over", len(seen))
		}
	})
}

// sse follows eventStream over Server-Sent Events while each returns true.
func (c *client) sse(variables map[string]any, each func(batch) bool) {
	c.t.Helper()
	body, err := json.Marshal(map[string]any{"query": eventStream, "variables": variables})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/graphql", strings.NewReader(string(body)))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+c.key)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	lines := newLines(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok || strings.TrimSpace(data) == "" {
			continue
		}
		var next struct {
			Data struct{ EventStream batch }
		}
		if err := json.Unmarshal([]byte(data), &next); err != nil {
			c.t.Fatalf("%s: %v", data, err)
		}
		if !each(next.Data.EventStream) {
			return
		}
	}
}

func TestAStreamWithoutACursorStartsLive(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	c.source("s")
	c.post("s", nil, []byte(`{"type":"before"}`))
	s := c.dial()
	s.subscribe(eventStream, map[string]any{"filter": map[string]any{"types": []string{"live.*"}, "expression": "body.n > 1"}})
	first, err := s.batch() // the cursor, before anything happens
	if err != nil || first.Cursor == "" || len(first.Events) != 0 {
		t.Fatalf("%+v, %v", first, err)
	}
	c.post("s", nil, []byte(`{"type":"other","n":5}`))
	c.post("s", nil, []byte(`{"type":"live.a","n":1}`))
	want := c.post("s", nil, []byte(`{"type":"live.b","n":2}`))
	for {
		b, err := s.batch()
		if err != nil {
			t.Fatal(err)
		}
		if len(b.Events) == 0 {
			continue
		}
		if len(b.Events) != 1 || b.Events[0].ID != want.ID || b.Events[0].Type != "live.b" {
			t.Errorf("%+v", b)
		}
		return
	}
}

func TestCursorsOfAnotherDatabaseHaveExpired(t *testing.T) {
	t.Parallel()
	first := start(t, options(t))
	s := first.dial()
	s.subscribe(eventStream, nil)
	b, err := s.batch()
	if err != nil {
		t.Fatal(err)
	}
	other := start(t, options(t)).dial()
	other.subscribe(eventStream, map[string]any{"after": b.Cursor})
	f, err := other.read()
	if err != nil || f.Type != "error" || !contains(string(f.Payload), "CURSOR_EXPIRED") {
		t.Errorf("%+v %s, %v", f, f.Payload, err)
	}
}

func TestStoppingTellsStreamsToComeBack(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.ShutdownTimeout = 15 * time.Second
	c := start(t, o)
	c.source("s")
	slow := make(chan struct{})
	owner := listen(t, func(_ http.ResponseWriter, r *http.Request, _ int) {
		select {
		case <-slow:
		case <-r.Context().Done():
		}
	})
	endpoint, _ := c.endpoint(owner.URL, "")
	c.subscribe(endpoint, "")
	s := c.dial()
	s.subscribe(eventStream, nil)
	if _, err := s.batch(); err != nil {
		t.Fatal(err)
	}
	sent := c.post("s", nil, nil)
	testkit.Eventually(t, "the delivery is under way", func() bool { return len(owner.got()) == 1 })

	stopped := make(chan struct{})
	go func() { defer close(stopped); c.stop() }()
	for { // the stream may still hand over what was sent; it must not say that it has ended
		f, err := s.read()
		var closed websocket.CloseError
		if errors.As(err, &closed) {
			if closed.Code != websocket.StatusServiceRestart {
				t.Errorf("the socket was closed with %d", closed.Code)
			}
			break
		}
		if err != nil || f.Type != "next" {
			t.Fatalf("%+v, %v", f, err)
		}
	}
	close(slow) // what is under way is waited for
	<-stopped
	c = start(t, o)
	d := c.only(sent.ID, "the delivery that was under way is on record", func(d delivery) bool { return d.Status == "DELIVERED" })
	if d.AttemptCount != 1 {
		t.Errorf("%+v", d)
	}
}
