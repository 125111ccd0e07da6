package deliver

import (
	"log/slog"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Observation is one finished attempt, for metrics.
type Observation struct {
	EndpointID string
	Outcome    hub.AttemptOutcome
	StatusCode int
	Duration   time.Duration
	Number     int
	// Delivery is what became of the delivery.
	Delivery hub.DeliveryStatus
	// SinceReceived is the time from the event's receipt to the attempt's end.
	SinceReceived time.Duration
}

// report writes the one line that an attempt has in the log and tells the
// observer.
func (d *Dispatcher) report(lease *hub.Lease, s hub.Settlement, breaker hub.BreakerState) {
	a := s.Attempt
	if d.config.Observe != nil {
		d.config.Observe(Observation{
			EndpointID: lease.Delivery.EndpointID, Outcome: a.Outcome, StatusCode: a.StatusCode, Duration: a.Duration,
			Number: a.Number, Delivery: s.Delivery.Status, SinceReceived: a.StartedAt.Sub(received(lease, a)) + a.Duration,
		})
	}
	level := slog.LevelInfo
	if a.Outcome != hub.AttemptSucceeded {
		level = slog.LevelWarn
	}
	if d.logger.Enabled(d.base, level) {
		attributes := make([]slog.Attr, 0, 16)
		attributes = append(attributes,
			slog.String("outcome", string(a.Outcome)),
			slog.Int("status_code", a.StatusCode),
			slog.Duration("duration", a.Duration),
			slog.String("delivery_id", lease.Delivery.ID),
			slog.String("delivery_status", string(s.Delivery.Status)),
			slog.Int("attempt", a.Number),
			slog.String("attempt_id", a.ID),
			slog.String("endpoint_id", lease.Delivery.EndpointID),
			slog.String("subscription_id", lease.Delivery.SubscriptionID),
			slog.String("event_id", lease.Delivery.EventID),
			slog.String("breaker", string(breaker)),
		)
		if lease.Event != nil {
			attributes = append(attributes, slog.String("event_type", lease.Event.Type), slog.String("source_id", lease.Event.SourceID))
		}
		if a.Error != "" {
			attributes = append(attributes, slog.String("error", a.Error))
		}
		if !s.Delivery.NextAttemptAt.IsZero() {
			attributes = append(attributes, slog.Time("next_attempt_at", s.Delivery.NextAttemptAt))
		}
		if s.Delivery.Reason != "" {
			attributes = append(attributes, slog.String("reason", s.Delivery.Reason))
		}
		d.logger.LogAttrs(d.base, level, "delivery.attempted", attributes...)
	}
	if s.Disable != "" {
		d.logger.WarnContext(d.base, "endpoint.disabled",
			slog.String("endpoint_id", lease.Delivery.EndpointID), slog.String("reason", s.Disable))
	}
}

func received(lease *hub.Lease, a *hub.Attempt) time.Time {
	if lease.Event == nil || lease.Event.ReceivedAt.IsZero() {
		return a.StartedAt
	}
	return lease.Event.ReceivedAt
}
