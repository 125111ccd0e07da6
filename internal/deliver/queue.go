package deliver

import (
	"context"
	"errors"
	"net/textproto"
	"strconv"
	"time"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// brokerDial bounds one connection to a broker.
const brokerDial = 5 * time.Second

// queueTemplate is where the messages of a QUEUE endpoint go.
type queueTemplate struct {
	target *broker.Target
	login  broker.Login
}

// publish makes one attempt at a QUEUE endpoint: it has succeeded once the broker has
// the message. What the broker promised is kept as the answer's body.
func (s *sender) publish(base, ctx context.Context, t *template, m *message, attempt *hub.Attempt) {
	headers, recorded, err := t.messageHeaders(m, attempt.StartedAt, s.sign)
	if err != nil {
		attempt.Outcome, attempt.Error = hub.AttemptConnectionFailed, err.Error()
		return
	}
	attempt.RequestHeaders = recorded
	receipt, err := s.brokers.Publish(ctx, t.endpoint.ID, t.queue.target, t.queue.login,
		broker.Message{ID: m.id, Key: m.key, Headers: headers, Body: m.body})
	var failure *broker.Error
	var blocked *outbound.BlockedError
	switch {
	case err == nil:
		attempt.Outcome, attempt.ResponseBody = hub.AttemptSucceeded, []byte(receipt)
	case base.Err() != nil || ctx.Err() != nil || errors.As(err, &blocked):
		attempt.Outcome, attempt.Error = failed(base, ctx, err, t.timeout)
	case errors.As(err, &failure) && failure.Refused:
		attempt.Outcome, attempt.Error = hub.AttemptRefused, failure.Message
	case errors.As(err, &failure) && failure.Insecure:
		attempt.Outcome, attempt.Error = hub.AttemptTLSFailed, failure.Message
	case errors.As(err, &failure):
		attempt.Outcome, attempt.Error = hub.AttemptConnectionFailed, failure.Message
	default:
		attempt.Outcome, attempt.Error = hub.AttemptTimedOut, "the broker did not take the message in time"
	}
}

// messageHeaders returns what a message carries besides its body, and the same as it is
// recorded: what an HTTP endpoint would be sent, in the same names.
func (t *template) messageHeaders(m *message, at time.Time, sign SignFunc) (headers, recorded []hub.Header, err error) {
	if t.problem != "" {
		return nil, nil, errors.New(t.problem)
	}
	if m.problem != "" {
		return nil, nil, errors.New(m.problem)
	}
	typed := false
	for name, values := range t.header {
		if name == textproto.CanonicalMIMEHeaderKey("User-Agent") {
			continue
		}
		typed = typed || name == "Content-Type"
		for _, value := range values {
			headers = append(headers, hub.Header{Name: name, Value: value})
		}
	}
	if !typed {
		headers = append(headers, hub.Header{Name: "Content-Type", Value: contentType(m.contentType)})
	}
	headers = append(headers, hub.Header{Name: idHeader, Value: m.id},
		hub.Header{Name: timestampHeader, Value: strconv.FormatInt(at.Unix(), 10)})
	if m.eventType != "" && !unsendable(m.eventType) {
		headers = append(headers, hub.Header{Name: eventTypeHeader, Value: m.eventType})
	}
	if t.endpoint.Signing != hub.SigningNone {
		signature, err := t.sign(m.id, at, m.body, sign)
		if err != nil {
			return nil, nil, err
		}
		headers = append(headers, hub.Header{Name: signatureHeader, Value: signature})
	}
	return headers, hub.Redact(headers), nil
}
