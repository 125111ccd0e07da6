package graph_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/hookgraph/hookgraph/graph/transport"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// socket is a WebSocket client that says what it wants to see.
type socket struct {
	t    testing.TB
	conn *websocket.Conn
}

// dial opens a WebSocket. Headers are names and values in turn.
func (b *bundle) dial(t testing.TB, headers ...string) *socket {
	t.Helper()
	return dial(t, b.url, headers...)
}

func dial(t testing.TB, url string, headers ...string) *socket {
	t.Helper()
	header := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	conn, _, err := websocket.Dial(t.Context(), url, &websocket.DialOptions{
		Subprotocols: []string{"graphql-transport-ws"}, HTTPHeader: header,
	})
	must(t, err)
	conn.SetReadLimit(4 << 20)
	t.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{t, conn}
}

func (s *socket) send(text string) {
	s.t.Helper()
	must(s.t, s.conn.Write(s.t.Context(), websocket.MessageText, []byte(text)))
}

// message is one that the server has sent.
type message struct {
	Type    string
	ID      string
	Payload json.RawMessage
}

// read returns the next message but pings, which it answers.
func (s *socket) read() (message, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 60*time.Second)
	defer cancel()
	for {
		m, err := s.next(ctx)
		if err != nil || m.Type != "ping" {
			return m, err
		}
		_ = s.conn.Write(ctx, websocket.MessageText, []byte(`{"type":"pong"}`)) // where it fails, reading does too
	}
}

// next returns the next message, whatever it is.
func (s *socket) next(ctx context.Context) (m message, err error) {
	_, data, err := s.conn.Read(ctx)
	if err == nil {
		must(s.t, json.Unmarshal(data, &m))
	}
	return m, err
}

// expect reads a message of a type.
func (s *socket) expect(kind string) message {
	s.t.Helper()
	m, err := s.read()
	must(s.t, err)
	if m.Type != kind {
		s.t.Fatalf("got %s %s, want %s", m.Type, m.Payload, kind)
	}
	return m
}

// closed reads until the server closes with a code, and fails where it completes
// an operation before.
func (s *socket) closed(code websocket.StatusCode) {
	s.t.Helper()
	for {
		m, err := s.read()
		if err == nil && m.Type != "complete" {
			continue
		}
		if got := websocket.CloseStatus(err); got != code {
			s.t.Errorf("closed with %d, want %d (%v %v)", got, code, m, err)
		}
		return
	}
}

func (s *socket) init() {
	s.t.Helper()
	s.send(`{"type":"connection_init","payload":{"authorization":"Bearer ` + operatorKey + `"}}`)
	s.expect("connection_ack")
}

const subscribe = `{"type":"subscribe","id":"%s","payload":{"query":"%s"}}`

// Each row of the protocol's table of close codes.
func TestTheProtocolOfWebSockets(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const stream = "subscription { eventStream { cursor } }"
	for name, c := range map[string]struct {
		acked bool
		send  []string
		code  websocket.StatusCode
	}{
		"not JSON":                        {true, []string{`{`}, 4400},
		"a list":                          {true, []string{`[]`}, 4400},
		"an unknown type":                 {true, []string{`{"type":"start"}`}, 4400},
		"a type for servers":              {true, []string{`{"type":"next","id":"1"}`}, 4400},
		"no type":                         {true, []string{`{}`}, 4400},
		"subscribe without an id":         {true, []string{`{"type":"subscribe","payload":{"query":"{__typename}"}}`}, 4400},
		"subscribe with an empty id":      {true, []string{fmt.Sprintf(subscribe, "", "{__typename}")}, 4400},
		"subscribe without a payload":     {true, []string{`{"type":"subscribe","id":"1"}`}, 4400},
		"a query that is no string":       {true, []string{`{"type":"subscribe","id":"1","payload":{"query":1}}`}, 4400},
		"variables that are a list":       {true, []string{`{"type":"subscribe","id":"1","payload":{"query":"{__typename}","variables":[]}}`}, 4400},
		"complete without an id":          {true, []string{`{"type":"complete"}`}, 4400},
		"a payload of init that is text":  {false, []string{`{"type":"connection_init","payload":"x"}`}, 4400},
		"a second init":                   {true, []string{`{"type":"connection_init"}`}, 4429},
		"subscribe before init":           {false, []string{fmt.Sprintf(subscribe, "1", "{__typename}")}, 4401},
		"an id that runs already":         {true, []string{fmt.Sprintf(subscribe, "1", stream), fmt.Sprintf(subscribe, "1", stream)}, 4409},
		"no key":                          {false, []string{`{"type":"connection_init"}`}, 4403},
		"a wrong key":                     {false, []string{`{"type":"connection_init","payload":{"authorization":"Bearer nonsense"}}`}, 4403},
		"another scheme":                  {false, []string{`{"type":"connection_init","payload":{"Authorization":"Basic eDp5"}}`}, 4403},
		"a message larger than the limit": {true, []string{`{"type":"ping","payload":"` + strings.Repeat("x", 1<<20) + `"}`}, 1009},
	} {
		t.Run(name, func(t *testing.T) {
			s := b.dial(t)
			if c.acked {
				s.init()
			}
			for _, text := range c.send {
				s.send(text)
			}
			s.closed(c.code)
		})
	}
	t.Run("a binary message", func(t *testing.T) {
		s := b.dial(t)
		s.init()
		must(t, s.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"type":"ping"}`)))
		s.closed(4400)
	})
	t.Run("another subprotocol", func(t *testing.T) {
		conn, _, err := websocket.Dial(t.Context(), b.url, &websocket.DialOptions{Subprotocols: []string{"graphql-ws"}})
		must(t, err)
		defer func() { _ = conn.CloseNow() }()
		(&socket{t, conn}).closed(4406)
	})
	t.Run("the key may stand in the header", func(t *testing.T) {
		s := b.dial(t, "Authorization", "Bearer "+operatorKey)
		s.send(`{"type":"connection_init"}`)
		s.expect("connection_ack")
	})
	t.Run("a page of another origin", func(t *testing.T) {
		_, response, err := websocket.Dial(t.Context(), b.url, &websocket.DialOptions{
			Subprotocols: []string{"graphql-transport-ws"}, HTTPHeader: http.Header{"Origin": {"https://evil.example"}},
		})
		if err == nil || response == nil || response.StatusCode != http.StatusForbidden {
			t.Errorf("got %v, %v", response, err)
		}
	})
	t.Run("ping is answered with its payload", func(t *testing.T) {
		s := b.dial(t)
		s.send(`{"type":"ping","payload":{"a":1}}`)
		if m := s.expect("pong"); string(m.Payload) != `{"a":1}` {
			t.Errorf("got %s", m.Payload)
		}
	})
	t.Run("a query is next and complete", func(t *testing.T) {
		s := b.dial(t)
		s.init()
		s.send(fmt.Sprintf(subscribe, `q\"1`, "{ viewer { role } }"))
		if m := s.expect("next"); m.ID != `q"1` || !strings.Contains(string(m.Payload), "OPERATOR") {
			t.Errorf("got %+v", m)
		}
		s.expect("complete")
	})
	t.Run("a refused document is one error and nothing after it", func(t *testing.T) {
		s := b.dial(t)
		s.init()
		for _, query := range []string{`{`, `{ nothing }`, `subscription { eventStream(after: \"x\") { cursor } }`, `subscription { eventStream(after: \"\") { cursor } }`} {
			s.send(fmt.Sprintf(subscribe, "1", query))
			if m := s.expect("error"); !strings.HasPrefix(string(m.Payload), "[{") {
				t.Errorf("got %s", m.Payload)
			}
		}
		s.send(`{"type":"ping"}`)
		s.expect("pong")
	})
	t.Run("an id is free once its operation is completed by the client", func(t *testing.T) {
		s := b.dial(t)
		s.init()
		for range 20 {
			s.send(fmt.Sprintf(subscribe, "1", stream))
			s.expect("next")
			s.send(`{"type":"complete","id":"1"}`)
		}
		s.send(`{"type":"ping"}`)
		s.expect("pong")
	})
	t.Run("operations are bounded and the connection stays", func(t *testing.T) {
		s := b.dial(t)
		s.init()
		for n := range 50 {
			s.send(fmt.Sprintf(subscribe, fmt.Sprint(n), stream))
			s.expect("next")
		}
		s.send(fmt.Sprintf(subscribe, "more", stream))
		if m := s.expect("error"); m.ID != "more" || !strings.Contains(string(m.Payload), "RATE_LIMITED") {
			t.Errorf("got %+v", m)
		}
		s.send(`{"type":"complete","id":"7"}`)
		s.send(fmt.Sprintf(subscribe, "more", stream))
		s.expect("next")
	})
}

func TestWebSocketsStreamFromTheirCursor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var cursor *string
	read := 0
	var want, got []string
	for range 3 { // connections
		s := b.dial(t)
		s.init()
		payload, err := json.Marshal(map[string]any{
			"query":     `subscription($after: String) { eventStream(after: $after, from: EARLIEST, batchSize: 2) { cursor events { id source { slug } } } }`,
			"variables": map[string]any{"after": cursor},
		})
		must(t, err)
		s.send(`{"type":"subscribe","id":"1","payload":` + string(payload) + `}`)
		for range 5 {
			want = append(want, b.publish("a", "{}"))
		}
		for read < len(want)-1 { // the last one is left to the next connection
			var m streamed
			must(t, json.Unmarshal(s.expect("next").Payload, &m))
			for _, e := range m.Data.EventStream.Events {
				got = append(got, e.ID)
				read++
			}
			cursor = &m.Data.EventStream.Cursor
		}
		_ = s.conn.CloseNow()
	}
	if fmt.Sprint(got) != fmt.Sprint(want[:len(got)]) || len(got) < len(want)-1 {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestDrainingClosesWebSocketsWith1012(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.dial(t)
	s.init()
	s.send(fmt.Sprintf(subscribe, "1", "subscription { eventStream { cursor } }"))
	s.expect("next")
	fresh := b.dial(t)
	done := make(chan error, 1)
	go func() { done <- b.handler.Drain(t.Context()) }()
	s.closed(1012)
	fresh.closed(1012)
	must(t, <-done)
	if _, response, err := websocket.Dial(t.Context(), b.url, nil); err == nil || response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %v", err)
	}
}

// inBubble runs a story with a handler without an executor, in which time passes only when
// nothing else can happen.
func inBubble(t *testing.T, story func(t *testing.T, dial func() *socket)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := transport.New(transport.Config{
			Authenticate: func(context.Context, string) (*hub.Viewer, error) { return &hub.Viewer{}, nil },
		})
		pipe := testkit.NewPipe()
		server := httptest.NewUnstartedServer(h)
		_ = server.Listener.Close()
		server.Listener = pipe
		server.Start()
		t.Cleanup(func() {
			_ = h.Drain(context.Background())
			server.Close()
		})
		client := &http.Client{Transport: &http.Transport{DialContext: pipe.Dial}}
		story(t, func() *socket {
			conn, _, err := websocket.Dial(t.Context(), "http://hub/graphql", &websocket.DialOptions{
				Subprotocols: []string{"graphql-transport-ws"}, HTTPClient: client,
			})
			must(t, err)
			t.Cleanup(func() { _ = conn.CloseNow() })
			return &socket{t, conn}
		})
	})
}

func TestWebSocketsThatStaySilentAreClosed(t *testing.T) {
	t.Parallel()
	t.Run("before init", func(t *testing.T) {
		inBubble(t, func(_ *testing.T, dial func() *socket) { dial().closed(4408) })
	})
	t.Run("after two pings", func(t *testing.T) {
		inBubble(t, func(t *testing.T, dial func() *socket) {
			s := dial()
			s.send(`{"type":"connection_init"}`)
			s.expect("connection_ack")
			for range 2 {
				if m, err := s.next(t.Context()); err != nil || m.Type != "ping" {
					t.Fatalf("got %+v, %v", m, err)
				}
			}
			if m, err := s.next(t.Context()); websocket.CloseStatus(err) != 4499 {
				t.Errorf("got %+v, %v", m, err)
			}
		})
	})
	t.Run("but not while pongs come", func(t *testing.T) {
		inBubble(t, func(t *testing.T, dial func() *socket) {
			s := dial()
			s.send(`{"type":"connection_init"}`)
			s.expect("connection_ack")
			for range 10 {
				if m, err := s.next(t.Context()); err != nil || m.Type != "ping" {
					t.Fatalf("got %+v, %v", m, err)
				}
				s.send(`{"type":"pong"}`)
			}
		})
	})
}

func TestAnUnavailableAuthenticationIsNotARefusal(t *testing.T) {
	t.Parallel()
	h := transport.New(transport.Config{
		Authenticate: func(context.Context, string) (*hub.Viewer, error) { return nil, errors.New("the database is away") },
		Logger:       discard,
	})
	server := httptest.NewServer(h)
	defer server.Close()
	s := dial(t, server.URL)
	s.send(`{"type":"connection_init"}`)
	s.closed(1013)
	response, err := http.Post(server.URL, "application/json", strings.NewReader(`{}`))
	must(t, err)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("got %d", response.StatusCode)
	}
}
