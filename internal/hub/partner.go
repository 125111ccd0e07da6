package hub

import "time"

// Partner is an outside party with endpoints, subscriptions, keys and a view of
// events of its own.
type Partner struct {
	ID         string
	Name       string
	EventTypes []string // shared with it; exact, or with * as in invoice.*
	CreatedAt  time.Time
	UpdatedAt  time.Time
}
