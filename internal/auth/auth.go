// Package auth decides who is asking: it makes API keys, and turns a bearer token
// into a viewer. What a viewer may do is written in the hub vocabulary; where it
// is enforced is up to the rooms that show or change something.
package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	// keyPrefix marks Hookgraph's keys, for people and for secret scanners.
	keyPrefix = "hgk_"
	// cacheTTL is how long a revoked key may go on working.
	cacheTTL = 2 * time.Second
	// touchEvery is how exact lastUsedAt is.
	touchEvery = time.Minute
	cacheSize  = 10_000
)

// Keys is the store of API keys.
type Keys interface {
	// APIKey returns hub.ErrNotFound where there is no such key.
	APIKey(ctx context.Context, id string) (*hub.APIKey, error)
	TouchAPIKey(ctx context.Context, id string, at time.Time) error
}

var errUnauthenticated = hub.NewError(hub.CodeUnauthenticated,
	"send a valid API key or token as `Authorization: Bearer <key>`, or in the payload of connection_init as {\"authorization\": \"Bearer <key>\"}")

// Authenticator turns bearer tokens into viewers.
type Authenticator struct {
	keys     Keys
	clock    hub.Clock
	logger   *slog.Logger
	operator [sha256.Size]byte
	hasOp    bool
	cache    *lru.Cache[string, cachedKey]
	tokens   *Tokens // nil: only keys are taken
}

// cachedKey is a key as it was read at a time.
type cachedKey struct {
	key *hub.APIKey
	at  time.Time
}

// New makes an Authenticator over stored keys and, where it is not empty, an
// operator key given from outside.
//
// Tokens of an issuer are taken too, where given.
func New(keys Keys, operatorKey string, clock hub.Clock, logger *slog.Logger, tokens ...*Tokens) *Authenticator {
	cache, err := lru.New[string, cachedKey](cacheSize)
	if err != nil {
		panic(err) // the size is a constant above 0
	}
	a := &Authenticator{
		keys: keys, clock: clock, logger: logger,
		operator: sha256.Sum256([]byte(operatorKey)), hasOp: operatorKey != "",
		cache: cache,
	}
	for _, of := range tokens {
		a.tokens = of
	}
	return a
}

// Authenticate returns the viewer that the token stands for, or a hub.Error. Of a
// wrong key it says nothing but UNAUTHENTICATED; see Tokens.Authenticate for tokens.
func (a *Authenticator) Authenticate(ctx context.Context, token string) (*hub.Viewer, error) {
	sum := sha256.Sum256([]byte(token))
	if a.hasOp && subtle.ConstantTimeCompare(sum[:], a.operator[:]) == 1 {
		return &hub.Viewer{Role: hub.RoleOperator, Scopes: hub.RoleOperator.DefaultScopes()}, nil
	}
	body, found := strings.CutPrefix(token, keyPrefix)
	if !found && a.tokens != nil && looksLikeToken(token) {
		return a.tokens.Authenticate(ctx, token)
	}
	if !found {
		return nil, errUnauthenticated
	}
	body, _, _ = strings.Cut(body, "_")
	id := hub.APIKeyPrefix + "_" + body
	if hub.IDPrefix(id) != hub.APIKeyPrefix {
		return nil, errUnauthenticated
	}
	key, err := a.find(ctx, id)
	if errors.Is(err, hub.ErrNotFound) {
		return nil, errUnauthenticated
	}
	if err != nil {
		return nil, err
	}
	now := a.clock.Now()
	if subtle.ConstantTimeCompare(sum[:], key.Hash) != 1 || !key.RevokedAt.IsZero() ||
		(!key.ExpiresAt.IsZero() && !now.Before(key.ExpiresAt)) {
		return nil, errUnauthenticated
	}
	a.noteUse(ctx, key, now)
	return &hub.Viewer{KeyID: key.ID, Role: key.Role, Scopes: key.Scopes, PartnerID: key.PartnerID, ExpiresAt: key.ExpiresAt}, nil
}

// noteUse records, at most once in touchEvery, that a key is in use.
func (a *Authenticator) noteUse(ctx context.Context, key *hub.APIKey, now time.Time) {
	if now.Sub(key.LastUsedAt) < touchEvery {
		return
	}
	used := *key
	used.LastUsedAt = now
	if cached, ok := a.cache.Peek(key.ID); ok { // as old as it was, or a revoked key would work for longer
		a.cache.Add(key.ID, cachedKey{&used, cached.at})
	}
	if err := a.keys.TouchAPIKey(ctx, key.ID, now); err != nil {
		a.logger.WarnContext(ctx, "the last use of an API key was not noted", slog.String("key_id", key.ID), slog.Any("error", err))
	}
}

// find returns a key from the cache or the store.
func (a *Authenticator) find(ctx context.Context, id string) (*hub.APIKey, error) {
	now := a.clock.Now()
	if cached, ok := a.cache.Get(id); ok && now.Sub(cached.at) < cacheTTL {
		return cached.key, nil
	}
	key, err := a.keys.APIKey(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("find API key: %w", err)
	}
	a.cache.Add(id, cachedKey{key, now})
	return key, nil
}
