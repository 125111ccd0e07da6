package hub

import (
	"fmt"
	"time"
)

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
	PartnerID      string // whose the endpoint is; "" where it is the operator's
	Status         DeliveryStatus
	Reason         string // why, for HELD, DEAD and CANCELED
	AttemptCount   int
	// SchedulePosition is the place in the retry schedule of the next attempt,
	// from 0. A manual retry of an ended delivery starts the schedule over.
	SchedulePosition int
	NextAttemptAt    time.Time // zero once it has ended, and while it is held until somebody acts
	CreatedAt        time.Time
	CompletedAt      time.Time // zero until it has ended
	// BodyForm tells which bytes its attempts send.
	BodyForm BodyForm

	// Line is what all deliveries of its subscription with its ordering key have in common
	// where they are STRICT. It is settled when the delivery is made; "" where it is in no
	// line.
	Line string
	// Mark is the same where they are SKIP_STALE.
	Mark string
	// BlockedBy is the head of its line while it waits for its turn, "" otherwise.
	BlockedBy string
}

// BodyForm tells which bytes the attempts of a delivery send. It is settled when the
// delivery is made, so that no later change of the subscription mixes the two.
type BodyForm string

// The forms of a delivery's body.
const (
	BodyReceived BodyForm = "RECEIVED" // the event's own, byte for byte
	BodyUnshaped BodyForm = "UNSHAPED" // the subscription's transform makes it before the first attempt
	BodyShaped   BodyForm = "SHAPED"   // made and kept: every attempt sends these bytes
)

// Body is what a transform has made.
type Body struct {
	ContentType string
	Bytes       []byte
}

// Hold is what keeps a delivery that waits from being attempted.
type Hold struct {
	Reason string    // for people, a clause without a full stop
	Until  time.Time // zero: until somebody acts
}

// Next returns when a delivery that is due at a time is attempted, as far as the hold
// is concerned: zero where nobody knows, because it lasts until somebody acts.
func (h Hold) Next(due time.Time) time.Time {
	if h.Until.IsZero() || h.Until.After(due) {
		return h.Until
	}
	return due
}

// Holds tells whether deliveries of a subscription to an endpoint are held as
// things stand, and by what. The status HELD of a delivery that waits is derived from
// this rule wherever it is shown or filtered by; the row stays PENDING, so pausing
// costs nothing however many deliveries wait. What holds a single delivery, a body that
// cannot be made, is a reason kept with it, see Settlement. Each argument may be nil.
func Holds(e *Endpoint, h *EndpointHealth, s *Subscription, now time.Time) (hold Hold, held bool) {
	if e != nil {
		if reason, stopped := e.Stopped(); stopped {
			return Hold{Reason: reason}, true
		}
	}
	if s != nil && s.State == SubscriptionPaused {
		return Hold{Reason: "the subscription is paused"}, true
	}
	if h != nil {
		if h.Breaker == BreakerOpen {
			return Hold{"the endpoint keeps failing; the next probe is due at " + h.BreakerUntil.UTC().Format(time.RFC3339), h.BreakerUntil}, true
		}
		if h.PacedUntil.After(now) {
			return Hold{"the endpoint asked not to be called before " + h.PacedUntil.UTC().Format(time.RFC3339), h.PacedUntil}, true
		}
	}
	return Hold{}, false
}

// Expired tells whether a delivery that is not delivered has reached the maximum age
// of its endpoint, and says so. One that somebody had retried after its end is
// attempted once, whatever its age.
func (d *Delivery) Expired(e *Endpoint, now time.Time) (reason string, expired bool) {
	if e == nil || e.MaxAge <= 0 || d.AttemptCount > 0 && d.SchedulePosition == 0 || now.Before(d.CreatedAt.Add(e.MaxAge)) {
		return "", false
	}
	return fmt.Sprintf("it was not delivered within %s, the endpoint's maximum age", e.MaxAge), true
}

// Lease is a delivery that one worker alone may attempt until the lease ends.
type Lease struct {
	Delivery Delivery
	Event    *Event // with its payload
	// Body is what its attempts send where the delivery is shaped; nil: not made yet, or
	// the event's own.
	Body *Body
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
	AttemptAddressBlocked   AttemptOutcome = "ADDRESS_BLOCKED"  // the outbound guard refused the address
	AttemptTransformFailed  AttemptOutcome = "TRANSFORM_FAILED" // the body could not be made; nothing was sent
	AttemptInterrupted      AttemptOutcome = "INTERRUPTED"      // the hub itself cut it off
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

	// EndpointID and RequestBody are kept of an attempt that is of no delivery: a
	// test or a challenge. Its DeliveryID is what it was sent as.
	EndpointID  string
	RequestBody []byte
}

// Settlement is the result of a leased delivery: the attempt made, and what is
// to become of the delivery. It is stored in one transaction.
type Settlement struct {
	LeaseToken string
	Attempt    *Attempt // nil where the lease is given back unused
	// Event is what was to be delivered, as the lease has it: statistics are kept by its
	// source and take from it how long the delivery took.
	Event *Event
	// Delivery is as it is to be stored. The status HELD holds it by itself, whatever
	// else may hold it, until the subscription's transform changes or somebody retries
	// or cancels it.
	Delivery Delivery
	// Transform is what failed, where the delivery is held for that. If the subscription
	// has another one by now, the delivery is due instead.
	Transform *Transform
	// Health is the endpoint's health after the attempt.
	Health *EndpointHealth
	// Disable, where not "", disables the endpoint for this reason.
	Disable string
	// Stored, if set, is told once it is durable whether the lease still held, or why it
	// could not be stored. It must not block.
	Stored func(applied bool, err error)
}

// SettleOutcome is what the consumer of a STREAM endpoint says of a delivery.
type SettleOutcome string

// The outcomes of the public contract.
const (
	SettleAcknowledge SettleOutcome = "ACKNOWLEDGE" // it is delivered
	SettleRetry       SettleOutcome = "RETRY"       // it failed, and follows the retry schedule
	SettleReject      SettleOutcome = "REJECT"      // it is dead
)

// Settling is what a consumer says of one delivery.
type Settling struct {
	DeliveryID string
	Token      string // as it was handed over
	Outcome    SettleOutcome
	Reason     string
}

// Pulled is a delivery as it is handed to the consumer of a STREAM endpoint.
type Pulled struct {
	Delivery Delivery
	Event    *Event // with its payload
	Body     []byte // what an HTTP endpoint would be sent
	// ContentType is the type that it would be sent as.
	ContentType string
	Token       string
	ExpiresAt   time.Time
}
