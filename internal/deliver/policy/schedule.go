package policy

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Schedule returns the waits of a retry policy, the default ones where it names
// none.
func Schedule(p hub.RetryPolicy) []time.Duration {
	if len(p.Schedule) == 0 {
		return hub.DefaultSchedule
	}
	return p.Schedule
}

// spread moves a wait by up to ±jitter of it. It is never negative.
func spread(wait time.Duration, jitter, random float64) time.Duration {
	jitter = min(max(jitter, 0), 1)
	moved := float64(wait) * (1 + jitter*(2*random-1))
	if math.IsNaN(moved) || moved < 0 {
		return 0
	}
	return time.Duration(min(moved, float64(math.MaxInt64/2)))
}

// ParseStatuses reads one entry of a retry policy's final statuses: a status
// such as "404" or a range such as "400-403".
func ParseStatuses(text string) (from, to int, err error) {
	low, high, isRange := strings.Cut(strings.TrimSpace(text), "-")
	from, err = parseStatus(low)
	if err != nil {
		return 0, 0, fmt.Errorf("%q is not a status such as 404 or a range such as 400-403", text)
	}
	if !isRange {
		return from, from, nil
	}
	to, err = parseStatus(high)
	if err != nil || to < from {
		return 0, 0, fmt.Errorf("%q is not a range of statuses such as 400-403", text)
	}
	return from, to, nil
}

func parseStatus(text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimSpace(text))
	if err == nil && (n < 100 || n > 599) {
		err = strconv.ErrRange
	}
	return n, err
}

// isFinal reports whether one of the entries covers the status. What cannot be
// read covers nothing: it was refused when the endpoint was saved.
func isFinal(entries []string, status int) bool {
	for _, entry := range entries {
		if from, to, err := ParseStatuses(entry); err == nil && from <= status && status <= to {
			return true
		}
	}
	return false
}
