package keyset

import (
	"context"
	"log/slog"
	"net/http"

	jose "github.com/go-jose/go-jose/v4"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// maxSets bounds how many sets a pool keeps.
const maxSets = 1024

// Pool keeps the sets of several URLs. It is safe for concurrent use.
type Pool struct {
	transport http.RoundTripper
	clock     hub.Clock
	logger    *slog.Logger
	sets      *lru.Cache[string, *Set]
}

// NewPool makes a pool, whose calls go over the transport.
func NewPool(transport http.RoundTripper, clock hub.Clock, logger *slog.Logger) *Pool {
	sets, err := lru.NewWithEvict(maxSets, func(_ string, forgotten *Set) { forgotten.Close() })
	if err != nil { // of a size that is not positive
		panic(err)
	}
	return &Pool{transport: transport, clock: clock, logger: logger, sets: sets}
}

// Keys returns those of the keys at a URL by which a token may be signed that names a
// key ID, or "", and an algorithm. Its error is of code UNAVAILABLE.
func (p *Pool) Keys(ctx context.Context, url, id, algorithm string) ([]jose.JSONWebKey, error) {
	set, found := p.sets.Get(url)
	if !found {
		set = New(Config{Transport: p.transport, URL: url, Clock: p.clock, Logger: p.logger})
		if earlier, there, _ := p.sets.PeekOrAdd(url, set); there {
			set = earlier
		}
	}
	_, keys, err := set.Find(ctx, id, algorithm)
	return keys, err
}

// Close ends all loads that are under way and waits for them.
func (p *Pool) Close() { p.sets.Purge() }
