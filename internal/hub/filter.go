package hub

import "time"

// TimeRange is a span of time: since is part of it, until is not. Zero leaves a
// side open.
type TimeRange struct {
	Since, Until time.Time
}

// Contains reports whether t lies in the range. A zero t lies in none but the
// open range.
func (r TimeRange) Contains(t time.Time) bool {
	if r.Since.IsZero() && r.Until.IsZero() {
		return true
	}
	return !t.IsZero() && !t.Before(r.Since) && (r.Until.IsZero() || t.Before(r.Until))
}

// EventFilter chooses events. All conditions that are given hold at once; a
// zero value, an empty list included, is a condition that is not given.
type EventFilter struct {
	Types       []string // exact, or with * as in invoice.*
	SourceIDs   []string
	PartnerIDs  []string // addressed to any of them
	DedupeKey   string
	OrderingKey string
	ReceivedAt  TimeRange
	OccurredAt  TimeRange
	Expression  string // CEL
}

// DeliveryFilter chooses deliveries, as EventFilter does events.
type DeliveryFilter struct {
	Statuses        []DeliveryStatus
	EndpointIDs     []string
	SubscriptionIDs []string
	EventIDs        []string
	PartnerIDs      []string // to endpoints of any of them
	CreatedAt       TimeRange
}

// RejectionFilter chooses rejections, as EventFilter does events.
type RejectionFilter struct {
	SourceIDs  []string
	Reasons    []RejectionReason
	ReceivedAt TimeRange
}

// ReplayFilter chooses replays, as EventFilter does events.
type ReplayFilter struct {
	States []ReplayState
}

// SourceFilter chooses sources, as EventFilter does events.
type SourceFilter struct {
	Kinds        []SourceKind
	States       []SourceState
	Providers    []string
	NameContains string // without regard to case
}

// EndpointFilter chooses endpoints, as EventFilter does events.
type EndpointFilter struct {
	Kinds        []EndpointKind
	States       []EndpointState
	Breakers     []BreakerState
	PartnerIDs   []string
	NameContains string // without regard to case
}

// SubscriptionFilter chooses subscriptions, as EventFilter does events.
type SubscriptionFilter struct {
	States       []SubscriptionState
	EndpointIDs  []string
	PartnerIDs   []string // of whose endpoints they are
	NameContains string   // without regard to case
}
