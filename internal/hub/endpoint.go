package hub

import "time"

// EndpointKind says how an endpoint gets its deliveries.
type EndpointKind string

// EndpointHTTP is the kind of endpoint that is sent POST requests.
const EndpointHTTP EndpointKind = "HTTP"

// EndpointState says whether an endpoint gets its deliveries now.
type EndpointState string

// The states of an endpoint. PAUSED and DISABLED hold deliveries; neither drops one.
const (
	EndpointActive   EndpointState = "ACTIVE"
	EndpointPaused   EndpointState = "PAUSED"   // somebody asked for it
	EndpointDisabled EndpointState = "DISABLED" // the hub stopped it, and says why
)

// BreakerState is the health of an endpoint as the hub acts on it.
type BreakerState string

// The states of the circuit breaker.
const (
	BreakerClosed   BreakerState = "CLOSED"
	BreakerOpen     BreakerState = "OPEN"      // deliveries are held until the probe
	BreakerHalfOpen BreakerState = "HALF_OPEN" // a probe decides
)

// SigningScheme says how deliveries are signed.
type SigningScheme string

// The schemes of Standard Webhooks 1.0.
const (
	SigningStandardV1 SigningScheme = "STANDARD_V1" // HMAC-SHA256
	SigningNone       SigningScheme = "NONE"
)

// Defaults and bounds of an endpoint's settings.
const (
	DefaultTimeout        = 15 * time.Second
	MaxTimeout            = 60 * time.Second
	DefaultMaxConcurrency = 16
	MaxMaxConcurrency     = 256
	MaxScheduleLength     = 32
	DefaultJitter         = 0.2
)

// DefaultSchedule is the retry schedule of Standard Webhooks 1.0: ten attempts
// over about 75 hours.
var DefaultSchedule = []time.Duration{
	0, 5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour,
	5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
}

// Endpoint is where deliveries go.
type Endpoint struct {
	ID          string
	Name        string
	Kind        EndpointKind
	URL         string
	State       EndpointState
	StateReason string

	Timeout        time.Duration // from connecting to the last byte of the answer
	MaxConcurrency int
	RateLimit      *RateLimit // nil: unlimited
	RetryPolicy    RetryPolicy
	Headers        []Header // added to every request

	Signing        SigningScheme
	SigningSecrets []SigningSecret // newest first

	CreatedAt time.Time
	UpdatedAt time.Time
}

// RateLimit is a token bucket with a burst of one period.
type RateLimit struct {
	Limit  int           `json:"limit"`
	Period time.Duration `json:"period"`
}

// RetryPolicy says when a failed delivery is tried again and when it is not.
type RetryPolicy struct {
	Schedule []time.Duration `json:"schedule"` // the wait before each attempt
	Jitter   float64         `json:"jitter"`   // share of each wait that is random, 0 to 1
	// FinalStatuses are final at once: single statuses ("404") or ranges ("400-403").
	FinalStatuses []string `json:"finalStatuses,omitempty"`
}

// SigningSecret is one of an endpoint's secrets. Each that has not expired signs.
type SigningSecret struct {
	ID        string
	Secret    Secret // in the whsec_ form
	CreatedAt time.Time
	ExpiresAt time.Time // zero: does not expire
}

// EndpointHealth is what the attempts of an endpoint have shown. It outlives
// restarts and changes with every attempt, unlike the endpoint's settings.
type EndpointHealth struct {
	EndpointID          string
	Breaker             BreakerState
	BreakerUntil        time.Time // when the next probe may go
	Probes              int       // probes failed in a row, for the doubling wait
	ConsecutiveFailures int
	FailingSince        time.Time // first of the consecutive failures
	LastSuccessAt       time.Time
	LastFailureAt       time.Time
	PacedUntil          time.Time // the endpoint asked to be left alone until then
}
