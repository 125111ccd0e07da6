package hub

import "time"

// SubscriptionState says whether a subscription's deliveries go out now.
type SubscriptionState string

// The states of a subscription.
const (
	SubscriptionActive SubscriptionState = "ACTIVE"
	SubscriptionPaused SubscriptionState = "PAUSED" // deliveries are made and held
)

// Subscription chooses which events an endpoint gets.
type Subscription struct {
	ID         string
	Name       string
	EndpointID string
	State      SubscriptionState
	EventTypes []string // exact, or with * as in invoice.*
	SourceIDs  []string // empty: every source
	Filter     string   // CEL that must be true; "" admits everything
	CreatedAt  time.Time
	UpdatedAt  time.Time
}
