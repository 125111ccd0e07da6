package model

import (
	"bytes"
	"encoding/json"

	"fmt"
	"io"
	"strings"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/sosodev/duration"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// MarshalDateTime writes a time in UTC with up to microseconds, and null for
// the zero time, which stands for absence in the vocabulary.
func MarshalDateTime(t time.Time) graphql.Marshaler {
	if t.IsZero() {
		return graphql.Null
	}
	return graphql.WriterFunc(func(w io.Writer) {
		buffer := make([]byte, 0, len(time.RFC3339Nano)+2)
		buffer = append(buffer, '"')
		buffer = t.UTC().Truncate(time.Microsecond).AppendFormat(buffer, time.RFC3339Nano)
		_, _ = w.Write(append(buffer, '"'))
	})
}

// UnmarshalDateTime reads an RFC 3339 time; null is the zero time.
func UnmarshalDateTime(v any) (time.Time, error) {
	if v == nil {
		return time.Time{}, nil
	}
	s, ok := v.(string)
	if !ok {
		return time.Time{}, hub.NewError(hub.CodeBadUserInput, "a DateTime is a string")
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() > 9999 {
		return time.Time{}, hub.NewError(hub.CodeBadUserInput, "a DateTime looks like 2026-03-01T12:00:00Z")
	}
	return t.UTC().Truncate(time.Microsecond), nil
}

// MarshalDuration writes an ISO 8601 duration of hours, minutes and seconds,
// which all have one length.
func MarshalDuration(d time.Duration) graphql.Marshaler {
	whole := duration.Duration{
		Hours: float64(d / time.Hour), Minutes: float64(d % time.Hour / time.Minute), Seconds: (d % time.Minute).Seconds(),
	}
	return graphql.MarshalString(whole.String())
}

// maxDuration keeps durations far from overflow: a hundred years.
const maxDuration = 36525 * 24 * time.Hour

// UnmarshalDuration reads an ISO 8601 duration; null is zero.
func UnmarshalDuration(v any) (time.Duration, error) {
	if v == nil {
		return 0, nil
	}
	s, ok := v.(string)
	if !ok {
		return 0, hub.NewError(hub.CodeBadUserInput, "a Duration is a string")
	}
	parsed, err := duration.Parse(s)
	if err != nil || len(s) > 64 || strings.HasSuffix(s, "T") || s == "P" {
		return 0, hub.NewError(hub.CodeBadUserInput, "a Duration looks like PT5M or PT0.25S")
	}
	if parsed.Years != 0 || parsed.Months != 0 {
		return 0, hub.NewError(hub.CodeBadUserInput, "a Duration has no years and months, because their length varies")
	}
	seconds := ((parsed.Weeks*7+parsed.Days)*24+parsed.Hours)*3600 + parsed.Minutes*60 + parsed.Seconds
	if parsed.Negative || seconds < 0 || seconds > maxDuration.Seconds() {
		return 0, hub.NewError(hub.CodeBadUserInput, "a Duration lies between zero and a hundred years")
	}
	return parsed.ToTimeDuration(), nil
}

// JSON is any JSON value as its text, so that numbers keep every digit. Its
// zero value is null.
type JSON json.RawMessage

// NewJSON encodes a value.
func NewJSON(value any) (JSON, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return JSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// MarshalJSON writes a JSON value.
func MarshalJSON(value JSON) graphql.Marshaler {
	if len(value) == 0 {
		return graphql.Null
	}
	return graphql.WriterFunc(func(w io.Writer) { _, _ = w.Write(value) })
}

// UnmarshalJSON reads a JSON value.
func UnmarshalJSON(v any) (JSON, error) {
	if err := finite(v); err != nil {
		return nil, err
	}
	return NewJSON(v)
}

// finite refuses what literals in a document can say but JSON cannot.
func finite(v any) error {
	switch v := v.(type) {
	case json.Number:
		if !json.Valid([]byte(v)) || strings.ContainsAny(v.String(), " \t\n\r") {
			return hub.NewError(hub.CodeBadUserInput, "malformed number")
		}
	case map[string]any:
		for _, value := range v {
			if err := finite(value); err != nil {
				return err
			}
		}
	case []any:
		for _, value := range v {
			if err := finite(value); err != nil {
				return err
			}
		}
	}
	return nil
}
