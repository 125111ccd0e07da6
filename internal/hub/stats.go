package hub

import "time"

// StatsFilter chooses what statistics count, as EventFilter does events. What a
// condition does not concern is left out by it: events and rejections have no
// endpoint and no subscription.
type StatsFilter struct {
	SourceIDs       []string
	EndpointIDs     []string
	SubscriptionIDs []string
	PartnerIDs      []string
}

// StatsBucket is what happened within one span of time.
type StatsBucket struct {
	Start             time.Time
	Received          int
	Duplicates        int
	Rejected          int
	DeliveriesCreated int
	Delivered         int
	Dead              int
	Attempts          int
	FailedAttempts    int
	// Percentiles in milliseconds, nil where there is nothing to take them of: of the
	// attempts' durations, and of the times from receipt to delivered.
	LatencyP50, LatencyP95, LatencyP99    *float64
	EndToEndP50, EndToEndP95, EndToEndP99 *float64
}

// DeliveryChange is one entry of the log of what became of deliveries: the delivery
// as it stood at that moment.
type DeliveryChange struct {
	Sequence Sequence
	Delivery Delivery // with its ID alone, where the delivery is not stored any more
}
