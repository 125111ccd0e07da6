package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestARunThatBreaksBeginsAnew(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	serve := func(second http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/2") {
				second(w, r)
				return
			}
			w.Header().Set("ETag", `"one"`)
			w.Header().Set("Link", "<"+r.URL.Path+"/2>; rel=next")
			if r.Header.Get("If-None-Match") == `"one"` {
				w.WriteHeader(http.StatusNotModified)
				return
			}
			write(w, `[{"id":"1","created_at":"2026-03-14T15:09:26Z"}]`)
		}
	}
	a := newAPI(t, serve(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }))
	id := c.poll("broken", `interval: "PT24H"`, fmt.Sprintf(`provider: "github-events" providerConfig: {owner: "acme", baseUrl: %q}`, a.URL))
	c.until(id, "the second page is missed", func(p polled) bool { return p.Fetch.FetchedCount == 1 && p.Fetch.Error != nil })
	a.now(serve(func(w http.ResponseWriter, _ *http.Request) {
		write(w, `[{"id":"0","created_at":"2026-03-14T15:09:25Z"}]`)
	}))
	var ignored any
	c.do(&ignored, `mutation ($id: ID!) { fetchSource(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
	c.until(id, "the second page is there", func(p polled) bool { return p.Fetch.FetchedCount == 2 && p.Fetch.Error == nil })
}

func TestAnAPISaysWhenToComeAgain(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Poll-Interval", "3600")
		write(w, `[{"id":1}]`)
	})
	id := c.poll("paced", fmt.Sprintf(`url: %q, interval: "PT1S"`, a.URL), "")
	in := func(p polled, least, most time.Duration) bool {
		if p.Fetch.NextAt == nil || p.Fetch.LastAt == nil {
			return false
		}
		d := p.Fetch.NextAt.Sub(*p.Fetch.LastAt)
		return d >= least && d <= most
	}
	c.until(id, "the interval of the API holds", func(p polled) bool { return in(p, time.Hour, time.Hour+time.Minute) })
	a.now(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("RateLimit", `"default";r=0;t=7200`)
		write(w, `[{"id":1}]`)
	})
	c.fetchNow(id)
	c.until(id, "the quota is obeyed", func(p polled) bool {
		return in(p, 2*time.Hour-time.Minute, 2*time.Hour+time.Minute) && p.Fetch.Error == nil
	})
	asked := len(a.requests())
	var ignored any
	c.do(&ignored, `mutation ($id: ID!) { fetchSource(id: $id) { userErrors { message } } }`, map[string]any{"id": id})

	b := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "1800")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	other := c.poll("limited", fmt.Sprintf(`url: %q, interval: "PT1S"`, b.URL), "")
	c.until(other, "Retry-After is obeyed", func(p polled) bool {
		return in(p, 30*time.Minute-time.Minute, 31*time.Minute) && p.Fetch.Error != nil && strings.Contains(*p.Fetch.Error, "429")
	})
	if len(b.requests()) != 1 || len(a.requests()) != asked {
		t.Errorf("%d and %d requests in spite of what was asked", len(b.requests()), len(a.requests())-asked)
	}
}

func TestWhatFailsIsToldWithoutSecrets(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	a := newAPI(t, nil)
	id := c.poll("failing", fmt.Sprintf(`url: %q, interval: "PT24H", auth: {basic: {username: "u", password: "hush-hush"}}`, a.URL+"/x?key=hidden"), "")
	var since time.Time
	failures := 0
	for _, step := range []struct {
		says  string
		serve func(http.ResponseWriter, *http.Request)
	}{
		{"the credentials are refused", func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = fmt.Fprint(w, r.Header)
		}},
		{"there is nothing at this URL", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }},
		{"gone for good", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusGone) }},
		{"redirects are not followed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", "http://elsewhere.example/?key=hidden")
			w.WriteHeader(http.StatusFound)
		}},
		{"not JSON, but says that it is text/html", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = fmt.Fprint(w, "<a>hidden")
		}},
		{"not JSON: it breaks off after 16 bytes", func(w http.ResponseWriter, _ *http.Request) { write(w, `[{"id":"hidden"}`) }},
		{"the answer is empty", func(w http.ResponseWriter, _ *http.Request) { write(w, "\n") }},
		{"compressed", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			write(w, "\x1f\x8bhidden")
		}},
		{"no list", func(w http.ResponseWriter, _ *http.Request) { write(w, `{"data":[]}`) }},
		{"larger than 16 MiB", func(w http.ResponseWriter, _ *http.Request) { write(w, `["`+strings.Repeat("x", 17<<20)+`"]`) }},
		{"something is wrong there", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }},
	} {
		a.now(step.serve)
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { fetchSource(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
		p := c.until(id, step.says, func(p polled) bool { return p.Fetch.Error != nil && strings.Contains(*p.Fetch.Error, step.says) })
		if strings.Contains(*p.Fetch.Error, "hidden") || strings.Contains(*p.Fetch.Error, "hush") {
			t.Errorf("a secret is told: %s", *p.Fetch.Error)
		}
		if failures++; p.Fetch.Failures < failures || p.Fetch.FailingSince == nil || !since.IsZero() && !p.Fetch.FailingSince.Equal(since) {
			t.Errorf("after %d failures since %v it shows %d since %v", failures, since, p.Fetch.Failures, p.Fetch.FailingSince)
		}
		since = *p.Fetch.FailingSince
	}
	a.now(func(w http.ResponseWriter, _ *http.Request) { write(w, `[{"id":1}]`) })
	if p := c.fetchNow(id); p.Fetch.Error != nil || p.Fetch.FetchedCount != 1 || p.Fetch.Failures != 0 || p.Fetch.FailingSince != nil {
		t.Errorf("after it has healed: %+v", p.Fetch)
	}
}

func TestWhatIsChangedIsTriedAtOnce(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if token := r.Header.Get("Authorization"); !strings.HasSuffix(token, "7") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		write(w, `[{"id":1}]`)
	})
	id := c.poll("changed", fmt.Sprintf(`url: %q, interval: "PT24H", auth: {bearer: "token-0"}`, a.URL), "")
	c.until(id, "it is refused", func(p polled) bool { return p.Fetch.Error != nil })
	// Each change is tried, also where the source is asked once more before its node has
	// heard of the change: each ask by the old token is one by fetchSource.
	for n := 1; n <= 7; n++ {
		var ignored any
		c.do(&ignored, `mutation ($id: ID!) { fetchSource(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
		c.do(&ignored, fmt.Sprintf(`mutation { updateSource(input: {id: %q, poll: {url: %q, interval: "PT24H", auth: {bearer: "token-%d"}}}) { userErrors { message } } }`, id, a.URL, n), nil)
		testkit.Eventually(t, "the new token is shown", func() bool {
			return slices.ContainsFunc(a.requests(), func(r *http.Request) bool { return r.Header.Get("Authorization") == fmt.Sprintf("Bearer token-%d", n) })
		})
	}
	c.until(id, "it has come", func(p polled) bool { return p.Fetch.FetchedCount == 1 && p.Fetch.Error == nil })
}
