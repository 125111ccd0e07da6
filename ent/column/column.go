// Package column has the Go types of columns that both databases keep alike.
package column

import "time"

// Time is a moment in Unix microseconds, 0 where there is none. An integer means
// the same in SQLite and PostgreSQL: it compares exactly, has no time zone,
// divides into buckets with plain SQL and costs no parsing.
type Time int64

// TimeOf returns the column value of t.
func TimeOf(t time.Time) Time {
	if t.IsZero() {
		return 0
	}
	return Time(t.UnixMicro())
}

// Time returns the moment in UTC, the zero time where there is none.
func (t Time) Time() time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMicro(int64(t)).UTC()
}
