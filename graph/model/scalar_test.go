package model_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/99designs/gqlgen/graphql"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func written(m graphql.Marshaler) string {
	var b bytes.Buffer
	m.MarshalGQL(&b)
	return b.String()
}

func TestDurations(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"PT0S": 0, "PT0.25S": 250 * time.Millisecond, "PT5M": 5 * time.Minute, "PT24H": 24 * time.Hour, "P1D": 24 * time.Hour,
		"P1DT12H": 36 * time.Hour, "P2W": 14 * 24 * time.Hour, "PT1H30M": 90 * time.Minute,
	} {
		if got, err := model.UnmarshalDuration(text); err != nil || got != want {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
	}
	for _, value := range []any{"", "5s", "P1Y", "P1M", "-PT1S", "PT-1S", "PT", "P", "PT1e9H", "P999999999999D", 5, json.Number("5"), true} {
		if got, err := model.UnmarshalDuration(value); err == nil {
			t.Errorf("%v passed as %s", value, got)
		} else if hub.CodeOf(err) != hub.CodeBadUserInput {
			t.Errorf("%v: %v", value, err)
		}
	}
	rapid.Check(t, func(rt *rapid.T) {
		want := time.Duration(rapid.Int64Range(0, int64(1000*time.Hour/time.Microsecond)).Draw(rt, "d")) * time.Microsecond
		var text string
		if err := json.Unmarshal([]byte(written(model.MarshalDuration(want))), &text); err != nil {
			rt.Fatal(err)
		}
		if got, err := model.UnmarshalDuration(text); err != nil || (got-want).Abs() > time.Microsecond {
			rt.Fatalf("%s became %s and %s, %v", want, text, got, err)
		}
	})
}

func TestTimes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"2026-03-01T12:00:00Z":                `"2026-03-01T12:00:00Z"`,
		"2026-03-01T12:00:00.123456789+02:00": `"2026-03-01T10:00:00.123456Z"`,
	} {
		at, err := model.UnmarshalDateTime(text)
		if got := written(model.MarshalDateTime(at)); err != nil || got != want {
			t.Errorf("%s: got %s, %v", text, got, err)
		}
	}
	for _, value := range []any{"", "2026-03-01", "2026-03-01 12:00:00Z", "now", 1772366400, json.Number("1")} {
		if _, err := model.UnmarshalDateTime(value); hub.CodeOf(err) != hub.CodeBadUserInput {
			t.Errorf("%v: got %v", value, err)
		}
	}
	if got := written(model.MarshalDateTime(time.Time{})); got != "null" {
		t.Errorf("the zero time is written as %s", got)
	}
}

func TestJSONKeepsItsDigits(t *testing.T) {
	t.Parallel()
	decoder := json.NewDecoder(bytes.NewReader([]byte(`{"n":[12345678901234567890.123,1e400,"<&>",null,true]}`)))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		t.Fatal(err)
	}
	got, err := model.UnmarshalJSON(value)
	if err != nil || string(got) != `{"n":[12345678901234567890.123,1e400,"<&>",null,true]}` {
		t.Errorf("got %s, %v", got, err)
	}
	if got := written(model.MarshalJSON(nil)); got != "null" {
		t.Errorf("got %s", got)
	}
}
