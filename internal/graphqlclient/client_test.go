package graphqlclient_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/graphqlclient"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// upstream is a server that behaves as it is told. Over WebSocket it does so after the
// connection was made.
func upstream(t *testing.T, protocols []string, behave func(ctx context.Context, conn *websocket.Conn)) string {
	t.Helper()
	return upstreamAt(t, nil, protocols, behave)
}

// upstreamAt is upstream behind a listener; nil makes one.
func upstreamAt(t *testing.T, at net.Listener, protocols []string, behave func(ctx context.Context, conn *websocket.Conn)) string {
	t.Helper()
	var behaving sync.WaitGroup // the server knows nothing of connections that are WebSockets
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		behaving.Add(1)
		defer behaving.Done()
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: protocols})
		if err != nil {
			return
		}
		defer func() { _ = conn.CloseNow() }()
		behave(r.Context(), conn)
	}))
	if at != nil {
		_ = server.Listener.Close()
		server.Listener = at
	}
	server.Start()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		behaving.Wait()
	})
	return "ws" + strings.TrimPrefix(server.URL, "http")
}

func say(ctx context.Context, conn *websocket.Conn, text string) bool {
	return conn.Write(ctx, websocket.MessageText, []byte(text)) == nil
}

// heard reads messages until one is of a type.
func heard(ctx context.Context, conn *websocket.Conn, kind string) bool {
	for {
		_, raw, err := conn.Read(ctx)
		if err != nil {
			return false
		}
		if strings.Contains(string(raw), `"type":"`+kind+`"`) {
			return true
		}
	}
}

// ready is a server that takes the operation and then behaves.
func ready(behave func(ctx context.Context, conn *websocket.Conn)) func(context.Context, *websocket.Conn) {
	return func(ctx context.Context, conn *websocket.Conn) {
		if heard(ctx, conn, "connection_init") && say(ctx, conn, `{"type":"connection_ack"}`) && heard(ctx, conn, "subscribe") {
			behave(ctx, conn)
		}
	}
}

// patience is how long a test waits for what does come.
const patience = time.Minute

// follow follows a server until it ends, and returns the data that came.
func follow(t *testing.T, c *graphqlclient.Client) (data []string, err error) {
	t.Helper()
	transport := &http.Transport{}
	if c.HTTP != nil {
		transport = c.HTTP.Transport.(*http.Transport)
	}
	defer transport.CloseIdleConnections()
	c.HTTP = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = c.Follow(ctx, "subscription { x }", json.RawMessage(`{"after":1}`), nil, func(r graphqlclient.Result) error {
		data = append(data, string(r.Data))
		return nil
	})
	if err == nil || ctx.Err() != nil {
		t.Fatalf("it did not end by itself: %v", err)
	}
	return data, err
}

func wrong(t *testing.T, err error, want string, lasting bool) {
	t.Helper()
	var why *graphqlclient.Error
	if !errors.As(err, &why) || !strings.Contains(err.Error(), want) || why.Lasting != lasting {
		t.Errorf("it ended with %v (%+v), not %q, lasting %v", err, why, want, lasting)
	}
}

func TestServersThatMisbehaveOverWebSocket(t *testing.T) {
	t.Parallel()
	forever := func(ctx context.Context, conn *websocket.Conn) {
		for {
			if _, _, err := conn.Read(ctx); err != nil {
				return
			}
		}
	}
	closes := func(code websocket.StatusCode, reason string) func(context.Context, *websocket.Conn) {
		return ready(func(_ context.Context, conn *websocket.Conn) { _ = conn.Close(code, reason) })
	}
	says := func(texts ...string) func(context.Context, *websocket.Conn) {
		return ready(func(ctx context.Context, conn *websocket.Conn) {
			go func() { // it reads meanwhile
				for _, text := range texts {
					if !say(ctx, conn, text) {
						return
					}
				}
			}()
			forever(ctx, conn)
		})
	}
	for name, test := range map[string]struct {
		behave    func(context.Context, *websocket.Conn)
		protocols []string
		want      string
		lasting   bool
	}{
		"never acknowledges": {behave: forever, want: "has not acknowledged the connection"},
		"pings before it agrees": {behave: func(ctx context.Context, c *websocket.Conn) {
			go forever(ctx, c)
			for say(ctx, c, `{"type":"ping"}`) {
				time.Sleep(time.Millisecond)
			}
		}, want: "has not acknowledged the connection"},
		"pings and does not listen": {behave: func(ctx context.Context, c *websocket.Conn) {
			heard(ctx, c, "connection_init")
			time.Sleep(time.Millisecond)
			say(ctx, c, `{"type":"ping"}`)
			time.Sleep(time.Minute)
		}, want: "has not acknowledged the connection"},
		"floods pings": {behave: ready(func(ctx context.Context, c *websocket.Conn) {
			go forever(ctx, c)
			for say(ctx, c, `{"type":"ping"}`) {
			}
		}), want: "pings without end"},
		"falls silent":         {behave: ready(forever), want: "no sign of life"},
		"sends a huge message": {behave: says(`{"id":"1","type":"next","payload":{"data":"` + strings.Repeat("x", 2<<20) + `"}}`), want: "more than 1 MiB", lasting: true},
		"sends garbage":        {behave: says("garbage"), want: "no message"},
		"sends no result":      {behave: says(`{"id":"1","type":"next","payload":[1]}`), want: "no result"},
		"sends before it agrees": {behave: func(ctx context.Context, c *websocket.Conn) {
			if heard(ctx, c, "connection_init") && say(ctx, c, `{"id":"1","type":"next","payload":{"data":{}}}`) {
				forever(ctx, c)
			}
		}, want: "before it acknowledged"},
		"speaks another protocol":  {behave: forever, protocols: []string{"graphql-ws"}, want: "does not speak graphql-transport-ws", lasting: true},
		"refuses the credentials":  {behave: closes(4403, "Forbidden"), want: "does not accept the credentials: Forbidden", lasting: true},
		"wants credentials":        {behave: closes(4401, "Unauthorized"), want: "does not accept the credentials", lasting: true},
		"does not understand":      {behave: closes(4400, "bad\nbad"), want: "does not understand what it was sent: bad bad", lasting: true},
		"restarts":                 {behave: closes(websocket.StatusServiceRestart, ""), want: "restarts"},
		"breaks":                   {behave: closes(4500, "Internal"), want: "closed the connection: Internal"},
		"completes":                {behave: says(`{"id":"1","type":"complete"}`), want: "ended the stream"},
		"finds the document wrong": {behave: says(`{"id":"1","type":"error","payload":[{"message":"no field x","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`), want: "no field x", lasting: true},
		"fails":                    {behave: says(`{"id":"1","type":"error","payload":[{"message":"oops"}]}`), want: "oops"},
		"says no error":            {behave: says(`{"id":"1","type":"error","payload":{}}`), want: "cannot be read"},
		"goes away":                {behave: ready(func(context.Context, *websocket.Conn) {}), want: "broke"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			protocols := test.protocols
			if protocols == nil {
				protocols = []string{"graphql-transport-ws"}
			}
			synctest.Test(t, func(t *testing.T) { // where no machine is too slow for an answer
				pipe := testkit.NewPipe()
				_, err := follow(t, &graphqlclient.Client{
					URL: upstreamAt(t, pipe, protocols, test.behave), Answer: 900 * time.Millisecond, Silence: 5 * time.Second, MaxMessage: 1 << 20,
					HTTP: &http.Client{Transport: &http.Transport{DialContext: pipe.Dial}},
				})
				wrong(t, err, test.want, test.lasting)
			})
		})
	}
}

func TestASilentServerIsAskedForASignOfLife(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		pipe := testkit.NewPipe()
		url := upstreamAt(t, pipe, []string{"graphql-transport-ws"}, ready(func(ctx context.Context, conn *websocket.Conn) {
			for range 5 { // longer than the silence that is borne
				if !heard(ctx, conn, "ping") || !say(ctx, conn, `{"type":"pong"}`) {
					return
				}
			}
			say(ctx, conn, `{"id":"1","type":"next","payload":{"data":{"n": 1.0}}}`)
			say(ctx, conn, `{"id":"1","type":"complete"}`)
			heard(ctx, conn, "none")
		}))
		began := time.Now()
		data, err := follow(t, &graphqlclient.Client{
			URL: url, Silence: 9 * time.Second, HTTP: &http.Client{Transport: &http.Transport{DialContext: pipe.Dial}},
		})
		wrong(t, err, "ended the stream", false)
		if len(data) != 1 || data[0] != `{"n": 1.0}` {
			t.Errorf("%q came", data)
		}
		if took := time.Since(began); took != 15*time.Second {
			t.Errorf("it asked five times within %s", took)
		}
	})
}

func TestServersThatMisbehaveOverEvents(t *testing.T) {
	t.Parallel()
	stream := func(parts ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
			for _, part := range parts {
				if part == "hang" {
					_ = http.NewResponseController(w).Flush()
					<-r.Context().Done()
					return
				}
				_, _ = io.WriteString(w, part)
			}
		}
	}
	answers := func(status int, media, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", media)
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
		lasting bool
		data    string
	}{
		"never answers":       {handler: func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body); <-r.Context().Done() }, want: "did not answer within"},
		"no stream":           {handler: answers(406, "text/plain", ""), want: "wss://", lasting: true},
		"no method":           {handler: answers(405, "text/plain", ""), want: "wss://", lasting: true},
		"no media":            {handler: answers(415, "text/plain", ""), want: "wss://", lasting: true},
		"one answer":          {handler: answers(200, "application/json", `{"data":{}}`), want: "answered once", lasting: true},
		"errors":              {handler: answers(400, "application/json", `{"errors":[{"message":"no field","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`), want: "no field", lasting: true},
		"credentials":         {handler: answers(401, "text/plain", ""), want: "credentials", lasting: true},
		"elsewhere":           {handler: answers(307, "text/plain", ""), want: "leads elsewhere", lasting: true},
		"trouble":             {handler: answers(503, "text/plain", ""), want: "answered 503"},
		"nothing there":       {handler: answers(404, "text/plain", ""), want: "answered 404", lasting: true},
		"huge line":           {handler: stream("event: next\ndata: " + strings.Repeat("x", 2<<20) + "\n\n"), want: "more than 1 MiB", lasting: true},
		"huge in many lines":  {handler: stream(strings.Repeat("data: "+strings.Repeat("x", 1000)+"\n", 2000)), want: "more than 1 MiB", lasting: true},
		"garbage":             {handler: stream("event: next\ndata: garbage\n\n"), want: "no result"},
		"completes":           {handler: stream("event: next\r\ndata: {\"data\":\r\ndata: {\"n\": 1.0}}\r\n\r\n", "event: complete\ndata:\n\n", "hang"), want: "ended the stream", data: `{"n": 1.0}`},
		"ends":                {handler: stream("event: next\ndata: {\"data\":{}}\n\n"), want: "ended the stream", data: "{}"},
		"stops its heartbeat": {handler: stream(":\n\n", "hang"), want: "no sign of life"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(test.handler)
			t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
			answer, silence := patience/2, patience/2
			switch test.want {
			case "did not answer within":
				answer = time.Second
			case "no sign of life":
				silence = time.Second
			}
			data, err := follow(t, &graphqlclient.Client{URL: server.URL, Answer: answer, Silence: silence, MaxMessage: 1 << 20})
			wrong(t, err, test.want, test.lasting)
			if got := strings.Join(data, ""); got != test.data {
				t.Errorf("%q came", got)
			}
		})
	}
}

func TestWhatIsSentToTheServer(t *testing.T) {
	t.Parallel()
	got := make(chan string, 2)
	url := upstream(t, []string{"graphql-transport-ws"}, func(ctx context.Context, conn *websocket.Conn) {
		for _, answer := range []string{`{"type":"connection_ack"}`, `{"id":"1","type":"complete"}`} {
			_, raw, err := conn.Read(ctx)
			if err != nil {
				return
			}
			got <- string(raw)
			say(ctx, conn, answer)
		}
		heard(ctx, conn, "none")
	})
	_, err := follow(t, &graphqlclient.Client{URL: url, ConnectionPayload: json.RawMessage(`{"token":"t"}`)})
	wrong(t, err, "ended", false)
	if init, operation := <-got, <-got; init != `{"type":"connection_init","payload":{"token":"t"}}` ||
		operation != `{"id":"1","type":"subscribe","payload":{"query":"subscription { x }","variables":{"after":1}}}` {
		t.Errorf("sent: %s, %s", init, operation)
	}
}

func TestAServerIsHeldUpWhileNobodyTakes(t *testing.T) {
	t.Parallel()
	sent := make(chan int, 1)
	url := upstream(t, []string{"graphql-transport-ws"}, ready(func(ctx context.Context, conn *websocket.Conn) {
		bounded, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		n := 0
		for say(bounded, conn, fmt.Sprintf(`{"id":"1","type":"next","payload":{"data":"%s"}}`, strings.Repeat("x", 500_000))) {
			n++
		}
		sent <- n
	}))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	c := &graphqlclient.Client{URL: url, HTTP: &http.Client{Transport: transport}}
	done := make(chan error, 1)
	go func() {
		done <- c.Follow(ctx, "subscription { x }", nil, nil, func(graphqlclient.Result) error { <-ctx.Done(); return ctx.Err() })
	}()
	if n := <-sent; n > 40 { // what the buffers of the two ends hold
		t.Errorf("%d messages of half a MiB were taken from the server", n)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("it ended with %v", err)
	}
}
