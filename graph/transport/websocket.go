package transport

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"strings"

	"github.com/coder/websocket"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// subprotocol is the only one that is spoken.
const subprotocol = "graphql-transport-ws"

// The close codes of graphql-transport-ws, and 1012 of RFC 6455's registry.
const (
	closeBadRequest    websocket.StatusCode = 4400
	closeUnauthorized  websocket.StatusCode = 4401
	closeForbidden     websocket.StatusCode = 4403
	closeSubprotocol   websocket.StatusCode = 4406
	closeInitTimeout   websocket.StatusCode = 4408
	closeSubscriber    websocket.StatusCode = 4409
	closeTooManyInits  websocket.StatusCode = 4429
	closeTerminated    websocket.StatusCode = 4499
	closeRestart       websocket.StatusCode = websocket.StatusServiceRestart
	closeTryAgainLater websocket.StatusCode = websocket.StatusTryAgainLater
)

// isUpgrade reports whether a request asks for a WebSocket.
func isUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// serveWebSocket opens a connection and serves it to its end.
func (h *Handler) serveWebSocket(w http.ResponseWriter, r *http.Request) {
	if !h.hold() {
		h.refuse(w, r, mediaJSON, http.StatusServiceUnavailable, drainingError)
		return
	}
	raw := &hijacked{ResponseWriter: w}
	conn, err := websocket.Accept(raw, r, &websocket.AcceptOptions{
		Subprotocols:    []string{subprotocol},
		OriginPatterns:  h.cfg.OriginPatterns,
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		h.open.Done()
		h.refuse(w, r, mediaJSON, raw.status, raw.refusal())
		return
	}
	// The connection has a goroutine of its own, so that what the server keeps for a
	// request is free meanwhile. Drain ends and awaits it.
	ctx, header := context.WithoutCancel(r.Context()), r.Header
	go func() {
		defer h.open.Done()
		defer func() {
			if reason := recover(); reason != nil {
				_ = h.recovered(ctx, reason) // it has been logged
			}
			_ = conn.CloseNow() // it is closed already unless something went wrong
		}()
		if conn.Subprotocol() != subprotocol {
			_ = conn.Close(closeSubprotocol, "Subprotocol not acceptable")
			return
		}
		conn.SetReadLimit(h.cfg.MaxMessageBytes)
		serveConnection(ctx, h, conn, raw.conn, header)
	}()
}

// hijacked hands over the socket under a WebSocket as well, and has it read through
// a buffer that suits the small messages of clients. What is written to it instead, that
// there will be no WebSocket, it keeps back, to be told as every other refusal is.
type hijacked struct {
	http.ResponseWriter
	conn   net.Conn
	status int
}

// WriteHeader notes the status of a handshake that failed.
func (w *hijacked) WriteHeader(status int) {
	if w.status = status; status == http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write drops the text of a handshake that failed: it repeats what was sent.
func (w *hijacked) Write(text []byte) (int, error) { return len(text), nil }

// refusal is why the handshake failed.
func (w *hijacked) refusal() *hub.Error {
	switch {
	case w.status == http.StatusForbidden:
		return hub.NewError(hub.CodeForbidden, "pages of this origin may not open a WebSocket; HOOKGRAPH_ALLOW_ORIGINS names those that may")
	case w.status >= http.StatusInternalServerError:
		return hub.NewError(hub.CodeUnavailable, "this connection cannot be made a WebSocket")
	}
	return hub.NewError(hub.CodeBadUserInput, "this is not a handshake of WebSocket version 13 (RFC 6455)")
}

const readBuffer = 1 << 10

func (w *hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffers, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.conn = conn
	if buffers.Reader.Buffered() == 0 {
		buffers.Reader = bufio.NewReaderSize(conn, readBuffer)
	}
	return conn, buffers, nil
}
