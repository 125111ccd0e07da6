package hub

import "strings"

// TypeMatches reports whether an event type fits a pattern: each * stands for
// any run of characters, dots and none at all included, everything else for
// itself. So * fits all types, and invoice.* fits invoice.paid and
// invoice.item.added but not invoice. Types of the hub's own fit only patterns that
// begin like them: hookgraph.* does, * does not.
func TypeMatches(pattern, eventType string) bool {
	if IsHubType(eventType) && !IsHubType(pattern) {
		return false
	}
	head, rest, wild := strings.Cut(pattern, "*")
	if !wild {
		return pattern == eventType
	}
	if !strings.HasPrefix(eventType, head) {
		return false
	}
	eventType = eventType[len(head):]
	for {
		part, more, wild := strings.Cut(rest, "*")
		if !wild {
			return strings.HasSuffix(eventType, part)
		}
		// The leftmost place is as good as any: whatever follows has the more room.
		at := strings.Index(eventType, part)
		if at < 0 {
			return false
		}
		eventType, rest = eventType[at+len(part):], more
	}
}
