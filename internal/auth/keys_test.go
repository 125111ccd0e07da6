package auth_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// shelf is a store of many keys.
type shelf map[string]*hub.APIKey

func (s shelf) CreateAPIKey(_ context.Context, key *hub.APIKey) error {
	s[key.ID] = key
	return nil
}

func (s shelf) RevokeAPIKey(_ context.Context, id string, at time.Time) error {
	key, found := s[id]
	if !found {
		return hub.ErrNotFound
	}
	if key.RevokedAt.IsZero() {
		key.RevokedAt = at
	}
	return nil
}

func (s shelf) APIKey(_ context.Context, id string) (*hub.APIKey, error) { return s[id], nil }

func (s shelf) Partner(_ context.Context, id string) (*hub.Partner, error) {
	if id != partnerID {
		return nil, hub.ErrNotFound
	}
	return &hub.Partner{ID: id}, nil
}

// partnerID is that of the only partner.
const partnerID = "prt_00000000000000000000000001"

func issuer() (*auth.Issuer, shelf, *testkit.Clock, *bytes.Buffer) {
	c, s, log := testkit.NewClock(time.Unix(3_600_000_000, 0)), shelf{}, &bytes.Buffer{}
	return auth.NewIssuer(s, c, slog.New(slog.NewTextHandler(log, nil))), s, c, log
}

func operator() *hub.Viewer {
	return &hub.Viewer{KeyID: "key_maker", Role: hub.RoleOperator, Scopes: hub.RoleOperator.DefaultScopes()}
}

func TestAKeyIsMadeOnceAndKeptHashed(t *testing.T) {
	t.Parallel()
	i, kept, c, log := issuer()
	soon := c.Now().Add(time.Hour)
	key, text, err := i.Create(t.Context(), operator(), auth.KeyInput{
		Name: " CI ", Role: hub.RoleViewer, Scopes: []hub.Scope{hub.ScopeEventsRead, hub.ScopeEventsRead}, ExpiresAt: &soon,
	})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte(text.Reveal()))
	if kept[key.ID] != key || key.Name != "CI" || !bytes.Equal(key.Hash, sum[:]) || !key.ExpiresAt.Equal(soon) ||
		!slices.Equal(key.Scopes, []hub.Scope{hub.ScopeEventsRead}) {
		t.Errorf("kept %+v", key)
	}
	if strings.Contains(fmt.Sprintf("%s %q", key.Hash, key.Prefix), text.Reveal()) {
		t.Error("the key itself is kept")
	}
	for _, want := range []string{"level=INFO", key.ID, "key_maker", "CI", "EVENTS_READ"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log lacks %s: %s", want, log)
		}
	}
	if _, random, _ := strings.Cut(strings.TrimPrefix(text.Reveal(), "hgk_"), "_"); strings.Contains(log.String(), random) {
		t.Error("the log has the key")
	}

	key, _, err = i.Create(t.Context(), operator(), auth.KeyInput{Name: "all", Role: hub.RoleOperator})
	if err != nil || !slices.Equal(key.Scopes, hub.RoleOperator.DefaultScopes()) || !key.ExpiresAt.IsZero() {
		t.Errorf("by default a key is %+v, %v", key, err)
	}
}

func TestAKeyThatMayNotBeIsNotMade(t *testing.T) {
	t.Parallel()
	i, kept, c, _ := issuer()
	now, never := c.Now(), time.Time{}
	admin := &hub.Viewer{Role: hub.RoleViewer, Scopes: []hub.Scope{hub.ScopeAdmin, hub.ScopeEventsRead}}
	viewer := func(change func(*auth.KeyInput)) auth.KeyInput {
		in := auth.KeyInput{Name: "n", Role: hub.RoleViewer, Scopes: []hub.Scope{hub.ScopeEventsRead}}
		change(&in)
		return in
	}
	for name, c := range map[string]struct {
		by   *hub.Viewer
		in   auth.KeyInput
		want string
	}{
		"no name":                     {admin, viewer(func(in *auth.KeyInput) { in.Name = " " }), "REQUIRED input.name"},
		"a name too long":             {admin, viewer(func(in *auth.KeyInput) { in.Name = strings.Repeat("ü", 201) }), "LIMIT_EXCEEDED input.name"},
		"a role that does not exist":  {admin, viewer(func(in *auth.KeyInput) { in.Role = "KING" }), "INVALID input.role"},
		"a scope that does not exist": {admin, viewer(func(in *auth.KeyInput) { in.Scopes = []hub.Scope{"RULE"} }), "INVALID input.scopes"},
		"no scope":                    {admin, viewer(func(in *auth.KeyInput) { in.Scopes = []hub.Scope{} }), "INVALID input.scopes"},
		"a scope it does not hold":    {admin, viewer(func(in *auth.KeyInput) { in.Scopes = []hub.Scope{hub.ScopeEventsRead, hub.ScopeSourcesWrite} }), "FORBIDDEN input.scopes"},
		"a role beyond its own":       {admin, auth.KeyInput{Name: "n", Role: hub.RoleOperator}, "FORBIDDEN input.scopes"},
		"a smaller role beyond it":    {admin, auth.KeyInput{Name: "n", Role: hub.RoleViewer}, "FORBIDDEN input.scopes"},
		"what no role includes":       {admin, viewer(func(in *auth.KeyInput) { in.Scopes = []hub.Scope{hub.ScopeSchemaRead} }), "FORBIDDEN input.scopes"},
		"of a partner, without it":    {operator(), auth.KeyInput{Name: "n", Role: hub.RolePartner}, "REQUIRED input.partnerId"},
		"of a partner that is not":    {operator(), auth.KeyInput{Name: "n", Role: hub.RolePartner, PartnerID: "prt_0"}, "NOT_FOUND input.partnerId"},
		"of a partner, with power":    {operator(), auth.KeyInput{Name: "n", Role: hub.RolePartner, PartnerID: partnerID, Scopes: []hub.Scope{hub.ScopeAdmin}}, "FORBIDDEN input.scopes"},
		"no partner's, with one":      {operator(), viewer(func(in *auth.KeyInput) { in.PartnerID = partnerID }), "INVALID input.partnerId"},
		"expired already":             {admin, viewer(func(in *auth.KeyInput) { in.ExpiresAt = &now }), "INVALID input.expiresAt"},
		"expired since ever":          {admin, viewer(func(in *auth.KeyInput) { in.ExpiresAt = &never }), "INVALID input.expiresAt"},
		"all of it":                   {admin, auth.KeyInput{Scopes: []hub.Scope{hub.ScopeEventsPublish}, ExpiresAt: &now}, "REQUIRED input.name, INVALID input.role, FORBIDDEN input.scopes, INVALID input.expiresAt"},
	} {
		_, text, err := i.Create(t.Context(), c.by, c.in)
		problems, _ := err.(hub.UserErrors) //nolint:errorlint // returned as it is
		var got []string
		for _, p := range problems {
			got = append(got, string(p.Code)+" "+strings.Join(p.Field, "."))
		}
		if strings.Join(got, ", ") != c.want || text != "" {
			t.Errorf("%s: got %v, %v, want %s", name, got, err, c.want)
		}
	}
	for name, by := range map[string]*hub.Viewer{
		"nobody":    nil,
		"a partner": {Role: hub.RolePartner, PartnerID: partnerID, Scopes: hub.Scopes()},
	} {
		if _, _, err := i.Create(t.Context(), by, viewer(func(*auth.KeyInput) {})); hub.CodeOf(err) != hub.CodeForbidden {
			t.Errorf("on behalf of %s: got %v", name, err)
		}
		if _, err := i.Revoke(t.Context(), by, "key_0"); hub.CodeOf(err) != hub.CodeForbidden {
			t.Errorf("revoked on behalf of %s: got %v", name, err)
		}
	}
	if len(kept) > 0 {
		t.Errorf("kept %v", kept)
	}
}

func TestRevokingTwiceKeepsTheFirstTime(t *testing.T) {
	t.Parallel()
	i, _, c, log := issuer()
	key, _, err := i.Create(t.Context(), operator(), auth.KeyInput{Name: "n", Role: hub.RoleViewer})
	if err != nil {
		t.Fatal(err)
	}
	at := c.Now()
	for range 2 {
		revoked, err := i.Revoke(t.Context(), operator(), key.ID)
		if err != nil || !revoked.RevokedAt.Equal(at) {
			t.Errorf("revoked %+v, %v", revoked, err)
		}
		c.Advance(time.Hour)
	}
	if !strings.Contains(log.String(), "an API key was revoked") {
		t.Errorf("the log says %s", log)
	}
	if _, err := i.Revoke(t.Context(), operator(), "key_none"); hub.CodeOf(err) != hub.CodeNotFound {
		t.Errorf("got %v", err)
	}
}
