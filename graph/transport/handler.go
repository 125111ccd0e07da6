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
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Config is what a Handler needs. Executor, Authenticate and Logger must be given.
type Config struct {
	Executor graphql.GraphExecutor
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
	InitTimeout     time.Duration // from opening a WebSocket to connection_init, 3 s
	PingInterval    time.Duration // between pings on a WebSocket, 12 s; two without an answer end it
	Heartbeat       time.Duration // between comments on an idle event stream, 12 s
	WriteTimeout    time.Duration // for one message to a slow reader, 5 s
	KeyInterval     time.Duration // between looks at whether a stream's key still holds, 5 s
}

// Handler serves GraphQL over HTTP, SSE and WebSocket.
type Handler struct {
	cfg Config

	// mu guards draining and the count of open; no connection is added once draining.
	mu       sync.Mutex
	draining chan struct{} // closed when connections are to end
	open     sync.WaitGroup
}

// New makes a handler.
func New(cfg Config) *Handler {
	cfg.MaxBodyBytes = cmp.Or(cfg.MaxBodyBytes, 1<<20)
	cfg.MaxMessageBytes = cmp.Or(cfg.MaxMessageBytes, 1<<20)
	cfg.MaxOperations = cmp.Or(cfg.MaxOperations, 50)
	cfg.InitTimeout = cmp.Or(cfg.InitTimeout, 3*time.Second)
	cfg.PingInterval = cmp.Or(cfg.PingInterval, 12*time.Second)
	cfg.Heartbeat = cmp.Or(cfg.Heartbeat, 12*time.Second)
	cfg.WriteTimeout = cmp.Or(cfg.WriteTimeout, 5*time.Second)
	cfg.KeyInterval = cmp.Or(cfg.KeyInterval, 5*time.Second)
	return &Handler{cfg: cfg, draining: make(chan struct{})}
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
