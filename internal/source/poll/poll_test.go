package poll

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/jsonpick"
	"github.com/hookgraph/hookgraph/internal/source/fetch"
)

func TestNextLink(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ header, want string }{
		{`<https://a/2>; rel="next", <https://a/9>; rel="last"`, "https://a/2"},
		{`<https://a/9>; rel=last,<https://a/2>;rel=next`, "https://a/2"},
		{`<https://a/2,3>; title="x, <y>; rel=next \" "; rel="prev NEXT"`, "https://a/2,3"},
		{`<https://a/1>; rel="prev"; rel="next"`, ""},
		{`<https://a/1>; rel; anchor=x, <?page=2>; rel = next`, "?page=2"},
		{`https://a/2; rel=next`, ""},
		{`<https://a/2; rel=next`, ""},
		{`<https://a/2>`, ""},
		{``, ""},
	} {
		if got := nextLink([]string{c.header}); got != c.want {
			t.Errorf("%s leads to %q, want %q", c.header, got, c.want)
		}
	}
	if got := nextLink([]string{`<a>; rel=prev`, `<b>; rel=next`}); got != "b" {
		t.Errorf("of two headers: %q", got)
	}
}

func FuzzNextLink(f *testing.F) {
	for _, seed := range []string{
		`<https://a/2>; rel="next", <https://a/9>; rel="last"`, `<a>; title="x, <y>\"`, `<>;;,=,;rel=next`, `<a>;rel="next`, "", `,,<a> ; rel=next x`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		got := nextLink([]string{header})
		if got != "" && !strings.Contains(header, "<") {
			t.Errorf("%q leads to %q", header, got)
		}
		// What comes before a list does not change where it leads, if it leads nowhere itself.
		if clean := !strings.ContainsAny(header, `"<>;,`); clean && nextLink([]string{`<x>; rel=prev; y=` + strings.TrimSpace(header), `<z>; rel=next`}) == "" && !strings.ContainsAny(header, " \t=") {
			t.Errorf("%q hides what follows", header)
		}
	})
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 14, 15, 9, 26, 999, time.UTC)
	for _, c := range []struct {
		template string
		v        variables
		want     string
	}{
		{"https://a.example/x{?since,page}", variables{since: at, page: 2}, "https://a.example/x?since=2026-03-14T15%3A09%3A26Z&page=2"},
		{"https://a.example/x{?since,cursor}", variables{}, "https://a.example/x"},
		{"https://a.example/x?after={sinceUnix}{&cursor}", variables{since: at, cursor: "a/b&c=é"}, "https://a.example/x?after=1773500966&cursor=a%2Fb%26c%3D%C3%A9"},
		{"https://a.example/{offset}", variables{offset: 20}, "https://a.example/20"},
	} {
		template, err := parseTemplate(c.template)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := expand(template, c.v); err != nil || got != c.want {
			t.Errorf("%s makes %s, %v", c.template, got, err)
		}
	}
	for _, bad := range []string{"https://{cursor}/", "https://a.example{+cursor}", "{+cursor}", "https://a.example/{x}", "https://a.example/{since", "http{page}://a/"} {
		if _, err := parseTemplate(bad); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

// FuzzTemplate checks that nothing an API says chooses which host is asked next.
func FuzzTemplate(f *testing.F) {
	for _, seed := range []struct{ template, cursor string }{
		{"https://a.example/x{?cursor}", "@evil.example"}, {"https://a.example/{+cursor}", "//evil.example/"}, {"https://a.example?{cursor}", "#"},
		{"https://a.example{/cursor}", ".."}, {"https://a.example/{#cursor}", "\x00%zz"}, {"https://u@a.example/{cursor:3}{cursor*}", "é"},
	} {
		f.Add(seed.template, seed.cursor)
	}
	f.Fuzz(func(t *testing.T, text, cursor string) {
		template, err := parseTemplate(text)
		if err != nil {
			return
		}
		one, err := expand(template, variables{cursor: cursor, page: 1})
		if err != nil {
			return
		}
		other, err := expand(template, variables{page: 2})
		if err != nil {
			return
		}
		a, errA := url.Parse(one)
		b, errB := url.Parse(other)
		if errA == nil && errB == nil && !sameOrigin(a, b) {
			t.Errorf("%q with %q asks %q, without it %q", text, cursor, a.Host, b.Host)
		}
	})
}

func TestItemsAreTakenAsTheyAreWritten(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		path, body string
		want       []string
	}{
		{"$[*]", ` [ 1.0 , {"a" : 1e2}, "\u00e9" ]`, []string{"1.0", `{"a" : 1e2}`, `"\u00e9"`}},
		{"$.data[?@.kind == 'x']", `{"data":[{"kind":"x","n":12345678901234567890},{"kind":"y"}]}`, []string{`{"kind":"x","n":12345678901234567890}`}},
		{"$['a.b']['*'][1:]", `{"a.b":{"*":[0,1,2]}}`, []string{"1", "2"}},
		{"$.a[*]", `{"a":[1],"a":[2]}`, []string{"2"}},
		{"$.none[*]", `{"a":[]}`, nil},
	} {
		path, err := jsonpick.Parse(c.path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := read(nil, []byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := d.items(path)
		if err != nil || len(got) != len(c.want) {
			t.Errorf("%s in %s: %v, %v", c.path, c.body, got, err)
			continue
		}
		for i := range got {
			if got[i].Raw != c.want[i] {
				t.Errorf("%s in %s: %s, want %s", c.path, c.body, got[i].Raw, c.want[i])
			}
		}
	}
	for _, bad := range []string{"", "$[", "data", "$..a..b", "$[?$.x]", strings.Repeat("$", 1001)} {
		if _, err := jsonpick.Parse(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for _, bad := range []string{"", "{", "<a>", "[1] 2", "\xff", `["` + "\xff" + `"]`} {
		if _, err := read(nil, []byte(bad)); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}

// FuzzItems checks that what is found in an answer is a part of it that says the same.
func FuzzItems(f *testing.F) {
	for _, seed := range []struct{ path, body string }{
		{"$[*]", `[1,{"id":"a"},null]`}, {"$.data[*]", `{"data":[{"id":1}],"data":[]}`}, {"$..id", `{"a":{"id":1},"b":[{"id":"\ud800"}]}`},
		{"$['\\u00e9'][0]", `{"é":[true]}`}, {"$", "0"}, {"$[-1:]", "[[],[[]]]"}, {"$.*", `{"\ud800":1,"\ufffd":2}`},
	} {
		f.Add(seed.path, []byte(seed.body))
	}
	f.Fuzz(func(t *testing.T, text string, body []byte) {
		path, err := jsonpick.Parse(text)
		if err != nil {
			return
		}
		d, err := read(nil, body)
		if err != nil {
			return
		}
		items, err := d.items(path)
		if err != nil {
			return
		}
		for _, raw := range items {
			if !gjson.Valid(raw.Raw) || !strings.Contains(string(body), raw.Raw) {
				t.Fatalf("%s in %s finds %s", text, body, raw.Raw)
			}
			i := newItem(raw)
			if i.key() == "" || len(i.key()) > 512 {
				t.Errorf("the key is %q", i.key())
			}
		}
	})
}

func TestKeysAndTimesOfItems(t *testing.T) {
	t.Parallel()
	one, same, changed := newItem(gjson.Parse(`{"id":7,"a":1}`)), newItem(gjson.Parse(`{ "a":1, "id":7}`)), newItem(gjson.Parse(`{"id":7,"a":1.0}`))
	if one.key() != same.key() || one.key() == changed.key() || !strings.HasPrefix(one.key(), "7:") {
		t.Errorf("%s, %s, %s", one.key(), same.key(), changed.key())
	}
	at := time.Date(2026, 3, 14, 15, 9, 26, 0, time.UTC)
	for _, c := range []struct {
		raw  string
		want time.Time
	}{
		{`{"created_at":"2026-03-14T15:09:26Z"}`, at},
		{`{"created":1773500966}`, at},
		{`{"created":1773500966000}`, at},
		{`{"created":"yesterday","updatedAt":"2026-03-14T16:09:26+01:00"}`, at},
		{`{"date":"2026-03-14T15:09:26"}`, at},
		{`{"created":5}`, time.Time{}},
		{`{"created":-1}`, time.Time{}},
		{`"2026-03-14T15:09:26Z"`, time.Time{}},
	} {
		if got := commonTime(gjson.Parse(c.raw)); !got.Equal(c.want) {
			t.Errorf("%s is at %s", c.raw, got)
		}
	}
}

func TestTheNextRunBeginsBeforeWhatIsNewAndBeforeWhatWaits(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 14, 15, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		run   run
		since time.Time
		want  time.Time
	}{
		"nothing with a time":    {run{Began: now}, now.Add(-time.Hour), now.Add(-time.Hour)},
		"the newest":             {run{Began: now, Newest: now.Add(-time.Minute)}, time.Time{}, now.Add(-time.Minute - overlap)},
		"a time to come":         {run{Began: now, Newest: now.Add(time.Hour)}, time.Time{}, now.Add(-overlap)},
		"something waits":        {run{Began: now, Newest: now, Waiting: now.Add(-time.Hour)}, time.Time{}, now.Add(-time.Hour - overlap)},
		"nothing goes backwards": {run{Began: now, Newest: now.Add(-24 * time.Hour)}, now.Add(-time.Hour), now.Add(-time.Hour)},
	} {
		p := &progress{memory: newMemory(nil), Since: c.since, Run: &c.run}
		if p.finish(false); !p.Since.Equal(c.want) || p.Run != nil {
			t.Errorf("%s: since %s, want %s", name, p.Since, c.want)
		}
	}
}

func TestProgressHoldsForWhatItIsAbout(t *testing.T) {
	t.Parallel()
	src := &hub.Source{Poll: &hub.Poll{URL: "https://a.example", Items: "$[*]", Interval: time.Minute}}
	p := readProgress(src, nil)
	p.Cursor, p.Failures = "c", 3
	for n := range maxStates + 10 {
		i := newItem(gjson.Parse(`{"id":` + strconv.Itoa(n) + `}`))
		p.memory.note(&i, 7)
	}
	old := newItem(gjson.Parse(`{"id":"old"}`))
	p.memory.note(&old, 6)
	p.Runs = 7
	if p.memory.forget(); len(p.memory.states) != maxStates || p.memory.find(&old) >= 0 {
		t.Fatalf("%d states are remembered", len(p.memory.states))
	}
	stored := p.encode()
	if len(stored) > 200_000 {
		t.Errorf("it takes %d bytes", len(stored))
	}
	if same := readProgress(src, stored); same.Cursor != "c" || !slices.Equal(same.memory.states, p.memory.states) {
		t.Errorf("%+v", same)
	}
	rules := *src
	rules.OccurredAt = "x"
	if other := readProgress(&rules, stored); other.Cursor != "c" || len(other.memory.states) != 0 || other.Failures != 0 || other.Runs != 7 {
		t.Errorf("under other rules: %+v", other)
	}
	moved := *src
	moved.Poll = &hub.Poll{URL: "https://b.example", Items: "$[*]"}
	if other := readProgress(&moved, stored); other.Cursor != "" || len(other.memory.states) != 0 || other.Runs != 7 {
		t.Errorf("elsewhere: %+v", other)
	}
}

// TestWhatComesBack runs through lists of items, and says which of them are to become events.
func TestWhatComesBack(t *testing.T) {
	t.Parallel()
	const a, b, c = `{"id":1,"v":"a"}`, `{"id":1,"v":"b"}`, `{"id":1,"v":"c"}`
	older, newer := `{"id":1,"v":"a","updated":"2026-03-14T15:00:00Z"}`, `{"id":1,"v":"b","updated":"2026-03-14T15:00:01Z"}`
	type run struct{ list, events []string }
	for name, runs := range map[string][]run{
		"a change and back":         {{[]string{a}, []string{a}}, {[]string{b}, []string{b}}, {[]string{a}, []string{a}}, {[]string{a}, nil}, {[]string{b}, []string{b}}},
		"over another":              {{[]string{a}, []string{a}}, {[]string{b}, []string{b}}, {[]string{c}, []string{c}}, {[]string{a}, []string{a}}, {[]string{c}, []string{c}}},
		"gone and there again":      {{[]string{a}, []string{a}}, {nil, nil}, {[]string{a}, nil}},
		"a change and gone":         {{[]string{a}, []string{a}}, {[]string{b}, []string{b}}, {nil, nil}, {[]string{a}, []string{a}}},
		"rows that share an ID":     {{[]string{a, b}, []string{a, b}}, {[]string{b, a}, nil}, {[]string{a, c, b}, []string{c}}, {[]string{a, b, c}, nil}},
		"twice in one run":          {{[]string{a, b}, []string{a, b}}, {[]string{b}, nil}, {[]string{a}, []string{a}}},
		"an answer from before":     {{[]string{older}, []string{older}}, {[]string{newer}, []string{newer}}, {[]string{older}, nil}, {[]string{newer}, nil}},
		"what has no ID of its own": {{[]string{`"x"`}, []string{`"x"`}}, {[]string{`"y"`}, []string{`"y"`}}, {[]string{`"x"`}, nil}},
	} {
		m := newMemory(nil)
		keys := make(map[string]bool)
		for n, run := range runs {
			number := uint32(n + 1)
			var events []string
			m = newMemory(decodeStates(m.encode()))
			for _, raw := range run.list {
				i := newItem(gjson.Parse(raw))
				standing, before := m.look(&i, number)
				if standing == late {
					continue
				}
				i.again = before
				if key := i.key(); !keys[key] {
					events = append(events, raw)
					keys[key] = true
				}
				m.note(&i, number)
			}
			if !slices.Equal(events, run.events) {
				t.Errorf("%s: run %d makes %q, not %q", name, number, events, run.events)
			}
		}
	}
}

func TestTheIntervalGrowsWhileNothingIsNew(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		interval, asked time.Duration // the second by the API
		idle            int
		want            time.Duration
	}{
		{time.Minute, 0, 0, time.Minute},
		{time.Minute, 0, idleRuns, time.Minute},
		{time.Minute, 0, idleRuns + 1, 2 * time.Minute},
		{time.Minute, 0, idleRuns + 3, 8 * time.Minute},
		{time.Minute, 0, 1000, 8 * time.Minute},
		{5 * time.Minute, 0, 1000, maxSlowest},
		{time.Hour, 0, 1000, time.Hour},
		{time.Second, 0, 60, time.Second}, // who asks so often wants to hear soon
		{time.Second, 0, 61, 2 * time.Second},
		{20 * time.Second, 0, idleRuns + 1, 40 * time.Second},
		{time.Second, time.Minute, 0, time.Minute},
		{24 * time.Hour, time.Minute, 1000, 24 * time.Hour},
	} {
		w := &work{progress: &progress{Idle: c.idle, Every: c.asked}, feed: &fetch.Feed{Source: &hub.Source{Poll: &hub.Poll{Interval: c.interval}}}}
		if got := w.interval(); got != c.want {
			t.Errorf("%s, %s by the API, %d times nothing: %s, want %s", c.interval, c.asked, c.idle, got, c.want)
		}
	}
}

func TestAQuotaIsSpreadOverItsTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for _, c := range []struct {
		quota policy.Quota
		want  time.Duration
	}{
		{policy.Quota{}, 0},
		{policy.Quota{Left: 60, Until: now.Add(time.Hour)}, time.Minute},
		{policy.Quota{Left: 0, Until: now.Add(time.Hour)}, time.Hour},
		{policy.Quota{Left: 5, Until: now.Add(-time.Hour)}, 0},
	} {
		if got := share(c.quota, now); got != c.want {
			t.Errorf("%+v: %s, want %s", c.quota, got, c.want)
		}
	}
}
