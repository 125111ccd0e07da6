package policy_test

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
)

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestReadPacing(t *testing.T) {
	t.Parallel()
	in := start.Add
	unix := func(d time.Duration) string { return strconv.FormatInt(in(d).Unix(), 10) }
	cases := []struct {
		name   string
		header http.Header
		status int
		want   time.Duration // not before; 0: no wait
		left   int           // -1: no quota
		until  time.Duration
	}{
		{"nothing said", header("Content-Type", "text/plain"), 503, 0, -1, 0},
		{"Retry-After in seconds", header("Retry-After", "120"), 503, 2 * time.Minute, -1, 0},
		{"Retry-After with a fraction", header("Retry-After", "1.5"), 429, 1500 * time.Millisecond, -1, 0},
		{"Retry-After as a date", header("Retry-After", in(time.Hour).Format(http.TimeFormat)), 503, time.Hour, -1, 0},
		{"Retry-After as a date of RFC 850", header("Retry-After", in(time.Hour).Format(time.RFC850)[:len("Sunday, 01-Mar-26 13:00:00 ")]+"GMT"), 503, time.Hour, -1, 0},
		{"Retry-After in the past", header("Retry-After", in(-time.Hour).Format(http.TimeFormat)), 503, 0, -1, 0},
		{"Retry-After beyond a day", header("Retry-After", "999999"), 503, 24 * time.Hour, -1, 0},
		{"Retry-After beyond every number", header("Retry-After", "99999999999999999999999999"), 503, 24 * time.Hour, -1, 0},
		{"Retry-After below zero", header("Retry-After", "-5"), 503, 0, -1, 0},
		{"Retry-After that is not one", header("Retry-After", "soon"), 503, 0, -1, 0},
		{"Retry-After that is infinite", header("Retry-After", "inf"), 503, 0, -1, 0},
		{"Retry-After on success", header("Retry-After", "60"), 200, 0, -1, 0},
		{"Retry-After on a redirect", header("Retry-After", "60"), 302, time.Minute, -1, 0},
		{"X-Retry-After", header("X-Retry-After", "60"), 429, time.Minute, -1, 0},
		{"RateLimit exhausted", header("RateLimit", `"default";r=0;t=30`), 429, 30 * time.Second, -1, 0},
		{"RateLimit exhausted on success", header("RateLimit", `default;r=0;t=30`), 200, 30 * time.Second, -1, 0},
		{"RateLimit with some left", header("RateLimit", `"default";r=7;t=30`), 200, 0, 7, 30 * time.Second},
		{"RateLimit of several policies", header("RateLimit", `"hour";r=70;t=1800, "minute";r=0;t=20`), 200, 20 * time.Second, 70, 30 * time.Minute},
		{"RateLimit over two lines", header("RateLimit", `"hour";r=0;t=1800`, "RateLimit", `"minute";r=0;t=20`), 200, 30 * time.Minute, -1, 0},
		{"RateLimit whose time its policy tells", header("RateLimit", `"b";r=0`, "RateLimit-Policy", `"a";q=10;w=5, "b";q=100;w=60`), 200, time.Minute, -1, 0},
		{"RateLimit without any time", header("RateLimit", `"b";r=0`), 200, 0, -1, 0},
		{"RateLimit of draft 7", header("RateLimit", "limit=10, remaining=0, reset=4"), 429, 4 * time.Second, -1, 0},
		{"RateLimit that is garbage", header("RateLimit", `";;;=`), 429, 0, -1, 0},
		{"RateLimit-Remaining and -Reset", header("RateLimit-Limit", "10", "RateLimit-Remaining", "0", "RateLimit-Reset", "50"), 200, 50 * time.Second, -1, 0},
		{"RateLimit-Remaining with some left", header("RateLimit-Remaining", "2", "RateLimit-Reset", "50"), 200, 0, 2, 50 * time.Second},
		{"RateLimit-Limit that tells the window", header("RateLimit-Limit", "10, 10;w=60", "RateLimit-Remaining", "0"), 429, time.Minute, -1, 0},
		{"X-RateLimit with a Unix time", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", unix(90*time.Second)), 403, 90 * time.Second, -1, 0},
		{"X-RateLimit with milliseconds", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", unix(90*time.Second)+"000"), 403, 90 * time.Second, -1, 0},
		{"X-RateLimit with a wait", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "15"), 429, 15 * time.Second, -1, 0},
		{"X-RateLimit with a duration", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "6m0s"), 429, 6 * time.Minute, -1, 0},
		{"X-RateLimit with a time", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "2026-03-01T12:00:20Z"), 429, 20 * time.Second, -1, 0},
		{"X-RateLimit-Reset-After", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset-After", "0.25"), 429, 250 * time.Millisecond, -1, 0},
		{"X-RateLimit-Reset alone, with the status that says enough", header("X-RateLimit-Reset", unix(90*time.Second)), 429, 90 * time.Second, -1, 0},
		{"X-RateLimit-Reset alone, with another", header("X-RateLimit-Reset", unix(90*time.Second)), 503, 0, -1, 0},
		{"X-RateLimit in the past", header("X-RateLimit-Remaining", "0", "X-RateLimit-Reset", unix(-time.Minute)), 429, 0, -1, 0},
		{"X-Rate-Limit", header("X-Rate-Limit-Remaining", "0", "X-Rate-Limit-Reset", unix(time.Minute)), 429, time.Minute, -1, 0},
		{"the longest of all", header("Retry-After", "5", "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", "40"), 429, 40 * time.Second, -1, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := policy.ReadPacing(c.header, c.status, start)
			if c.want == 0 != got.NotBefore.IsZero() || (c.want != 0 && !got.NotBefore.Equal(in(c.want))) {
				t.Errorf("not before %v, want %v", got.NotBefore, in(c.want))
			}
			if c.left < 0 != got.Quota.Until.IsZero() || (c.left >= 0 && (got.Quota.Left != c.left || !got.Quota.Until.Equal(in(c.until)))) {
				t.Errorf("quota %+v, want %d until %v", got.Quota, c.left, in(c.until))
			}
		})
	}
}

var pacingHeaders = []string{
	"Retry-After", "X-Retry-After", "RateLimit", "RateLimit-Policy", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset",
	"X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset", "X-RateLimit-Reset-After", "X-Rate-Limit-Remaining", "X-Rate-Limit-Reset",
}

func checkPacing(t interface{ Fatalf(string, ...any) }, h http.Header) {
	for _, status := range []int{200, 429} {
		got := policy.ReadPacing(h, status, start)
		if at := got.NotBefore; !at.IsZero() && (!at.After(start) || at.Sub(start) > 24*time.Hour) {
			t.Fatalf("%v asks for %v", h, at)
		}
		if q := got.Quota; !q.Until.IsZero() && (q.Left < 1 || !q.Until.After(start) || q.Until.Sub(start) > 24*time.Hour) {
			t.Fatalf("%v leaves %+v", h, q)
		}
	}
}

// Whatever an endpoint says, it is obeyed for some time in the next 24 hours or
// not at all.
func TestPacingIsBounded(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		h := http.Header{}
		for range rapid.IntRange(1, 4).Draw(t, "count") {
			h.Add(rapid.SampledFrom(pacingHeaders).Draw(t, "name"), rapid.OneOf(
				rapid.String(), rapid.StringMatching(`-?[0-9]{1,30}(\.[0-9]+)?`), rapid.StringMatching(`"?[a-z]+"?;r=-?[0-9]{1,9};t=-?[0-9]{1,15}`),
			).Draw(t, "value"))
		}
		checkPacing(t, h)
	})
}

func FuzzReadPacing(f *testing.F) {
	f.Add("120", `"a";r=0;t=5`, "0", "1772366400")
	f.Add("Sun, 06 Nov 1994 08:49:37 GMT", "limit=1, remaining=0, reset=1", "0;w=1", "1m")
	f.Fuzz(func(t *testing.T, retry, limit, remaining, reset string) {
		checkPacing(t, header("Retry-After", retry, "RateLimit", limit, "RateLimit-Policy", reset,
			"X-RateLimit-Remaining", remaining, "X-RateLimit-Reset", reset, "RateLimit-Remaining", remaining, "RateLimit-Limit", reset))
	})
}
