package harness

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"
)

// Conn is a lean HTTP/1.1 client connection: it costs the machine that it shares
// with the hub far less than net/http does.
type Conn struct {
	addr    string
	conn    net.Conn
	r       *bufio.Reader
	buf     []byte
	body    []byte
	timeout time.Duration
}

// Dial connects to a server.
func Dial(addr string, timeout time.Duration) (*Conn, error) {
	conn, err := net.DialTimeout("tcp", addr, timeout)
	if err != nil {
		return nil, err
	}
	return &Conn{addr: addr, conn: conn, r: bufio.NewReaderSize(conn, 4096), timeout: timeout}, nil
}

// Close closes the connection.
func (c *Conn) Close() { _ = c.conn.Close() }

// Post sends a signed body and returns the status and body of the answer, which
// is valid until the next call. An empty key sends no dedupe key.
func (c *Conn) Post(path, key string, body []byte) (status int, answer []byte, err error) {
	c.buf = AppendRequest(c.buf[:0], c.addr, path, key, body)
	return c.exchange()
}

// Ask sends a body of JSON with the operator's key and returns the status and body of
// the answer, which is valid until the next call.
func (c *Conn) Ask(path string, body []byte) (status int, answer []byte, err error) {
	return c.AskAs(OperatorKey, path, body)
}

// AskAs does what Ask does with another key.
func (c *Conn) AskAs(key, path string, body []byte) (status int, answer []byte, err error) {
	c.buf = append(c.buf[:0], "POST "...)
	c.buf = append(c.buf, path...)
	c.buf = append(c.buf, " HTTP/1.1\r\nHost: "...)
	c.buf = append(c.buf, c.addr...)
	c.buf = append(c.buf, "\r\nAuthorization: Bearer "+key+"\r\nContent-Type: application/json\r\nContent-Length: "...)
	c.buf = strconv.AppendInt(c.buf, int64(len(body)), 10)
	c.buf = append(c.buf, "\r\n\r\n"...)
	c.buf = append(c.buf, body...)
	return c.exchange()
}

// exchange sends what lies in the buffer and reads the answer.
func (c *Conn) exchange() (status int, answer []byte, err error) {
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, nil, err
	}
	if _, err := c.conn.Write(c.buf); err != nil {
		return 0, nil, err
	}
	return c.readAnswer()
}

// AppendRequest appends a signed request to b.
func AppendRequest(b []byte, host, path, key string, body []byte) []byte {
	mac := hmac.New(sha256.New, []byte(Secret))
	mac.Write(body)
	b = append(b, "POST "...)
	b = append(b, path...)
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, host...)
	b = append(b, "\r\nContent-Type: application/json\r\n"+SignatureHeader+": "...)
	b = hex.AppendEncode(b, mac.Sum(nil))
	if key != "" {
		b = append(b, "\r\nWebhook-Id: "...)
		b = append(b, key...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(body)), 10)
	b = append(b, "\r\n\r\n"...)
	return append(b, body...)
}

// readAnswer reads an answer that states its length.
func (c *Conn) readAnswer() (status int, body []byte, err error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("status line %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, nil, fmt.Errorf("status line %q", line)
	}
	length := -1
	for {
		if line, err = c.r.ReadSlice('\n'); err != nil {
			return 0, nil, err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return 0, nil, err
			}
		}
	}
	if length < 0 {
		return 0, nil, errors.New("the answer does not state its length")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err = io.ReadFull(c.r, c.body)
	return status, c.body, err
}
