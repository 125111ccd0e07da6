package hub

import (
	"encoding/json"
	"time"
)

// EndpointKind says how an endpoint gets its deliveries.
type EndpointKind string

// The kinds of endpoints.
const (
	EndpointHTTP   EndpointKind = "HTTP"   // is sent POST requests
	EndpointStream EndpointKind = "STREAM" // its consumers pull its deliveries and settle each
	EndpointQueue  EndpointKind = "QUEUE"  // messages are published to a broker
)

// EndpointState says whether an endpoint gets its deliveries now.
type EndpointState string

// The states of an endpoint. PAUSED and DISABLED hold deliveries; neither drops one.
const (
	EndpointActive   EndpointState = "ACTIVE"
	EndpointPaused   EndpointState = "PAUSED"   // somebody asked for it
	EndpointDisabled EndpointState = "DISABLED" // the hub or somebody stopped it, and says why
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
	SigningStandardV1  SigningScheme = "STANDARD_V1"  // HMAC-SHA256
	SigningStandardV1A SigningScheme = "STANDARD_V1A" // Ed25519
	SigningNone        SigningScheme = "NONE"
)

// Defaults and bounds of an endpoint's settings.
const (
	DefaultTimeout        = 15 * time.Second
	MaxTimeout            = 60 * time.Second
	StreamLease           = 60 * time.Second // how long a consumer has a delivery
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
	PartnerID   string // whose it is, for good; "" where it is the operator's
	Name        string
	Kind        EndpointKind
	URL         string
	State       EndpointState
	StateReason string

	// Timeout is from connecting to the last byte of the answer. Where consumers pull, it
	// is how long one of them has a delivery before it must be settled.
	Timeout time.Duration
	// MaxConcurrency is of no account where consumers pull: each says how many it takes.
	MaxConcurrency int
	RateLimit      *RateLimit // nil: unlimited
	RetryPolicy    RetryPolicy
	Headers        []Header      // added to every request
	Auth           *EndpointAuth // nil: none
	MaxAge         time.Duration // of a delivery that is not delivered; 0: the schedule alone ends it

	Signing        SigningScheme
	SigningSecrets []SigningSecret // newest first

	// VerifiedAt is when the endpoint proved that it wants what the hub sends; zero
	// until then. MustVerify says that it gets nothing before.
	VerifiedAt time.Time
	MustVerify bool
	// Backlog is what is being done about deliveries that waited when the endpoint
	// was resumed; nil where nothing is.
	Backlog *BacklogOrder

	CreatedAt time.Time
	UpdatedAt time.Time
}

// Stopped tells whether the endpoint gets nothing at all as things stand, whatever
// its health, and why.
func (e *Endpoint) Stopped() (reason string, stopped bool) {
	switch {
	case e.State == EndpointPaused:
		return "the endpoint is paused", true
	case e.State == EndpointDisabled:
		return "the endpoint is disabled: " + e.StateReason, true
	case e.Backlog != nil:
		return "the endpoint was resumed, and what waited for it is being sorted out", true
	case e.MustVerify && e.VerifiedAt.IsZero():
		return "the endpoint has not proved yet that it wants what the hub sends; verifyEndpoint asks it again", true
	}
	return "", false
}

// BacklogChoice says what becomes of the deliveries that waited for an endpoint
// when it is resumed.
type BacklogChoice string

// The choices of the public contract.
const (
	BacklogSendAll    BacklogChoice = "SEND_ALL"
	BacklogSendNewest BacklogChoice = "SEND_NEWEST_PER_KEY"
	BacklogCancel     BacklogChoice = "CANCEL"
)

// BacklogOrder is a choice that is being carried out. It is stored until it is
// done, so that the end of a process does not undo it.
type BacklogOrder struct {
	Choice BacklogChoice
	Before time.Time // it concerns deliveries made up to then
}

// VerificationDemand says which endpoints must prove that they want what the hub
// sends before they get it.
type VerificationDemand string

// The demands that an operator can make.
const (
	VerifyNone     VerificationDemand = "off"
	VerifyPartners VerificationDemand = "partners"
	VerifyAll      VerificationDemand = "all"
)

// Concerns tells whether the demand is made of an endpoint.
func (d VerificationDemand) Concerns(e *Endpoint) bool {
	return d == VerifyAll || d == VerifyPartners && e.PartnerID != ""
}

// EndpointAuthKind names how the hub shows an endpoint who calls.
type EndpointAuthKind string

// The kinds of credentials.
const (
	AuthNone   EndpointAuthKind = "NONE"
	AuthAPIKey EndpointAuthKind = "API_KEY"
	AuthBasic  EndpointAuthKind = "BASIC"
	AuthBearer EndpointAuthKind = "BEARER"
	AuthOAuth2 EndpointAuthKind = "OAUTH2_CLIENT_CREDENTIALS"
	AuthJWT    EndpointAuthKind = "JWT"
	AuthMTLS   EndpointAuthKind = "MTLS"
)

// EndpointAuth is the credential that requests to an endpoint carry.
type EndpointAuth struct {
	Kind EndpointAuthKind `json:"kind"`
	// Secret is the API key, the password, the token, the client's secret or the
	// private key.
	Secret Secret `json:"secret"`

	Header   string `json:"header,omitempty"`   // API_KEY
	Username string `json:"username,omitempty"` // BASIC

	TokenURL string   `json:"tokenUrl,omitempty"` // OAUTH2_CLIENT_CREDENTIALS
	ClientID string   `json:"clientId,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
	Audience string   `json:"audience,omitempty"`

	Algorithm string          `json:"algorithm,omitempty"` // JWT
	KeyID     string          `json:"keyId,omitempty"`
	Claims    json.RawMessage `json:"claims,omitempty"` // an object
	Lifetime  time.Duration   `json:"lifetime,omitempty"`

	Certificate   string `json:"certificate,omitempty"`   // MTLS: PEM, the leaf first
	CACertificate string `json:"caCertificate,omitempty"` // and BASIC: PEM; "": the machine's authorities
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
	Secret    Secret // in the whsec_ form, or the whsk_ form of Ed25519
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

// AttemptTime is how long one attempt has, from its beginning to its result.
func (e *Endpoint) AttemptTime() time.Duration {
	if e.Kind == EndpointStream {
		return StreamLease
	}
	return e.Timeout
}
