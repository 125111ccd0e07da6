package listen

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Forward says where the events of a source go.
type Forward struct {
	Source string // its slug; "" for every source
	URL    string
}

// ParseForward reads /SLUG=URL, SLUG=URL or URL.
func ParseForward(text string) (Forward, error) {
	f := Forward{URL: text}
	if left, right, found := strings.Cut(text, "="); found && !strings.Contains(left, "://") {
		f = Forward{Source: strings.TrimPrefix(strings.Trim(left, "/"), "in/"), URL: right}
		if f.Source == "" {
			return f, fmt.Errorf("--forward %s names no source before the =; write it as /stripe=http://localhost:3000/hooks", text)
		}
	}
	u, err := url.Parse(f.URL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return f, fmt.Errorf("--forward %s has no URL to forward to; write it as /stripe=http://localhost:3000/hooks", text)
	}
	return f, nil
}

func (f Forward) label() string {
	if f.Source == "" {
		return "every source"
	}
	return f.Source
}

// parcel is one request to be forwarded.
type parcel struct {
	id          string // sent as webhook-id
	attempts    int    // that the hub knew of before, where it is pulled
	source      string
	eventType   string
	contentType string
	headers     []header // as the hub keeps them
	body        []byte
}

type header struct{ Name, Value string }

// dropped are headers that belong to the connection the event came in by, or that are
// set here.
var dropped = map[string]bool{
	"Host": true, "Content-Length": true, "Connection": true, "Keep-Alive": true, "Transfer-Encoding": true, "Te": true, "Trailer": true,
	"Upgrade": true, "Accept-Encoding": true, "Content-Encoding": true, "Content-Type": true, "Proxy-Connection": true, "Expect": true,
	"Webhook-Id": true, "Webhook-Timestamp": true, "Webhook-Signature": true,
}

// send sends a parcel and returns the status, or an error where no answer came.
func (l *listener) send(ctx context.Context, to string, p *parcel) (status int, took time.Duration, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, l.options.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(p.body))
	if err != nil {
		return 0, 0, err
	}
	for _, h := range p.headers {
		if name := textproto.CanonicalMIMEHeaderKey(h.Name); !dropped[name] && !strings.Contains(h.Value, "[redacted]") {
			request.Header[name] = append(request.Header[name], h.Value)
		}
	}
	now := time.Now()
	signed, err := signature.SignStandard(l.options.Secret, p.id, now, p.body)
	if err != nil {
		return 0, 0, err
	}
	request.Header.Set("Content-Type", p.contentType)
	request.Header["webhook-id"] = []string{p.id}
	request.Header["webhook-timestamp"] = []string{strconv.FormatInt(now.Unix(), 10)}
	request.Header["webhook-signature"] = []string{signed}
	response, err := l.local.Do(request)
	if err != nil {
		return 0, time.Since(began), unwrapped(err)
	}
	defer func() { _ = response.Body.Close() }()
	_, _ = io.CopyN(io.Discard, response.Body, hub.MaxResponseBodyRead) // so that the connection can be used again
	return response.StatusCode, time.Since(began), nil
}

// unwrapped leaves out the method and the URL, which the line says already.
func unwrapped(err error) error {
	if of, ok := err.(*url.Error); ok { //nolint:errorlint // the client returns nothing else
		return of.Err
	}
	return err
}

func good(status int) bool { return status >= 200 && status <= 299 }

// say prints one line about a parcel.
func (l *listener) say(p *parcel, what string, took time.Duration) {
	l.printf("%s  %-16s %-28s %s  %s  %s\n", time.Now().Format("15:04:05"), p.source, p.eventType, p.id, what, took.Round(time.Millisecond))
}

func (l *listener) printf(format string, args ...any) {
	l.printing.Lock()
	defer l.printing.Unlock()
	_, _ = fmt.Fprintf(l.options.Out, format, args...) // who does not read it goes without
}
