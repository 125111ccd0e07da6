package hub

import "time"

// DeliveryStatus is how far a delivery has come.
type DeliveryStatus string

// The statuses of a delivery. DELIVERED, DEAD and CANCELED end it.
const (
	DeliveryPending   DeliveryStatus = "PENDING"   // waits for its next attempt, or is being attempted
	DeliveryHeld      DeliveryStatus = "HELD"      // would be attempted, but something holds it; the reason says what
	DeliveryDelivered DeliveryStatus = "DELIVERED" // the endpoint answered 2xx
	DeliveryDead      DeliveryStatus = "DEAD"      // given up; the reason says why
	DeliveryCanceled  DeliveryStatus = "CANCELED"  // somebody asked for it
)

// Ended reports whether the delivery needs nothing more.
func (s DeliveryStatus) Ended() bool {
	return s == DeliveryDelivered || s == DeliveryDead || s == DeliveryCanceled
}

// Delivery is one event owed to one subscription.
type Delivery struct {
	ID             string
	EventID        string
	SubscriptionID string
	EndpointID     string
	Status         DeliveryStatus
	Reason         string // why, for HELD, DEAD and CANCELED
	AttemptCount   int
	// SchedulePosition is the place in the retry schedule of the next attempt,
	// from 0. A manual retry of an ended delivery starts the schedule over.
	SchedulePosition int
	NextAttemptAt    time.Time // zero once it has ended
	CreatedAt        time.Time
	CompletedAt      time.Time // zero until it has ended
}

// Hold tells whether deliveries of a subscription to an endpoint are held as
// things stand, and why. The status HELD of a delivery that waits is derived from
// this rule wherever it is shown or filtered by; the row stays PENDING, so pausing
// costs nothing however many deliveries wait. Each argument may be nil.
func Hold(e *Endpoint, h *EndpointHealth, s *Subscription, now time.Time) (reason string, held bool) {
	if e != nil {
		switch e.State {
		case EndpointPaused:
			return "the endpoint is paused", true
		case EndpointDisabled:
			return "the endpoint is disabled: " + e.StateReason, true
		case EndpointActive:
		}
	}
	if s != nil && s.State == SubscriptionPaused {
		return "the subscription is paused", true
	}
	if h != nil {
		if h.Breaker == BreakerOpen {
			return "the endpoint keeps failing; the next probe is due at " + h.BreakerUntil.UTC().Format(time.RFC3339), true
		}
		if h.PacedUntil.After(now) {
			return "the endpoint asked not to be called before " + h.PacedUntil.UTC().Format(time.RFC3339), true
		}
	}
	return "", false
}

// Lease is a delivery that one worker alone may attempt until the lease ends.
type Lease struct {
	Delivery Delivery
	Event    *Event // with its payload
	// Token fences the lease: a result that carries an old token changes nothing.
	Token     string
	ExpiresAt time.Time
}

// Want is how many due deliveries of one endpoint a worker has room for, and how
// long it needs each of them.
type Want struct {
	EndpointID string
	Limit      int
	Lease      time.Duration
}

// AttemptOutcome classifies what came of an attempt.
type AttemptOutcome string

// The outcomes of an attempt.
const (
	AttemptSucceeded        AttemptOutcome = "SUCCEEDED"         // 2xx
	AttemptRefused          AttemptOutcome = "REFUSED"           // any other status
	AttemptTimedOut         AttemptOutcome = "TIMED_OUT"         // the endpoint's deadline passed
	AttemptConnectionFailed AttemptOutcome = "CONNECTION_FAILED" // no answer could be had
	AttemptTLSFailed        AttemptOutcome = "TLS_FAILED"
	AttemptAddressBlocked   AttemptOutcome = "ADDRESS_BLOCKED" // the outbound guard refused the address
	AttemptInterrupted      AttemptOutcome = "INTERRUPTED"     // the hub itself cut it off
)

// Bounds of what is read and kept of an answer.
const (
	MaxResponseBodyRead = 64 << 10
	MaxResponseBodyKept = 16 << 10
)

// Attempt is one try to make a delivery.
type Attempt struct {
	ID              string
	DeliveryID      string
	Number          int // from 1
	StartedAt       time.Time
	Duration        time.Duration
	Outcome         AttemptOutcome
	StatusCode      int    // 0 where there was no answer
	Error           string // "" where there was none
	RequestURL      string
	RequestHeaders  []Header // redacted
	ResponseHeaders []Header // redacted
	ResponseBody    []byte   // the first MaxResponseBodyKept
}

// Settlement is the result of a leased delivery: the attempt made, and what is
// to become of the delivery. It is stored in one transaction.
type Settlement struct {
	LeaseToken string
	Attempt    *Attempt // nil where the lease is given back unused
	Delivery   Delivery // as it is to be stored
	// Health is the endpoint's health after the attempt.
	Health *EndpointHealth
	// Disable, where not "", disables the endpoint for this reason.
	Disable string
}
