// Package policy decides what becomes of a delivery and of its endpoint after
// an attempt: done, tried again and when, dead and why, held back, disabled. It
// is a pure function of the time, the endpoint's settings, what is remembered of
// the endpoint, the delivery, what came of the attempt, and a random number.
//
// The breaker of an endpoint:
//
//	           10 failures in a row, or
//	           70 % of 20 or more in 5 min
//	┌────────┐ ───────────────────────────▶ ┌──────┐ ◀─┐ probe fails: the wait
//	│ CLOSED │                              │ OPEN │ ──┘ doubles, 30 s to 15 min
//	└────────┘ ◀─────────┐      ┌─────────▶ └──────┘
//	   all of its slots  │      │ fails when down to 1    │ probe succeeds
//	                   ┌───────────┐ ◀────────────────────┘
//	                   │ HALF_OPEN │ slow start: 2, 4, 8 … in flight,
//	                   └───────────┘ half as many after a failure
//
// Sending, storing and counting slots are left to package deliver.
package policy
