package receive

import (
	"fmt"
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	// maxAddresses bounds how many addresses are remembered. One that was forgotten
	// begins with a full bucket.
	maxAddresses = 16 << 10
	// networkBits is how much of an IPv6 address names who has it.
	networkBits = 64
	// smallBody is what is read past without a thought, so that its connection can be
	// used again.
	smallBody = 4 << 10
)

// limits are the buckets of addresses and sources: as many requests at once as are
// admitted in one period, and that many a period after that. It is safe for concurrent
// use. Each node counts on its own.
type limits struct {
	perAddress hub.RateLimit                         // Limit 0: none
	addresses  *lru.Cache[netip.Addr, *rate.Limiter] // nil: none

	mu      sync.Mutex // guards what follows
	sources map[string]*sourceLimit
}

type sourceLimit struct {
	of      hub.RateLimit
	limiter *rate.Limiter
}

func newLimits(perAddress hub.RateLimit) *limits {
	l := &limits{perAddress: perAddress, sources: make(map[string]*sourceLimit)}
	if perAddress.Limit > 0 {
		addresses, err := lru.New[netip.Addr, *rate.Limiter](maxAddresses)
		if err != nil { // of a size that is not positive
			panic(err)
		}
		l.addresses = addresses
	}
	return l
}

func newLimiter(of hub.RateLimit) *rate.Limiter {
	return rate.NewLimiter(perSecond(of), of.Limit)
}

func perSecond(of hub.RateLimit) rate.Limit {
	return rate.Limit(float64(of.Limit) / of.Period.Seconds())
}

// address takes a token of an address and returns how long it is until there is one, 0
// where it got it. This machine's own addresses have no limit: behind them are its
// proxies and tools.
func (l *limits) address(addr netip.Addr, now time.Time) time.Duration {
	if l.addresses == nil || !addr.IsValid() || addr.IsLoopback() {
		return 0
	}
	if addr.Is6() {
		network, err := addr.WithZone("").Prefix(networkBits)
		if err == nil {
			addr = network.Addr()
		}
	}
	limiter, found := l.addresses.Get(addr)
	if !found {
		limiter = newLimiter(l.perAddress)
		if earlier, there, _ := l.addresses.PeekOrAdd(addr, limiter); there {
			limiter = earlier
		}
	}
	return take(limiter, now)
}

// source takes a token of a source likewise.
func (l *limits) source(src *hub.Source, all map[string]*hub.Source, now time.Time) time.Duration {
	if src.RateLimit == nil || src.RateLimit.Limit <= 0 || src.RateLimit.Period <= 0 {
		return 0
	}
	l.mu.Lock()
	own := l.sources[src.ID]
	switch {
	case own == nil:
		for id := range l.sources { // now and then, what is left of sources that were deleted
			if all[id] == nil {
				delete(l.sources, id)
			}
		}
		own = &sourceLimit{of: *src.RateLimit, limiter: newLimiter(*src.RateLimit)}
		l.sources[src.ID] = own
	case own.of != *src.RateLimit:
		own.of = *src.RateLimit
		own.limiter.SetLimitAt(now, perSecond(own.of))
		own.limiter.SetBurstAt(now, own.of.Limit)
	}
	l.mu.Unlock()
	return take(own.limiter, now)
}

func take(limiter *rate.Limiter, now time.Time) time.Duration {
	if limiter.AllowN(now, 1) {
		return 0
	}
	missing := 1 - limiter.TokensAt(now)
	wait := math.Ceil(missing / float64(limiter.Limit()) * float64(time.Second))
	return max(time.Duration(wait), time.Millisecond)
}

// addressLimited and sourceLimited say which limit a request was beyond.
func (d *Door) addressLimited(from netip.Addr) string {
	return fmt.Sprintf("%s sent more than the %d requests in %s that one address may send to this hub (HOOKGRAPH_INBOUND_RATE_PER_ADDRESS). If it is a proxy's, name the proxy in HOOKGRAPH_TRUSTED_PROXIES.",
		from, d.limits.perAddress.Limit, d.limits.perAddress.Period)
}

func sourceLimited(src *hub.Source, from netip.Addr) string {
	return fmt.Sprintf("More than the %d requests in %s came that the source takes (rateLimit), this one from %s.",
		src.RateLimit.Limit, src.RateLimit.Period, from)
}

// limited answers a request that is beyond a limit. Its body is not read: a connection
// that would have to get past a long one is closed instead.
func limited(w http.ResponseWriter, r *http.Request, wait time.Duration) answer {
	if r.ContentLength < 0 || r.ContentLength > smallBody {
		w.Header().Set("Connection", "close")
	} else if r.ContentLength > 0 {
		bound(w, startTimeout)
	}
	return problemOf(hub.CodeRateLimited).after(wait)
}
