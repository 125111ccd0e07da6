package hub

import "time"

// SourceKind says how a source gets its events.
type SourceKind string

// The kinds of source that exist.
const (
	SourceWebhook SourceKind = "WEBHOOK" // a provider sends to the source's URL
	SourceAPI     SourceKind = "API"     // the publishEvent mutation
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

	CreatedAt time.Time
	UpdatedAt time.Time
}

// Verified reports whether the source checks who is sending. One that allows
// unverified requests may name a provider for its rules alone: then it has no
// secrets to check with.
func (s *Source) Verified() bool {
	return s.Verification != nil || s.Provider != "" && (len(s.Secrets) > 0 || !s.AllowUnverified)
}

// SourceResponse is the answer a sender gets on acceptance. The zero value
// stands for 200 and {"id":"evt_…","duplicate":false}.
type SourceResponse struct {
	Status      int    `json:"status,omitempty"`
	ContentType string `json:"contentType,omitempty"`
	Body        string `json:"body,omitempty"`
}

// Verification is a custom scheme. At most one of HMAC, APIKey and Basic is
// set; AllowNetworks may stand alone or beside one of them.
type Verification struct {
	HMAC          *HMACVerification   `json:"hmac,omitempty"`
	APIKey        *APIKeyVerification `json:"apiKey,omitempty"`
	Basic         *BasicVerification  `json:"basic,omitempty"`
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

// BasicVerification compares HTTP Basic credentials (RFC 7617) with a user name
// and the source's secrets as passwords.
type BasicVerification struct {
	Username string `json:"username"`
}
