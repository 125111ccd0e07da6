package registry

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Bounds of a retry policy, besides those of the vocabulary.
const (
	maxRetryWait     = 7 * 24 * time.Hour
	maxFinalStatuses = 50
)

// defaultPolicy is what an endpoint without a policy of its own has.
func defaultPolicy() hub.RetryPolicy {
	return hub.RetryPolicy{Schedule: slices.Clone(hub.DefaultSchedule), Jitter: hub.DefaultJitter}
}

// checkPolicy makes a retry policy and notes what is wrong with it.
func checkPolicy(in RetryPolicyInput, p *problems) hub.RetryPolicy {
	policy := defaultPolicy()
	if in.Schedule.change(&policy.Schedule, policy.Schedule) {
		checkSchedule(policy.Schedule, p)
	}
	// Not less and not more, so that it catches what is not a number too.
	if in.Jitter.change(&policy.Jitter, hub.DefaultJitter) && !(policy.Jitter >= 0 && policy.Jitter <= 1) {
		p.add(hub.InputInvalid, "the jitter is a share of the wait, 0 to 1", "retryPolicy", "jitter")
	}
	if in.FinalStatuses.change(&policy.FinalStatuses, nil) {
		checkFinalStatuses(policy.FinalStatuses, p)
	}
	return policy
}

func checkFinalStatuses(list []string, p *problems) {
	if len(list) > maxFinalStatuses {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d can be listed; a range such as 400-403 counts as one", maxFinalStatuses),
			"retryPolicy", "finalStatuses")
		return
	}
	for i, statuses := range list {
		if !isStatusRange(statuses) {
			p.add(hub.InputInvalid, fmt.Sprintf("%.20q is neither a status such as 404 nor a range such as 400-403; those that fail are 300 to 599", statuses),
				"retryPolicy", "finalStatuses", index(i))
		}
	}
}

func checkSchedule(schedule []time.Duration, p *problems) {
	switch {
	case len(schedule) == 0:
		p.add(hub.InputRequired, "at least one attempt is needed, such as PT0S", "retryPolicy", "schedule")
	case len(schedule) > hub.MaxScheduleLength:
		p.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d attempts are made", hub.MaxScheduleLength), "retryPolicy", "schedule")
		return
	}
	for i, wait := range schedule {
		p.within(wait, 0, maxRetryWait, "retryPolicy", "schedule", index(i))
	}
}

// isStatusRange reports whether a text is a status or a range of statuses that an
// attempt can fail with.
func isStatusRange(s string) bool {
	first, last, isRange := strings.Cut(s, "-")
	from, ok := failingStatus(first)
	if !isRange || !ok {
		return ok
	}
	to, ok := failingStatus(last)
	return ok && from <= to
}

func failingStatus(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && len(s) == 3 && n >= 300 && n <= 599
}
