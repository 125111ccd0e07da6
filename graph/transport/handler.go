// Package transport carries GraphQL over HTTP: single answers (GraphQL over
// HTTP), server-sent events (GraphQL over SSE, distinct connections) and
// WebSocket (graphql-transport-ws). It authenticates, negotiates, frames and
// ends connections; what a document may do and what it does is the executor's.
package transport

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Executor prepares and executes operations, and keeps the points of those who send them.
type Executor interface {
	graphql.GraphExecutor
	// Known reports whether a document has been admitted before, so that preparing an
	// operation of it is little work.
	Known(query string) bool
	// Owes returns why nothing that takes work to look at is read from a viewer at the
	// moment, with how long that lasts, and what an answer tells of it in its extensions;
	// nil if something is.
	Owes(viewer *hub.Viewer) (*hub.Error, map[string]any)
	// Refused is told of a request that could not be read as one, by its bytes, which its
	// sender owes from then on, and returns what the answer tells in its extensions.
	Refused(viewer *hub.Viewer, bytes int) map[string]any
}

// Config is what a Handler needs. Executor, Authenticate and Logger must be given.
type Config struct {
	Executor Executor
	// Authenticate returns who holds a bearer token; "" where none was sent. Its
	// hub.Error is shown, any other error is answered as unavailable.
	Authenticate func(ctx context.Context, token string) (*hub.Viewer, error)
	Logger       *slog.Logger

	// OriginPatterns are hosts besides the hub's own whose pages may open a
	// WebSocket, as path.Match patterns.
	OriginPatterns []string

	MaxBodyBytes    int64         // of a request, 1 MiB
	MaxMessageBytes int64         // of a WebSocket message, 1 MiB
	MaxOperations   int           // at a time on one WebSocket, 50
	MaxPerKey       int           // WebSockets and event streams at a time for one key, 2,000
	InitTimeout     time.Duration // from opening a WebSocket to connection_init, 3 s
	PingInterval    time.Duration // between pings on a WebSocket, 12 s; two without an answer end it
	Heartbeat       time.Duration // between comments on an idle event stream, 12 s
	WriteTimeout    time.Duration // for one message to a slow reader, 5 s
	Patience        time.Duration // of a request whose sender owes for others, before it is refused, 10 s
	KeyInterval     time.Duration // between looks at whether a stream's key still holds, 5 s
}

// Handler serves GraphQL over HTTP, SSE and WebSocket.
type Handler struct {
	cfg   Config
	turns *turns
	share share

	// mu guards the fields below; nothing is added to them once draining.
	mu          sync.Mutex
	draining    chan struct{} // closed when connections are to end
	open        sync.WaitGroup
	connections map[*connection]bool
	held        map[string]int // connections and event streams by credential
	waiting     map[string]int // requests that wait until their credential owes nothing
}

// New makes a handler.
func New(cfg Config) *Handler {
	cfg.MaxBodyBytes = cmp.Or(cfg.MaxBodyBytes, 1<<20)
	cfg.MaxMessageBytes = cmp.Or(cfg.MaxMessageBytes, 1<<20)
	cfg.MaxOperations = cmp.Or(cfg.MaxOperations, 50)
	cfg.MaxPerKey = cmp.Or(cfg.MaxPerKey, 2000)
	cfg.InitTimeout = cmp.Or(cfg.InitTimeout, 3*time.Second)
	cfg.PingInterval = cmp.Or(cfg.PingInterval, 12*time.Second)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 12*time.Second)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, 5*time.Second)
	cfg.Patience = cmp.Or(cfg.Patience, 10*time.Second)
	cfg.KeyInterval = cmp.Or(cfg.KeyInterval, 5*time.Second)
	return &Handler{
		turns: newTurns(max(runtime.GOMAXPROCS(0)/2, 1)),
		cfg:   cfg, draining: make(chan struct{}), connections: make(map[*connection]bool), held: make(map[string]int),
		waiting: make(map[string]int),
	}
}

// Drain ends event streams and WebSockets in a way that makes clients reconnect
// and go on from their cursor: WebSockets are closed with 1012, event streams
// just end, and neither is told that its operations are complete. New ones are
// answered 503. It returns when all are gone or ctx ends. A second call waits too.
func (h *Handler) Drain(ctx context.Context) error {
	h.mu.Lock()
	select {
	case <-h.draining:
	default:
		close(h.draining)
		for c := range h.connections {
			go c.aside(func() { c.shut(closeRestart, "Service restart") })
		}
	}
	h.mu.Unlock()
	gone := make(chan struct{})
	go func() { h.open.Wait(); close(gone) }()
	select {
	case <-gone:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// hold counts a long-lived connection and reports false once the handler drains.
func (h *Handler) hold() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.draining:
		return false
	default:
		h.open.Add(1)
		return true
	}
}

// enter has a connection told when the handler drains, and reports false where it
// does already.
func (h *Handler) enter(c *connection) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.draining:
		return false
	default:
		h.connections[c] = true
		return true
	}
}

// leave lets go of a connection.
func (h *Handler) leave(c *connection) {
	h.mu.Lock()
	delete(h.connections, c)
	h.mu.Unlock()
	if c.viewer != nil {
		h.release(c.viewer)
	}
}

// admit counts a connection or event stream for a key, unless it has as many as it
// may have.
func (h *Handler) admit(viewer *hub.Viewer) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[viewer.Credential()] >= h.cfg.MaxPerKey {
		return false
	}
	h.held[viewer.Credential()]++
	return true
}

// release ends what admit has counted.
func (h *Handler) release(viewer *hub.Viewer) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.held[viewer.Credential()]--; h.held[viewer.Credential()] == 0 {
		delete(h.held, viewer.Credential())
	}
}

// ServeHTTP answers a request on any of the transports.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if isUpgrade(r) {
		h.serveWebSocket(w, r)
		return
	}
	switch r.Method {
	case http.MethodPost, http.MethodGet:
		h.serveHTTP(w, r)
	default:
		w.Header().Set("Allow", "GET, POST")
		h.refuse(w, r, mediaJSON, http.StatusMethodNotAllowed,
			hub.NewError(hub.CodeMethodNotAllowed, "GraphQL is asked by POST, queries also by GET"))
	}
}

// authenticate returns who is asking, or a hub.Error.
func (h *Handler) authenticate(ctx context.Context, authorization string) (*hub.Viewer, *hub.Error) {
	token, ok := bearer(authorization)
	if !ok {
		return nil, hub.NewError(hub.CodeUnauthenticated, "the Authorization header must be: Bearer, a space, and a key")
	}
	viewer, err := h.cfg.Authenticate(ctx, token)
	if err == nil && viewer == nil {
		return nil, hub.NewError(hub.CodeUnauthenticated, "a key is needed: Authorization: Bearer <key>")
	}
	if err != nil {
		var shown *hub.Error
		if errors.As(err, &shown) {
			return nil, shown
		}
		if ctx.Err() == nil {
			h.cfg.Logger.ErrorContext(ctx, "authentication is not available", slog.Any("error", err))
		}
		return nil, &hub.Error{
			Code: hub.CodeUnavailable, Message: "the key cannot be checked at the moment", RetryAfter: time.Second, Err: err,
		}
	}
	return viewer, nil
}

// lapsed reports whether the credentials of a stream or connection, good when it
// was opened, are so no longer. That they cannot be checked at the moment ends nothing.
func (h *Handler) lapsed(ctx context.Context, authorization string) bool {
	_, refused := h.authenticate(ctx, authorization)
	return refused != nil && refused.Code != hub.CodeUnavailable
}

// expiry returns a timer for the moment when a viewer's credential expires. Whether it
// has is for the authentication to say.
func expiry(viewer *hub.Viewer) *time.Timer {
	if viewer == nil || viewer.ExpiresAt.IsZero() {
		timer := time.NewTimer(0)
		timer.Stop()
		return timer
	}
	return time.NewTimer(time.Until(viewer.ExpiresAt) + time.Millisecond)
}

// bearer returns the token of an Authorization header (RFC 6750), "" for an
// empty one, and false for any other scheme.
func bearer(authorization string) (string, bool) {
	if authorization == "" {
		return "", true
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return "", false
	}
	return strings.TrimSpace(token), true
}
