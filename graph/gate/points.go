package gate

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"github.com/vektah/gqlparser/v2/gqlerror"
	"golang.org/x/time/rate"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// PointsConfig says how much each credential may ask. Zero values stand for the defaults.
type PointsConfig struct {
	Maximum     int // points a full bucket holds: 20,000,000
	RestoreRate int // points a second that come back: 5,000,000
	// Credentials is how many buckets are kept: 50,000. Those that are full again are
	// given up for new ones. While there is none of them, all new credentials share one
	// bucket, so that nobody gets points back by having others come.
	Credentials int
}

// Points keeps a bucket of points for each credential, in the memory of this node.
type Points struct {
	cfg   PointsConfig
	clock hub.Clock

	// mu guards the fields below.
	mu      sync.Mutex
	now     time.Time // the latest that was seen: a clock that is set back restores nothing twice
	swept   time.Time
	buckets map[string]*rate.Limiter
	shared  *rate.Limiter
}

// NewPoints makes full buckets for everybody.
func NewPoints(cfg PointsConfig, clock hub.Clock) *Points {
	cfg.Maximum = cmp.Or(cfg.Maximum, 20_000_000)
	cfg.RestoreRate = cmp.Or(cfg.RestoreRate, 5_000_000)
	cfg.Credentials = cmp.Or(cfg.Credentials, 50_000)
	p := &Points{cfg: cfg, clock: clock, buckets: make(map[string]*rate.Limiter)}
	p.shared = p.full()
	return p
}

func (p *Points) full() *rate.Limiter {
	return rate.NewLimiter(rate.Limit(p.cfg.RestoreRate), p.cfg.Maximum)
}

// Maximum is how many points a full bucket holds.
func (p *Points) Maximum() int { return p.cfg.Maximum }

// RestoreRate is how many points come back each second.
func (p *Points) RestoreRate() int { return p.cfg.RestoreRate }

// Balance is what a credential has.
type Balance struct {
	Maximum, RestoreRate int
	Available            int
	ResetAt              time.Time // when all points will be back, if none are taken
}

// Charge takes the points of an operation, or none of them if there are too few. Then
// it returns how long to wait until there are enough; that is forever, and an hour is
// said, for more than a bucket holds.
func (p *Points) Charge(credential string, cost int) (Balance, time.Duration, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.tick()
	bucket := p.bucket(credential, now)
	if bucket.AllowN(now, cost) {
		return p.balance(bucket, now), 0, true
	}
	wait := time.Hour
	if cost <= p.cfg.Maximum {
		wait = p.restores(float64(cost) - bucket.TokensAt(now))
	}
	return p.balance(bucket, now), wait, false
}

// What a request takes by its bytes is measured by the dearest there are of each size, so
// that a point stands for about as much work as in an operation that does little for its
// points. A short text can be wrong in more ways than the further bytes of a long one.
const (
	leastRefusal = 100
	freeBytes    = 512
	closeBytes   = 16 << 10 // as many as the documents that are kept have at most
	closePoints  = 16       // for each byte up to there
	beyondPoints = 1        // for each further one
)

// Refusal is what a request of so many bytes takes that is refused: finding out what is
// wrong with it is work too.
func Refusal(bytes int) int {
	return leastRefusal + closePoints*max(min(bytes, closeBytes)-freeBytes, 0) + Bulk(bytes)
}

// Bulk is what a request of so many bytes takes besides its operation: nothing up to 16 KiB.
func Bulk(bytes int) int { return beyondPoints * max(bytes-closeBytes, 0) }

// Take takes points for work that is done already, whether or not they are there. What is
// missing is owed, up to as much as a full bucket holds: nothing is granted before it has
// come back.
func (p *Points) Take(credential string, cost int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.tick()
	bucket := p.bucket(credential, now)
	most := int(bucket.TokensAt(now)) + p.cfg.Maximum
	bucket.ReserveN(now, max(min(cost, most, p.cfg.Maximum), 0))
}

// Owed is how long it takes until a credential owes nothing.
func (p *Points) Owed(credential string) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.tick()
	return p.restores(-p.bucket(credential, now).TokensAt(now))
}

// Balance returns what a credential has now.
func (p *Points) Balance(credential string) Balance {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.tick()
	return p.balance(p.bucket(credential, now), now)
}

// tick returns the time, which never goes back. The caller holds mu.
func (p *Points) tick() time.Time {
	if now := p.clock.Now(); now.After(p.now) {
		p.now = now
	}
	return p.now
}

// bucket returns the bucket of a credential. The caller holds mu.
func (p *Points) bucket(credential string, now time.Time) *rate.Limiter {
	if bucket := p.buckets[credential]; bucket != nil {
		return bucket
	}
	if len(p.buckets) >= p.cfg.Credentials && now.Sub(p.swept) >= time.Second { // it walks over all of them
		p.swept = now
		maps.DeleteFunc(p.buckets, func(_ string, b *rate.Limiter) bool { return b.TokensAt(now) >= float64(p.cfg.Maximum) })
	}
	if len(p.buckets) >= p.cfg.Credentials {
		return p.shared
	}
	bucket := p.full()
	p.buckets[credential] = bucket
	return bucket
}

func (p *Points) balance(bucket *rate.Limiter, now time.Time) Balance {
	tokens := bucket.TokensAt(now)
	return Balance{
		Maximum: p.cfg.Maximum, RestoreRate: p.cfg.RestoreRate,
		// A limiter grants what will be there within a nanosecond.
		Available: min(max(int(tokens+float64(p.cfg.RestoreRate)/float64(time.Second)), 0), p.cfg.Maximum),
		ResetAt:   now.Add(p.restores(float64(p.cfg.Maximum) - tokens)),
	}
}

// restores is how long it takes until so many points are back.
func (p *Points) restores(points float64) time.Duration {
	return time.Duration(math.Ceil(max(points, 0) / float64(p.cfg.RestoreRate) * float64(time.Second)))
}

// Extension is what an answer tells about its cost and what is left.
func (g *Gate) Extension(cost int, left Balance) map[string]any {
	return map[string]any{
		"requested": cost, "limit": g.limits.Cost,
		"available": left.Available, "maximumAvailable": left.Maximum, "restoreRate": left.RestoreRate,
	}
}

// RateLimited is the error of an operation that finds too few points.
func RateLimited(cost int, left Balance, wait time.Duration) *gqlerror.Error {
	seconds := int(math.Ceil(max(wait.Seconds(), 1)))
	err := gqlerror.Errorf("the operation costs %d points and %d are left; try again in %s", cost, left.Available, inSeconds(seconds))
	err.Extensions = map[string]any{"code": string(hub.CodeRateLimited), "retryAfter": seconds}
	return err
}

// Owing is the error of a request that is not looked at, because its sender owes points.
func Owing(wait time.Duration) *hub.Error {
	return &hub.Error{
		Code: hub.CodeRateLimited, RetryAfter: wait,
		Message: "so much was refused before, or so large, that nothing unknown is looked at now; try again in " + inSeconds(int(math.Ceil(max(wait.Seconds(), 1)))),
	}
}

func inSeconds(n int) string {
	if n == 1 {
		return "1 second"
	}
	return fmt.Sprintf("%d seconds", n)
}
