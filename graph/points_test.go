package graph_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// handClock is set by hand.
type handClock struct{ offset atomic.Int64 }

func (c *handClock) Now() time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(c.offset.Load()))
}

func TestPointsRunOutPerCredentialAndComeBack(t *testing.T) {
	t.Parallel()
	c := &handClock{}
	b := setup(t, func(cfg *graph.Config) {
		cfg.Clock = c
		cfg.Points = gate.PointsConfig{Maximum: 10_000, RestoreRate: 100}
	})
	const costly = `{ events(first: 100) { nodes { deliveries(first: 96) { nodes { id } } } } }` // 9801
	const limit = `{ viewer { rateLimit { limit remaining resetAt } } }`                         // 2
	first := b.ask(costly)
	if first.code() != "" || fmt.Sprint(first.Extensions["cost"]) != "map[available:199 limit:10000 maximumAvailable:10000 requested:9801 restoreRate:100]" {
		t.Fatalf("got %s", first.Raw)
	}
	if a := b.ask(limit); !strings.Contains(a.Raw, `{"limit":10000,"remaining":197,"resetAt":"2026-03-01T12:01:38.03Z"}`) {
		t.Errorf("got %s", a.Raw)
	}
	want := `{"errors":[{"message":"the operation costs 9801 points and 197 are left; try again in 97 seconds","extensions":{"code":"RATE_LIMITED",` +
		`"cost":{"available":197,"limit":10000,"maximumAvailable":10000,"requested":9801,"restoreRate":100},"retryAfter":97}}],` +
		`"extensions":{"cost":{"available":197,"limit":10000,"maximumAvailable":10000,"requested":9801,"restoreRate":100}}}`
	if a := b.ask(costly); a.Status != http.StatusOK || a.Raw != want {
		t.Errorf("got %d %s", a.Status, a.Raw)
	}
	for _, media := range []string{"application/graphql-response+json", "text/event-stream"} {
		a := b.send(http.MethodPost, "", `{"query":"`+costly+`"}`, "Authorization", "Bearer "+operatorKey, "Content-Type", "application/json", "Accept", media)
		if a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "97" || a.Raw != want {
			t.Errorf("%s: got %d %q %s", media, a.Status, a.Header.Get("Retry-After"), a.Raw)
		}
	}
	s := b.dial(t)
	s.init()
	s.send(fmt.Sprintf(subscribe, "1", costly))
	if m := s.expect("error"); !strings.Contains(string(m.Payload), `"code":"RATE_LIMITED"`) || !strings.Contains(string(m.Payload), `"retryAfter":97`) {
		t.Errorf("got %s", m.Payload)
	}
	s.send(fmt.Sprintf(subscribe, "2", "subscription { eventStream(batchSize: 100) { cursor } }"))
	s.expect("next") // 100 points, whatever it sends
	if a := b.ask(limit); !strings.Contains(a.Raw, `"remaining":95,`) {
		t.Errorf("got %s", a.Raw)
	}
	other := b.key(hub.ScopeEventsRead)
	if a := b.askAs(other, limit); !strings.Contains(a.Raw, `"remaining":9998,`) {
		t.Errorf("another key: %s", a.Raw)
	}
	// What is refused takes no points, and needs none to be told why.
	for _, query := range []string{`{ nothing }`, `{`, `query($n: Int!) { events(first: $n) { totalCount } }`} {
		const want = "map[available:95 limit:10000 maximumAvailable:10000 requested:0 restoreRate:100]"
		if a := b.ask(query); !strings.HasPrefix(a.code(), "GRAPHQL_") || fmt.Sprint(a.Extensions["cost"]) != want {
			t.Errorf("%s: got %s", query, a.Raw)
		}
	}
	c.offset.Add(int64(97*time.Second + 10*time.Second))
	if a := b.ask(costly); a.code() != "" {
		t.Errorf("after the wait: %s", a.Raw)
	}
}

func TestPartnersHaveATenthOfThePoints(t *testing.T) {
	t.Parallel()
	c := &handClock{}
	b := setup(t, func(cfg *graph.Config) {
		cfg.Clock = c
		cfg.Points = gate.PointsConfig{Maximum: 200_000, RestoreRate: 1000}
	})
	var keys []string
	for _, name := range []string{"A", "B"} {
		p := &hub.Partner{ID: hub.NewID(hub.PartnerPrefix, now()), Name: name, CreatedAt: now(), UpdatedAt: now()}
		must(t, b.store.CreatePartner(t.Context(), p))
		key, text := auth.NewKey(name, hub.RolePartner, hub.RolePartner.DefaultScopes(), time.Time{}, now())
		key.PartnerID = p.ID
		must(t, b.store.CreateAPIKey(t.Context(), key))
		keys = append(keys, text)
	}
	const costly = `{ events(first: 100) { nodes { deliveries(first: 96) { nodes { id } } } } }` // 9801
	const limit = `{ viewer { rateLimit { limit remaining } } }`                                 // 2
	cost := func(a *answer) string { return fmt.Sprint(a.Extensions["cost"]) }
	for _, left := range []int{10_199, 398} {
		if a := b.askAs(keys[0], costly); a.code() != "" ||
			cost(a) != fmt.Sprintf("map[available:%d limit:10000 maximumAvailable:20000 requested:9801 restoreRate:100]", left) {
			t.Fatalf("got %s", a.Raw)
		}
	}
	if a := b.askAs(keys[0], costly); a.code() != "RATE_LIMITED" || fmt.Sprint(a.Errors[0].Extensions["retryAfter"]) != "95" ||
		cost(a) != "map[available:398 limit:10000 maximumAvailable:20000 requested:9801 restoreRate:100]" {
		t.Errorf("got %s", a.Raw)
	}
	if a := b.askAs(keys[1], limit); !strings.Contains(a.Raw, `{"limit":20000,"remaining":19998}`) {
		t.Errorf("another partner: got %s", a.Raw)
	}
	if a := b.ask(limit); !strings.Contains(a.Raw, `{"limit":200000,"remaining":199998}`) {
		t.Errorf("the operator: got %s", a.Raw)
	}
	c.offset.Add(int64(95 * time.Second))
	if a := b.askAs(keys[0], costly); a.code() != "" {
		t.Errorf("after the wait: %s", a.Raw)
	}
}

// Whatever took points tells so, also where it is refused after that.
func TestEveryAnswerTellsItsCost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for query, code := range map[string]string{
		`{ viewer { role } }`: "",
		`{ event(id: "x") { id } apiKeys(first: 1000) { nodes { id } } }`: "BAD_USER_INPUT",
		`{ nothing }`: "GRAPHQL_VALIDATION_FAILED",
		`subscription { eventStream(after: "x") { cursor } }`:         "BAD_USER_INPUT",
		`subscription { deliveryUpdates(after: "x") { cursor } }`:     "BAD_USER_INPUT",
		`subscription { statsUpdates(interval: "PT0.1S") { start } }`: "BAD_USER_INPUT",
	} {
		for _, method := range []string{http.MethodPost, http.MethodGet} {
			for _, media := range []string{"application/json", "application/graphql-response+json", "text/event-stream"} {
				target, body := "", `{"query":`+strconv.Quote(query)+`}`
				if method == http.MethodGet {
					target, body = "?query="+url.QueryEscape(query), ""
				}
				a := b.send(method, target, body, "Authorization", "Bearer "+operatorKey, "Content-Type", "application/json", "Accept", media)
				if !strings.Contains(a.Raw, `"cost":{"available":`) || media == "text/event-stream" && !strings.Contains(a.Raw, code) {
					t.Errorf("%s %s as %s: got %s", method, query, media, a.Raw)
				}
			}
		}
	}
	a := b.send(http.MethodGet, "?query="+url.QueryEscape(`mutation { deleteEndpoint(input: {id: "x"}) { deletedId } }`), "", "Authorization", "Bearer "+operatorKey)
	if a.Status != http.StatusMethodNotAllowed || !strings.Contains(a.Raw, `"cost":{"available":`) {
		t.Errorf("got %s", a.Raw)
	}
}

func TestWhichOperationIsMeant(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, want := range map[string]string{
		"":          "the document has 2 operations: say by operationName which of them to run",
		"C":         "the document has no operation of the name that operationName gives",
		"A":         `"role":"OPERATOR"`,
		`\u0000\"<`: "the document has no operation of the name that operationName gives",
	} {
		a := b.send(http.MethodPost, "", `{"query":"query A { viewer { role } } query B { viewer { scopes } }","operationName":"`+name+`"}`,
			"Authorization", "Bearer "+operatorKey, "Content-Type", "application/json")
		if !strings.Contains(a.Raw, want) {
			t.Errorf("%q: got %s", name, a.Raw)
		}
	}
}

func TestWhatIsWrongWithVariablesIsSaidOfEach(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const query = `query($first: Int, $id: ID!, $filter: EventFilter) { event(id: $id) { id } events(first: $first, filter: $filter) { totalCount } }`
	for variables, want := range map[string]string{
		`{}`:                          `{"message":"the variable $id: must be defined","locations":[{"line":1,"column":20}],`,
		`{"id":null}`:                 `{"message":"the variable $id: cannot be null","locations":[{"line":1,"column":20}],`,
		`{"id":"x","first":"x"}`:      `{"message":"the variable $first: cannot use string as Int","locations":[{"line":1,"column":7}],`,
		`{"id":"x","filter":{"a":1}}`: `{"message":"the variable $filter.a: unknown field","locations":[{"line":1,"column":30}],`,
	} {
		a := b.send(http.MethodPost, "", `{"query":`+strconv.Quote(query)+`,"variables":`+variables+`}`,
			"Authorization", "Bearer "+operatorKey, "Content-Type", "application/json")
		if a.code() != "GRAPHQL_VALIDATION_FAILED" || !strings.Contains(a.Raw, want) || strings.Contains(a.Raw, `"path"`) {
			t.Errorf("%s: got %s", variables, a.Raw)
		}
	}
}

// wrong is a request of some KiB that takes 72,148 points to refuse: 100, and 16 for each
// byte beyond 512.
var wrong = `{"query":"{ ` + strings.Repeat("x ", 2500) + `}"}`

// Whoever has much refused waits for what takes work to look at, and for that alone, on
// any way in: where that would take long, it is told when to come back.
func TestWhoHasMuchRefusedWaits(t *testing.T) {
	t.Parallel()
	if got := gate.Refusal(len(wrong)); got != 72_148 {
		t.Fatalf("got %d", got)
	}
	c := &handClock{}
	b := setup(t, func(cfg *graph.Config) {
		cfg.Clock = c
		cfg.Points = gate.PointsConfig{Maximum: 100_000, RestoreRate: 1000}
	})
	key := b.key(hub.ScopeEventsRead)
	s := b.dial(t, "Authorization", "Bearer "+key)
	s.send(`{"type":"connection_init"}`)
	s.expect("connection_ack")
	send := func(method, query, body, media string) *answer {
		return b.send(method, query, body, "Authorization", "Bearer "+key, "Content-Type", "application/json", "Accept", media)
	}
	const known = `{"query":"{ viewer { role } }"}`
	if a := send(http.MethodPost, "", known, "application/json"); a.code() != "" {
		t.Fatalf("got %s", a.Raw)
	}
	for range 2 {
		if a := send(http.MethodPost, "", wrong, "application/json"); a.code() != "GRAPHQL_PARSE_FAILED" ||
			!strings.Contains(a.Raw, `"available":99999,`) || !strings.Contains(a.Raw, `"requested":0,`) {
			t.Errorf("got %d %.300s", a.Status, a.Raw)
		}
	}
	const message = "so much was refused before, or so large, that nothing unknown is looked at now; try again in 45 seconds"
	large := `{"query":"{ viewer { role } }","variables":{"unused":"` + strings.Repeat("x", 10<<10) + `"}}`
	for _, media := range []string{"application/json", "application/graphql-response+json", "text/event-stream"} {
		for _, c := range []struct {
			method, query, body string
			unread              bool
		}{
			{http.MethodPost, "", `{"query":"{ viewer { scopes } }"}`, false},
			{http.MethodGet, "?query=" + url.QueryEscape("{ viewer { scopes } }"), "", false},
			{http.MethodPost, "", large, true},
		} {
			status, after := http.StatusTooManyRequests, "45"
			if !c.unread && media == "application/json" {
				status, after = http.StatusOK, ""
			}
			if a := send(c.method, c.query, c.body, media); a.Status != status || a.Header.Get("Retry-After") != after || a.code() != "RATE_LIMITED" ||
				a.Errors[0].Message != message || fmt.Sprint(a.Errors[0].Extensions["retryAfter"]) != "45" || !strings.Contains(a.Raw, `"requested":0,`) {
				t.Errorf("%s: got %d %q %.400s", media, a.Status, a.Header.Get("Retry-After"), a.Raw)
			}
		}
		if a := send(http.MethodPost, "", known, media); a.code() != "" {
			t.Errorf("what is known: %s", a.Raw)
		}
	}
	s.send(fmt.Sprintf(subscribe, "1", "{ viewer { scopes } }"))
	if m := s.expect("error"); !strings.Contains(string(m.Payload), `"code":"RATE_LIMITED"`) || !strings.Contains(string(m.Payload), `"retryAfter":45`) ||
		!strings.Contains(string(m.Payload), `"requested":0,`) {
		t.Errorf("got %s", m.Payload)
	}
	s.send(fmt.Sprintf(subscribe, "1", "{ viewer { role } }"))
	s.expect("next")
	s.expect("complete")
	if a := b.ask(`{ viewer { partner { id } } }`); a.code() != "" {
		t.Errorf("another key: got %s", a.Raw)
	}
	c.offset.Add(int64(45 * time.Second))
	if a := send(http.MethodPost, "", large, "application/json"); a.code() != "" {
		t.Errorf("after the wait: %s", a.Raw)
	}
	s.send(fmt.Sprintf(subscribe, "1", "{ viewer { scopes } }"))
	s.expect("next")
	s.expect("complete")
}

// A short wait is not told but done, so that the answer says what is wrong.
func TestWhoWaitsIsToldWhatIsWrong(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) {
		cfg.Points = gate.PointsConfig{Maximum: 80_000, RestoreRate: 400_000}
	})
	s := b.dial(t)
	s.init()
	began := time.Now()
	for i := range 6 {
		if a := b.send(http.MethodPost, "", wrong, "Authorization", "Bearer "+operatorKey, "Content-Type", "application/json"); a.code() != "GRAPHQL_PARSE_FAILED" {
			t.Errorf("got %d %.300s", a.Status, a.Raw)
		}
		s.send(fmt.Sprintf(`{"type":"subscribe","id":"%d","payload":%s}`, i, wrong))
		if m := s.expect("error"); !strings.Contains(string(m.Payload), "GRAPHQL_PARSE_FAILED") {
			t.Errorf("got %.300s", m.Payload)
		}
	}
	// What the last one took is owed yet, besides what a bucket holds.
	if least := time.Duration(11*72_148-80_000) * time.Second / 400_000; time.Since(began) < least {
		t.Errorf("all were answered within %s, want %s or more", time.Since(began), least)
	}
}

// Beside its cost, what is large takes effort where it runs too.
func TestALargeRequestTakesEffort(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) {
		cfg.Clock = &handClock{}
		cfg.Points = gate.PointsConfig{Maximum: 100_000, RestoreRate: 1}
	})
	body := `{"query":"{ viewer { role } }","variables":{"unused":"` + strings.Repeat("x", 200<<10) + `"}}`
	for _, c := range []struct{ code, requested string }{{"", "1"}, {"", "1"}, {"RATE_LIMITED", "0"}} { // two as large as may be taken at once
		a := b.send(http.MethodPost, "", body, "Authorization", "Bearer "+operatorKey, "Content-Type", "application/json")
		if a.code() != c.code || !strings.Contains(a.Raw, `"requested":`+c.requested+`,`) {
			t.Errorf("got %s, want %+v", a.Raw, c)
		}
	}
}
