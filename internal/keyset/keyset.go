// Package keyset keeps the public keys that others sign JSON Web Tokens with: loaded
// when they are first needed, again when they are old or a token names one that is not
// known, and never more often than is bearable for whoever has them. What a token means
// is up to its callers.
package keyset

import (
	"context"
	"crypto"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	jose "github.com/go-jose/go-jose/v4"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// How keys are asked for.
const (
	keysTimeout   = 5 * time.Second  // of one load, discovery included
	keysRefresh   = 5 * time.Minute  // how old keys may be before they are loaded again, beside the requests
	keysUnknown   = 10 * time.Second // between loads that a token of an unknown key asks for
	keysStale     = 24 * time.Hour   // how long keys are used whose issuer does not answer
	keysRetry     = time.Second      // after the first failure; doubled with each further one
	keysRetryMost = time.Minute
	maxKeysBytes  = 1 << 20
	maxKeys       = 100
	minRSABits    = 2048
)

// Generation is what an issuer's key set held at a time. It is never changed, and
// replaced only by one that differs.
type Generation struct {
	keys []jose.JSONWebKey
	mark string // tells one from another
}

// of returns the keys by which a token may be signed: those of its key ID, or all of
// them where it names none.
func (g *Generation) of(id, algorithm string) []jose.JSONWebKey {
	var out []jose.JSONWebKey
	for _, key := range g.keys {
		if (id == "" || key.KeyID == id) && (key.Algorithm == "" || key.Algorithm == algorithm) {
			out = append(out, key)
		}
	}
	return out
}

// Set keeps the keys of one issuer. It is safe for concurrent use. They are loaded when they are first needed and
// by one load at a time, which no single request can cancel; how often is bounded
// whatever tokens are sent.
type Set struct {
	load   func(context.Context) (*Generation, error)
	clock  hub.Clock
	logger *slog.Logger
	stop   chan struct{} // closed when loads are to end
	work   sync.WaitGroup

	// mu guards the fields below.
	mu       sync.Mutex
	stopped  bool
	current  *Generation // nil until the first load has succeeded
	loadedAt time.Time
	triedAt  time.Time
	failures int           // in a row
	pending  chan struct{} // closed when the load under way has ended; nil while there is none
}

// Config says whose keys a set has.
type Config struct {
	Transport http.RoundTripper
	// URL is where the keys are; "" finds it by the discovery document of Issuer.
	URL, Issuer string
	Clock       hub.Clock
	Logger      *slog.Logger
}

// New makes a set. It asks for nothing until a key is needed.
func New(c Config) *Set {
	return &Set{load: newLoader(c.Transport, c.Issuer, c.URL).load, clock: c.Clock, logger: c.Logger, stop: make(chan struct{})}
}

// Latest returns the keys in force, and sees to it that they are loaded again when
// they are old.
func (k *Set) Latest(ctx context.Context) (*Generation, error) {
	now := k.clock.Now()
	k.mu.Lock()
	current, age := k.current, now.Sub(k.loadedAt)
	var pending chan struct{}
	if current == nil || age >= keysRefresh {
		pending = k.startLoad(ctx, now, 0)
	}
	k.mu.Unlock()
	if current != nil && age < keysStale {
		return current, nil
	}
	k.wait(ctx, pending)
	k.mu.Lock()
	defer k.mu.Unlock()
	if now := k.clock.Now(); k.current == nil || now.Sub(k.loadedAt) >= keysStale {
		return nil, &hub.Error{
			Code: hub.CodeUnavailable, Message: "the token cannot be checked at the moment: its issuer does not answer",
			RetryAfter: max(k.triedAt.Add(k.pause()).Sub(now), time.Second),
		}
	}
	return k.current, nil
}

// Find returns the keys by which a token may be signed. For a key ID that it does not
// know it has the keys loaded again, unless that was done a moment ago.
func (k *Set) Find(ctx context.Context, id, algorithm string) (*Generation, []jose.JSONWebKey, error) {
	current, err := k.Latest(ctx)
	if err != nil {
		return nil, nil, err
	}
	if keys := current.of(id, algorithm); len(keys) > 0 {
		return current, keys, nil
	}
	k.mu.Lock()
	pending := k.startLoad(ctx, k.clock.Now(), keysUnknown)
	k.mu.Unlock()
	k.wait(ctx, pending)
	k.mu.Lock()
	current = k.current
	k.mu.Unlock()
	return current, current.of(id, algorithm), nil
}

// startLoad starts a load, unless one is under way or it is too early for another, and
// returns what is closed at its end; nil if there is none. The caller holds mu.
func (k *Set) startLoad(ctx context.Context, now time.Time, least time.Duration) chan struct{} {
	if k.pending != nil {
		return k.pending
	}
	if k.stopped || !k.triedAt.IsZero() && now.Sub(k.triedAt) < max(least, k.pause()) {
		return nil
	}
	k.triedAt = now
	pending := make(chan struct{})
	k.pending = pending
	// The request that happens to be first may end before the load does, and others wait for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keysTimeout)
	k.work.Go(func() {
		defer cancel()
		select {
		case <-k.stop:
		case <-pending:
		}
	})
	k.work.Go(func() {
		loaded, err := k.load(ctx)
		k.took(ctx, loaded, err)
		close(pending)
	})
	return pending
}

// took notes how a load ended.
func (k *Set) took(ctx context.Context, loaded *Generation, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.pending = nil
	if err != nil {
		k.failures++
		if !k.stopped {
			k.logger.WarnContext(ctx, "the keys of the token issuer could not be loaded",
				slog.Int("failures", k.failures), slog.Bool("older_keys_in_force", k.current != nil), slog.Any("error", err))
		}
		return
	}
	k.failures, k.loadedAt = 0, k.clock.Now()
	if k.current == nil || k.current.mark != loaded.mark {
		k.logger.InfoContext(ctx, "the keys of the token issuer were loaded", slog.Int("keys", len(loaded.keys)))
		k.current = loaded
	}
}

// pause is how long a failure keeps the next load off. The caller holds mu.
func (k *Set) pause() time.Duration {
	if k.failures == 0 {
		return 0
	}
	return min(keysRetry<<min(k.failures-1, 10), keysRetryMost)
}

// wait waits for a load, if there is one.
func (*Set) wait(ctx context.Context, pending <-chan struct{}) {
	if pending == nil {
		return
	}
	select {
	case <-pending:
	case <-ctx.Done():
	}
}

// Close ends a load that is under way and waits for it. Keys already loaded stay in force.
func (k *Set) Close() {
	k.mu.Lock()
	if !k.stopped {
		k.stopped = true
		close(k.stop)
	}
	k.mu.Unlock()
	k.work.Wait()
}

// loader loads the keys of an issuer over HTTP: from a URL, or where that is empty
// from the one that the issuer's discovery document names.
type loader struct {
	client       *http.Client
	issuer, keys string
}

func newLoader(transport http.RoundTripper, issuer, keys string) *loader {
	return &loader{issuer: issuer, keys: keys, client: &http.Client{
		Transport: bounded{transport}, Timeout: keysTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// load asks the issuer.
func (l *loader) load(ctx context.Context) (*Generation, error) {
	keys := l.keys
	if keys == "" {
		provider, err := oidc.NewProvider(oidc.ClientContext(ctx, l.client), l.issuer)
		if err != nil {
			return nil, fmt.Errorf("discover: %w", err)
		}
		var said struct {
			Keys string `json:"jwks_uri"`
		}
		if err := provider.Claims(&said); err != nil {
			return nil, fmt.Errorf("discover: %w", err)
		}
		if said.Keys == "" || strings.HasPrefix(l.issuer, "https:") && !strings.HasPrefix(said.Keys, "https:") {
			return nil, errors.New("discover: the issuer names no jwks_uri that is as safe as itself")
		}
		keys = said.Keys
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, keys, nil)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	response, err := l.client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("load keys: answered %d", response.StatusCode)
	}
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("load keys: %w", err)
	}
	return readKeys(raw)
}

// readKeys reads a JSON Web Key Set (RFC 7517). Keys of kinds that are not known and
// keys that sign nothing are passed over.
func readKeys(raw []byte) (*Generation, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(raw, &set); err != nil {
		return nil, fmt.Errorf("read keys: %w", err)
	}
	out := &Generation{}
	var mark strings.Builder
	for _, one := range set.Keys {
		var key jose.JSONWebKey
		if len(out.keys) == maxKeys || json.Unmarshal(one, &key) != nil || !key.Valid() || !key.IsPublic() || key.Use != "" && key.Use != "sig" {
			continue
		}
		if public, ok := key.Key.(*rsa.PublicKey); ok && public.N.BitLen() < minRSABits {
			continue
		}
		print, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			continue
		}
		fmt.Fprintf(&mark, "%x %q %q\n", print, key.KeyID, key.Algorithm)
		out.keys = append(out.keys, key)
	}
	if len(out.keys) == 0 {
		return nil, errors.New("read keys: the set holds no key that verifies signatures")
	}
	out.mark = mark.String()
	return out, nil
}

// bounded lets no answer grow beyond maxKeysBytes.
type bounded struct{ http.RoundTripper }

func (b bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		response.Body = http.MaxBytesReader(nil, response.Body, maxKeysBytes)
	}
	return response, err
}
