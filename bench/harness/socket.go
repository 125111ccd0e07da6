package harness

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Socket is a lean WebSocket client that reads text messages. It costs the machine
// that it shares with the server far less than a whole client does.
type Socket struct {
	conn net.Conn
	r    *bufio.Reader
	buf  []byte
}

// DialSocket opens a WebSocket at a path with a subprotocol, "" for none.
func DialSocket(addr, path, subprotocol string) (*Socket, error) {
	conn, err := net.DialTimeout("tcp", addr, 10*time.Second)
	if err != nil {
		return nil, err
	}
	request := "GET " + path + " HTTP/1.1\r\nHost: " + addr + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
	if subprotocol != "" {
		request += "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	s := &Socket{conn: conn, r: bufio.NewReaderSize(conn, 2048)}
	if _, err := io.WriteString(conn, request+"\r\n"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	response, err := http.ReadResponse(s.r, nil) //nolint:bodyclose // 101 has no body, and of others nothing is left open
	if err == nil && response.StatusCode != http.StatusSwitchingProtocols {
		err = fmt.Errorf("the WebSocket was answered %s", response.Status)
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

// Close closes the connection without a word.
func (s *Socket) Close() { _ = s.conn.Close() }

// Send sends a text message of less than 64 KiB. Its mask is zero, which is a mask
// like any other and leaves the text as it is.
func (s *Socket) Send(text string) error {
	const fin, textFrame, masked = 0x80, 0x1, 0x80
	frame := make([]byte, 0, len(text)+8)
	if len(text) < 126 {
		frame = append(frame, fin|textFrame, masked|byte(len(text)))
	} else {
		frame = append(frame, fin|textFrame, masked|126)
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(text)))
	}
	frame = append(frame, 0, 0, 0, 0)
	_, err := s.conn.Write(append(frame, text...))
	return err
}

// Receive reads a message of one frame. It is valid until the next call.
func (s *Socket) Receive() ([]byte, error) {
	var head [8]byte
	if _, err := io.ReadFull(s.r, head[:2]); err != nil {
		return nil, err
	}
	kind, length := head[0], uint64(head[1])
	switch length {
	case 126:
		if _, err := io.ReadFull(s.r, head[:2]); err != nil {
			return nil, err
		}
		length = uint64(binary.BigEndian.Uint16(head[:]))
	case 127:
		if _, err := io.ReadFull(s.r, head[:8]); err != nil {
			return nil, err
		}
		length = binary.BigEndian.Uint64(head[:])
	}
	if length > 16<<20 {
		return nil, fmt.Errorf("a frame of %d bytes", length)
	}
	if uint64(cap(s.buf)) < length {
		s.buf = make([]byte, length)
	}
	s.buf = s.buf[:length]
	if _, err := io.ReadFull(s.r, s.buf); err != nil {
		return nil, err
	}
	if kind != 0x81 {
		return nil, fmt.Errorf("a frame that begins with %#x: %q", kind, s.buf)
	}
	return s.buf, nil
}
