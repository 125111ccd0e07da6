package match

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// errUnusable is what an expression ends with whose result is of no use.
var errUnusable = errors.New("the expression yields a value that cannot be used")

func (m *Matcher) evalSource(expr string, in *Inbound) (ref.Val, error) {
	p, err := m.program(sourceScope, expr)
	if err != nil {
		return nil, err
	}
	return p.eval(in)
}

func asText(value ref.Val) (string, error) {
	switch v := value.(type) {
	case types.String:
		return string(v), nil
	case types.Int:
		return strconv.FormatInt(int64(v), 10), nil
	case types.Uint:
		return strconv.FormatUint(uint64(v), 10), nil
	case types.Bool:
		return strconv.FormatBool(bool(v)), nil
	case types.Null:
		return "", nil
	}
	return "", unusable(value, "a text")
}

func asBytes(value ref.Val) ([]byte, error) {
	switch v := value.(type) {
	case types.Bytes:
		return []byte(v), nil
	case types.String:
		return []byte(v), nil
	}
	return nil, unusable(value, "bytes or a text")
}

func asTime(value ref.Val) (time.Time, error) {
	switch v := value.(type) {
	case types.Timestamp:
		return v.UTC(), nil
	case types.Int:
		return unixTime(float64(v))
	case types.Uint:
		return unixTime(float64(v))
	case types.Double:
		return unixTime(float64(v))
	case types.Null:
		return time.Time{}, nil
	case types.String:
		text := strings.TrimSpace(string(v))
		if seconds, err := strconv.ParseFloat(text, 64); err == nil {
			return unixTime(seconds)
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return time.Time{}, fmt.Errorf("%w: %.40q is neither RFC 3339 nor Unix time", errUnusable, text)
		}
		return at.UTC(), nil
	}
	return time.Time{}, unusable(value, "a time")
}

// Senders give Unix time in seconds, milliseconds, microseconds or nanoseconds,
// and for centuries around today the size alone tells which.
const (
	minUnixMillis = 1e11 // as seconds, the year 5138; as milliseconds, 1973
	minUnixMicros = 1e14
	minUnixNanos  = 1e17
)

func unixTime(n float64) (time.Time, error) {
	unit := time.Second
	switch size := math.Abs(n); {
	case math.IsNaN(n) || size >= 1e19:
		return time.Time{}, fmt.Errorf("%w: %g is not Unix time", errUnusable, n)
	case size >= minUnixNanos:
		unit = time.Nanosecond
	case size >= minUnixMicros:
		unit = time.Microsecond
	case size >= minUnixMillis:
		unit = time.Millisecond
	}
	perSecond := float64(time.Second / unit)
	whole, fraction := math.Modf(n / perSecond)
	at := time.Unix(int64(whole), int64(fraction*float64(time.Second))).UTC()
	if at.Year() < 1 || at.Year() > 9999 { // what RFC 3339 can write
		return time.Time{}, fmt.Errorf("%w: %g is not Unix time", errUnusable, n)
	}
	return at.Round(time.Microsecond), nil
}

func unusable(value ref.Val, wanted string) error {
	return fmt.Errorf("%w: it is of type %s and should be %s", errUnusable, value.Type().TypeName(), wanted)
}
