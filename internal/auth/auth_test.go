package auth_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

const operatorKey = "an-operator-key-of-thirty-two-characters"

// keys is a store of one key.
type keys struct {
	key     *hub.APIKey
	touched atomic.Int32
	err     error
}

func (k *keys) APIKey(_ context.Context, id string) (*hub.APIKey, error) {
	if k.err != nil {
		return nil, k.err
	}
	if k.key == nil || k.key.ID != id {
		return nil, hub.ErrNotFound
	}
	return k.key, nil
}

func (k *keys) TouchAPIKey(context.Context, string, time.Time) error {
	k.touched.Add(1)
	return nil
}

func setup(t *testing.T, role hub.Role, lifetime time.Duration) (*auth.Authenticator, *keys, string, *testkit.Clock) {
	t.Helper()
	c := testkit.NewClock(time.Unix(3_600_000_000, 0))
	var expires time.Time
	if lifetime > 0 {
		expires = c.Now().Add(lifetime)
	}
	key, text := auth.NewKey("test", role, role.DefaultScopes(), expires, c.Now())
	store := &keys{key: key}
	return auth.New(store, operatorKey, c, slog.New(slog.DiscardHandler)), store, text, c
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	ctx := context.Background()

	t.Run("the operator key from the environment is an operator", func(t *testing.T) {
		t.Parallel()
		a, _, _, _ := setup(t, hub.RoleViewer, 0)
		viewer, err := a.Authenticate(ctx, operatorKey)
		if err != nil || viewer.Role != hub.RoleOperator || viewer.Can(hub.ScopeSchemaRead) {
			t.Fatalf("got %+v, %v", viewer, err)
		}
	})
	t.Run("a stored key has its own role and scopes", func(t *testing.T) {
		t.Parallel()
		a, store, text, _ := setup(t, hub.RoleViewer, 0)
		viewer, err := a.Authenticate(ctx, text)
		if err != nil || viewer.Role != hub.RoleViewer || viewer.KeyID != store.key.ID || viewer.Can(hub.ScopeSourcesWrite) {
			t.Fatalf("got %+v, %v", viewer, err)
		}
		if bytes.Contains(store.key.Hash, []byte(text)) || !strings.HasPrefix(text, store.key.Prefix) {
			t.Fatal("the key itself is kept, or cannot be recognised by its prefix")
		}
	})
	t.Run("without an operator key the empty token is nobody", func(t *testing.T) {
		t.Parallel()
		a := auth.New(&keys{}, "", hub.SystemClock{}, slog.New(slog.DiscardHandler))
		if _, err := a.Authenticate(ctx, ""); hub.CodeOf(err) != hub.CodeUnauthenticated {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("an expired key stops working at its hour, cached or not", func(t *testing.T) {
		t.Parallel()
		a, _, text, c := setup(t, hub.RoleViewer, time.Hour)
		if _, err := a.Authenticate(ctx, text); err != nil {
			t.Fatal(err)
		}
		c.Advance(time.Hour)
		if _, err := a.Authenticate(ctx, text); hub.CodeOf(err) != hub.CodeUnauthenticated {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("a revoked key is refused", func(t *testing.T) {
		t.Parallel()
		a, store, text, c := setup(t, hub.RoleViewer, 0)
		store.key.RevokedAt = c.Now()
		if _, err := a.Authenticate(ctx, text); hub.CodeOf(err) != hub.CodeUnauthenticated {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("use is noted once a minute, and by the right key alone", func(t *testing.T) {
		t.Parallel()
		a, store, text, c := setup(t, hub.RoleViewer, 0)
		_, _ = a.Authenticate(ctx, text+"x")
		if store.touched.Load() != 0 {
			t.Fatal("a wrong key counts as use")
		}
		for range 5 {
			_, _ = a.Authenticate(ctx, text)
		}
		c.Advance(2 * time.Minute)
		_, _ = a.Authenticate(ctx, text)
		if got := store.touched.Load(); got != 2 {
			t.Fatalf("noted %d times", got)
		}
	})
	t.Run("a store that fails is not a wrong key", func(t *testing.T) {
		t.Parallel()
		a, store, text, _ := setup(t, hub.RoleViewer, 0)
		store.err = context.DeadlineExceeded
		if _, err := a.Authenticate(ctx, text); hub.CodeOf(err) != hub.CodeInternal {
			t.Fatalf("got %v", err)
		}
	})
}

func TestOnlyTheKeyItselfIsAccepted(t *testing.T) {
	t.Parallel()
	a, _, text, _ := setup(t, hub.RoleOperator, 0)
	rapid.Check(t, func(rt *rapid.T) {
		changed := []byte(text)
		switch rapid.IntRange(0, 3).Draw(rt, "change") {
		case 0: // another character somewhere
			i := rapid.IntRange(0, len(changed)-1).Draw(rt, "at")
			changed[i] = rapid.Byte().Draw(rt, "with")
		case 1: // cut
			changed = changed[:rapid.IntRange(0, len(changed)-1).Draw(rt, "length")]
		case 2: // longer
			changed = append(changed, rapid.SliceOfN(rapid.Byte(), 1, 20).Draw(rt, "more")...)
		case 3: // anything
			changed = rapid.SliceOf(rapid.Byte()).Draw(rt, "any")
		}
		if string(changed) == text || string(changed) == operatorKey {
			return
		}
		if v, err := a.Authenticate(context.Background(), string(changed)); hub.CodeOf(err) != hub.CodeUnauthenticated {
			rt.Fatalf("%q was accepted as %+v, %v", changed, v, err)
		}
	})
}

func TestKeysAreLongAndDiffer(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	for range 100 {
		_, text := auth.NewKey("n", hub.RoleViewer, nil, time.Time{}, hub.SystemClock{}.Now())
		random := strings.SplitN(text, "_", 3)[2]
		if raw, err := base64.RawURLEncoding.DecodeString(random); err != nil || len(raw) != 32 || seen[text] {
			t.Fatalf("key %q: %d random bytes, %v, seen before: %t", text, len(raw), err, seen[text])
		}
		seen[text] = true
	}
}
