package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
	"golang.org/x/time/rate"
)

// Bounds of what is fetched from vendors.
const (
	fetchTimeout  = 5 * time.Second
	maxFetchBytes = 64 << 10
	maxFetched    = 512
	keepFetched   = 24 * time.Hour   // what is fetched by an address that names its content
	keepFailure   = 15 * time.Second // so that a flood of bad requests does not become one of calls
	fetchesPerSec = 5
	fetchBurst    = 50
)

var (
	errNoFetch     = errors.New("this hub is not set up to fetch anything from vendors")
	errFetchBudget = errors.New("too many fetches are asked for at the moment")
)

// remote fetches certificates and keys from vendors' own hosts: over https, within
// bounds, without following redirects, and once for all who ask at the same time.
// Which hosts are the vendor's is for its verifier to know.
type remote struct {
	client http.Client
	flight singleflight.Group
	budget *rate.Limiter
	cache  *lru.Cache[string, fetched]
}

type fetched struct {
	body  []byte
	err   error
	until time.Time
}

// newRemote makes a remote over a transport, and nil of none.
func newRemote(transport http.RoundTripper) *remote {
	if transport == nil {
		return nil
	}
	cache, err := lru.New[string, fetched](maxFetched)
	if err != nil { // of a size that is not positive
		panic(err)
	}
	return &remote{
		client: http.Client{
			Transport: transport, Timeout: fetchTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		budget: rate.NewLimiter(fetchesPerSec, fetchBurst),
		cache:  cache,
	}
}

// get returns what is kept under a key, or what the request brings, once more than
// a day has passed. Failures are kept as well, for a moment.
func (m *remote) get(ctx context.Context, key string, now time.Time, request func(context.Context) (*http.Request, error)) ([]byte, error) {
	if m == nil {
		return nil, errNoFetch
	}
	if kept, found := m.cache.Get(key); found && now.Before(kept.until) {
		return kept.body, kept.err
	}
	result, err, _ := m.flight.Do(key, func() (any, error) {
		if !m.budget.AllowN(now, 1) {
			return nil, errFetchBudget
		}
		body, err := m.fetch(context.WithoutCancel(ctx), request) // others wait for it as well
		keep := keepFetched
		if err != nil {
			keep = keepFailure
		}
		m.cache.Add(key, fetched{body: body, err: err, until: now.Add(keep)})
		return body, err
	})
	if err != nil {
		return nil, err
	}
	body, _ := result.([]byte)
	return body, nil
}

// fetch makes one call.
func (m *remote) fetch(ctx context.Context, request func(context.Context) (*http.Request, error)) ([]byte, error) {
	if m == nil {
		return nil, errNoFetch
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	r, err := request(ctx)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	if r.URL.Scheme != "https" {
		return nil, errors.New("only https is used")
	}
	response, err := m.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", r.URL.Host, errors.Unwrap(err)) // the URL may hold a token
	}
	defer func() { _ = response.Body.Close() }() // nothing is lost with what was not read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d", r.URL.Host, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxFetchBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", r.URL.Host, err)
	}
	if len(body) > maxFetchBytes {
		return nil, fmt.Errorf("%s answered more than %d bytes", r.URL.Host, maxFetchBytes)
	}
	return body, nil
}

// getURL makes the request of a plain GET.
func getURL(address string) func(context.Context) (*http.Request, error) {
	return func(ctx context.Context) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, address, http.NoBody)
	}
}
