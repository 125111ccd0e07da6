package hub

import (
	"context"
	"slices"
	"time"
)

// Role is what a credential is for.
type Role string

// The roles that exist.
const (
	RoleOperator Role = "OPERATOR" // runs the hub
	RoleViewer   Role = "VIEWER"   // looks on
	RolePartner  Role = "PARTNER"  // an outside party, within what is its own
)

// Scope is one thing a credential may do.
type Scope string

// The scopes of the contract.
const (
	ScopeEventsRead      Scope = "EVENTS_READ"
	ScopeEventsPublish   Scope = "EVENTS_PUBLISH"
	ScopePayloadsRead    Scope = "PAYLOADS_READ"
	ScopeSourcesWrite    Scope = "SOURCES_WRITE"
	ScopeEndpointsWrite  Scope = "ENDPOINTS_WRITE"
	ScopeDeliveriesWrite Scope = "DELIVERIES_WRITE"
	ScopeAdmin           Scope = "ADMIN"
	ScopeSchemaRead      Scope = "SCHEMA_READ" // introspection in production; no role includes it
)

// DefaultScopes returns what a role may do unless its key says otherwise.
func (r Role) DefaultScopes() []Scope {
	switch r {
	case RoleOperator:
		return []Scope{
			ScopeEventsRead, ScopeEventsPublish, ScopePayloadsRead, ScopeSourcesWrite,
			ScopeEndpointsWrite, ScopeDeliveriesWrite, ScopeAdmin,
		}
	case RoleViewer:
		return []Scope{ScopeEventsRead, ScopePayloadsRead}
	case RolePartner:
		return []Scope{ScopeEventsRead, ScopePayloadsRead, ScopeEndpointsWrite, ScopeDeliveriesWrite}
	}
	return nil
}

// APIKey is a credential. The key itself is not kept, only its SHA-256.
type APIKey struct {
	ID         string
	Name       string
	Role       Role
	PartnerID  string // of role PARTNER: whose it is
	Scopes     []Scope
	Prefix     string // its first characters, to recognise it by
	Hash       []byte
	CreatedAt  time.Time
	ExpiresAt  time.Time // zero: does not expire
	RevokedAt  time.Time // zero: not revoked
	LastUsedAt time.Time // zero: never
}

// Viewer is who is asking.
type Viewer struct {
	KeyID     string // "" unless it holds an API key of the database
	Subject   string // "" unless it holds a token; whom its issuer calls so
	Role      Role
	Scopes    []Scope
	PartnerID string    // "" unless the role is PARTNER
	ExpiresAt time.Time // when the credential stops working; zero: never
}

// Credential tells the holders of credentials apart.
func (v *Viewer) Credential() string {
	switch {
	case v == nil:
		return ""
	case v.KeyID != "":
		return "key " + v.KeyID
	case v.Subject != "":
		return "subject " + v.Subject
	}
	return "operator"
}

// Can reports whether the viewer holds a scope. A partner never holds one beyond those
// of its role, whatever its credential says.
func (v *Viewer) Can(scope Scope) bool {
	return v != nil && slices.Contains(v.Scopes, scope) && v.Role.MayHold(scope)
}

// MayHold reports whether a credential of the role can be given a scope.
func (r Role) MayHold(scope Scope) bool {
	return r != RolePartner || slices.Contains(r.DefaultScopes(), scope)
}

type viewerKey struct{}

// WithViewer returns a context that carries who is asking.
func WithViewer(ctx context.Context, v *Viewer) context.Context {
	return context.WithValue(ctx, viewerKey{}, v)
}

// ViewerFromContext returns who is asking, or nil.
func ViewerFromContext(ctx context.Context) *Viewer {
	v, _ := ctx.Value(viewerKey{}).(*Viewer)
	return v
}

// scopes are all scopes, in the order of the contract.
var scopes = []Scope{
	ScopeEventsRead, ScopeEventsPublish, ScopePayloadsRead, ScopeSourcesWrite,
	ScopeEndpointsWrite, ScopeDeliveriesWrite, ScopeAdmin, ScopeSchemaRead,
}

// Valid reports whether the scope exists.
func (s Scope) Valid() bool { return slices.Contains(scopes, s) }

// Scopes returns all scopes, in the order of the contract.
func Scopes() []Scope { return slices.Clone(scopes) }

// ScopeNames returns the names of all scopes.
func ScopeNames() []string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return names
}
