package deliver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// What is kept of an answer's headers. The transport bounds what is read.
const (
	maxKeptHeaders     = 64
	maxKeptHeaderBytes = 8 << 10
)

// sender makes single attempts.
type sender struct {
	sign    SignFunc
	brokers *broker.Book
	clock   hub.Clock
	logger  *slog.Logger
	buffers sync.Pool // *[hub.MaxResponseBodyKept]byte
}

func newSender(sign SignFunc, brokers *broker.Book, clock hub.Clock, logger *slog.Logger) *sender {
	return &sender{
		sign: sign, brokers: brokers, clock: clock, logger: logger,
		buffers: sync.Pool{New: func() any { return new([hub.MaxResponseBodyKept]byte) }},
	}
}

// send makes one attempt, from connecting to the last byte of the answer that is
// read, and records it. It always returns by the endpoint's deadline, and
// earlier where base is cancelled.
func (s *sender) send(base context.Context, t *template, m *message) (attempt *hub.Attempt, pacing policy.Pacing) {
	startedAt := s.clock.Now()
	// The machine's monotonic clock: a step of the wall clock is no latency.
	began := time.Now()
	attempt = &hub.Attempt{
		ID: hub.NewID(hub.AttemptPrefix, startedAt), DeliveryID: m.id,
		Number: m.number, StartedAt: startedAt, RequestURL: t.shownURL,
	}
	ctx, cancel := context.WithTimeout(base, t.timeout)
	defer func() {
		cancel()
		if p := recover(); p != nil {
			s.logger.ErrorContext(base, "attempt.panicked", slog.Any("panic", p), slog.String("delivery_id", m.id),
				slog.String("stack", string(debug.Stack())))
			attempt.Outcome, attempt.Error = hub.AttemptConnectionFailed, "the hub failed while it made this attempt"
			pacing = policy.Pacing{}
		}
		attempt.Duration = time.Since(began)
	}()

	if t.endpoint.Kind == hub.EndpointQueue {
		s.publish(base, ctx, t, m, attempt)
		return attempt, pacing
	}
	pass, err := t.credential.Issue(ctx)
	if err != nil {
		attempt.Outcome, attempt.Error = unauthorized(base, ctx, err, t.timeout)
		return attempt, pacing
	}
	secrets := slices.Concat(t.private, pass.Secrets())
	response, err := s.exchange(ctx, t, m, attempt, pass)
	note := ""
	if err == nil && response.StatusCode == http.StatusUnauthorized {
		if next, renewed := pass.Renew(ctx); renewed {
			_ = response.Body.Close()
			secrets = append(secrets, next.Secrets()...)
			response, err = s.exchange(ctx, t, m, attempt, next)
			note = "the first access token was refused with 401; this is the answer to a new one"
		}
	}
	if err != nil {
		var unmade *requestError
		if errors.As(err, &unmade) {
			attempt.Outcome, attempt.Error = hub.AttemptConnectionFailed, err.Error()
		} else {
			attempt.Outcome, attempt.Error = failed(base, ctx, err, t.timeout)
		}
		return attempt, pacing
	}
	attempt.StatusCode = response.StatusCode
	attempt.Outcome, attempt.Error = answered(response.StatusCode)
	if note != "" {
		attempt.Error = strings.TrimPrefix(attempt.Error+"; "+note, "; ")
	}
	attempt.ResponseHeaders = recordHeader(response.Header)
	if response.StatusCode != http.StatusSwitchingProtocols {
		// After a switch of protocols the body is the bare connection, on which
		// the deadline has no hold.
		attempt.ResponseBody = s.readBody(response.Body)
	}
	// Beyond what was read the connection is closed, not drained.
	_ = response.Body.Close()
	scrub(attempt, secrets)
	return attempt, policy.ReadPacing(response.Header, response.StatusCode, s.clock.Now())
}

// requestError says that no request could be made.
type requestError struct{ error }

// exchange sends one request and returns the answer, its body unread.
func (s *sender) exchange(ctx context.Context, t *template, m *message, attempt *hub.Attempt, pass credential.Pass) (*http.Response, error) {
	request, recorded, err := t.request(ctx, m, attempt.StartedAt, s.sign, pass)
	if err != nil {
		return nil, &requestError{err}
	}
	attempt.RequestHeaders = recorded
	// A bare round trip follows no redirect and keeps no cookies.
	return t.credential.Transport.RoundTrip(request)
}

// readBody reads at most hub.MaxResponseBodyRead and returns the first
// hub.MaxResponseBodyKept of it. An error is no matter: the status has decided.
func (s *sender) readBody(body io.Reader) []byte {
	buffer := s.buffers.Get().(*[hub.MaxResponseBodyKept]byte)
	defer s.buffers.Put(buffer)
	n, err := io.ReadFull(body, buffer[:])
	if err == nil { // there may be more: read it, so that the connection can be used again
		_, _ = io.CopyN(io.Discard, body, hub.MaxResponseBodyRead-hub.MaxResponseBodyKept)
	}
	if n == 0 {
		return nil
	}
	return bytes.Clone(buffer[:n])
}

// recordHeader returns an answer's headers as they are stored: by name,
// redacted, and bounded.
func recordHeader(h http.Header) []hub.Header {
	out := make([]hub.Header, 0, len(h))
	for name, values := range h {
		for _, value := range values {
			out = append(out, hub.Header{Name: name, Value: value})
		}
	}
	slices.SortStableFunc(out, func(a, b hub.Header) int { return strings.Compare(a.Name, b.Name) })
	size, sensitive := 0, false
	for i := range out {
		size += len(out[i].Name) + len(out[i].Value)
		if i == maxKeptHeaders || size > maxKeptHeaderBytes {
			out = out[:i]
			break
		}
		sensitive = sensitive || hub.IsSensitiveHeader(out[i].Name)
	}
	if sensitive {
		return hub.Redact(out)
	}
	return out
}
