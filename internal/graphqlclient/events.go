package graphqlclient

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"time"
)

// maxRefusal bounds what is read of an answer that is no stream.
const maxRefusal = 64 << 10

// followEvents runs an operation over HTTP, with its results as Server-Sent Events.
func (c *Client) followEvents(ctx context.Context, operation []byte, opened func(), take func(Result) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(operation))
	if err != nil {
		return &Error{Message: "the URL cannot be called", Lasting: true, cause: err}
	}
	for name, values := range c.Header {
		request.Header[name] = values
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	late := time.AfterFunc(c.Answer, func() { cancel(context.DeadlineExceeded) })
	response, err := c.HTTP.Do(request)
	if err != nil {
		if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
			err = context.DeadlineExceeded
		}
		return c.unreachable(err)
	}
	defer func() { _ = response.Body.Close() }()
	media, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type"))
	if response.StatusCode != http.StatusOK || media != "text/event-stream" {
		return c.noStream(response)
	}
	if !late.Stop() {
		return c.unreachable(context.DeadlineExceeded)
	}
	opened()
	e := &events{Client: c, lines: bufio.NewReader(response.Body)}
	e.dead = time.AfterFunc(c.Silence, func() { cancel(errSilent) })
	e.dead.Stop()
	err = e.follow(take)
	if errors.Is(context.Cause(ctx), errSilent) {
		return c.silent()
	}
	return err
}

var errSilent = errors.New("the server is silent")

// noStream says why the answer is no stream.
func (c *Client) noStream(response *http.Response) error {
	const what = "Server-Sent Events"
	raw, _ := io.ReadAll(io.LimitReader(response.Body, maxRefusal)) // what came is enough to say more
	var answer struct {
		Errors []ResponseError `json:"errors"`
	}
	if json.Unmarshal(raw, &answer) == nil && len(answer.Errors) > 0 {
		return FirstError(c.Name, answer.Errors)
	}
	switch response.StatusCode {
	case http.StatusOK:
		return c.lasting("answered once instead of with a stream: it does not offer %s at this URL; a URL with wss:// makes the hub use WebSockets", what)
	case http.StatusNotAcceptable, http.StatusMethodNotAllowed, http.StatusUnsupportedMediaType:
		return c.lasting("answered %d: it does not offer %s at this URL; a URL with wss:// makes the hub use WebSockets", response.StatusCode, what)
	}
	return c.status(response.StatusCode, what)
}

// events reads a stream of Server-Sent Events.
type events struct {
	*Client
	lines *bufio.Reader
	dead  *time.Timer
	beats bool // the server gives signs of life by itself
}

func (e *events) follow(take func(Result) error) error {
	var name string
	var data []byte
	some := false
	for {
		line, err := e.line(e.MaxMessage - int64(len(data)))
		if err != nil {
			return err
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch {
		case len(line) > 0 && len(field) == 0:
			e.beats = true
		case string(field) == "event":
			name = string(value)
		case string(field) == "data":
			if some {
				data = append(data, '\n')
			}
			data, some = append(data, value...), true
		case len(line) == 0:
			switch {
			case name == "complete":
				return e.errorf("ended the stream")
			case some && (name == "next" || name == ""):
				result, err := e.result(data)
				if err != nil {
					return err
				}
				if err := take(result); err != nil {
					return err
				}
			}
			name, data, some = "", nil, false
		}
	}
}

// line reads a line without its end, of so many bytes at most.
func (e *events) line(most int64) ([]byte, error) {
	if e.beats {
		e.dead.Reset(e.Silence)
		defer e.dead.Stop()
	}
	var line []byte
	for {
		part, err := e.lines.ReadSlice('\n')
		if int64(len(line)+len(part)) > most+2 {
			return nil, e.tooLarge()
		}
		line = append(line, part...)
		switch {
		case err == nil:
			return bytes.TrimSuffix(bytes.TrimSuffix(line, []byte("\n")), []byte("\r")), nil
		case errors.Is(err, bufio.ErrBufferFull):
		case errors.Is(err, io.EOF):
			return nil, e.errorf("ended the stream")
		default:
			return nil, &Error{Message: "the connection to " + e.Name + " broke", cause: err}
		}
	}
}
