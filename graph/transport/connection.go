package transport

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
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

// connection is one WebSocket. Messages are read by one goroutine, which owns the
// state of the handshake; each operation has a goroutine of its own. What is due by
// the clock, a timer does, so that a connection that waits costs no goroutine more.
type connection struct {
	h      *Handler
	conn   *websocket.Conn
	socket net.Conn // under conn, for deadlines
	header http.Header

	cancel context.CancelFunc // ends the connection, and all that runs on it
	work   sync.WaitGroup     // operations, and what the timer does
	// viewer and authorization, which made it known, are set before acked is.
	viewer        *hub.Viewer
	authorization string

	writing sync.Mutex // held while a message is written

	// mu guards the fields below.
	mu         sync.Mutex
	operations map[string]*operation
	acked      bool // the client is known
	ended      bool // nothing may begin any more
	silent     int  // pings in a row that nothing has followed
	clock      *time.Timer
	pingAt     time.Time
	keyAt      time.Time
}

// operation is one that runs. It is known by its address, because its ID may be
// used again as soon as the client has completed it.
type operation struct {
	id     string
	cancel context.CancelFunc
}

// serveConnection reads messages until the connection ends.
func serveConnection(ctx context.Context, h *Handler, conn *websocket.Conn, socket net.Conn, header http.Header) {
	ctx, cancel := context.WithCancel(ctx)
	c := &connection{
		h: h, conn: conn, socket: socket, header: header, cancel: cancel, operations: make(map[string]*operation),
	}
	defer c.finished()
	c.mu.Lock()
	c.clock = time.AfterFunc(h.cfg.InitTimeout, func() { c.aside(func() { c.tick(ctx) }) })
	c.mu.Unlock()
	if !h.enter(c) {
		c.end(closeRestart, "Service restart")
		return
	}
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

// finished ends all that runs on the connection and waits for it.
func (c *connection) finished() {
	c.h.leave(c)
	c.mu.Lock()
	c.ended = true
	c.clock.Stop()
	c.mu.Unlock()
	c.cancel()
	c.work.Wait()
}

// aside does something beside the reader, unless the connection has ended.
func (c *connection) aside(do func()) {
	c.mu.Lock()
	ended := c.ended
	if !ended {
		c.work.Add(1)
	}
	c.mu.Unlock()
	if !ended {
		defer c.work.Done()
		do()
	}
}

// tick does what is due: it ends the connection where init or pongs do not come or
// where its key has lapsed, and pings.
func (c *connection) tick(ctx context.Context) {
	now := time.Now()
	c.mu.Lock()
	acked, ping, key := c.acked, !now.Before(c.pingAt), !now.Before(c.keyAt)
	if ping {
		c.silent++
		c.pingAt = now.Add(c.h.cfg.PingInterval)
	}
	if key {
		c.keyAt = c.lookAt(now)
	}
	dead := c.silent > 2
	c.mu.Unlock()
	switch {
	case !acked:
		c.shut(closeInitTimeout, "Connection initialisation timeout")
		return
	case key && c.h.lapsed(ctx, c.authorization):
		c.shut(closeForbidden, "Forbidden: "+lapsedError.Message)
		return
	case dead:
		c.shut(closeTerminated, "Terminated: pongs are missing")
		return
	case ping && !c.write(message{Type: "ping"}):
		return
	}
	c.schedule()
}

// lookAt returns when the key is looked at again: at the latest when it expires.
func (c *connection) lookAt(now time.Time) time.Time {
	next := now.Add(c.h.cfg.KeyInterval)
	if c.viewer == nil || c.viewer.ExpiresAt.IsZero() {
		return next
	}
	if expired := c.viewer.ExpiresAt.Add(time.Millisecond); expired.After(now) && expired.Before(next) {
		return expired
	}
	return next
}

// schedule sets the clock to what is due next.
func (c *connection) schedule() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	next := c.pingAt
	if c.keyAt.Before(next) {
		next = c.keyAt
	}
	c.clock.Reset(time.Until(next))
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
	turn := c.h.turn()
	if len(data) >= largeBytes {
		turn.until = time.Time{} // nobody knows yet whom to answer that it takes too long
		if gone, _ := turn.take(ctx, c.viewer); gone != nil {
			return false
		}
	}
	running := false // it has taken over the turn
	defer func() {
		if !running {
			turn.end()
		}
	}()
	var m struct {
		ID      *string         `json:"id"`
		Type    string          `json:"type"`
		Payload json.RawMessage `json:"payload"`
	}
	if kind != websocket.MessageText || json.Unmarshal(data, &m) != nil {
		if c.viewer != nil {
			c.h.cfg.Executor.Refused(c.viewer, len(data))
		}
		return c.end(closeBadRequest, "Invalid message: not a JSON object in a text frame")
	}
	switch m.Type {
	case "connection_init":
		return c.init(ctx, m.Payload)
	case "ping":
		return c.write(message{Type: "pong", Payload: m.Payload})
	case "pong":
		return true
	case "subscribe":
		if m.ID == nil || *m.ID == "" {
			return c.end(closeBadRequest, "Invalid message: subscribe needs an id")
		}
		running = true
		return c.subscribe(ctx, *m.ID, m.Payload, len(data), turn)
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
	if c.viewer != nil {
		return c.end(closeTooManyInits, "Too many initialisation requests")
	}
	var credentials map[string]any // keys match without regard to case
	if len(payload) > 0 && json.Unmarshal(payload, &credentials) != nil {
		return c.end(closeBadRequest, "Invalid message: the payload of connection_init must be an object")
	}
	authorization := c.header.Get("Authorization")
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
		return c.end(closeForbidden, clipReason("Forbidden: "+refused.Message))
	}
	if !c.h.admit(viewer) {
		return c.end(closeTryAgainLater, "Too many connections for this key")
	}
	c.viewer, c.authorization = viewer, authorization
	if !c.write(message{Type: "connection_ack"}) {
		return false
	}
	now := time.Now()
	c.mu.Lock()
	c.acked, c.pingAt, c.keyAt = true, now.Add(c.h.cfg.PingInterval), c.lookAt(now)
	c.mu.Unlock()
	c.schedule()
	return true
}

// subscribe starts an operation that came in a message of so many bytes. It ends the turn,
// or leaves that to the operation.
func (c *connection) subscribe(ctx context.Context, id string, payload json.RawMessage, size int, turn *turn) bool {
	started := false
	defer func() {
		if !started {
			turn.end()
		}
	}()
	if c.viewer == nil {
		return c.end(closeUnauthorized, "Unauthorized")
	}
	params, refused := fromPayload(payload)
	if refused != nil {
		c.h.cfg.Executor.Refused(c.viewer, size)
		return c.end(closeBadRequest, "Invalid message: "+refused.Message)
	}
	params.Headers, params.size = c.header, size
	running, cancel := context.WithCancel(ctx)
	op := &operation{id: id, cancel: cancel}
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
		return c.write(message{ID: id, Type: "error", Payload: list(errorList(hub.NewError(hub.CodeRateLimited,
			fmt.Sprintf("%d operations run on this connection, which is as many as may; complete one first", c.h.cfg.MaxOperations))))})
	}
	started = true
	c.work.Go(func() { c.run(running, op, params, turn) })
	return true
}

// fromPayload reads the operation of a subscribe message.
func fromPayload(payload json.RawMessage) (*request, *hub.Error) {
	var members map[string]json.RawMessage
	if json.Unmarshal(payload, &members) != nil || members == nil {
		return nil, hub.NewError(hub.CodeBadUserInput, "the payload of subscribe must be an object")
	}
	return paramsOf(members)
}

// clip keeps a close reason within the 123 bytes of a close frame.
func clip(id string) string {
	const most = 64
	if len(id) > most {
		return "this id"
	}
	return id
}

// clipReason keeps a close reason within the 123 bytes of a close frame.
func clipReason(reason string) string {
	const most = 123
	if len(reason) <= most {
		return reason
	}
	return strings.ToValidUTF8(reason[:most-3], "") + "…"
}

// run begins an operation and, where it is a stream, hands it to a goroutine that
// has not grown: executing takes a deep stack, and waiting for more need not keep it.
// It ends the turn once the operation is prepared.
func (c *connection) run(ctx context.Context, op *operation, params *request, turn *turn) {
	defer c.failed(ctx, op)
	defer turn.end()
	stream := &Stream{}
	ctx = withStream(hub.WithViewer(graphql.StartOperationTrace(ctx), c.viewer), stream)
	executor := c.h.cfg.Executor
	prepared, errs := c.h.prepare(ctx, params, turn)
	ctx = graphql.WithOperationContext(ctx, prepared)
	if len(errs) > 0 {
		c.finish(op, message{ID: op.id, Type: "error", Payload: list(executor.DispatchError(ctx, errs).Errors)})
		op.cancel()
		return
	}
	x := c.h.execute(ctx, prepared, stream)
	c.work.Go(func() {
		defer c.failed(ctx, op)
		defer x.end()
		for c.answer(ctx, op, x) {
		}
	})
}

// failed ends an operation that has panicked.
func (c *connection) failed(ctx context.Context, op *operation) {
	if reason := recover(); reason != nil {
		op.cancel()
		c.finish(op, message{ID: op.id, Type: "error", Payload: list(errorList(c.h.recovered(ctx, reason)))})
	}
}

// answer sends what comes next and reports whether the operation goes on.
func (c *connection) answer(ctx context.Context, op *operation, x *execution) bool {
	next, _, err := x.next()
	switch {
	case ctx.Err() != nil: // completed by the client, or the connection has ended
	case err == nil && next.failed != nil:
		c.finish(op, message{ID: op.id, Type: "error", Payload: list(next.failed.Errors)})
	case err == nil:
		if c.next(op, next.body) {
			return true
		}
	case errors.Is(err, io.EOF):
		c.finish(op, message{ID: op.id, Type: "complete"})
	case errors.Is(err, ErrInterrupted):
		c.shut(closeRestart, "Service restart")
	default:
		c.finish(op, message{ID: op.id, Type: "error", Payload: list(c.h.cfg.Executor.DispatchError(ctx, asList(err)).Errors)})
	}
	op.cancel()
	return false
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
		c.write(last)
	}
}

// next sends a result and reports whether the operation still runs.
func (c *connection) next(op *operation, payload []byte) bool {
	c.mu.Lock()
	running := c.operations[op.id] == op
	c.mu.Unlock()
	return running && c.write(message{ID: op.id, Type: "next", Payload: payload})
}

// write sends a message within the deadline. A reader that does not take it is cut
// off: its stream goes on from its cursor when it comes back. No close code can be
// told to it, as the frame that it has not taken stands before.
//
// The deadline stands on the socket and not in a context, which costs a multiple and
// would have a write cut, and with it the connection, where an operation ends.
func (c *connection) write(m message) bool {
	frame := frames.Get().(*bytes.Buffer)
	defer keep(frame)
	m.encode(frame)
	c.writing.Lock()
	_ = c.socket.SetWriteDeadline(time.Now().Add(c.h.cfg.WriteTimeout))
	err := c.conn.Write(context.Background(), websocket.MessageText, frame.Bytes())
	_ = c.socket.SetWriteDeadline(time.Time{}) // pongs and close frames have their own
	c.writing.Unlock()
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if tcp, ok := c.socket.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // what it has not taken is not kept for it
		}
	}
	if err != nil {
		c.cancel()
	}
	return err == nil
}

// frames are buffers for messages and answers that are being written.
var frames = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooledFrame is the largest buffer that is kept for another message.
const maxPooledFrame = 64 << 10

// keep keeps a buffer for another message, unless it is too large.
func keep(frame *bytes.Buffer) {
	if frame.Cap() <= maxPooledFrame {
		frames.Put(frame)
	}
}

// encode writes a message without escaping its payload again.
func (m message) encode(b *bytes.Buffer) {
	b.Reset()
	b.Grow(len(m.Payload) + len(m.ID) + 48)
	b.WriteString(`{"type":"`)
	b.WriteString(m.Type)
	b.WriteByte('"')
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
}
