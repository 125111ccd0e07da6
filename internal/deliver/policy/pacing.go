package policy

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// maxPacing is how long an endpoint is obeyed at most.
const maxPacing = 24 * time.Hour

// Pacing is what an answer asked of its callers.
type Pacing struct {
	NotBefore time.Time // no call before; zero: not asked for
	Quota     Quota     // zero: not told
}

// Quota is how many more calls an endpoint takes until a time.
type Quota struct {
	Left  int
	Until time.Time
}

// after returns the quota once an attempt has ended. Answers overtake one
// another, so within one period the lower number counts.
func (q Quota) after(a Attempt, now time.Time) Quota {
	told := a.Pacing.Quota
	current := q.Until.After(now)
	switch {
	case told.Until.After(now):
		if current && !told.Until.After(q.Until.Add(time.Second)) {
			told.Left = min(told.Left, q.Left)
		}
		return told
	case current && a.StatusCode != 0:
		q.Left = max(q.Left-1, 0)
		return q
	case current:
		return q
	}
	return Quota{}
}

// ReadPacing reads the headers by which an endpoint says when to come again:
// Retry-After, RateLimit with RateLimit-Policy in its structured forms (drafts 7
// and later of RateLimit header fields for HTTP), RateLimit-Remaining and -Reset
// (drafts 3 to 6), and the X- forms of all of them. What cannot be read asks
// nothing, and no more than 24 hours are asked.
func ReadPacing(h http.Header, status int, now time.Time) Pacing {
	r := pacingReader{now: now}
	if status < 200 || status > 299 { // it has no meaning on success
		for _, name := range []string{"Retry-After", "X-Retry-After"} {
			if wait, ok := readWait(first(h, name), now); ok {
				r.notBefore(wait)
			}
		}
	}
	for _, prefix := range []string{"Ratelimit", "X-Ratelimit", "X-Rate-Limit"} {
		policies := h[http.CanonicalHeaderKey(prefix+"-Policy")]
		if values := h[prefix]; len(values) > 0 {
			r.structured(values, policies)
		}
		remaining, ok := readNumber(first(h, prefix+"-Remaining"))
		if !ok && status == http.StatusTooManyRequests {
			ok = h.Get(prefix+"-Reset") != "" || h.Get(prefix+"-Reset-After") != "" // the status says that none is left
		}
		if !ok {
			continue
		}
		wait, ok := readWait(first(h, prefix+"-Reset-After"), now)
		if !ok {
			wait, ok = readWait(first(h, prefix+"-Reset"), now)
		}
		if !ok {
			wait, ok = windowOf(policies, "")
		}
		if !ok {
			wait, ok = windowOf(h[prefix+"-Limit"], "")
		}
		if ok {
			r.limit(remaining, wait)
		}
	}
	return r.pacing
}

func first(h http.Header, canonical string) string {
	if values := h[canonical]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// pacingReader gathers what several headers ask: the strictest of each kind.
type pacingReader struct {
	now    time.Time
	pacing Pacing
}

func (r *pacingReader) notBefore(wait time.Duration) {
	if wait > 0 {
		r.pacing.NotBefore = latest(r.pacing.NotBefore, r.now.Add(min(wait, maxPacing)))
	}
}

func (r *pacingReader) limit(remaining float64, wait time.Duration) {
	if wait <= 0 {
		return
	}
	if remaining < 1 {
		r.notBefore(wait)
		return
	}
	left := int(min(remaining, math.MaxInt32))
	if q := &r.pacing.Quota; q.Until.IsZero() || left < q.Left {
		*q = Quota{Left: left, Until: r.now.Add(min(wait, maxPacing))}
	}
}

// structured reads `"name";r=0;t=30` (draft 8 on) or `limit=10, remaining=0,
// reset=30` (draft 7).
func (r *pacingReader) structured(values, policies []string) {
	if list, err := httpsfv.UnmarshalList(values); err == nil {
		for _, member := range list {
			item, ok := member.(httpsfv.Item)
			if !ok {
				continue
			}
			remaining, ok := parameter(item.Params, "r")
			if !ok {
				continue
			}
			wait, ok := parameter(item.Params, "t")
			if ok {
				r.limit(remaining, seconds(wait))
			} else if window, ok := windowOf(policies, name(item)); ok {
				r.limit(remaining, window)
			}
		}
		return
	}
	dictionary, err := httpsfv.UnmarshalDictionary(values)
	if err != nil {
		return
	}
	remaining, told := member(dictionary, "remaining")
	wait, timed := member(dictionary, "reset")
	if told && timed {
		r.limit(remaining, seconds(wait))
	}
}

// windowOf returns the window (w) of the policy of this name, or the longest one
// where the name is "".
func windowOf(policies []string, of string) (time.Duration, bool) {
	list, err := httpsfv.UnmarshalList(policies)
	if err != nil {
		return 0, false
	}
	var longest time.Duration
	for _, member := range list {
		item, ok := member.(httpsfv.Item)
		if !ok || (of != "" && name(item) != of) {
			continue
		}
		if w, ok := parameter(item.Params, "w"); ok {
			longest = max(longest, seconds(w))
		}
	}
	return longest, longest > 0
}

func name(item httpsfv.Item) string {
	switch v := item.Value.(type) {
	case string:
		return v
	case httpsfv.Token:
		return string(v)
	}
	return ""
}

func parameter(p *httpsfv.Params, key string) (float64, bool) {
	if p == nil {
		return 0, false
	}
	value, ok := p.Get(key)
	if !ok {
		return 0, false
	}
	return number(value)
}

func member(d *httpsfv.Dictionary, key string) (float64, bool) {
	value, ok := d.Get(key)
	if !ok {
		return 0, false
	}
	item, ok := value.(httpsfv.Item)
	if !ok {
		return 0, false
	}
	return number(item.Value)
}

func number(value any) (float64, bool) {
	switch n := value.(type) {
	case int64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// readNumber reads the number that a value begins with: some dialects add a
// list of policies after a comma.
func readNumber(text string) (float64, bool) {
	if i := strings.IndexAny(text, ",;"); i >= 0 {
		text = text[:i]
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	return n, err == nil && !math.IsNaN(n) && !math.IsInf(n, 0)
}

// Numbers beyond these are points in time, not waits: nobody asks to wait for
// thirty years.
const (
	epochSeconds      = 1e9
	epochMilliseconds = 1e11
)

// readWait reads how long to wait from any of the dialects: seconds, a Unix time
// in seconds or milliseconds, an HTTP date, an RFC 3339 time, or a duration such
// as 1m30s. What lies in the past waits for nothing.
func readWait(text string, now time.Time) (time.Duration, bool) {
	if text == "" {
		return 0, false
	}
	if n, ok := readNumber(text); ok {
		switch {
		case n < 0:
			return 0, false
		case n >= epochMilliseconds:
			return seconds(n/1e3 - float64(now.UnixMilli())/1e3), true
		case n >= epochSeconds:
			return seconds(n - float64(now.UnixMilli())/1e3), true
		}
		return seconds(n), true
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(at.Sub(now), 0), true
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return max(at.Sub(now), 0), true
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return d, true
	}
	return 0, false
}

// seconds turns seconds into a duration that is neither negative nor beyond what
// is obeyed.
func seconds(n float64) time.Duration {
	n = min(max(n, 0), maxPacing.Seconds())
	return time.Duration(math.Ceil(n * float64(time.Second)))
}
