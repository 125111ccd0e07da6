package app_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/hookgraph/hookgraph/internal/testkit"
)

// onEach runs a story on one node with SQLite and on two with PostgreSQL.
func onEach(t *testing.T, story func(t *testing.T, nodes [2]*client)) {
	t.Helper()
	t.Run("one node on SQLite", func(t *testing.T) {
		t.Parallel()
		node := start(t, options(t))
		story(t, [2]*client{node, node})
	})
	t.Run("two nodes on PostgreSQL", func(t *testing.T) {
		t.Parallel()
		o := options(t)
		o.DatabaseURL = testkit.Postgres(t)
		story(t, [2]*client{start(t, o), start(t, o)})
	})
}

// sourceOf makes a source; extra are more fields of its input, as GraphQL.
func (c *client) sourceOf(slug, extra string) string {
	c.t.Helper()
	var made struct {
		CreateSource struct{ Source struct{ ID string } }
	}
	c.do(&made, `mutation ($slug: String!) { createSource(input: {name: $slug, slug: $slug `+extra+`}) { source { id } userErrors { field message } } }`,
		map[string]any{"slug": slug})
	return made.CreateSource.Source.ID
}

func TestAHundredDuplicatesOfEachKindOfKeyAreOneEvent(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, nodes [2]*client) {
		for slug, c := range map[string]struct {
			extra  string
			header http.Header
			other  http.Header // makes it another event
			body   string
			stays  bool // the other is a duplicate all the same
		}{
			"by-id":   {"allowUnverified: true", http.Header{"Webhook-Id": {"one"}}, http.Header{"Webhook-Id": {"two"}}, `{"n":1}`, false},
			"by-cel":  {`allowUnverified: true, dedupeKey: "body.order + ':' + headers['x-status']"`, http.Header{"X-Status": {"paid"}}, http.Header{"X-Status": {"sent"}}, `{"order":"o1"}`, false},
			"by-hash": {`allowUnverified: true, dedupeKey: "sha256(raw)"`, nil, http.Header{"Webhook-Id": {"two"}}, `{"order":"o1"}`, true},
		} {
			nodes[0].sourceOf(slug, c.extra)
			const senders = 100
			answers := make([]string, senders)
			var wg sync.WaitGroup
			for i := range senders {
				wg.Go(func() {
					r := nodes[i%2].post(slug, c.header, []byte(c.body))
					answers[i] = r.ID
				})
			}
			wg.Wait()
			for _, id := range answers {
				if id != answers[0] {
					t.Fatalf("%s: answered %s and %s", slug, id, answers[0])
				}
			}
			var got struct {
				Event  struct{ DuplicateCount int }
				Source struct{ Events struct{ TotalCount int } }
			}
			nodes[1].do(&got, `query ($id: ID!, $slug: String!) { event(id: $id) { duplicateCount } source(slug: $slug) { events { totalCount } } }`,
				map[string]any{"id": answers[0], "slug": slug})
			if got.Event.DuplicateCount != senders-1 || got.Source.Events.TotalCount != 1 {
				t.Errorf("%s: %d duplicates of %d events", slug, got.Event.DuplicateCount, got.Source.Events.TotalCount)
			}
			if r := nodes[0].post(slug, c.other, []byte(c.body)); r.Duplicate != c.stays {
				t.Errorf("%s: another one is a duplicate: %t", slug, r.Duplicate)
			}
		}
	})
}

func TestCaptureOverGraphQL(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, nodes [2]*client) {
		id := nodes[0].sourceOf("new", `provider: "stripe", secrets: ["whsec_not-known-yet"]`)
		const capture = `mutation ($id: ID!, $n: Int!) { captureSource(id: $id, count: $n) { source { captureRemaining } userErrors { code field message } } }`
		var ignored any
		nodes[0].do(&ignored, capture, map[string]any{"id": id, "n": 10})
		var mu sync.Mutex
		statuses := map[string]int{}
		var senders sync.WaitGroup
		for i := range 100 {
			senders.Go(func() {
				status, raw := nodes[i%2].send(http.MethodPost, "/in/new", nil, fmt.Appendf(nil, `{"n":%d}`, i))
				mu.Lock()
				defer mu.Unlock()
				if status == 200 {
					statuses[string(raw)]++
				} else {
					statuses[fmt.Sprint(status)]++
				}
			})
		}
		senders.Wait()
		if statuses[`{"captured":true}`] != 10 || statuses["401"] != 90 {
			t.Errorf("answered %v", statuses)
		}
		var got struct {
			Source     struct{ CaptureRemaining int }
			Rejections struct {
				TotalCount int
				Nodes      []struct{ Reason, Detail, BodyText string }
			}
			Events struct{ TotalCount int }
		}
		nodes[0].do(&got, `query ($id: ID!) { source(id: $id) { captureRemaining } events(filter: {sourceIds: [$id]}) { totalCount }
			rejections(filter: {reasons: [CAPTURED]}) { totalCount nodes { reason detail bodyText } } }`, map[string]any{"id": id})
		if got.Source.CaptureRemaining != 0 || got.Rejections.TotalCount != 10 || got.Events.TotalCount != 0 {
			t.Errorf("%d are left, %d kept, %d events", got.Source.CaptureRemaining, got.Rejections.TotalCount, got.Events.TotalCount)
		}
		if one := got.Rejections.Nodes[0]; !strings.Contains(one.Detail, "SIGNATURE_MISSING") || !strings.HasPrefix(one.BodyText, `{"n":`) {
			t.Errorf("%+v", one)
		}
		for n, want := range map[int]string{-1: `"count"`, 101: `"count"`} {
			if a := nodes[0].ask(capture, map[string]any{"id": id, "n": n}); !strings.Contains(string(a.Data), want) {
				t.Errorf("%d: %s", n, a.Data)
			}
		}
		api := nodes[0].sourceOf("publish", "kind: API")
		if a := nodes[0].ask(capture, map[string]any{"id": api, "n": 1}); !strings.Contains(string(a.Data), `"field":["id"]`) {
			t.Errorf("%s", a.Data)
		}
		nodes[0].do(&ignored, capture, map[string]any{"id": id, "n": 5})
		nodes[1].do(&ignored, capture, map[string]any{"id": id, "n": 0})
		if status, raw := nodes[1].send(http.MethodPost, "/in/new", nil, []byte(`{}`)); status != 401 {
			t.Errorf("after the end: %d %s", status, raw)
		}
	})
}

// A secret that was rotated on one node is good on every other one at once, however
// often they refuse others.
func TestARotatedSecretIsGoodOnTheOtherNodeAtOnce(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, nodes [2]*client) {
		id := nodes[0].sourceOf("keyed", `verification: {apiKey: {}}, secrets: ["secret-0"]`)
		nodes[1].post("keyed", http.Header{"X-Api-Key": {"secret-0"}}, []byte(`{}`))
		var ignored any
		nodes[0].do(&ignored, `mutation ($id: ID!) { updateSource(input: {id: $id, secrets: ["secret-1"]}) { source { id } userErrors { message } } }`, map[string]any{"id": id})
		nodes[1].post("keyed", http.Header{"X-Api-Key": {"secret-1"}}, []byte(`{}`))
	})
}

func TestEventsThatComeLateAreMarked(t *testing.T) {
	t.Parallel()
	onEach(t, func(t *testing.T, nodes [2]*client) {
		nodes[0].sourceOf("timed", `allowUnverified: true, occurredAt: "timestamp(body.at)"`)
		for i, c := range []struct {
			at   string
			late bool
		}{
			{"2026-01-01T00:00:01Z", false}, {"2026-01-01T00:00:03Z", false}, {"2026-01-01T00:00:02Z", true},
			{"2026-01-01T00:00:03Z", false}, {"2026-01-01T00:00:02.999999Z", true},
		} {
			r := nodes[i%2].post("timed", nil, fmt.Appendf(nil, `{"at":%q}`, c.at))
			var got struct{ Event struct{ OutOfOrder bool } }
			nodes[1].do(&got, `query ($id: ID!) { event(id: $id) { outOfOrder } }`, map[string]any{"id": r.ID})
			if got.Event.OutOfOrder != c.late {
				t.Errorf("event %d of %s is out of order: %t", i, c.at, got.Event.OutOfOrder)
			}
		}
	})
}
