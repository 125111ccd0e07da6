package store

import "time"

// MaxWAL sets how long the WAL of SQLite may grow before the writer empties it. Where
// readers keep it from that, it tries again at the next commit.
func MaxWAL(bytes int64) func(*Config) {
	return func(cfg *Config) { cfg.wal = walBounds{length: bytes, again: time.Nanosecond} }
}
