package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/coder/websocket"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// message is one message of graphql-transport-ws.
type message struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// connection is one WebSocket. Messages are read by one goroutine, which owns
// the state of the handshake; each operation has a goroutine of its own.
type connection struct {
	h       *Handler
	conn    *websocket.Conn
	request *http.Request

	cancel context.CancelFunc // ends the connection, and all that runs on it
	work   sync.WaitGroup     // operations and helpers
	acked  chan struct{}      // closed once the client is known
	// viewer and authorization, which made it known, are set before acked is closed.
	viewer        *hub.Viewer
	authorization string

	// mu guards operations and silent.
	mu         sync.Mutex
	operations map[string]*operation
	silent     int // pings in a row that nothing has followed
}

// operation is one that runs. It is known by its address, because its ID may be
// used again as soon as the client has completed it.
type operation struct {
	id     string
	cancel context.CancelFunc
	// send writes under the connection's context: a write that is cut short ends
	// the connection, so completing an operation must not cut one.
	send func(message) bool
}

// serveConnection reads messages until the connection ends.
func serveConnection(ctx context.Context, h *Handler, conn *websocket.Conn, r *http.Request) {
	ctx, cancel := context.WithCancel(ctx)
	c := &connection{
		h: h, conn: conn, request: r, cancel: cancel,
		acked: make(chan struct{}), operations: make(map[string]*operation),
	}
	defer c.work.Wait()
	defer cancel()
	c.work.Go(func() { c.watch(ctx) })
	for {
		kind, data, err := conn.Read(ctx)
		if err != nil {
			return // closed by either side, or too large, which Read has answered with 1009
		}
		c.mu.Lock()
		c.silent = 0
		c.mu.Unlock()
		if !c.handle(ctx, kind, data) {
			return
		}
	}
}

// watch ends the connection where init or pongs do not come, where its key has
// lapsed and where the handler drains, and pings.
func (c *connection) watch(ctx context.Context) {
	initTimeout := time.NewTimer(c.h.cfg.InitTimeout)
	defer initTimeout.Stop()
	ping := time.NewTicker(c.h.cfg.PingInterval)
	defer ping.Stop()
	key := time.NewTicker(c.h.cfg.KeyInterval)
	defer key.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.h.draining:
			c.shut(closeRestart, "Service restart")
			return
		case <-initTimeout.C:
			select {
			case <-c.acked:
			default:
				c.shut(closeInitTimeout, "Connection initialisation timeout")
				return
			}
		case <-key.C:
			select {
			case <-c.acked:
			default:
				continue
			}
			if c.h.lapsed(ctx, c.authorization) {
				c.shut(closeForbidden, "Forbidden: "+lapsedError.Message)
				return
			}
		case <-ping.C:
			select {
			case <-c.acked:
			default:
				continue
			}
			c.mu.Lock()
			c.silent++
			dead := c.silent > 2
			c.mu.Unlock()
			if dead {
				c.shut(closeTerminated, "Terminated: pongs are missing")
				return
			}
			c.write(ctx, message{Type: "ping"})
		}
	}
}

// shut closes from beside the reader. The close frame is written first, because
// ending the reader's context would cut the connection before it.
func (c *connection) shut(code websocket.StatusCode, reason string) {
	c.forget()
	_ = c.conn.Close(code, reason)
	c.cancel()
}

// forget stops all operations without a word.
func (c *connection) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, op := range c.operations {
		op.cancel()
		delete(c.operations, id)
	}
}

// handle acts on a message and reports whether to go on reading.
func (c *connection) handle(ctx context.Context, kind websocket.MessageType, data []byte) bool {
	var m struct {
		ID      *string         `json:"id"`
		Type    string          `json:"type"`
		Payload json.RawMessage `json:"payload"`
	}
	if kind != websocket.MessageText || json.Unmarshal(data, &m) != nil {
		return c.end(closeBadRequest, "Invalid message: not a JSON object in a text frame")
	}
	switch m.Type {
	case "connection_init":
		return c.init(ctx, m.Payload)
	case "ping":
		c.write(ctx, message{Type: "pong", Payload: m.Payload})
		return true
	case "pong":
		return true
	case "subscribe":
		if m.ID == nil || *m.ID == "" {
			return c.end(closeBadRequest, "Invalid message: subscribe needs an id")
		}
		return c.subscribe(ctx, *m.ID, m.Payload)
	case "complete":
		if m.ID == nil || *m.ID == "" {
			return c.end(closeBadRequest, "Invalid message: complete needs an id")
		}
		c.complete(*m.ID)
		return true
	}
	return c.end(closeBadRequest, "Invalid message: unknown type")
}

// end closes the connection from the reader.
func (c *connection) end(code websocket.StatusCode, reason string) bool {
	c.forget()
	_ = c.conn.Close(code, reason)
	return false
}

// init takes the credentials, from the payload or else from the request's header.
func (c *connection) init(ctx context.Context, payload json.RawMessage) bool {
	select {
	case <-c.acked:
		return c.end(closeTooManyInits, "Too many initialisation requests")
	default:
	}
	var credentials map[string]any // keys match without regard to case
	if len(payload) > 0 && json.Unmarshal(payload, &credentials) != nil {
		return c.end(closeBadRequest, "Invalid message: the payload of connection_init must be an object")
	}
	authorization := c.request.Header.Get("Authorization")
	for name, value := range credentials {
		if text, ok := value.(string); ok && http.CanonicalHeaderKey(name) == "Authorization" {
			authorization = text
		}
	}
	viewer, refused := c.h.authenticate(ctx, authorization)
	if refused != nil {
		if refused.Code == hub.CodeUnavailable {
			return c.end(closeTryAgainLater, "Try again later")
		}
		return c.end(closeForbidden, "Forbidden")
	}
	c.viewer, c.authorization = viewer, authorization
	c.write(ctx, message{Type: "connection_ack"})
	close(c.acked)
	return true
}

// subscribe starts an operation.
func (c *connection) subscribe(ctx context.Context, id string, payload json.RawMessage) bool {
	select {
	case <-c.acked:
	default:
		return c.end(closeUnauthorized, "Unauthorized")
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(payload, &members) != nil || members == nil {
		return c.end(closeBadRequest, "Invalid message: the payload of subscribe must be an object")
	}
	params, _, refused := paramsOf(members)
	if refused != nil {
		return c.end(closeBadRequest, "Invalid message: "+refused.Message)
	}
	params.Headers = c.request.Header

	running, cancel := context.WithCancel(ctx)
	op := &operation{id: id, cancel: cancel, send: func(m message) bool { return c.write(ctx, m) }}
	c.mu.Lock()
	_, taken := c.operations[id]
	full := len(c.operations) >= c.h.cfg.MaxOperations
	if !taken && !full {
		c.operations[id] = op
	}
	c.mu.Unlock()
	switch {
	case taken:
		cancel()
		return c.end(closeSubscriber, "Subscriber for "+clip(id)+" already exists")
	case full:
		cancel()
		op.send(message{ID: id, Type: "error", Payload: list(errorList(hub.NewError(hub.CodeRateLimited,
			"too many operations run on this connection; complete one first")))})
		return true
	}
	c.work.Go(func() { c.run(running, op, params) })
	return true
}

// clip keeps a close reason within the 123 bytes of a close frame.
func clip(id string) string {
	const most = 64
	if len(id) > most {
		return "this id"
	}
	return id
}

// run executes an operation to its end.
func (c *connection) run(ctx context.Context, op *operation, params *graphql.RawParams) {
	defer op.cancel()
	defer func() {
		if reason := recover(); reason != nil {
			c.finish(op, message{ID: op.id, Type: "error", Payload: list(errorList(c.h.recovered(ctx, reason)))})
		}
	}()
	stream := &Stream{}
	ctx = withStream(hub.WithViewer(graphql.StartOperationTrace(ctx), c.viewer), stream)
	executor := c.h.cfg.Executor
	prepared, errs := executor.CreateOperationContext(ctx, params)
	ctx = graphql.WithOperationContext(ctx, prepared)
	if len(errs) > 0 {
		c.finish(op, message{ID: op.id, Type: "error", Payload: list(executor.DispatchError(ctx, errs).Errors)})
		return
	}
	respond, running := executor.DispatchOperation(ctx, prepared)
	for {
		response := respond(running)
		if response == nil {
			break
		}
		if len(response.Data) == 0 { // it failed to start
			c.finish(op, message{ID: op.id, Type: "error", Payload: list(response.Errors)})
			return
		}
		stream.position()
		if !c.next(op, encode(response)) {
			return
		}
	}
	if ctx.Err() != nil {
		return // completed by the client, or the connection has ended
	}
	interrupted, err := stream.ending()
	switch {
	case interrupted:
		c.shut(closeRestart, "Service restart")
	case err != nil:
		c.finish(op, message{ID: op.id, Type: "error", Payload: list(executor.DispatchError(ctx, asList(err)).Errors)})
	default:
		c.finish(op, message{ID: op.id, Type: "complete"})
	}
}

// complete stops an operation because the client asked for it. Its ID is free at once.
func (c *connection) complete(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op := c.operations[id]; op != nil {
		op.cancel()
		delete(c.operations, id)
	}
}

// finish sends the last message of an operation, unless the client has completed it.
func (c *connection) finish(op *operation, last message) {
	c.mu.Lock()
	running := c.operations[op.id] == op
	if running {
		delete(c.operations, op.id)
	}
	c.mu.Unlock()
	if running {
		op.send(last)
	}
}

// next sends a result and reports whether the operation still runs.
func (c *connection) next(op *operation, payload []byte) bool {
	c.mu.Lock()
	running := c.operations[op.id] == op
	c.mu.Unlock()
	return running && op.send(message{ID: op.id, Type: "next", Payload: payload})
}

// write sends a message within the deadline. A reader that does not take it is
// cut off: its stream goes on from its cursor when it comes back.
func (c *connection) write(ctx context.Context, m message) bool {
	ctx, cancel := context.WithTimeout(ctx, c.h.cfg.WriteTimeout)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, m.encode()); err != nil {
		c.cancel()
		return false
	}
	return true
}

// encode writes a message without escaping its payload again.
func (m message) encode() []byte {
	var b bytes.Buffer
	b.Grow(len(m.Payload) + len(m.ID) + 48)
	b.WriteString(`{"type":"` + m.Type + `"`)
	if m.ID != "" {
		id, _ := json.Marshal(m.ID) // a string always encodes
		b.WriteString(`,"id":`)
		b.Write(id)
	}
	if len(m.Payload) > 0 {
		b.WriteString(`,"payload":`)
		b.Write(m.Payload)
	}
	b.WriteByte('}')
	return b.Bytes()
}
