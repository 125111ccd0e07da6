package hub

import "time"

// ReplayState is how far a replay has come.
type ReplayState string

// The states of a replay. All but RUNNING end it.
const (
	ReplayRunning   ReplayState = "RUNNING"
	ReplayCompleted ReplayState = "COMPLETED" // everything that it made due has ended
	ReplayCanceled  ReplayState = "CANCELED"  // somebody asked for it
	ReplayFailed    ReplayState = "FAILED"    // it could not go on; the reason says why
)

// Bounds of replays.
const (
	DefaultReplayRate    = 100
	MaxReplayRate        = 10_000
	MaxIdempotencyKey    = 255
	MaxReplayDueEndpoint = 500 // deliveries of replays that may be due at one endpoint at a time
)

// ReplaySelection is what a replay is over: past deliveries, past events for one
// subscription, or what one endpoint has missed. Exactly one of the three is given.
type ReplaySelection struct {
	Deliveries     *DeliveryFilter `json:"deliveries,omitempty"`
	Events         *EventFilter    `json:"events,omitempty"`
	SubscriptionID string          `json:"subscriptionId,omitempty"` // beside Events
	MissedBy       *MissedBy       `json:"missedBy,omitempty"`
}

// MissedBy are the events of a span that the subscriptions of an endpoint want as they
// are now, and that were not delivered to them: those whose deliveries ended otherwise,
// and those that have none.
type MissedBy struct {
	EndpointID string    `json:"endpointId"`
	Received   TimeRange `json:"received"`
}

// Replay is a bulk job over past events or deliveries.
type Replay struct {
	ID          string
	PartnerID   string // who asked for it; "" where that was the operator
	RequestedBy string // the holder of which credential; "" where that was not written down
	State       ReplayState
	Reason      string // why, for FAILED
	Selection   ReplaySelection
	Rate        int // deliveries made due a second
	// Total is how many the selection chose when the replay began, and once everything
	// was made due, how many that were: what is waiting already, or is gone, is not.
	Total          int
	Done           int // of these, how many were delivered
	Failed         int // of these, how many ended otherwise
	IdempotencyKey string
	CreatedAt      time.Time
	CompletedAt    time.Time // zero while it runs
}
