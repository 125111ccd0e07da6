package model

import (
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Replay is a replay as GraphQL shows it.
type Replay struct {
	*hub.Replay

	snapshot *Snapshot
}

// NewReplays shows replays.
func NewReplays(snapshot *Snapshot, replays []*hub.Replay) []*Replay {
	out := make([]*Replay, len(replays))
	for i, r := range replays {
		out[i] = &Replay{r, snapshot}
	}
	return out
}

// NewReplay shows one replay.
func NewReplay(snapshot *Snapshot, replay *hub.Replay) *Replay {
	return NewReplays(snapshot, []*hub.Replay{replay})[0]
}

// IsNode says that it can be found by its ID.
func (*Replay) IsNode() {}

// Reason returns why it has failed.
func (r *Replay) Reason() *string { return optional(r.Replay.Reason) }

// IdempotencyKey returns the key it was asked for with.
func (r *Replay) IdempotencyKey() *string { return optional(r.Replay.IdempotencyKey) }

// RequestedBy returns who asked for it.
func (r *Replay) RequestedBy() *string { return optional(r.Replay.RequestedBy) }

// spanShown is a span of time in the form of its input.
type spanShown struct {
	Since *time.Time `json:"since,omitempty"`
	Until *time.Time `json:"until,omitempty"`
}

func newSpanShown(r hub.TimeRange) *spanShown {
	return optional(spanShown{optional(r.Since.UTC()), optional(r.Until.UTC())})
}

// Deliveries returns the filter of deliveries in the form of its input, null where it is
// over something else.
func (r *Replay) Deliveries() (JSON, error) {
	f := r.Selection.Deliveries
	if f == nil {
		return nil, nil
	}
	return NewJSON(struct {
		Statuses        []hub.DeliveryStatus `json:"statuses,omitempty"`
		EndpointIDs     []string             `json:"endpointIds,omitempty"`
		SubscriptionIDs []string             `json:"subscriptionIds,omitempty"`
		EventIDs        []string             `json:"eventIds,omitempty"`
		PartnerIDs      []string             `json:"partnerIds,omitempty"`
		CreatedAt       *spanShown           `json:"createdAt,omitempty"`
	}{f.Statuses, f.EndpointIDs, f.SubscriptionIDs, f.EventIDs, f.PartnerIDs, newSpanShown(f.CreatedAt)})
}

// Events returns the filter of events in the form of its input, null where it is over
// something else.
func (r *Replay) Events() (JSON, error) {
	f := r.Selection.Events
	if f == nil {
		return nil, nil
	}
	return NewJSON(struct {
		Types       []string   `json:"types,omitempty"`
		SourceIDs   []string   `json:"sourceIds,omitempty"`
		PartnerIDs  []string   `json:"partnerIds,omitempty"`
		DedupeKey   string     `json:"dedupeKey,omitempty"`
		OrderingKey string     `json:"orderingKey,omitempty"`
		ReceivedAt  *spanShown `json:"receivedAt,omitempty"`
		OccurredAt  *spanShown `json:"occurredAt,omitempty"`
		Expression  string     `json:"expression,omitempty"`
	}{f.Types, f.SourceIDs, f.PartnerIDs, f.DedupeKey, f.OrderingKey, newSpanShown(f.ReceivedAt), newSpanShown(f.OccurredAt), f.Expression})
}

// MissedSince returns since when missed events are recovered.
func (r *Replay) MissedSince() *time.Time { return r.missed().Since }

// MissedUntil returns until when they are.
func (r *Replay) MissedUntil() *time.Time { return r.missed().Until }

func (r *Replay) missed() spanShown {
	if missed := r.Selection.MissedBy; missed != nil {
		return spanShown{optional(missed.Received.Since), optional(missed.Received.Until)}
	}
	return spanShown{}
}

// Subscription returns what events are sent to, nil where it is over something else.
func (r *Replay) Subscription() *EventSubscription {
	if s := r.snapshot.Configuration.Subscriptions[r.Selection.SubscriptionID]; s != nil {
		return NewSubscription(r.snapshot, s)
	}
	return nil
}

// Endpoint returns whose missed events it recovers, nil where it is over something else.
func (r *Replay) Endpoint() *Endpoint {
	if missed := r.Selection.MissedBy; missed != nil {
		if e := r.snapshot.Configuration.Endpoints[missed.EndpointID]; e != nil {
			return NewEndpoint(r.snapshot, e)
		}
	}
	return nil
}
