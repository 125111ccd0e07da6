package app_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestAKeptCursorGoesOnAcrossRestarts(t *testing.T) {
	t.Parallel()
	o := options(t)
	c := start(t, o)
	a := newAPI(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("cursor") == "" {
			write(w, `{"items":[{"id":1}],"next":"c1"}`)
			return
		}
		write(w, `{"items":[],"next":"c1"}`)
	})
	id := c.poll("feed", fmt.Sprintf(`url: %q, items: "$.items[*]", pagination: {cursor: "$.next", keepCursor: true}, interval: "PT24H"`, a.URL+"/feed{?cursor}"), "")
	c.until(id, "the item is there", func(p polled) bool { return p.Fetch.FetchedCount == 1 })
	testkit.Eventually(t, "the end was reached", func() bool { return len(a.requests()) == 2 })
	c.stop()
	a.now(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("cursor") {
		case "c1":
			write(w, `{"items":[{"id":2}],"next":"c2"}`)
		case "c2":
			write(w, `{"items":[],"next":"c2"}`)
		default:
			w.WriteHeader(http.StatusTeapot)
		}
	})
	c = start(t, o)
	if p := c.fetchNow(id); p.Fetch.Error != nil {
		t.Errorf("%s", *p.Fetch.Error)
	}
	c.until(id, "what is new is there", func(p polled) bool { return p.Fetch.FetchedCount == 2 })
}

// TestAHubKilledBetweenPagesGoesOnWhereItWas kills a hub with SIGKILL while it waits for
// a page, and has another process go on with its database.
func TestAHubKilledBetweenPagesGoesOnWhereItWas(t *testing.T) {
	t.Parallel()
	o := options(t)
	first := launch(t, o)
	const pages, size = 5, 20
	serve := func(hang bool) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			page, _ := strconv.Atoi(r.URL.Query().Get("page"))
			if hang && page == 3 {
				<-r.Context().Done()
				return
			}
			var items []string
			for i := range size {
				if page <= pages {
					items = append(items, fmt.Sprintf(`{"id":"%d-%d"}`, page, i))
				}
			}
			write(w, "["+strings.Join(items, ",")+"]")
		}
	}
	a := newAPI(t, serve(true))
	id := first.poll("cut", fmt.Sprintf(`url: %q, pagination: {page: true}, interval: "PT24H"`, a.URL+"/{?page}"), "")
	testkit.Eventually(t, "the third page is asked for", func() bool { return len(a.requests()) == 3 })
	first.kill()
	a.now(serve(false))
	c := start(t, o)
	p := c.until(id, "all pages are there", func(p polled) bool { return p.Fetch.FetchedCount == pages*size })
	keys := make(map[string]bool)
	for _, e := range p.Events.Nodes {
		if keys[e.DedupeKey] = true; e.DuplicateCount != 0 {
			t.Errorf("%s came %d times more", e.DedupeKey, e.DuplicateCount)
		}
	}
	if len(keys) != pages*size {
		t.Errorf("%d events", len(keys))
	}
	if next := a.requests()[3].URL.Query().Get("page"); next != "3" {
		t.Errorf("it went on with page %s", next)
	}
}

// TestOneOfTwoNodesPolls has both nodes of a PostgreSQL run, and the one that polls stop.
func TestOneOfTwoNodesPolls(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.DatabaseURL = testkit.Postgres(t)
	nodes := []*client{start(t, o), start(t, o)}
	var mu sync.Mutex
	under, most, last := 0, 0, 0
	a := newAPI(t, func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		last++
		n := last
		under++
		most = max(most, under)
		mu.Unlock()
		write(w, fmt.Sprintf(`[{"id":%d}]`, n))
		mu.Lock()
		under--
		mu.Unlock()
	})
	id := nodes[0].poll("two", fmt.Sprintf(`url: %q, interval: "PT1S"`, a.URL), "")
	nodes[0].until(id, "it is polled", func(p polled) bool { return p.Fetch.FetchedCount >= 3 })
	nodes[0].stop()
	before := len(a.requests())
	p := nodes[1].until(id, "the other node goes on", func(p polled) bool { return p.Fetch.FetchedCount >= before+2 })
	mu.Lock()
	defer mu.Unlock()
	if most != 1 || p.Fetch.Error != nil {
		t.Errorf("%d at a time: %+v", most, p.Fetch)
	}
}
