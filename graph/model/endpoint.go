package model

import (
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Endpoint is an endpoint as GraphQL shows it.
type Endpoint struct {
	*hub.Endpoint
	Siblings *Group // the endpoints that were fetched together with it

	snapshot *Snapshot
}

// NewEndpoints shows endpoints that were fetched together.
func NewEndpoints(snapshot *Snapshot, endpoints []*hub.Endpoint) []*Endpoint {
	group := NewGroup(endpoints, func(e *hub.Endpoint) string { return e.ID })
	out := make([]*Endpoint, len(endpoints))
	for i, e := range endpoints {
		out[i] = &Endpoint{Endpoint: e, Siblings: group, snapshot: snapshot}
	}
	return out
}

// NewEndpoint shows one endpoint.
func NewEndpoint(snapshot *Snapshot, endpoint *hub.Endpoint) *Endpoint {
	return NewEndpoints(snapshot, []*hub.Endpoint{endpoint})[0]
}

// endpointOf shows a configured endpoint by ID, nil once it is deleted.
func endpointOf(snapshot *Snapshot, id string, siblings *Group) *Endpoint {
	endpoint := snapshot.Configuration.Endpoints[id]
	if endpoint == nil {
		return nil
	}
	return &Endpoint{Endpoint: endpoint, Siblings: siblings, snapshot: snapshot}
}

// Partner returns whose it is, nil where it is the operator's.
func (e *Endpoint) Partner() *Partner { return PartnerOf(e.snapshot, e.PartnerID) }

// URL returns where requests are sent.
func (e *Endpoint) URL() *string { return optional(e.Endpoint.URL) }

// StateReason returns why the endpoint is disabled.
func (e *Endpoint) StateReason() *string { return optional(e.Endpoint.StateReason) }

// Headers returns what is added to every request, without credentials.
func (e *Endpoint) Headers() []hub.Header { return hub.Redact(e.Endpoint.Headers) }

// AuthKind returns how the hub shows the endpoint who calls.
func (e *Endpoint) AuthKind() hub.EndpointAuthKind {
	if e.Auth == nil {
		return hub.AuthNone
	}
	return e.Auth.Kind
}

// AuthFingerprint tells credentials apart, nil where there is none.
func (e *Endpoint) AuthFingerprint() *string {
	if e.Auth == nil {
		return nil
	}
	return optional(e.snapshot.Fingerprint(e.Auth.Secret))
}

// MaxAge returns how old a delivery gets, nil where its age does not matter.
func (e *Endpoint) MaxAge() *time.Duration { return optional(e.Endpoint.MaxAge) }

// PublicKey returns what receivers verify signatures with, nil where they do so with
// a secret.
func (e *Endpoint) PublicKey() *string {
	if e.Signing != hub.SigningStandardV1A {
		return nil
	}
	for _, s := range e.Endpoint.SigningSecrets {
		if key := publicKey(s.Secret); key != nil {
			return key
		}
	}
	return nil
}

func publicKey(secret hub.Secret) *string {
	key, err := signature.PublicKey(secret)
	if err != nil { // it is not a private key
		return nil
	}
	return &key
}

// Breaker returns the endpoint's health as the hub acts on it.
func (e *Endpoint) Breaker() hub.BreakerState {
	if b := e.health().Breaker; b != "" {
		return b
	}
	return hub.BreakerClosed
}

// BreakerUntil returns when the next probe is due, zero while the breaker is closed.
func (e *Endpoint) BreakerUntil() time.Time { return e.health().BreakerUntil }

// LastSuccessAt returns when the endpoint last answered 2xx.
func (e *Endpoint) LastSuccessAt() time.Time { return e.health().LastSuccessAt }

// LastFailureAt returns when an attempt last failed.
func (e *Endpoint) LastFailureAt() time.Time { return e.health().LastFailureAt }

// ConsecutiveFailures returns the attempts failed since the last success.
func (e *Endpoint) ConsecutiveFailures() int { return e.health().ConsecutiveFailures }

// health returns what attempts have shown so far.
func (e *Endpoint) health() hub.EndpointHealth {
	if h := e.snapshot.Health(e.ID); h != nil {
		return *h
	}
	return hub.EndpointHealth{}
}

// SigningSecrets returns the secrets without the secrets.
func (e *Endpoint) SigningSecrets() []SigningSecret {
	out := make([]SigningSecret, len(e.Endpoint.SigningSecrets))
	for i, s := range e.Endpoint.SigningSecrets {
		out[i] = SigningSecret{
			ID: s.ID, Fingerprint: e.snapshot.Fingerprint(s.Secret), CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt,
			PublicKey: publicKey(s.Secret),
		}
	}
	return out
}

// SigningSecret is one of an endpoint's secrets, without the secret.
type SigningSecret struct {
	ID          string
	Fingerprint string
	CreatedAt   time.Time
	ExpiresAt   time.Time // zero: does not expire
	PublicKey   *string   // of a key that has one
}
