package hub

import (
	"encoding/json"
	"strings"
	"time"
)

// What happens to the hub itself is an event like any other, of a source that is
// built in. Nobody else can make events of it, or of its types.
const (
	// BuiltInHubID is the ID of that source, the same in every database.
	BuiltInHubID   = "src_00000000000000000hookgraph"
	BuiltInHubSlug = "hookgraph"
	// HubTypePrefix begins the types of its events. A pattern fits them only if it
	// begins so too: * alone does not.
	HubTypePrefix = "hookgraph."
)

// The types of hub events.
const (
	EndpointDisabledType      = "hookgraph.endpoint.disabled"
	EndpointRecoveredType     = "hookgraph.endpoint.recovered"
	EndpointBreakerOpenedType = "hookgraph.endpoint.breaker_opened"
	EndpointSecretRotatedType = "hookgraph.endpoint.secret_rotated"
	DeliveryDeadType          = "hookgraph.delivery.dead"
	ReplayCompletedType       = "hookgraph.replay.completed"
	SourceRecoveredType       = "hookgraph.source.recovered"
)

// IsHubType reports whether an event type is one of the hub's own.
func IsHubType(eventType string) bool { return strings.HasPrefix(eventType, HubTypePrefix) }

// Announcement is a hub event on its way to the log. It is stored in the transaction
// that does what it tells, and received as an event afterwards.
type Announcement struct {
	ID         string // of the event
	Type       string
	PartnerID  string // whom it is addressed to; "" where it concerns the operator alone
	OccurredAt time.Time
	Body       json.RawMessage // an object
}

// NewAnnouncement makes an announcement of facts, which become its body.
func NewAnnouncement(eventType, partnerID string, at time.Time, facts any) *Announcement {
	body, err := json.Marshal(facts)
	if err != nil { // texts, numbers and times alone
		body = json.RawMessage("{}")
	}
	return &Announcement{ID: NewID(EventPrefix, at), Type: eventType, PartnerID: partnerID, OccurredAt: at, Body: body}
}

// EndpointFacts is the body of the events about an endpoint.
type EndpointFacts struct {
	EndpointID string `json:"endpointId"`
	Name       string `json:"name"`
	// Reason says why it was disabled.
	Reason string `json:"reason,omitempty"`
	// From is what it has recovered from: BREAKER_OPEN or DISABLED.
	From string `json:"from,omitempty"`
	// NextProbeAt is when the next attempt is made while the breaker is open.
	NextProbeAt *time.Time `json:"nextProbeAt,omitempty"`
	// SecretID is the ID of the signing secret that is new.
	SecretID string `json:"secretId,omitempty"`
}

// NewEndpointAnnouncement makes an announcement about an endpoint.
func NewEndpointAnnouncement(eventType string, e *Endpoint, at time.Time, facts EndpointFacts) *Announcement {
	facts.EndpointID, facts.Name = e.ID, e.Name
	return NewAnnouncement(eventType, e.PartnerID, at, facts)
}

// DeliveryFacts is the body of hookgraph.delivery.dead.
type DeliveryFacts struct {
	DeliveryID     string `json:"deliveryId"`
	EventID        string `json:"eventId"`
	SubscriptionID string `json:"subscriptionId"`
	EndpointID     string `json:"endpointId"`
	Reason         string `json:"reason"`
	AttemptCount   int    `json:"attemptCount"`
}

// ReplayFacts is the body of hookgraph.replay.completed.
type ReplayFacts struct {
	ReplayID string      `json:"replayId"`
	State    ReplayState `json:"state"` // COMPLETED, CANCELED or FAILED
	Reason   string      `json:"reason,omitempty"`
	Total    int         `json:"total"`
	Done     int         `json:"done"`
	Failed   int         `json:"failed"`
}

// MaxRecoveredIDs is how many events hookgraph.source.recovered names.
const MaxRecoveredIDs = 20

// RecoveryFacts is the body of hookgraph.source.recovered: a webhook source has never
// been sent what another source has found.
type RecoveryFacts struct {
	SourceID string   `json:"sourceId"` // the webhook source, whose events they are
	Name     string   `json:"name"`
	PollID   string   `json:"pollId"` // the source that has found them
	PollName string   `json:"pollName"`
	Count    int      `json:"count"`
	EventIDs []string `json:"eventIds"` // the newest, at most 20
}
