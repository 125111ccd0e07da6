// Package httpapi is the hub's HTTP surface: which path leads to which room,
// what every request passes through, and whether the hub is alive and ready. What
// happens behind a path is up to the room.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/problem"
)

// Bounds of connections. There is no bound on writing a whole answer, because a
// live stream is one: the rooms set deadlines for what they read and write.
const (
	ReadHeaderTimeout = 5 * time.Second
	IdleTimeout       = 2 * time.Minute
	MaxHeaderBytes    = 64 << 10
)

// Paths that others need to know.
const (
	inboundPath  = "/in/"
	ReceiverPath = "/dev/receiver"
)

// readyTimeout bounds the question whether the hub is ready.
const readyTimeout = 3 * time.Second

// Routes are the rooms behind the paths. A nil handler leaves its path unserved.
type Routes struct {
	GraphQL  http.Handler
	GraphiQL http.Handler
	Inbound  http.Handler
	Metrics  http.Handler
	// Receiver takes deliveries in development, so that a first event needs no second
	// program.
	Receiver http.Handler
	// Ready says what keeps the hub from serving, or nil.
	Ready func(context.Context) error
}

// API serves the hub's paths.
type API struct {
	mux      *http.ServeMux
	inbound  http.Handler
	logger   *slog.Logger
	ready    func(context.Context) error
	draining atomic.Bool
}

// New makes the API.
func New(routes Routes, logger *slog.Logger) *API {
	a := &API{mux: http.NewServeMux(), inbound: routes.Inbound, logger: logger, ready: routes.Ready}
	handle := func(pattern string, h http.Handler) {
		if h != nil {
			a.mux.Handle(pattern, h)
		}
	}
	handle("/graphql", routes.GraphQL)
	handle("/graphiql", routes.GraphiQL)
	handle("/graphiql/", routes.GraphiQL)
	handle("POST "+ReceiverPath, routes.Receiver)
	handle("GET /metrics", routes.Metrics)
	a.mux.HandleFunc("GET /healthz", a.healthz)
	a.mux.HandleFunc("GET /readyz", a.readyz)
	a.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, http.StatusNotFound, hub.CodeNotFound, "", 0)
	})
	return a
}

// ServeHTTP answers one request. A panic behind it ends that request alone.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		reason := recover()
		if reason == nil {
			return
		}
		if reason == http.ErrAbortHandler { //nolint:errorlint // a sentinel that is panicked with, never wrapped
			panic(reason)
		}
		a.logger.ErrorContext(r.Context(), "a request panicked",
			slog.String("path", r.URL.Path), slog.Any("reason", reason), slog.String("stack", string(debug.Stack())))
		problem.Write(w, http.StatusInternalServerError, hub.CodeInternal, "", 0)
	}()
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if strings.HasPrefix(r.URL.Path, inboundPath) {
		// Past the mux, which would redirect a path with two slashes or dots in it: a
		// provider follows no redirects, and the path is part of what some sign.
		a.inbound.ServeHTTP(w, r)
		return
	}
	a.mux.ServeHTTP(w, r)
}

// Drain turns readiness off, so that a load balancer sends no more requests. The
// hub goes on serving those that come.
func (a *API) Drain() { a.draining.Store(true) }

// healthz says that the process serves HTTP, and nothing more: a hub whose
// database is away is alive, and restarting it would help nobody.
func (a *API) healthz(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"alive"}` + "\n"))
}

func (a *API) readyz(w http.ResponseWriter, r *http.Request) {
	if a.draining.Load() {
		problem.Write(w, http.StatusServiceUnavailable, hub.CodeUnavailable, "the hub is stopping", time.Second)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := a.ready(ctx); err != nil {
		a.logger.WarnContext(ctx, "not ready", slog.Any("error", err))
		problem.Write(w, http.StatusServiceUnavailable, hub.CodeUnavailable, "the database cannot be used", time.Second)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(`{"status":"ready"}` + "\n"))
}
