package harness

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"strconv"
	"sync"
)

// Sink is a lean HTTP/1.1 server that answers every request with 200 and hands its
// body to a function. It serves what the hub sends, not HTTP at large.
type Sink struct {
	l  net.Listener
	wg sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool // open connections, to close them with the sink
}

// NewSink listens on a free loopback port. Arrived is called from many goroutines
// with the webhook-id header and the body, which it must not keep.
func NewSink(arrived func(id string, body []byte)) (*Sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Sink{l: l, conns: make(map[net.Conn]bool)}
	s.wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			s.wg.Go(func() {
				s.serve(conn, arrived)
				_ = conn.Close()
				s.mu.Lock()
				delete(s.conns, conn)
				s.mu.Unlock()
			})
		}
	})
	return s, nil
}

// URL returns where the sink listens.
func (s *Sink) URL() string { return "http://" + s.l.Addr().String() + "/" }

// Close closes the sink and all of its connections.
func (s *Sink) Close() {
	_ = s.l.Close()
	s.mu.Lock()
	for conn := range s.conns {
		_ = conn.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

var ok = []byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

func (s *Sink) serve(conn net.Conn, arrived func(string, []byte)) {
	r := bufio.NewReaderSize(conn, 4096)
	var body []byte
	for {
		length, id := 0, ""
		for first := true; ; first = false {
			line, err := r.ReadSlice('\n')
			if err != nil {
				return
			}
			line = bytes.TrimRight(line, "\r\n")
			if len(line) == 0 && !first {
				break
			}
			name, value, _ := bytes.Cut(line, []byte(":"))
			switch {
			case bytes.EqualFold(name, []byte("Content-Length")):
				if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
					return
				}
			case bytes.EqualFold(name, []byte("Webhook-Id")):
				id = string(bytes.TrimSpace(value))
			}
		}
		if cap(body) < length {
			body = make([]byte, length)
		}
		body = body[:length]
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		arrived(id, body)
		if _, err := conn.Write(ok); err != nil {
			return
		}
	}
}
