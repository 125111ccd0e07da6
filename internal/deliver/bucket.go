package deliver

import (
	"math"
	"time"

	"golang.org/x/time/rate"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// bucket limits an endpoint's rate: as many calls at once as its limit allows in
// one period, and that many a period after that. The zero value limits nothing.
type bucket struct {
	of      hub.RateLimit
	limiter *rate.Limiter // nil: unlimited
	spare   int           // tokens taken for attempts that were not made
}

// configure takes over this node's share of an endpoint's limit, which may have changed; nil:
// unlimited. Where it has become larger, the bucket fills up by and by. It begins empty
// where others had this share until now.
func (b *bucket) configure(limit *hub.RateLimit, others bool, now time.Time) {
	switch {
	case limit == nil:
		*b = bucket{}
	case b.limiter == nil:
		*b = bucket{of: *limit, limiter: rate.NewLimiter(perSecond(*limit), limit.Limit)}
		if others {
			b.limiter.AllowN(now, limit.Limit)
		}
	case b.of != *limit:
		b.of, b.spare = *limit, 0
		b.limiter.SetLimitAt(now, perSecond(*limit))
		b.limiter.SetBurstAt(now, limit.Limit)
	}
}

func perSecond(l hub.RateLimit) rate.Limit {
	return rate.Limit(float64(l.Limit) / l.Period.Seconds())
}

// take takes a token, if there is one.
func (b *bucket) take(now time.Time) bool {
	if b.limiter == nil {
		return true
	}
	// Meanwhile the bucket has filled up, and what is beyond its brim is lost, a part of a
	// token with the rest.
	b.spare = min(b.spare, max(b.limiter.Burst()-int(math.Ceil(b.limiter.TokensAt(now))), 0))
	if b.spare > 0 {
		b.spare--
		return true
	}
	return b.limiter.AllowN(now, 1)
}

// put gives back a token whose attempt was not made.
func (b *bucket) put() {
	if b.limiter != nil {
		b.spare++
	}
}

// most is how many tokens come in a time.
func (b *bucket) most(d time.Duration) int {
	if b.limiter == nil {
		return math.MaxInt
	}
	return int(float64(b.limiter.Limit()) * d.Seconds())
}

// opens returns when there will be a token, now at the latest if there is one.
func (b *bucket) opens(now time.Time) time.Time {
	if b.limiter == nil || b.spare > 0 {
		return now
	}
	missing := 1 - b.limiter.TokensAt(now)
	if missing <= 0 {
		return now
	}
	return now.Add(time.Duration(missing/float64(b.limiter.Limit())*float64(time.Second)) + time.Microsecond)
}
