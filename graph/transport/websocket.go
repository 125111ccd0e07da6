package transport

import (
	"net/http"
	"strings"

	"github.com/coder/websocket"
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
	defer h.open.Done()
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:    []string{subprotocol},
		OriginPatterns:  h.cfg.OriginPatterns,
		CompressionMode: websocket.CompressionDisabled,
	})
	if err != nil {
		return // it has been answered
	}
	defer func() { _ = conn.CloseNow() }() // it is closed already unless something went wrong
	if conn.Subprotocol() != subprotocol {
		_ = conn.Close(closeSubprotocol, "Subprotocol not acceptable")
		return
	}
	conn.SetReadLimit(h.cfg.MaxMessageBytes)
	serveConnection(r.Context(), h, conn, r)
}
