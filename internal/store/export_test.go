package store

import (
	"context"
	"time"
)

// MaxWAL sets how long the WAL of SQLite may grow before the writer empties it. Where
// readers keep it from that, it tries again at the next commit.
func MaxWAL(bytes int64) func(*Config) {
	return func(cfg *Config) { cfg.wal = walBounds{length: bytes, again: time.Nanosecond} }
}

// The statements that claim.
const (
	SQLiteClaim   = sqliteClaim
	PostgresClaim = postgresClaim
)

// FirstWaiting is the statement that finds what is due next.
const FirstWaiting = firstWaiting

// LineFronts are the statements that find who is at the front of lines, by dialect.
var LineFronts = lineFronts

// MaxChangesKept sets how many changes of deliveries are kept.
func MaxChangesKept(n int) func(*Config) { return func(cfg *Config) { cfg.maxChanges = n } }

// MergedQuantile spreads durations over sketches, merges what these are stored as, and
// returns the quantiles of that.
func MergedQuantile(durations []time.Duration, parts int) func(float64) *float64 {
	sketches := make([]*sketch, parts)
	for i := range sketches {
		sketches[i] = newSketch()
	}
	for i, d := range durations {
		sketches[i%parts].add(d)
	}
	merged := newSketch()
	for _, s := range sketches {
		if err := merged.merge(s.encode()); err != nil {
			panic(err)
		}
	}
	return merged.quantile
}

// Allowance is what the rate of a replay allows.
var Allowance = allowance

// Leave takes dead deliveries of a subscription out of their lines.
func (s *Store) Leave(ctx context.Context, subscriptionID string, ids ...string) (left bool, err error) {
	return s.leave(ctx, subscriptionID, ids)
}
