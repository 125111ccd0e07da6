package deliver

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

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
	transport http.RoundTripper
	sign      SignFunc
	clock     hub.Clock
	logger    *slog.Logger
	buffers   sync.Pool // *[hub.MaxResponseBodyKept]byte
}

func newSender(transport http.RoundTripper, sign SignFunc, clock hub.Clock, logger *slog.Logger) *sender {
	return &sender{
		transport: transport, sign: sign, clock: clock, logger: logger,
		buffers: sync.Pool{New: func() any { return new([hub.MaxResponseBodyKept]byte) }},
	}
}

// send makes one attempt, from connecting to the last byte of the answer that is
// read, and records it. It always returns by the endpoint's deadline, and
// earlier where base is cancelled.
func (s *sender) send(base context.Context, t *template, lease *hub.Lease) (attempt *hub.Attempt, pacing policy.Pacing) {
	startedAt := s.clock.Now()
	// The machine's monotonic clock: a step of the wall clock is no latency.
	began := time.Now()
	attempt = &hub.Attempt{
		ID: hub.NewID(hub.AttemptPrefix, startedAt), DeliveryID: lease.Delivery.ID,
		Number: lease.Delivery.AttemptCount + 1, StartedAt: startedAt, RequestURL: t.shownURL,
	}
	ctx, cancel := context.WithTimeout(base, t.timeout)
	defer func() {
		cancel()
		if p := recover(); p != nil {
			s.logger.ErrorContext(base, "attempt.panicked", slog.Any("panic", p), slog.String("delivery_id", lease.Delivery.ID),
				slog.String("stack", string(debug.Stack())))
			attempt.Outcome, attempt.Error = hub.AttemptConnectionFailed, "the hub failed while it made this attempt"
			pacing = policy.Pacing{}
		}
		attempt.Duration = time.Since(began)
	}()

	request, recorded, err := t.request(ctx, lease, startedAt, s.sign)
	if err != nil {
		attempt.Outcome, attempt.Error = hub.AttemptConnectionFailed, err.Error()
		return attempt, pacing
	}
	attempt.RequestHeaders = recorded
	// A bare round trip follows no redirect and keeps no cookies.
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		attempt.Outcome, attempt.Error = failed(base, ctx, err, t.timeout)
		return attempt, pacing
	}
	attempt.StatusCode = response.StatusCode
	attempt.Outcome, attempt.Error = answered(response.StatusCode)
	attempt.ResponseHeaders = recordHeader(response.Header)
	if response.StatusCode != http.StatusSwitchingProtocols {
		// After a switch of protocols the body is the bare connection, on which
		// the deadline has no hold.
		attempt.ResponseBody = s.readBody(response.Body)
	}
	// Beyond what was read the connection is closed, not drained.
	_ = response.Body.Close()
	return attempt, policy.ReadPacing(response.Header, response.StatusCode, s.clock.Now())
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
