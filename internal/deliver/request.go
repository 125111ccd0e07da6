package deliver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

const defaultContentType = "application/octet-stream"

// The headers of Standard Webhooks 1.0, spelled as the specification spells them.
const (
	idHeader        = "webhook-id"
	timestampHeader = "webhook-timestamp"
	signatureHeader = "webhook-signature"
)

// eventTypeHeader tells what a message is without its body, which need not name it.
const eventTypeHeader = "webhook-event-type"

// template is what all requests to an endpoint have in common, made once for
// each change of its settings.
type template struct {
	endpoint *hub.Endpoint
	url      *url.URL
	shownURL string       // as it may be stored
	header   http.Header  // what the endpoint adds
	recorded []hub.Header // the same, redacted, in the endpoint's order
	timeout  time.Duration
	problem  string // where not "", no request can be made, for this reason

	queue *queueTemplate // of a QUEUE endpoint

	credential *credential.Credential
	private    []string // values of headers that must not show up in what is kept of an answer
}

func newTemplate(e *hub.Endpoint, userAgent string, book *credential.Book) *template {
	t := &template{
		endpoint: e, header: make(http.Header, len(e.Headers)+1), timeout: policy.Timeout(e), credential: book.Of(e.ID, e.Auth),
	}
	u, err := url.Parse(e.URL)
	switch target, queueErr := broker.Parse(e.URL); {
	case e.Kind == hub.EndpointStream:
	case e.Kind == hub.EndpointQueue && queueErr != nil:
		t.problem = "the endpoint's URL is not that of a queue"
	case e.Kind == hub.EndpointQueue:
		t.queue = &queueTemplate{target: target, login: broker.LoginOf(e.Auth)}
		t.shownURL = target.URL()
	case err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https"):
		t.problem = "the endpoint's URL is not one that can be called"
	default:
		t.url, t.shownURL = u, shown(u)
	}
	t.header.Set("User-Agent", userAgent)
	var own []hub.Header
	for _, h := range e.Headers {
		if hub.IsReservedHeader(h.Name) {
			continue
		}
		key := textproto.CanonicalMIMEHeaderKey(h.Name)
		if key == "User-Agent" || key == "Content-Type" {
			t.header[key] = []string{h.Value}
		} else {
			t.header[key] = append(t.header[key], h.Value)
		}
		own = append(own, h)
		if hub.IsSensitiveHeader(h.Name) {
			t.private = append(t.private, h.Value)
			if _, token, found := strings.Cut(h.Value, " "); found { // without its scheme
				t.private = append(t.private, token)
			}
		}
	}
	if len(own) == 0 || !hasHeader(own, "User-Agent") {
		t.recorded = append(t.recorded, hub.Header{Name: "User-Agent", Value: userAgent})
	}
	t.recorded = append(t.recorded, hub.Redact(own)...)
	return t
}

func hasHeader(headers []hub.Header, name string) bool {
	for _, h := range headers {
		if strings.EqualFold(h.Name, name) {
			return true
		}
	}
	return false
}

// shown returns a URL as it may be stored: without the password and without the
// query's credentials.
func shown(u *url.URL) string {
	if u.User == nil && u.RawQuery == "" {
		return u.String()
	}
	c := *u
	if c.User != nil {
		c.User = url.User(c.User.Username())
	}
	parts := strings.Split(c.RawQuery, "&")
	for i, part := range parts {
		name, _, found := strings.Cut(part, "=")
		if found && hub.IsSensitiveHeader(name) {
			parts[i] = name + "=[redacted]"
		}
	}
	c.RawQuery = strings.Join(parts, "&")
	return c.String()
}

// SignFunc signs a message with one secret and returns one item of the header
// webhook-signature.
type SignFunc func(secret hub.Secret, id string, at time.Time, body []byte) (string, error)

// message is what one request carries.
type message struct {
	id          string // sent as webhook-id
	number      int    // of the attempt
	body        []byte
	contentType string
	eventType   string
	key         string // messages of one key stay in order, where a broker knows keys
	problem     string // where not "", there is nothing to send, for this reason
}

// messageOf returns the message of a leased delivery.
func messageOf(lease *hub.Lease) message {
	m := message{id: lease.Delivery.ID, number: lease.Delivery.AttemptCount + 1}
	if lease.Event == nil || lease.Event.Payload == nil {
		m.problem = "the event's payload is missing"
		return m
	}
	m.body, m.contentType, m.eventType = lease.Event.Payload.Body, lease.Event.ContentType, lease.Event.Type
	m.key = lease.Event.OrderingKey
	if lease.Body != nil {
		m.body, m.contentType = lease.Body.Bytes, lease.Body.ContentType
	}
	return m
}

// request makes the request for one attempt, and the headers as they are to be
// recorded.
func (t *template) request(ctx context.Context, m *message, at time.Time, sign SignFunc, pass credential.Pass) (*http.Request, []hub.Header, error) {
	if t.problem != "" {
		return nil, nil, errors.New(t.problem)
	}
	if m.problem != "" {
		return nil, nil, errors.New(m.problem)
	}
	body := m.body
	header := make(http.Header, len(t.header)+6)
	for name, values := range t.header {
		header[name] = values
	}
	recorded := make([]hub.Header, len(t.recorded), len(t.recorded)+6)
	copy(recorded, t.recorded)
	// One array backs the values of the hub's own headers.
	values := make([]string, 0, 5)
	set := func(name, value string) {
		values = append(values, value)
		header[name] = values[len(values)-1 : len(values) : len(values)]
		recorded = append(recorded, hub.Header{Name: name, Value: value})
	}
	if _, given := header["Content-Type"]; !given {
		set("Content-Type", contentType(m.contentType))
	}
	set(idHeader, m.id)
	set(timestampHeader, strconv.FormatInt(at.Unix(), 10))
	if m.eventType != "" && !unsendable(m.eventType) {
		set(eventTypeHeader, m.eventType)
	}
	if t.endpoint.Signing != hub.SigningNone {
		signature, err := t.sign(m.id, at, body, sign)
		if err != nil {
			return nil, nil, err
		}
		set(signatureHeader, signature)
	}
	if pass.Header != "" {
		header[textproto.CanonicalMIMEHeaderKey(pass.Header)] = []string{pass.Value}
		recorded = append(recorded, hub.Redact([]hub.Header{{Name: pass.Header}}, pass.Header)...)
	}
	request := &http.Request{
		Method: http.MethodPost, URL: t.url, Host: t.url.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: http.NoBody, ContentLength: int64(len(body)),
		// Lets the transport use another connection where this one turned out to
		// be closed before anything was written.
		GetBody: func() (io.ReadCloser, error) { return bodyOf(body), nil },
	}
	if len(body) > 0 {
		request.Body = bodyOf(body)
	}
	return request.WithContext(ctx), recorded, nil
}

// contentType returns the type of an event's body. What could not be sent in a
// header is left out.
func contentType(of string) string {
	if of == "" || unsendable(of) {
		return defaultContentType
	}
	return of
}

// unsendable reports whether a text has what no header's value may have.
func unsendable(text string) bool {
	return strings.ContainsFunc(text, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

func bodyOf(b []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(b)) }

// sign returns the signatures of every secret that has not expired, in the
// endpoint's order: newest first.
func (t *template) sign(id string, at time.Time, body []byte, sign SignFunc) (string, error) {
	var all string
	for i := range t.endpoint.SigningSecrets {
		s := &t.endpoint.SigningSecrets[i]
		if !s.ExpiresAt.IsZero() && !s.ExpiresAt.After(at) {
			continue
		}
		one, err := sign(s.Secret, id, at, body)
		if err != nil {
			return "", fmt.Errorf("the request could not be signed with the secret %s", s.ID)
		}
		if all != "" {
			all += " "
		}
		all += one
	}
	if all == "" {
		return "", errors.New("the endpoint has no signing secret that is still valid")
	}
	return all, nil
}
