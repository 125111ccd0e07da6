package hub

import "time"

// Clock tells the time. Everything that schedules, signs or judges a timestamp
// takes one, so that a test can decide what time it is.
type Clock interface {
	Now() time.Time
}

// SystemClock is the clock of the machine, in UTC and cut to the microseconds
// that both databases keep.
type SystemClock struct{}

// Now returns the current time.
func (SystemClock) Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }
