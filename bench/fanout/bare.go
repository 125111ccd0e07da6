package main

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// bare is the baseline: a server that sends each body it is posted to all of its
// WebSockets, by the same library as the hub, with a goroutine and a short queue for
// each reader and a deadline for each write, and does nothing else.
type bare struct {
	mu      sync.Mutex
	readers map[chan []byte]bool
}

func serveBare(addr string) error {
	b := &bare{readers: make(map[chan []byte]bool)}
	server := &http.Server{Addr: addr, ReadHeaderTimeout: 5 * time.Second, Handler: b}
	return server.ListenAndServe()
}

func (b *bare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodPost {
		message, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		for reader := range b.readers {
			select {
			case reader <- message:
			default: // it shows as a gap
			}
		}
		return
	}
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	reader := make(chan []byte, 64)
	b.mu.Lock()
	b.readers[reader] = true
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.readers, reader)
		b.mu.Unlock()
	}()
	ctx := conn.CloseRead(r.Context())
	for {
		select {
		case message := <-reader:
			if writeWithin(ctx, conn, message) != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func writeWithin(ctx context.Context, conn *websocket.Conn, message []byte) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return conn.Write(ctx, websocket.MessageText, message)
}
