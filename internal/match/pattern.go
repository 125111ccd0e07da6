package match

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxTypeBytes is the longest event type, and pattern of event types, in bytes.
const MaxTypeBytes = 256

// TypeMatches reports whether an event type fits a pattern: each * stands for
// any run of characters, dots and none at all included, everything else for
// itself. So * fits all types, and invoice.* fits invoice.paid and
// invoice.item.added but not invoice.
func TypeMatches(pattern, eventType string) bool {
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

// CheckTypePattern says what is wrong with a pattern of event types.
func CheckTypePattern(pattern string) error {
	switch {
	case pattern == "":
		return errors.New("an event type is empty: name one, or take * for all")
	case len(pattern) > MaxTypeBytes:
		return fmt.Errorf("an event type has at most %d bytes", MaxTypeBytes)
	case !utf8.ValidString(pattern):
		return errors.New("an event type is not valid UTF-8")
	case strings.TrimSpace(pattern) != pattern:
		return errors.New("an event type begins or ends with a space")
	case strings.Contains(pattern, "**"):
		return errors.New("one * already stands for any characters, dots included")
	}
	for _, r := range pattern {
		if unicode.IsControl(r) {
			return errors.New("an event type contains a control character")
		}
	}
	return nil
}
