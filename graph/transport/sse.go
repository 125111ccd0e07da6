package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// serveEvents answers by server-sent events, one connection for one operation.
func (h *Handler) serveEvents(
	ctx context.Context, w http.ResponseWriter, r *http.Request, operation *graphql.OperationContext, stream *Stream,
) {
	if !h.hold() {
		h.refuseOperation(w, r, operation, mediaJSON, http.StatusServiceUnavailable, drainingError)
		return
	}
	defer h.open.Done()
	viewer := hub.ViewerFromContext(ctx)
	if !h.admit(viewer) {
		h.refuseOperation(w, r, operation, mediaJSON, http.StatusTooManyRequests, &hub.Error{
			Code: hub.CodeRateLimited, RetryAfter: time.Second,
			Message: fmt.Sprintf("%d streams and WebSockets are open with this key, which is as many as may; end one first", h.cfg.MaxPerKey),
		})
		return
	}
	defer h.release(viewer)
	ctx, cancel := context.WithCancelCause(ctx)

	header := w.Header()
	header.Set("Content-Type", mediaStream+"; charset=utf-8")
	header.Set("Cache-Control", "no-cache, no-transform")
	header.Set("X-Accel-Buffering", "no") // proxies must not hold events back
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusOK)
	out := &eventWriter{w: w, control: http.NewResponseController(w), timeout: h.cfg.WriteTimeout, broken: func() { cancel(nil) }}
	out.write([]byte(":\n\n")) // headers go out at once

	var helpers sync.WaitGroup
	defer helpers.Wait() // nothing may write once the handler has returned
	defer cancel(nil)
	helpers.Go(func() { h.keepAlive(ctx, cancel, out, r.Header.Get("Authorization")) })

	x := h.execute(ctx, operation, stream)
	defer x.end()
	for {
		next, position, err := x.next()
		switch {
		case ctx.Err() != nil && !errors.Is(context.Cause(ctx), lapsedError), errors.Is(err, ErrInterrupted):
			return
		case ctx.Err() != nil:
			err = lapsedError
		case err == nil:
			out.event("next", position, next.body)
			if next.failed == nil {
				continue
			}
			err = io.EOF // that was its only answer
		}
		if !errors.Is(err, io.EOF) {
			out.event("next", "", encode(h.cfg.Executor.DispatchError(
				graphql.WithOperationContext(ctx, operation), asList(err))))
		}
		out.event("complete", "", nil)
		return
	}
}

// keepAlive writes comments while nothing else is written, and ends the stream
// when the handler drains or the key lapses.
func (h *Handler) keepAlive(ctx context.Context, cancel context.CancelCauseFunc, out *eventWriter, authorization string) {
	ticker := time.NewTicker(h.cfg.Heartbeat)
	defer ticker.Stop()
	key := time.NewTicker(h.cfg.KeyInterval)
	defer key.Stop()
	expired := expiry(hub.ViewerFromContext(ctx))
	defer expired.Stop()
	for {
		look := false
		select {
		case <-ctx.Done():
			return
		case <-h.draining:
			cancel(nil)
			return
		case <-key.C:
			look = true
		case <-expired.C:
			look = true
		case <-ticker.C:
			out.write([]byte(":\n\n"))
		}
		if look && h.lapsed(ctx, authorization) {
			cancel(lapsedError)
			return
		}
	}
}

// eventWriter writes whole events. A reader that does not take one in time is cut off.
type eventWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
	broken  func()

	mu sync.Mutex // held while writing
}

func (e *eventWriter) event(name, id string, data []byte) {
	var b bytes.Buffer
	b.Grow(len(data) + len(name) + len(id) + 24)
	b.WriteString("event: " + name + "\n")
	if id != "" && !strings.ContainsAny(id, "\r\n\x00") {
		b.WriteString("id: " + id + "\n")
	}
	b.WriteString("data:") // an event without a data line is dropped by EventSource
	if len(data) > 0 {
		b.WriteByte(' ')
		b.Write(data)
	}
	b.WriteString("\n\n")
	e.write(b.Bytes())
}

func (e *eventWriter) write(text []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	// The deadline is for this write alone: left behind, it would end an idle stream
	// over HTTP/2, or the next answer on this connection. Writers that know no
	// deadlines, as in tests, are written to without one.
	_ = e.control.SetWriteDeadline(time.Now().Add(e.timeout))
	defer func() { _ = e.control.SetWriteDeadline(time.Time{}) }()
	if _, err := e.w.Write(text); err != nil {
		e.broken()
		return
	}
	if err := e.control.Flush(); err != nil {
		e.broken()
	}
}

// drainingError answers whoever wants to open a stream while the hub stops.
var drainingError = &hub.Error{
	Code: hub.CodeUnavailable, Message: "the hub is shutting down; try again", RetryAfter: time.Second,
}

// lapsedError ends streams whose key was revoked or has expired.
var lapsedError = hub.NewError(hub.CodeUnauthenticated, "the key or token was revoked or has expired")

// recovered turns a panic outside of resolvers into an error of one operation.
func (h *Handler) recovered(ctx context.Context, reason any) *hub.Error {
	h.cfg.Logger.ErrorContext(ctx, "an operation panicked", slog.Any("panic", reason))
	return hub.NewError(hub.CodeInternal, "internal error")
}
