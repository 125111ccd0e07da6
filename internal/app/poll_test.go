package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

// api is a REST API that is polled: a real HTTP server that answers as it is told and
// remembers what it was asked.
type api struct {
	*httptest.Server
	mu    sync.Mutex
	asked []*http.Request
	serve func(w http.ResponseWriter, r *http.Request)
}

func newAPI(t *testing.T, serve func(w http.ResponseWriter, r *http.Request)) *api {
	t.Helper()
	a := &api{serve: serve}
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		a.asked = append(a.asked, r.Clone(r.Context()))
		serve := a.serve
		a.mu.Unlock()
		serve(w, r)
	}))
	t.Cleanup(func() { a.CloseClientConnections(); a.Close() })
	return a
}

// now makes the API answer in another way.
func (a *api) now(serve func(w http.ResponseWriter, r *http.Request)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.serve = serve
}

// requests returns what was asked so far.
func (a *api) requests() []*http.Request {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.asked)
}

// polled is what a dashboard shows of a source that polls.
type polled struct {
	ID    string
	Fetch struct {
		LastAt, NextAt, FailingSince           *time.Time
		Error                                  *string
		FetchedCount, RecoveredCount, Failures int
	}
	Events struct {
		Nodes []struct {
			ID, Type, DedupeKey string
			OccurredAt          *time.Time
			Recovered           bool
			DuplicateCount      int
			Payload             json.RawMessage
		}
	}
}

// poll makes a source that polls; extra are more fields of its input, and of its poll.
func (c *client) poll(slug, poll, extra string) string {
	c.t.Helper()
	var made struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&made, fmt.Sprintf(`mutation { createSource(input: {name: %[1]q, slug: %[1]q, kind: POLL, poll: {%s} %s}) { source { id } userErrors { code field message } } }`,
		slug, poll, extra), nil)
	return made.CreateSource.Source.ID
}

// polled returns a source as it stands, its newest events first. They are read after what
// the source counts, so that none of those is missing.
func (c *client) polled(id string) polled {
	c.t.Helper()
	var got struct{ Source polled }
	c.do(&got, `query ($id: ID!) { source(id: $id) { id fetch { lastAt nextAt error failingSince failures fetchedCount recoveredCount } } }`, map[string]any{"id": id})
	c.do(&got, `query ($id: ID!) { source(id: $id) { events(first: 100) { nodes { id type dedupeKey occurredAt recovered duplicateCount payload } } } }`, map[string]any{"id": id})
	return got.Source
}

// fetchNow asks for a source and waits until it has been asked since.
func (c *client) fetchNow(id string) polled {
	c.t.Helper()
	before := time.Now()
	var ignored any
	c.do(&ignored, `mutation ($id: ID!) { fetchSource(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
	return c.until(id, "it is fetched", func(p polled) bool { return p.Fetch.LastAt != nil && p.Fetch.LastAt.After(before) })
}

// until waits for a state of a source.
func (c *client) until(id, what string, holds func(polled) bool) polled {
	c.t.Helper()
	var p polled
	testkit.Eventually(c.t, what, func() bool { p = c.polled(id); return holds(p) })
	return p
}

func write(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(body))
}

func TestNewAndChangedItemsBecomeEventsWithTheirBytes(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		write(w, `{"data": [ {"id": 2, "type":"b", "n": 12345678901234567890.10, "updated_at":"2026-03-02T00:00:00Z"}, {"id":1,"s":"\u00e9", "updated_at":"2026-03-01T00:00:00Z"} ]}`)
	})
	id := c.poll("orders", fmt.Sprintf(`url: %q, items: "$.data[*]", interval: "PT24H", headers: [{name: "X-Plan", value: "gold"}], auth: {bearer: "token-of-the-tests"}`, a.URL+"/items{?since}"), "")
	p := c.until(id, "both items are events", func(p polled) bool { return p.Fetch.FetchedCount == 2 && p.Fetch.LastAt != nil })
	newest := p.Events.Nodes[0]
	if newest.Type != "b" || p.Events.Nodes[1].Type != "orders" || newest.DedupeKey[:2] != "2:" {
		t.Errorf("%+v", p.Events.Nodes)
	}
	if !strings.Contains(string(newest.Payload), "12345678901234567890.10") || newest.OccurredAt == nil || !newest.OccurredAt.Equal(time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("payload %s at %v", newest.Payload, newest.OccurredAt)
	}
	first := a.requests()[0]
	if first.Header.Get("Authorization") != "Bearer token-of-the-tests" || first.Header.Get("X-Plan") != "gold" || first.URL.RawQuery != "" {
		t.Errorf("asked by %s %v", first.URL, first.Header)
	}

	if p = c.fetchNow(id); p.Fetch.FetchedCount != 2 || p.Events.Nodes[0].DuplicateCount != 0 {
		t.Errorf("the same items again made %+v", p)
	}
	if got := a.requests()[1].URL.Query().Get("since"); got != "2026-03-01T23:55:00Z" {
		t.Errorf("asked since %q", got)
	}
	a.now(func(w http.ResponseWriter, _ *http.Request) {
		write(w, `{"data":[{"id":2,"type":"c","updated_at":"2026-03-03T00:00:00Z"},{"updated_at":"2026-03-01T00:00:00Z", "s":"é","id":1}]}`)
	})
	if p = c.fetchNow(id); p.Fetch.FetchedCount != 3 || p.Events.Nodes[0].Type != "c" {
		t.Errorf("a changed item, and one that is merely written in another way, made %+v", p)
	}
}

func TestTheValuesOfAnObjectCanBeItems(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) { write(w, `{"a":{"id":1},"b":{"id":2}}`) })
	values := c.poll("values", fmt.Sprintf(`url: %q, items: "$.*", interval: "PT24H"`, a.URL), "")
	c.until(values, "both values are events", func(p polled) bool { return p.Fetch.FetchedCount == 2 && p.Fetch.Error == nil })
	unsaid := c.poll("unsaid", fmt.Sprintf(`url: %q, interval: "PT24H"`, a.URL), "")
	c.until(unsaid, "it is asked where the items are", func(p polled) bool { return p.Fetch.Error != nil && strings.Contains(*p.Fetch.Error, "$.*") })
}

func TestPages(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	const total, size = 7, 3
	page := func(from int) (items []string) {
		for i := from; i < min(from+size, total); i++ {
			items = append(items, fmt.Sprintf(`{"id":"i%d"}`, i))
		}
		return items
	}
	number := func(r *http.Request, name string) int {
		n, _ := strconv.Atoi(r.URL.Query().Get(name))
		return n
	}
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		from, base := number(r, "from"), "http://"+r.Host+r.URL.Path
		next := from + size
		switch r.URL.Path {
		case "/link":
			if next < total {
				w.Header().Set("Link", fmt.Sprintf(`<%s?from=0>; rel="first", </link?from=%d>; title="a, b"; rel="next last"`, base, next))
			}
		case "/next":
			to := "null"
			if next < total {
				to = strconv.Quote(fmt.Sprintf("%s?from=%d", base, next))
			}
			write(w, fmt.Sprintf(`{"items":[%s],"next":%s}`, strings.Join(page(from), ","), to))
			return
		case "/cursor":
			from = number(r, "cursor")
			to := "null"
			if from+size < total {
				to = strconv.Itoa(from + size)
			}
			write(w, fmt.Sprintf(`{"items":[%s],"meta":{"next":%s}}`, strings.Join(page(from), ","), to))
			return
		case "/page":
			from = (number(r, "page") - 1) * size
		case "/offset":
			from = number(r, "offset")
		}
		write(w, "["+strings.Join(page(from), ",")+"]")
	})
	for _, way := range []struct{ name, poll string }{
		{"link", `url: "%s/link", pagination: {linkHeader: true}`},
		{"next", `url: "%s/next", items: "$.items[*]", pagination: {nextUrl: "$.next"}`},
		{"cursor", `url: "%s/cursor{?cursor}", items: "$.items[*]", pagination: {cursor: "$.meta.next"}`},
		{"page", `url: "%s/page{?page}", pagination: {page: true}`},
		{"offset", `url: "%s/offset{?offset}", pagination: {offset: true}`},
	} {
		id := c.poll(way.name, fmt.Sprintf(way.poll, a.URL)+`, interval: "PT24H"`, "")
		c.until(id, way.name+" has brought all", func(p polled) bool { return p.Fetch.FetchedCount >= total })
		if p := c.fetchNow(id); p.Fetch.FetchedCount != total || p.Fetch.Error != nil {
			t.Errorf("%s: %+v", way.name, p.Fetch)
		}
	}
}

func TestACircleOfPagesEndsAndIsTold(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", fmt.Sprintf(`</%d>; rel=next`, (len(r.URL.Path)+1)%3))
		write(w, fmt.Sprintf(`[{"id":%q}]`, r.URL.Path))
	})
	id := c.poll("circle", fmt.Sprintf(`url: %q, pagination: {linkHeader: true}, interval: "PT24H"`, a.URL+"/start"), "")
	c.until(id, "the circle is told", func(p polled) bool { return p.Fetch.Error != nil && strings.Contains(*p.Fetch.Error, "circle") })
	if n := len(a.requests()); n > 10 {
		t.Errorf("%d requests", n)
	}
	elsewhere := newAPI(t, func(w http.ResponseWriter, _ *http.Request) { write(w, `[]`) })
	a.now(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "<"+elsewhere.URL+">; rel=next")
		write(w, `[]`)
	})
	c.fetchNow(id)
	c.until(id, "the other host is told", func(p polled) bool { return p.Fetch.Error != nil && strings.Contains(*p.Fetch.Error, "another host") })
	if len(elsewhere.requests()) != 0 {
		t.Error("another host was asked")
	}
}

func TestConditionalRequests(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	var answered sync.Map
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/1" {
			w.Header().Set("Link", "</2>; rel=next")
		}
		w.Header().Set("ETag", `W/"`+r.URL.Path+`"`)
		if r.Header.Get("If-None-Match") == `W/"`+r.URL.Path+`"` {
			answered.Store(r.URL.Path, true)
			w.WriteHeader(http.StatusNotModified)
			return
		}
		write(w, fmt.Sprintf(`[{"id":%q}]`, r.URL.Path))
	})
	id := c.poll("etag", fmt.Sprintf(`url: %q, pagination: {linkHeader: true}, interval: "PT24H"`, a.URL+"/1"), "")
	c.until(id, "both pages are there", func(p polled) bool { return p.Fetch.FetchedCount == 2 })
	if p := c.fetchNow(id); p.Fetch.FetchedCount != 2 || p.Fetch.Error != nil {
		t.Errorf("%+v", p.Fetch)
	}
	testkit.Eventually(t, "both pages were answered 304", func() bool {
		_, one := answered.Load("/1")
		_, two := answered.Load("/2")
		return one && two
	})
	a.now(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/1" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		write(w, `[{"id":"/2"},{"id":"new"}]`)
	})
	c.fetchNow(id)
	c.until(id, "what is new on the page after an unchanged one is there", func(p polled) bool { return p.Fetch.FetchedCount == 3 })
}

// TestARunThatBreaksBeginsAnew has a page vanish after the pages before it were seen, which
// then say that nothing has changed.
func TestAnAccessTokenIsRenewedOnce(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	var mu sync.Mutex
	tokens := 0
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/token" {
			tokens++
			write(w, fmt.Sprintf(`{"access_token":"t%d","token_type":"Bearer","expires_in":3600}`, tokens))
			return
		}
		if r.Header.Get("Authorization") != "Bearer t2" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		write(w, `[{"id":1}]`)
	})
	id := c.poll("oauth", fmt.Sprintf(`url: %q, interval: "PT24H", auth: {oauth2: {tokenUrl: %q, clientId: "c", clientSecret: "s"}}`, a.URL, a.URL+"/token"), "")
	if p := c.until(id, "the item is there", func(p polled) bool { return p.Fetch.FetchedCount == 1 }); p.Fetch.Error != nil {
		t.Errorf("%s", *p.Fetch.Error)
	}
	if tokens != 2 {
		t.Errorf("%d tokens", tokens)
	}
}

func TestReconciliation(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	var hook struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&hook, `mutation { createSource(input: {name: "Payments", slug: "payments", provider: "stripe", allowUnverified: true}) { source { id } userErrors { message } } }`, nil)
	webhook := hook.CreateSource.Source.ID
	event := func(id string, at time.Time) string {
		return fmt.Sprintf(`{"id":%q,"type":"charge.succeeded","created":%d}`, id, at.Unix())
	}
	old, now := time.Now().Add(-time.Hour), time.Now()
	sent := c.post("payments", nil, []byte(event("evt_sent", old)))
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		write(w, `[`+event("evt_young", now)+`,`+event("evt_sent", old)+`,`+event("evt_missed", old)+`]`)
	})
	id := c.poll("catchup", fmt.Sprintf(`url: %q, interval: "PT1H", grace: "PT10M", reconciles: %q`, a.URL, webhook), "")
	c.until(id, "the gap is filled", func(p polled) bool { return p.Fetch.RecoveredCount == 1 && p.Fetch.FetchedCount == 1 })
	events := c.polled(webhook).Events.Nodes
	if len(events) != 2 || events[0].DedupeKey != "evt_missed" || !events[0].Recovered || events[1].ID != sent.ID || events[1].Recovered || events[0].Type != "charge.succeeded" {
		t.Fatalf("%+v", events)
	}
	if late := c.post("payments", nil, []byte(event("evt_missed", old))); !late.Duplicate || late.ID != events[0].ID {
		t.Errorf("the webhook that comes late is %+v", late)
	}
	if young := c.post("payments", nil, []byte(event("evt_young", now))); young.Duplicate {
		t.Error("what was too young was not waited for")
	}
	var told struct {
		Events struct {
			Nodes []struct{ Payload json.RawMessage }
		}
	}
	testkit.Eventually(t, "it is told", func() bool {
		c.do(&told, `{ events(filter: {types: ["hookgraph.source.recovered"]}) { nodes { payload } } }`, nil)
		return len(told.Events.Nodes) > 0
	})
	var facts struct {
		SourceID, PollID string
		Count            int
		EventIDs         []string
	}
	if err := json.Unmarshal(told.Events.Nodes[0].Payload, &facts); err != nil || len(told.Events.Nodes) != 1 ||
		facts.SourceID != webhook || facts.PollID != id || facts.Count != 1 || !slices.Equal(facts.EventIDs, []string{events[0].ID}) {
		t.Errorf("%s", told.Events.Nodes[0].Payload)
	}
	var shown struct {
		Source struct {
			Poll struct {
				URL, Grace string
				Reconciles struct{ ID string }
			}
		}
	}
	c.do(&shown, `query ($id: ID!) { source(id: $id) { poll { url grace interval items reconciles { id } headers { name value } pagination { page } } } }`, map[string]any{"id": id})
	if shown.Source.Poll.URL != a.URL || shown.Source.Poll.Grace != "PT10M" || shown.Source.Poll.Reconciles.ID != webhook {
		t.Errorf("%+v", shown)
	}
}

func TestAPausedSourceIsNotAsked(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) { write(w, `[{"id":1}]`) })
	id := c.poll("paused", fmt.Sprintf(`url: %q, interval: "PT1S"`, a.URL), "")
	c.until(id, "it is asked", func(p polled) bool { return p.Fetch.FetchedCount == 1 })
	var ignored any
	c.do(&ignored, `mutation ($id: ID!) { pauseSource(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
	if refused := c.ask(`mutation ($id: ID!) { fetchSource(id: $id) { userErrors { code } } }`, map[string]any{"id": id}); !strings.Contains(string(refused.Data), "CONFLICT") {
		t.Errorf("%s", refused.Data)
	}
	if p := c.polled(id); p.Fetch.NextAt != nil {
		t.Errorf("paused, it is to be asked at %v", p.Fetch.NextAt)
	}
	paused := time.Now()
	a.now(func(w http.ResponseWriter, _ *http.Request) { write(w, `[{"id":1},{"id":2}]`) })
	c.do(&ignored, `mutation ($id: ID!) { resumeSource(id: $id) { userErrors { message } } }`, map[string]any{"id": id})
	c.until(id, "it is asked again", func(p polled) bool { return p.Fetch.FetchedCount == 2 && p.Fetch.LastAt.After(paused) })
}
