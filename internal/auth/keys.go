package auth

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// KeyStore is where keys are made and revoked.
type KeyStore interface {
	CreateAPIKey(ctx context.Context, key *hub.APIKey) error
	// RevokeAPIKey ends a key as of a moment. The first revocation stands, and
	// hub.ErrNotFound is returned where there is no such key.
	RevokeAPIKey(ctx context.Context, id string, at time.Time) error
	APIKey(ctx context.Context, id string) (*hub.APIKey, error)
	// Partner returns hub.ErrNotFound where there is no such partner.
	Partner(ctx context.Context, id string) (*hub.Partner, error)
}

// Issuer makes and revokes keys, for the API and the command line alike, and leaves
// a line in the log of each.
type Issuer struct {
	keys   KeyStore
	clock  hub.Clock
	logger *slog.Logger
}

// NewIssuer makes an Issuer over stored keys.
func NewIssuer(keys KeyStore, clock hub.Clock, logger *slog.Logger) *Issuer {
	return &Issuer{keys: keys, clock: clock, logger: logger}
}

// KeyInput is a key to be.
type KeyInput struct {
	Name      string
	Role      hub.Role
	PartnerID string      // of role PARTNER: whose it is
	Scopes    []hub.Scope // nil: all of the role
	ExpiresAt *time.Time  // nil: never
}

// Create makes a key on behalf of somebody, who can give it no scope that they do
// not hold, but for SCHEMA_READ, which no role holds and operators give. The key itself is returned this once; only its SHA-256 is kept. What is
// wrong with the input is returned as hub.UserErrors.
func (i *Issuer) Create(ctx context.Context, by *hub.Viewer, in KeyInput) (*hub.APIKey, hub.Secret, error) {
	now := i.clock.Now()
	if !hub.SightOf(by).Whole() {
		return nil, "", errNotForPartners
	}
	var problems hub.UserErrors
	if err := i.checkPartner(ctx, in, &problems); err != nil {
		return nil, "", err
	}
	in.check(by, now, &problems)
	if len(problems) > 0 {
		return nil, "", problems
	}
	var expiresAt time.Time
	if in.ExpiresAt != nil {
		expiresAt = *in.ExpiresAt
	}
	key, text := NewKey(in.Name, in.Role, in.Scopes, expiresAt, now)
	key.PartnerID = in.PartnerID
	if err := i.keys.CreateAPIKey(ctx, key); err != nil {
		return nil, "", err
	}
	said := []any{
		slog.String("key_id", key.ID), slog.String("name", key.Name), slog.String("role", string(key.Role)),
		slog.Any("scopes", key.Scopes), slog.String("by", by.Credential()),
	}
	if !key.ExpiresAt.IsZero() {
		said = append(said, slog.Time("expires_at", key.ExpiresAt))
	}
	i.logger.InfoContext(ctx, "an API key was made", said...)
	return key, hub.Secret(text), nil
}

// Revoke ends a key and returns it. It stops working within seconds, on every node.
// Revoking it again changes nothing.
func (i *Issuer) Revoke(ctx context.Context, by *hub.Viewer, id string) (*hub.APIKey, error) {
	now := i.clock.Now()
	if !hub.SightOf(by).Whole() {
		return nil, errNotForPartners
	}
	if err := i.keys.RevokeAPIKey(ctx, id, now); err != nil {
		return nil, err
	}
	key, err := i.keys.APIKey(ctx, id)
	if err != nil {
		return nil, err
	}
	i.logger.InfoContext(ctx, "an API key was revoked", slog.String("key_id", key.ID), slog.String("name", key.Name),
		slog.Time("revoked_at", key.RevokedAt), slog.String("by", by.Credential()))
	return key, nil
}

var errNotForPartners = hub.NewError(hub.CodeForbidden, "keys are made and revoked by the operator alone")

// checkPartner says what is wrong with whose key it is to be.
func (i *Issuer) checkPartner(ctx context.Context, in KeyInput, problems *hub.UserErrors) error {
	switch {
	case in.Role != hub.RolePartner && in.PartnerID != "":
		problems.Add(hub.InputInvalid, "only a key of role "+string(hub.RolePartner)+" belongs to a partner", "input", "partnerId")
	case in.Role != hub.RolePartner:
	case in.PartnerID == "":
		problems.Add(hub.InputRequired, "say whose key it is", "input", "partnerId")
	default:
		switch _, err := i.keys.Partner(ctx, in.PartnerID); {
		case errors.Is(err, hub.ErrNotFound):
			problems.Add(hub.InputNotFound, "there is no such partner", "input", "partnerId")
		case err != nil:
			return err
		}
	}
	return nil
}

// check fills in what is not given and says what is wrong with the rest.
func (in *KeyInput) check(by *hub.Viewer, now time.Time, problems *hub.UserErrors) {
	in.Name = problems.CheckName(in.Name, "input", "name")
	ofRole := in.Role.DefaultScopes()
	if ofRole == nil {
		problems.Add(hub.InputInvalid, fmt.Sprintf("a key is for %s, %s or %s", hub.RoleOperator, hub.RoleViewer, hub.RolePartner), "input", "role")
	}
	in.checkScopes(ofRole, by, problems)
	if in.ExpiresAt != nil && !in.ExpiresAt.After(now) {
		problems.Add(hub.InputInvalid, "this has to lie in the future", "input", "expiresAt")
	}
}

func (in *KeyInput) checkScopes(ofRole []hub.Scope, by *hub.Viewer, problems *hub.UserErrors) {
	if in.Scopes == nil {
		in.Scopes = ofRole
	} else if len(in.Scopes) == 0 {
		problems.Add(hub.InputInvalid, "give some scopes, or leave them out for all of the role", "input", "scopes")
	}
	wanted := make([]hub.Scope, 0, len(in.Scopes))
	var beyond []string
	for _, scope := range in.Scopes {
		switch {
		case !scope.Valid():
			problems.Add(hub.InputInvalid, fmt.Sprintf("there is no scope %.40q: give some of %s", scope, strings.Join(hub.ScopeNames(), ", ")), "input", "scopes")
		case slices.Contains(wanted, scope):
		case !in.Role.MayHold(scope):
			problems.Add(hub.InputForbidden, fmt.Sprintf("a key of role %s never holds the scope %s", in.Role, scope), "input", "scopes")
		case scope == hub.ScopeSchemaRead && by.Role == hub.RoleOperator: // no role holds it, so somebody must be able to begin
		case !by.Can(scope):
			beyond = append(beyond, string(scope))
		}
		if !slices.Contains(wanted, scope) {
			wanted = append(wanted, scope)
		}
	}
	if len(beyond) > 0 {
		problems.Add(hub.InputForbidden, "nobody can give away a scope that they do not hold: "+strings.Join(beyond, ", "), "input", "scopes")
	}
	in.Scopes = wanted
}

// NewKey makes a key that is not yet stored. The text is the key itself: it is
// shown once, and only its SHA-256 is kept.
func NewKey(name string, role hub.Role, scopes []hub.Scope, expiresAt, now time.Time) (key *hub.APIKey, text string) {
	id := hub.NewID(hub.APIKeyPrefix, now)
	random := make([]byte, 32)
	_, _ = rand.Read(random) // documented never to fail
	body := strings.TrimPrefix(id, hub.APIKeyPrefix+"_")
	text = keyPrefix + body + "_" + base64.RawURLEncoding.EncodeToString(random)
	sum := sha256.Sum256([]byte(text))
	return &hub.APIKey{
		ID: id, Name: name, Role: role, Scopes: scopes,
		Prefix: keyPrefix + body[:10], Hash: sum[:], CreatedAt: now, ExpiresAt: expiresAt,
	}, text
}
