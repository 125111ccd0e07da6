package graphqlclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
)

const (
	subprotocol = "graphql-transport-ws"
	operationID = "1"

	// More pings than this within the span are no sign of life but an attack.
	maxPings = 1000
	pingSpan = 10 * time.Second
)

// message is one of graphql-transport-ws.
type message struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// socket is an open connection of one operation.
type socket struct {
	*Client
	conn  *websocket.Conn
	heard atomic.Int64 // when the server was heard last, in nanoseconds

	pings   int // within the span
	pingsAt time.Time
}

func (c *Client) followSocket(ctx context.Context, operation []byte, opened func(), take func(Result) error) error {
	s, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = s.conn.CloseNow() }() // it is broken, or of no use any more
	if err := s.init(ctx); err != nil {
		return err
	}
	if err := s.write(ctx, message{ID: operationID, Type: "subscribe", Payload: operation}); err != nil {
		return err
	}
	opened()
	ctx, cancel := context.WithCancel(ctx)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		s.ask(ctx)
	}()
	defer func() { cancel(); <-asked }()
	return s.follow(ctx, take)
}

// open makes the connection.
func (c *Client) open(ctx context.Context) (*socket, error) {
	bounded, cancel := context.WithTimeout(ctx, c.Answer)
	defer cancel()
	//nolint:bodyclose // the library closes it
	conn, response, err := websocket.Dial(bounded, c.URL, &websocket.DialOptions{
		HTTPClient: c.HTTP, HTTPHeader: c.Header.Clone(), Subprotocols: []string{subprotocol},
	})
	switch {
	case err != nil && response != nil && response.StatusCode != http.StatusSwitchingProtocols:
		return nil, c.status(response.StatusCode, "WebSockets")
	case err != nil:
		return nil, c.unreachable(err)
	case conn.Subprotocol() != subprotocol:
		_ = conn.CloseNow()
		return nil, c.lasting("does not speak %s", subprotocol)
	}
	conn.SetReadLimit(c.MaxMessage)
	s := &socket{Client: c, conn: conn}
	s.heard.Store(time.Now().UnixNano())
	return s, nil
}

// status says what an HTTP status means that is not the one that was asked for.
func (c *Client) status(status int, what string) error {
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden:
		return c.refused("")
	case status >= 300 && status < 400:
		return c.lasting("answered %d, which leads elsewhere: give the URL that it leads to", status)
	case status == http.StatusTooManyRequests, status >= 500:
		return c.errorf("answered %d", status)
	}
	return c.lasting("answered %d: it does not offer %s at this URL", status, what)
}

// init shows the server who calls, and waits until it agrees.
func (s *socket) init(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, s.Answer)
	defer cancel()
	if err := s.write(ctx, message{Type: "connection_init", Payload: s.ConnectionPayload}); err != nil {
		return err
	}
	for {
		m, err := s.read(bounded)
		beat := err == nil && (m.Type == "ping" || m.Type == "pong")
		if beat {
			err = s.answer(bounded, m)
		}
		switch {
		case err != nil && ctx.Err() == nil && bounded.Err() != nil:
			return s.errorf("has not acknowledged the connection within %s", s.Answer)
		case err != nil:
			return err
		case m.Type == "connection_ack":
			return nil
		case beat:
		default:
			return s.errorf("sent %.40q before it acknowledged the connection", m.Type)
		}
	}
}

func (s *socket) follow(ctx context.Context, take func(Result) error) error {
	for {
		bounded, cancel := context.WithTimeout(ctx, s.Silence)
		m, err := s.read(bounded)
		dead := ctx.Err() == nil && bounded.Err() != nil
		cancel()
		switch {
		case err != nil && dead:
			return s.silent()
		case err != nil:
			return err
		}
		switch m.Type {
		case "ping", "pong":
			err = s.answer(ctx, m)
		case "next":
			var result Result
			if result, err = s.result(m.Payload); err == nil && m.ID == operationID {
				err = take(result)
			}
		case "error":
			var list []ResponseError
			if json.Unmarshal(m.Payload, &list) != nil || len(list) == 0 {
				return s.errorf("ended the stream with an error that cannot be read")
			}
			return FirstError(s.Name, list)
		case "complete":
			return s.errorf("ended the stream")
		case "connection_ack":
			return s.errorf("acknowledged the connection twice")
		}
		if err != nil {
			return err
		}
	}
}

// ask asks for a sign of life whenever there has been none for a while.
func (s *socket) ask(ctx context.Context) {
	every := max(s.Silence/3, time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if time.Since(time.Unix(0, s.heard.Load())) < every {
			continue
		}
		if s.write(ctx, message{Type: "ping"}) != nil {
			return // whoever reads learns it too
		}
	}
}

func (s *socket) answer(ctx context.Context, m message) error {
	if now := time.Now(); now.Sub(s.pingsAt) > pingSpan {
		s.pings, s.pingsAt = 0, now
	}
	if s.pings++; s.pings > maxPings {
		return s.errorf("sends pings without end")
	}
	if m.Type == "pong" {
		return nil
	}
	return s.write(ctx, message{Type: "pong", Payload: m.Payload})
}

func (s *socket) write(ctx context.Context, m message) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return &Error{Message: "what is to be sent is no JSON", Lasting: true, cause: err}
	}
	bounded, cancel := context.WithTimeout(ctx, s.Answer)
	defer cancel()
	if err := s.conn.Write(bounded, websocket.MessageText, raw); err != nil {
		return s.broken(err)
	}
	return nil
}

func (s *socket) read(ctx context.Context) (message, error) {
	var m message
	_, raw, err := s.conn.Read(ctx)
	if err != nil {
		return m, s.broken(err)
	}
	s.heard.Store(time.Now().UnixNano())
	if err := json.Unmarshal(raw, &m); err != nil || m.Type == "" {
		return m, s.errorf("sent what is no message of %s", subprotocol)
	}
	return m, nil
}

// broken says why a connection ended.
func (s *socket) broken(err error) error {
	var closed websocket.CloseError
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		return s.tooLarge()
	case !errors.As(err, &closed):
		return &Error{Message: "the connection to " + s.Name + " broke", cause: err}
	}
	code := int(closed.Code)
	switch code {
	case 4401, 4403:
		return s.refused(said(closed.Reason))
	case 4400:
		return s.lasting("does not understand what it was sent%s", said(closed.Reason))
	case 4406:
		return s.lasting("does not speak %s", subprotocol)
	case 4408:
		return s.errorf("did not wait for the connection to be set up")
	case int(websocket.StatusServiceRestart), int(websocket.StatusGoingAway):
		return s.errorf("restarts")
	}
	if closed.Reason == "" {
		return s.errorf("closed the connection with code %d", code)
	}
	return s.errorf("closed the connection%s", said(closed.Reason))
}
