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
