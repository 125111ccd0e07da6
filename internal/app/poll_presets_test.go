package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

// ghost is a stand-in for the API of GitHub as it is documented: deliveries of a webhook,
// newest first, in pages by cursor that the Link header leads to, each with its payload
// apart; and the events API with ETag and X-Poll-Interval.
type ghost struct {
	mu         sync.Mutex
	deliveries []string // guids, oldest first
	at         time.Time
}

func (g *ghost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer ghp_test" || r.Header.Get("Accept") != "application/vnd.github+json" {
		w.WriteHeader(http.StatusNotFound) // as GitHub answers whom it does not know
		return
	}
	w.Header().Set("X-RateLimit-Remaining", "4000")
	w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
	const list = "/repos/acme/shop/hooks/17/deliveries"
	switch {
	case r.URL.Path == list:
		const size = 2
		last := len(g.deliveries)
		if cursor := r.URL.Query().Get("cursor"); cursor != "" {
			last, _ = strconv.Atoi(cursor)
		}
		var items []string
		for i := last - 1; i >= max(0, last-size); i-- {
			items = append(items, fmt.Sprintf(`{"id":%d,"guid":%q,"delivered_at":%q,"redelivery":false,"duration":0.27,"status":"timed out","status_code":504,"event":"issues","action":"opened","installation_id":null,"repository_id":null}`,
				9007199254740993+i, g.deliveries[i], g.at.Add(time.Duration(i)*time.Minute).Format(time.RFC3339)))
		}
		if last > size {
			w.Header().Set("Link", fmt.Sprintf(`<http://%s%s?per_page=100&cursor=%d>; rel="next"`, r.Host, list, last-size))
		}
		write(w, "["+strings.Join(items, ",")+"]")
	case strings.HasPrefix(r.URL.Path, list+"/"):
		n, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, list+"/"))
		guid := g.deliveries[n-9007199254740993]
		write(w, fmt.Sprintf(`{"id":%d,"guid":%q,"event":"issues","request":{"headers":{"X-GitHub-Delivery":%q,"X-GitHub-Event":"issues","content-type":"application/json"},"payload":{"action":"opened","issue":{"n":1.0},"repository":{"full_name":"acme/shop"}}},"response":{"headers":{},"payload":"x"}}`, n, guid, guid))
	case r.URL.Path == "/repos/acme/shop/events":
		w.Header().Set("ETag", `"events-`+strconv.Itoa(len(g.deliveries))+`"`)
		w.Header().Set("X-Poll-Interval", "60")
		if r.Header.Get("If-None-Match") == w.Header().Get("ETag") {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		var items []string
		for i := len(g.deliveries) - 1; i >= 0; i-- {
			items = append(items, fmt.Sprintf(`{"id":"%d","type":"PushEvent","actor":{"id":1},"repo":{"id":3,"name":"acme/shop"},"payload":{},"public":true,"created_at":%q}`,
				22249084964+i, g.at.Add(time.Duration(i)*time.Minute).Format(time.RFC3339)))
		}
		write(w, "["+strings.Join(items, ",")+"]")
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func TestGitHubPresets(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	stand := &ghost{at: time.Now().Add(-time.Hour).Truncate(time.Second)}
	for i := range 5 {
		stand.deliveries = append(stand.deliveries, fmt.Sprintf("guid-%d", i))
	}
	a := newAPI(t, stand.ServeHTTP)
	var hook struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&hook, `mutation { createSource(input: {name: "Hook", slug: "hook", provider: "github", allowUnverified: true}) { source { id } userErrors { message } } }`, nil)
	c.post("hook", http.Header{"X-Github-Event": {"issues"}, "X-Github-Delivery": {"guid-1"}}, []byte(`{"action":"opened"}`))
	settings := fmt.Sprintf(`providerConfig: {owner: "acme", repo: "shop", hookId: "17", baseUrl: %q}`, a.URL)
	id := c.poll("deliveries", fmt.Sprintf(`interval: "PT24H", grace: "PT0S", reconciles: %q, auth: {bearer: "ghp_test"}`, hook.CreateSource.Source.ID), `provider: "github-deliveries" `+settings)
	c.until(id, "the gaps are filled", func(p polled) bool { return p.Fetch.RecoveredCount == 4 })
	var types []string
	for _, e := range c.polled(hook.CreateSource.Source.ID).Events.Nodes {
		types = append(types, e.DedupeKey+" "+e.Type)
		if e.Recovered && !strings.Contains(string(e.Payload), "1.0") {
			t.Errorf("the payload is %s", e.Payload)
		}
	}
	if len(types) != 5 || slices.ContainsFunc(types, func(s string) bool { return !strings.HasSuffix(s, " issues.opened") }) {
		t.Errorf("%q", types)
	}
	for _, r := range a.requests() { // what the webhook has brought is not asked for
		if strings.HasSuffix(r.URL.Path, "/"+strconv.Itoa(9007199254740993+1)) {
			t.Errorf("%s was asked for", r.URL)
		}
	}
	asked := len(a.requests())
	c.fetchNow(id)
	if more := len(a.requests()) - asked; more > 3 {
		t.Errorf("%d requests where nothing is new", more)
	}

	events := c.poll("events", `interval: "PT1S", auth: {bearer: "ghp_test"}`, `provider: "github-events" `+strings.Replace(settings, `hookId: "17", `, "", 1))
	p := c.until(events, "the events are there", func(p polled) bool { return p.Fetch.FetchedCount == 5 && p.Fetch.LastAt != nil })
	if first := p.Events.Nodes[4]; first.Type != "PushEvent" || first.DedupeKey != "22249084964" || !first.OccurredAt.Equal(stand.at) {
		t.Errorf("the oldest, which comes first, is %+v", first)
	}
	if wait := p.Fetch.NextAt.Sub(*p.Fetch.LastAt); wait < time.Minute-time.Second {
		t.Errorf("asked again after %s in spite of X-Poll-Interval", wait)
	}
	if p = c.fetchNow(events); p.Fetch.Error != nil || p.Fetch.FetchedCount != 5 {
		t.Errorf("where nothing has changed: %+v", p.Fetch)
	}
}

func TestTheStripePreset(t *testing.T) {
	t.Parallel()
	c := start(t, options(t))
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	var mu sync.Mutex
	total := 250
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) { // https://docs.stripe.com/api/events/list
		mu.Lock()
		defer mu.Unlock()
		query := r.URL.Query()
		if r.URL.Path != "/v1/events" || r.Header.Get("Authorization") != "Bearer rk_test" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		limit, _ := strconv.Atoi(query.Get("limit"))
		from, _ := strconv.ParseInt(query.Get("created[gte]"), 10, 64)
		last := total
		if after, given := strings.CutPrefix(query.Get("starting_after"), "evt_"); given {
			last, _ = strconv.Atoi(after)
		}
		items, more := []string{}, false
		for i := last - 1; i >= 0; i-- {
			created := begin.Add(time.Duration(i) * time.Second).Unix()
			if created < from {
				break
			}
			if more = len(items) == limit; more {
				break
			}
			items = append(items, fmt.Sprintf(`{"id":"evt_%d","object":"event","created":%d,"type":"charge.succeeded","data":{"object":{"id":"ch_%d","amount":100}}}`, i, created, i))
		}
		write(w, fmt.Sprintf(`{"object":"list","url":"/v1/events","has_more":%t,"data":[%s]}`, more, strings.Join(items, ",")))
	})
	since := begin.Add(10 * time.Second)
	id := c.poll("stripe", fmt.Sprintf(`interval: "PT24H", since: %q, auth: {bearer: "rk_test"}`, since.UTC().Format(time.RFC3339)),
		fmt.Sprintf(`provider: "stripe-events" providerConfig: {baseUrl: %q}`, a.URL))
	p := c.until(id, "all since then are there", func(p polled) bool { return p.Fetch.FetchedCount == 240 })
	if e := p.Events.Nodes[0]; e.Type != "charge.succeeded" || !strings.HasPrefix(e.DedupeKey, "evt_") || e.OccurredAt == nil {
		t.Errorf("%+v", e)
	}
	testkit.Eventually(t, "the last page was asked for", func() bool { return len(a.requests()) == 3 })
	mu.Lock()
	total = 300
	mu.Unlock()
	c.fetchNow(id)
	c.until(id, "what is new is there", func(p polled) bool { return p.Fetch.FetchedCount == 290 })
}
