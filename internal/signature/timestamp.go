package signature

import (
	"errors"
	"net/mail"
	"strconv"
	"strings"
	"time"
)

// TimeForm says how a sender writes the time it signs.
type TimeForm string

// The forms in use among providers.
const (
	UnixSeconds TimeForm = "UNIX_SECONDS"
	UnixMillis  TimeForm = "UNIX_MILLISECONDS"
	RFC3339     TimeForm = "RFC_3339"
	// UnixFraction is seconds with a fraction, as some write the time in JSON.
	UnixFraction TimeForm = "UNIX_SECONDS_FRACTION"
	// NoZone is RFC 3339 without its zone, which is UTC.
	NoZone TimeForm = "RFC_3339_WITHOUT_ZONE"
	// SpacedUTC is what Ruby makes of a time: 2020-10-06 15:27:18 UTC.
	SpacedUTC TimeForm = "SPACED_UTC"
	// RFC5322 is the date of mail and of HTTP's older headers.
	RFC5322 TimeForm = "RFC_5322"
)

// ErrTimestamp is returned for a timestamp that cannot be read.
var ErrTimestamp = errors.New("not a timestamp of the expected form")

// maxTimestampLength bounds both forms of digits: milliseconds have 13 until
// the year 2286. It keeps later arithmetic far from overflow.
const maxTimestampLength = 14

// Parse reads a timestamp. Digits are digits alone: no sign, blank or fraction.
func (f TimeForm) Parse(text string) (time.Time, error) {
	if f == NoZone {
		f, text = RFC3339, text+"Z"
	}
	if f == RFC3339 {
		return parsed(time.Parse(time.RFC3339Nano, text))
	}
	switch f {
	case UnixFraction:
		return parseFraction(text)
	case SpacedUTC:
		return parsed(time.Parse("2006-01-02 15:04:05 UTC", text))
	case RFC5322:
		return parsed(mail.ParseDate(text))
	case UnixSeconds, UnixMillis, RFC3339, NoZone:
	}
	if text == "" || len(text) > maxTimestampLength {
		return time.Time{}, ErrTimestamp
	}
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return time.Time{}, ErrTimestamp
		}
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, ErrTimestamp
	}
	switch f {
	case UnixSeconds:
		if len(text) > maxTimestampLength-3 {
			return time.Time{}, ErrTimestamp
		}
		return time.Unix(n, 0).UTC(), nil
	case UnixMillis:
		return time.UnixMilli(n).UTC(), nil
	case RFC3339, NoZone, UnixFraction, SpacedUTC, RFC5322:
	}
	return time.Time{}, ErrTimestamp
}

// parsed is what a parser of texts has found.
func parsed(at time.Time, err error) (time.Time, error) {
	if err != nil {
		return time.Time{}, ErrTimestamp
	}
	return at.UTC(), nil
}

// parseFraction reads digits, a point and at most nine digits more.
func parseFraction(text string) (time.Time, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	at, err := UnixSeconds.Parse(whole)
	if err != nil || len(fraction) > 9 || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, ErrTimestamp
	}
	nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, ErrTimestamp
	}
	return at.Add(time.Duration(nanos)), nil
}

// Within reports whether a signed time is at most tolerance away from now, on
// either side: one from the future is a clock that is wrong or a signature made
// to be kept for later.
func Within(signed, now time.Time, tolerance time.Duration) bool {
	return now.Sub(signed).Abs() <= tolerance // Sub and Abs saturate
}
