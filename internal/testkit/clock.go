package testkit

import (
	"sync/atomic"
	"time"
)

// Clock is a time that a test sets. It goes on only when it is told to, by whole
// microseconds, and is safe for concurrent use.
type Clock struct{ micros atomic.Int64 }

// NewClock makes a clock that shows a time.
func NewClock(at time.Time) *Clock {
	c := &Clock{}
	c.Set(at)
	return c
}

// Now returns the time that the clock shows, in UTC.
func (c *Clock) Now() time.Time { return time.UnixMicro(c.micros.Load()).UTC() }

// Set has the clock show a time.
func (c *Clock) Set(at time.Time) { c.micros.Store(at.UnixMicro()) }

// Advance puts the clock forward, or back where d is negative.
func (c *Clock) Advance(d time.Duration) { c.micros.Add(d.Microseconds()) }
