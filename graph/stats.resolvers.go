package graph

import (
	"context"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// Stats is the resolver for the stats field.
func (r *queryResolver) Stats(ctx context.Context, since time.Time, until *time.Time, bucket time.Duration, filter *hub.StatsFilter) ([]*hub.StatsBucket, error) {
	if err := checkStatsFilter(filter); err != nil {
		return nil, err
	}
	return r.store(ctx).Stats(ctx, store.StatsQuery{Since: since, Until: valueOf(until), Bucket: bucket, Filter: valueOf(filter)})
}

// StatsUpdates is the resolver for the statsUpdates field.
func (r *subscriptionResolver) StatsUpdates(ctx context.Context, interval *time.Duration, filter *hub.StatsFilter, bucket *time.Duration) (<-chan *hub.StatsBucket, error) {
	return r.statsUpdates(ctx, valueOf(interval), valueOf(bucket), filter)
}
