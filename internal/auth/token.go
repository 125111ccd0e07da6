package auth

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/keyset"
)

const (
	// tokenLeeway is by how much an issuer's clock may be ahead: nbf and iat are given
	// so much. The expiry is exact.
	tokenLeeway = 30 * time.Second
	// maxTokenBytes and maxSubjectBytes bound what is read and kept of a token.
	maxTokenBytes   = 16 << 10
	maxSubjectBytes = 255 // OpenID Connect Core, section 2
)

// TokenConfig says which JSON Web Tokens are trusted, and what their claims mean.
type TokenConfig struct {
	Issuer     string   // as it stands in iss
	Audiences  []string // one of them must stand in aud
	KeysURL    string   // of the issuer's key set; found by discovery if empty
	Algorithms []string // asymmetric ones alone

	// Claims hold a text, several texts with blanks between them, or a list of texts. A
	// name that the token does not have as it stands is read as a path with dots.
	RoleClaim, PartnerClaim, ScopesClaim string
	// PartnerExists reports whether there is a partner of an ID now. It is asked each time,
	// of tokens that were verified before too.
	PartnerExists func(id string) bool
	// Prefix is what values of the role and scopes claims must start with to count.
	Prefix string
	// Roles says which values, without the prefix, stand for which role. If it is empty
	// the roles' own names do, in any case of letters.
	Roles map[string]hub.Role

	Transport http.RoundTripper
	Clock     hub.Clock
	Logger    *slog.Logger
}

// Tokens turns JSON Web Tokens of one issuer into viewers. What was verified is
// remembered until it expires or the issuer's keys change.
type Tokens struct {
	cfg        TokenConfig
	algorithms []jose.SignatureAlgorithm
	keys       *keyset.Set
	verified   *lru.Cache[[sha256.Size]byte, verified]
}

// verified is a token whose signature and claims are good.
type verified struct {
	viewer *hub.Viewer
	by     *keyset.Generation
}

// NewTokens makes Tokens. It asks the issuer nothing until there is a token to check.
func NewTokens(cfg TokenConfig) *Tokens {
	cache, err := lru.New[[sha256.Size]byte, verified](cacheSize)
	if err != nil {
		panic(err) // the size is a constant above 0
	}
	t := &Tokens{
		cfg: cfg, verified: cache,
		keys: keyset.New(keyset.Config{
			Transport: cfg.Transport, Issuer: cfg.Issuer, URL: cfg.KeysURL, Clock: cfg.Clock, Logger: cfg.Logger,
		}),
	}
	for _, name := range cfg.Algorithms {
		t.algorithms = append(t.algorithms, jose.SignatureAlgorithm(name))
	}
	return t
}

// Close ends what is asked of the issuer.
func (t *Tokens) Close() { t.keys.Close() }

// looksLikeToken tells a JSON Web Token, signed or meant to look so, from an API key.
func looksLikeToken(text string) bool { return strings.Count(text, ".") == 2 }

// Authenticate returns the viewer that a token stands for. Its hub.Error is of code
// UNAUTHENTICATED and says which check failed, FORBIDDEN for a good token that grants
// no role here or names a partner that does not exist, or UNAVAILABLE where the
// issuer's keys cannot be had.
func (t *Tokens) Authenticate(ctx context.Context, text string) (*hub.Viewer, error) {
	viewer, err := t.viewer(ctx, text)
	if err == nil && viewer.Role == hub.RolePartner && !t.cfg.PartnerExists(viewer.PartnerID) {
		return nil, hub.NewError(hub.CodeForbidden, fmt.Sprintf(
			"the token names a partner that this hub does not have: its claim %s must be the ID of one", t.cfg.PartnerClaim))
	}
	return viewer, err
}

// viewer is whom a token makes, whether or not its partner exists.
func (t *Tokens) viewer(ctx context.Context, text string) (*hub.Viewer, error) {
	if len(text) > maxTokenBytes {
		return nil, unauthenticated("the token is longer than %d bytes", maxTokenBytes)
	}
	current, err := t.keys.Latest(ctx)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(text))
	now := t.cfg.Clock.Now()
	if known, ok := t.verified.Get(sum); ok && known.by == current {
		if now.Before(known.viewer.ExpiresAt) {
			return known.viewer, nil
		}
		t.verified.Remove(sum)
	}
	payload, by, err := t.verify(ctx, text)
	if err != nil {
		return nil, err
	}
	viewer, err := t.read(payload, now)
	if err != nil {
		return nil, err
	}
	t.verified.Add(sum, verified{viewer, by})
	return viewer, nil
}

// verify returns what a token says, once its signature is known to be the issuer's.
func (t *Tokens) verify(ctx context.Context, text string) (claims, *keyset.Generation, error) {
	token, err := jwt.ParseSigned(text, t.algorithms)
	if err != nil || len(token.Headers) != 1 {
		var algorithm *jose.ErrUnexpectedSignatureAlgorithm
		if errors.As(err, &algorithm) {
			return nil, nil, unauthenticated("the token is signed by an algorithm that is not admitted: use %s", strings.Join(t.cfg.Algorithms, " or "))
		}
		return nil, nil, unauthenticated("the token is not a signed JSON Web Token that can be read")
	}
	header := token.Headers[0]
	by, keys, err := t.keys.Find(ctx, header.KeyID, header.Algorithm)
	if err != nil {
		return nil, nil, err
	}
	if len(keys) == 0 {
		return nil, nil, unauthenticated("the token is signed by a key that is not among its issuer's")
	}
	for _, key := range keys {
		var raw json.RawMessage
		if token.Claims(key.Key, &raw) != nil {
			continue
		}
		var payload claims
		if json.Unmarshal(raw, &payload) != nil || payload == nil {
			return nil, nil, unauthenticated("the token's claims are not a JSON object")
		}
		return payload, by, nil
	}
	return nil, nil, unauthenticated("the token's signature does not match its content")
}

// claims are what a token says.
type claims map[string]json.RawMessage

// text returns a claim that is a text, "" if it is none.
func (c claims) text(name string) string {
	var out string
	_ = json.Unmarshal(c[name], &out) // anything else counts as absent
	return out
}

// time returns a claim that is a NumericDate, and false if it is none.
func (c claims) time(name string) (time.Time, bool) {
	var out jwt.NumericDate
	if raw, ok := c[name]; !ok || json.Unmarshal(raw, &out) != nil || string(raw) == "null" {
		return time.Time{}, false
	}
	return out.Time().UTC(), true
}

// values returns the texts in the claim of a name, or else at a path with dots.
func (c claims) values(name string) []string {
	raw, ok := c[name]
	if !ok {
		first, rest, nested := strings.Cut(name, ".")
		var inner claims
		if !nested || json.Unmarshal(c[first], &inner) != nil {
			return nil
		}
		return inner.values(rest)
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return strings.Fields(one)
	}
	var many []string
	if json.Unmarshal(raw, &many) == nil {
		return many
	}
	return nil
}

// read checks the claims of an authentic token and says whom they make.
func (t *Tokens) read(said claims, now time.Time) (*hub.Viewer, error) {
	if said.text("iss") != t.cfg.Issuer {
		return nil, unauthenticated("the token is of another issuer than this hub trusts")
	}
	if !slices.ContainsFunc(said.values("aud"), func(one string) bool { return slices.Contains(t.cfg.Audiences, one) }) {
		return nil, unauthenticated("the token is for another audience than this hub")
	}
	expires, ok := said.time("exp")
	if !ok {
		return nil, unauthenticated("the token has no expiry: its claim exp must be a number of seconds")
	}
	if !now.Before(expires) {
		return nil, unauthenticated("the token has expired: get a new one from its issuer")
	}
	for _, name := range []string{"nbf", "iat"} {
		if _, given := said[name]; !given {
			continue
		}
		if from, ok := said.time(name); !ok || now.Add(tokenLeeway).Before(from) {
			return nil, unauthenticated("the token is not valid yet: its claim %s lies in the future", name)
		}
	}
	subject := said.text("sub")
	if subject == "" || len(subject) > maxSubjectBytes {
		return nil, unauthenticated("the token has no subject: its claim sub must be a text of at most %d bytes", maxSubjectBytes)
	}
	viewer := &hub.Viewer{Subject: subject, ExpiresAt: expires, Role: t.role(said)}
	if viewer.Role == "" {
		return nil, hub.NewError(hub.CodeForbidden, fmt.Sprintf("the token grants no role on this hub: its claim %s must name one", t.cfg.RoleClaim))
	}
	if viewer.Role == hub.RolePartner {
		partners := said.values(t.cfg.PartnerClaim)
		if len(partners) != 1 || len(partners[0]) > maxSubjectBytes {
			return nil, hub.NewError(hub.CodeForbidden, fmt.Sprintf("the token is a partner's: its claim %s must name one partner", t.cfg.PartnerClaim))
		}
		viewer.PartnerID = partners[0]
	}
	viewer.Scopes = t.scopes(said, viewer.Role)
	return viewer, nil
}

// role returns the strongest role that a token grants, "" if it grants none.
func (t *Tokens) role(said claims) hub.Role {
	var granted []hub.Role
	for _, value := range said.values(t.cfg.RoleClaim) {
		value, ok := strings.CutPrefix(value, t.cfg.Prefix)
		if !ok {
			continue
		}
		if len(t.cfg.Roles) > 0 {
			granted = append(granted, t.cfg.Roles[value])
		} else {
			granted = append(granted, hub.Role(strings.ToUpper(value)))
		}
	}
	for _, role := range []hub.Role{hub.RoleOperator, hub.RoleViewer, hub.RolePartner} {
		if slices.Contains(granted, role) {
			return role
		}
	}
	return ""
}

// scopes returns what a token may do: what its role may, or less where it names some
// of the hub's scopes. SCHEMA_READ, which no role includes, is there if it is named and
// the token is not a partner's.
func (t *Tokens) scopes(said claims, role hub.Role) []hub.Scope {
	ofRole := role.DefaultScopes()
	var named []hub.Scope
	for _, value := range said.values(t.cfg.ScopesClaim) {
		value, ok := strings.CutPrefix(value, t.cfg.Prefix)
		if scope := hub.Scope(strings.ToUpper(value)); ok && scope.Valid() {
			named = append(named, scope)
		}
	}
	if named == nil {
		return ofRole
	}
	grantable := slices.Clone(ofRole)
	if role != hub.RolePartner {
		grantable = append(grantable, hub.ScopeSchemaRead)
	}
	out := []hub.Scope{}
	for _, scope := range grantable {
		if slices.Contains(named, scope) && !slices.Contains(out, scope) {
			out = append(out, scope)
		}
	}
	return out
}

func unauthenticated(format string, args ...any) *hub.Error {
	return hub.NewError(hub.CodeUnauthenticated, fmt.Sprintf(format, args...))
}
