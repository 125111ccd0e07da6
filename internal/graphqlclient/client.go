package graphqlclient

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Bounds that hold unless a client says otherwise.
const (
	DefaultAnswer  = 30 * time.Second
	DefaultSilence = 60 * time.Second
	DefaultMessage = 16 << 20

	maxQuoted = 300 // characters of what a server says that are repeated
)

// Client follows subscriptions of one server.
type Client struct {
	URL  string       // ws or wss: graphql-transport-ws; http or https: Server-Sent Events
	HTTP *http.Client // follows no redirects, if it is to send credentials
	// Name is what sentences call the server; "the server" if empty.
	Name              string
	Header            http.Header
	ConnectionPayload json.RawMessage // of connection_init; nil: none

	// Answer is how long the server may take to take a connection and to acknowledge it.
	Answer time.Duration
	// Silence is after how long without a sign of life a connection counts as dead. Over
	// WebSocket the server is asked for one; over SSE this holds once it has sent a
	// comment by itself, since nothing else makes it say something.
	Silence time.Duration
	// MaxMessage bounds one message of the server, in bytes.
	MaxMessage int64
}

// Result is one result of the operation.
type Result struct {
	Raw    json.RawMessage // all of it
	Data   json.RawMessage // nil where there is none
	Errors []ResponseError
}

// ResponseError is an error within a response.
type ResponseError struct {
	Message    string `json:"message"`
	Extensions struct {
		Code string `json:"code"`
	} `json:"extensions"`
}

// Error says why a stream ended, in a sentence for people.
type Error struct {
	Message string
	// Code is what the server calls its error; "" where it does not say.
	Code string
	// Lasting says that trying the same again does not mend it.
	Lasting bool
	// Refused says that the server does not accept the credentials.
	Refused bool
	cause   error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.cause }

// lasting are the codes of errors that trying again does not mend.
var lasting = map[string]bool{
	"BAD_USER_INPUT": true, "UNAUTHENTICATED": true, "FORBIDDEN": true, "NOT_FOUND": true, "CURSOR_EXPIRED": true,
	"GRAPHQL_VALIDATION_FAILED": true, "GRAPHQL_PARSE_FAILED": true, "OPERATION_NOT_ALLOWED": true, "COST_LIMIT_EXCEEDED": true,
	"DEPTH_LIMIT_EXCEEDED": true, "PERSISTED_QUERY_NOT_FOUND": true, "PERSISTED_QUERY_NOT_SUPPORTED": true, "OPERATION_RESOLUTION_FAILURE": true,
}

// FirstError returns the error that a list of errors in a response stands for; nil for
// none. Name is what its sentence calls the server.
func FirstError(name string, list []ResponseError) error {
	if len(list) == 0 {
		return nil
	}
	first := list[0]
	said := "an error"
	if first.Extensions.Code != "" {
		said = quoted(first.Extensions.Code)
	}
	return &Error{
		Message: fmt.Sprintf("%s answered %s: %s", name, said, quoted(first.Message)),
		Code:    first.Extensions.Code, Lasting: lasting[first.Extensions.Code],
		Refused: first.Extensions.Code == "UNAUTHENTICATED",
	}
}

// Follow runs a subscription over a connection of its own until take fails, the server
// ends it, or ctx ends; it never returns nil. Opened, where given, is called once the
// server has taken the operation. Nothing is read while take works: a server that sends
// faster than that is held up. What take is handed is for it to keep.
func (c *Client) Follow(ctx context.Context, query string, variables json.RawMessage, opened func(), take func(Result) error) error {
	own := *c
	own.Name = cmp.Or(c.Name, "the server")
	own.Answer, own.Silence = cmp.Or(c.Answer, DefaultAnswer), cmp.Or(c.Silence, DefaultSilence)
	own.MaxMessage = cmp.Or(c.MaxMessage, DefaultMessage)
	if opened == nil {
		opened = func() {}
	}
	operation, err := json.Marshal(struct {
		Query     string          `json:"query"`
		Variables json.RawMessage `json:"variables,omitempty"`
	}{query, variables})
	if err != nil {
		return &Error{Message: "the variables are no JSON", Lasting: true, cause: err}
	}
	follow := own.followEvents
	if u, err := url.Parse(c.URL); err == nil && (u.Scheme == "ws" || u.Scheme == "wss") {
		follow = own.followSocket
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	err = follow(inner, operation, opened, take)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

func (c *Client) errorf(format string, args ...any) *Error {
	return &Error{Message: c.Name + " " + fmt.Sprintf(format, args...)}
}

func (c *Client) lasting(format string, args ...any) *Error {
	e := c.errorf(format, args...)
	e.Lasting = true
	return e
}

func (c *Client) refused(said string) *Error {
	e := c.lasting("does not accept the credentials%s", said)
	e.Refused = true
	return e
}

func (c *Client) tooLarge() *Error {
	return c.lasting("sent a message of more than %d MiB: select fewer fields, or less at a time", c.MaxMessage>>20)
}

func (c *Client) silent() *Error { return c.errorf("has given no sign of life for %s", c.Silence) }

// unreachable says why no connection was made. A cause that knows to say it itself, such
// as a guard's, is repeated; those of the library name addresses that not all may learn.
func (c *Client) unreachable(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return &Error{Message: fmt.Sprintf("%s did not answer within %s", c.Name, c.Answer), cause: err}
	}
	return &Error{Message: fmt.Sprintf("%s cannot be reached: %s", c.Name, reason(err)), cause: err}
}

// reason is the innermost cause of an error, without the addresses around it.
func reason(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return quoted(err.Error())
		}
		err = inner
	}
}

// result reads a result of the operation.
func (c *Client) result(raw json.RawMessage) (Result, error) {
	var parts struct {
		Data   json.RawMessage `json:"data"`
		Errors []ResponseError `json:"errors"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return Result{}, &Error{Message: c.Name + " sent what is no result of GraphQL", cause: err}
	}
	if string(parts.Data) == "null" {
		parts.Data = nil
	}
	return Result{Raw: raw, Data: parts.Data, Errors: parts.Errors}, nil
}

// said repeats what a server says as a part of a sentence; "" where it says nothing.
func said(text string) string {
	if text = quoted(text); text == "" {
		return ""
	}
	return ": " + text
}

// quoted is a text of the server as people may be shown it.
func quoted(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, hub.ValidText(text))
	text = strings.TrimSpace(text)
	if runes := []rune(text); len(runes) > maxQuoted {
		text = string(runes[:maxQuoted]) + "…"
	}
	return text
}
