package hub

import "time"

// SourceKind says how a source gets its events.
type SourceKind string

// The kinds of source that exist.
const (
	SourceWebhook SourceKind = "WEBHOOK" // a provider sends to the source's URL
	SourceAPI     SourceKind = "API"     // the publishEvent mutation
	SourcePoll    SourceKind = "POLL"    // the hub asks a REST API on a schedule
	SourceGraphQL SourceKind = "GRAPHQL" // the hub follows an upstream GraphQL subscription
	SourceQueue   SourceKind = "QUEUE"   // the hub takes messages from a broker
)

// SourceState says whether a source takes events.
type SourceState string

// The states of a source.
const (
	SourceActive SourceState = "ACTIVE"
	SourcePaused SourceState = "PAUSED" // requests are answered 503 with Retry-After, so that the provider tries again
)

// Bounds of a source's settings.
const (
	DefaultMaxBodyBytes = 1 << 20
	MaxMaxBodyBytes     = 16 << 20
	MaxSecrets          = 8
	MaxCaptures         = 100
	// DefaultTolerance is how far the signed time of a custom scheme may be from now.
	DefaultTolerance = 5 * time.Minute
)

// BuiltInAPISlug is the slug of the API source that exists from the start and
// takes what publishEvent is given without a source.
const BuiltInAPISlug = "api"

// Source is where events come in.
type Source struct {
	ID       string
	Name     string
	Slug     string
	Kind     SourceKind
	State    SourceState
	Provider string // preset name; "" for a custom scheme

	Secrets         []Secret       // tried in order
	ProviderConfig  map[string]any // what the preset needs besides secrets
	Verification    *Verification  // a custom scheme, instead of a provider
	AllowUnverified bool
	EventType       string // CEL; "" takes the preset's rule. The next three alike.
	DedupeKey       string
	OccurredAt      string
	OrderingKey     string

	Response     SourceResponse
	MaxBodyBytes int
	DedupeWindow time.Duration // 0: as long as events are kept

	RateLimit      *RateLimit // of requests before their bodies are read; nil: the hub's own alone
	ValidateSchema bool       // events that do not fit the given schema of their type are refused
	// SilentAfter is how long it may have nothing to say before that is told; 0: by the
	// rhythm learned from its events.
	SilentAfter time.Duration
	// Capturing is how many requests are still to be captured instead of received.
	Capturing int

	// Where the hub fetches its events from: the one of its kind.
	Poll     *Poll
	Upstream *Upstream
	Queue    *Queue
	Auth     *EndpointAuth // what the hub shows there; nil: nothing

	CreatedAt time.Time
	UpdatedAt time.Time
}

// Verified reports whether the source checks who is sending. One that allows
// unverified requests may name a provider for its rules alone: then it has no
// secrets to check with.
// What the hub fetches it has asked for itself.
func (s *Source) Verified() bool {
	return s.Fetches() || s.Verification != nil || s.Provider != "" && (len(s.Secrets) > 0 || !s.AllowUnverified)
}

// Fetches reports whether the hub goes and gets the source's events itself.
func (s *Source) Fetches() bool {
	return s.Kind == SourcePoll || s.Kind == SourceGraphQL || s.Kind == SourceQueue
}

// SourceResponse is the answer a sender gets on acceptance. The zero value
// stands for 200 and {"id":"evt_…","duplicate":false}.
type SourceResponse struct {
	Status      int    `json:"status,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	Body        string `json:"body,omitempty"`
}

// Verification is a custom scheme. At most one of HMAC, APIKey, Basic and JWT is
// set; AllowNetworks may stand alone or beside one of them.
type Verification struct {
	HMAC          *HMACVerification   `json:"hmac,omitempty"`
	APIKey        *APIKeyVerification `json:"apiKey,omitempty"`
	Basic         *BasicVerification  `json:"basic,omitempty"`
	JWT           *JWTVerification    `json:"jwt,omitempty"`
	AllowNetworks []string            `json:"allowNetworks,omitempty"` // CIDRs
}

// HMACVerification checks a keyed hash that a header carries.
type HMACVerification struct {
	Header        string        `json:"header"`
	Algorithm     string        `json:"algorithm"` // SHA1, SHA256 or SHA512
	Encoding      string        `json:"encoding"`  // HEX or BASE64
	Prefix        string        `json:"prefix,omitempty"`
	SignedContent string        `json:"signedContent,omitempty"` // CEL that yields the signed bytes; "" is the body
	Timestamp     string        `json:"timestamp,omitempty"`     // CEL that yields the time; "" checks none
	Tolerance     time.Duration `json:"tolerance,omitempty"`
}

// APIKeyVerification compares a header with the source's secrets.
type APIKeyVerification struct {
	Header string `json:"header"`
}

// DefaultTokenHeader is where a JSON Web Token is, unless its source says otherwise.
const DefaultTokenHeader = "Authorization"

// JWTVerification checks a JSON Web Token that a header carries, by the keys of a set or
// by the source's secrets.
type JWTVerification struct {
	Header   string `json:"header"`
	JWKSURL  string `json:"jwksUrl,omitempty"`  // "": HMAC with the secrets
	Issuer   string `json:"issuer,omitempty"`   // "": any
	Audience string `json:"audience,omitempty"` // "": any
}

// BasicVerification compares HTTP Basic credentials (RFC 7617) with a user name
// and the source's secrets as passwords.
type BasicVerification struct {
	Username string `json:"username"`
}
