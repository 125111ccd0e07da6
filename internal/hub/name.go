package hub

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxNameLength is the longest name that people give to a thing, in characters.
const MaxNameLength = 200

// CheckName notes what is wrong with a name, and returns it without the space
// around it.
func (e *UserErrors) CheckName(name string, field ...string) string {
	name = strings.TrimSpace(name)
	switch {
	case name == "":
		e.Add(InputRequired, "give it a name", field...)
	case utf8.RuneCountInString(name) > MaxNameLength:
		e.Add(InputLimitExceeded, fmt.Sprintf("a name has at most %d characters", MaxNameLength), field...)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		e.Add(InputInvalid, "a name has no control characters", field...)
	}
	return name
}
