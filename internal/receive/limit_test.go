package receive_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
)

// moving is a clock that a test moves on.
type moving struct{ at atomic.Int64 }

func (m *moving) Now() time.Time          { return time.UnixMicro(m.at.Load()).UTC() }
func (m *moving) advance(d time.Duration) { m.at.Add(d.Microseconds()) }

func newMoving() *moving {
	m := &moving{}
	m.at.Store(now.UnixMicro())
	return m
}

// directly has a door answer a request that comes from an address, without a network.
func directly(door *receive.Door, from, method, target string, header http.Header, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, body)
	r.RemoteAddr = from
	for name, values := range header {
		r.Header[http.CanonicalHeaderKey(name)] = values
	}
	w := httptest.NewRecorder()
	door.ServeHTTP(w, r)
	return w
}

func doorOf(t testing.TB, s *store, change ...func(*receive.Config)) *receive.Door {
	t.Helper()
	config := receive.Config{Store: s, Expressions: newMatcher(t), Clock: clock{now}}
	for _, f := range change {
		f(&config)
	}
	return receive.New(config)
}

func TestASourceTakesNoMoreThanItsRate(t *testing.T) {
	t.Parallel()
	source := open()
	source.RateLimit = &hub.RateLimit{Limit: 5, Period: 10 * time.Second}
	s, c := newStore(source), newMoving()
	door := doorOf(t, s, func(config *receive.Config) { config.Clock = c })
	post := func() *httptest.ResponseRecorder {
		return directly(door, "203.0.113.7:1", "POST", "/in/open", nil, strings.NewReader("{}"))
	}
	for i := range 5 {
		if w := post(); w.Code != 200 {
			t.Fatalf("request %d of the first burst was answered %d", i, w.Code)
		}
	}
	w := post()
	wantBare(t, response{w.Code, w.Header(), w.Body.String()}, 429, hub.CodeRateLimited)
	if after := w.Header().Get("Retry-After"); after != "2" {
		t.Errorf("Retry-After is %q; a token comes every 2 s", after)
	}
	if r := s.refusal(t); r.Reason != hub.RejectedRate || len(r.Body) != 0 || !strings.Contains(r.Detail, "5 requests in 10s") || !strings.Contains(r.Detail, "203.0.113.7") {
		t.Errorf("rejection %+v", r)
	}
	c.advance(2 * time.Second)
	if w := post(); w.Code != 200 {
		t.Errorf("after the wait it was answered %d", w.Code)
	}
	if w := post(); w.Code != 429 {
		t.Errorf("one token let two requests through: %d", w.Code)
	}
	t.Run("and takes over a new rate", func(t *testing.T) {
		faster := *source
		faster.RateLimit = &hub.RateLimit{Limit: 100, Period: time.Second}
		s.configure(&faster)
		post() // the bucket learns of it, and fills up from here
		c.advance(time.Second)
		for i := range 100 {
			if w := post(); w.Code != 200 {
				t.Fatalf("request %d was answered %d", i, w.Code)
			}
		}
		faster.RateLimit = nil
		s.configure(&faster)
		for range 300 {
			if w := post(); w.Code != 200 {
				t.Fatalf("without a rate it was answered %d", w.Code)
			}
		}
	})
}

func TestAnAddressSendsNoMoreThanItsRate(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		first, next string
		path        string
		limited     bool
	}{
		{"the same address", "203.0.113.7:1", "203.0.113.7:9", "/in/open", true},
		{"the same address at an unknown source", "203.0.113.7:1", "203.0.113.7:9", "/in/nothing", true},
		{"another address", "203.0.113.7:1", "203.0.113.8:1", "/in/open", false},
		{"the same IPv4 address, mapped", "203.0.113.7:1", "[::ffff:203.0.113.7]:1", "/in/open", true},
		{"another address of the same /64", "[2001:db8::1]:1", "[2001:db8::2:3:4:5]:1", "/in/open", true},
		{"an address of the next /64", "[2001:db8::1]:1", "[2001:db8:0:1::1]:1", "/in/open", false},
		{"this machine", "127.0.0.1:1", "127.0.0.1:1", "/in/open", false},
		{"no address", "@", "@", "/in/open", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := newStore(open())
			var results sync.Map
			door := doorOf(t, s, func(config *receive.Config) {
				config.PerAddress = hub.RateLimit{Limit: 3, Period: time.Second}
				config.Observe = func(result string, _ time.Duration) { results.Store(result, true) }
			})
			for range 3 {
				if w := directly(door, c.first, "POST", c.path, nil, strings.NewReader("{}")); w.Code == 429 {
					t.Fatal("the first burst was limited")
				}
			}
			w := directly(door, c.next, "POST", c.path, nil, strings.NewReader("{}"))
			if (w.Code == 429) != c.limited {
				t.Fatalf("answered %d", w.Code)
			}
			if !c.limited {
				return
			}
			wantBare(t, response{w.Code, w.Header(), w.Body.String()}, 429, hub.CodeRateLimited)
			if w.Header().Get("Retry-After") != "1" {
				t.Errorf("Retry-After is %q", w.Header().Get("Retry-After"))
			}
			if _, told := results.Load("RATE_LIMITED"); !told {
				t.Error("the observer was not told")
			}
			if _, rejections := s.counts(); rejections != 0 && c.path == "/in/nothing" || rejections != 1 && c.path == "/in/open" {
				t.Errorf("%d rejections", rejections)
			}
		})
	}
}

func TestAFloodIsOneRejectionAndCountedWhole(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := open()
		source.RateLimit = &hub.RateLimit{Limit: 1, Period: time.Hour}
		s := newStore(source)
		door := doorOf(t, s, func(c *receive.Config) { c.Clock = hub.SystemClock{} })
		post := func() int {
			return directly(door, "203.0.113.7:1", "POST", "/in/open", nil, strings.NewReader("{}")).Code
		}
		post()
		refused := 0
		flood := func(requests int) {
			for range requests {
				if post() == 429 {
					refused++
				}
			}
		}
		flood(1000)
		if _, rejections := s.counts(); rejections != 1 {
			t.Fatalf("%d were stored at once", rejections)
		}
		for range 30 {
			time.Sleep(time.Second)
			flood(10)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if ids, requests := s.told(); ids != 1 || requests != refused || refused != 1300 {
			t.Errorf("%d requests are told in %d rejections, of %d", requests, ids, refused)
		}
		if r := s.refusal(t); !strings.Contains(r.Detail, "stands for 1300 requests") {
			t.Error(r.Detail)
		}
		if _, stored := s.counts(); stored > 35 {
			t.Errorf("it was stored %d times in 30 s", stored)
		}

		// One that goes on and on is told in one rejection a minute.
		for range 150 {
			flood(1)
			time.Sleep(2 * time.Second)
		}
		flood(7)
		if err := door.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if ids, requests := s.told(); ids < 5 || ids > 8 || requests != refused {
			t.Errorf("%d requests are told in %d rejections, of %d", requests, ids, refused)
		}
	})
}

func TestWhatCouldNotBeToldOfAFloodIsToldLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := open()
		source.RateLimit = &hub.RateLimit{Limit: 1, Period: time.Hour}
		s := newStore(source)
		s.rejectErr = hub.NewError(hub.CodeUnavailable, "away")
		door := doorOf(t, s, func(c *receive.Config) { c.Clock = hub.SystemClock{} })
		for range 6 {
			directly(door, "203.0.113.7:1", "POST", "/in/open", nil, strings.NewReader("{}"))
		}
		time.Sleep(3500 * time.Millisecond)
		s.mu.Lock()
		s.rejectErr, s.rejections = nil, nil
		s.mu.Unlock()
		time.Sleep(time.Second)
		if _, requests := s.told(); requests != 5 {
			t.Errorf("%d are told", requests)
		}
		if err := door.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// A body that is not read must neither hold up the answer nor be read on the way.
func TestALimitedBodyIsNotRead(t *testing.T) {
	t.Parallel()
	source := open()
	source.RateLimit = &hub.RateLimit{Limit: 1, Period: time.Hour}
	target := serve(t, newStore(source)) + "/in/open"
	send(t, http.MethodPost, target, nil, []byte("{}"))
	for name, c := range map[string]struct {
		announced int
		closes    bool
	}{"long": {1 << 20, true}, "short": {2, false}} {
		t.Run(name, func(t *testing.T) {
			conn, answers := wire(t, target, fmt.Sprintf("POST /in/open HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n{}", c.announced))
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if answer.StatusCode != 429 || answer.Close != c.closes {
				t.Errorf("answered %s, closing: %t", answer.Status, answer.Close)
			}
			if !c.closes { // the next request on it is understood
				_, _ = io.WriteString(conn, "GET /in/nothing HTTP/1.1\r\nHost: x\r\n\r\n")
				if next, err := http.ReadResponse(answers, nil); err != nil || next.StatusCode != 404 {
					t.Errorf("the next one: %v %v", next, err)
				}
			}
		})
	}
}

func TestWhoCountsAsSender(t *testing.T) {
	t.Parallel()
	proxies := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8:ffff::/48")}
	for _, c := range []struct {
		name   string
		remote string
		header http.Header
		want   string
	}{
		{"without a proxy", "203.0.113.7:1", nil, "203.0.113.7"},
		{"nobody else may say so", "203.0.113.7:1", headers("X-Forwarded-For", "198.51.100.1"), "203.0.113.7"},
		{"behind a proxy", "10.0.0.1:1", headers("X-Forwarded-For", "198.51.100.1"), "198.51.100.1"},
		{"what the sender claims of itself", "10.0.0.1:1", headers("X-Forwarded-For", "192.0.2.9, 198.51.100.1"), "198.51.100.1"},
		{"behind two proxies", "10.0.0.1:1", headers("X-Forwarded-For", "192.0.2.9, 198.51.100.1, 10.2.3.4"), "198.51.100.1"},
		{"in several lines", "10.0.0.1:1", headers("X-Forwarded-For", "192.0.2.9", "X-Forwarded-For", "198.51.100.1"), "198.51.100.1"},
		{"with a port", "10.0.0.1:1", headers("X-Forwarded-For", "198.51.100.1:4711"), "198.51.100.1"},
		{"IPv6", "[2001:db8:ffff::1]:1", headers("X-Forwarded-For", "2001:db8::7"), "2001:db8::7"},
		{"IPv6 with a port", "10.0.0.1:1", headers("X-Forwarded-For", "[2001:db8::7]:4711"), "2001:db8::7"},
		{"IPv6 in brackets", "10.0.0.1:1", headers("X-Forwarded-For", "[2001:db8::7]"), "2001:db8::7"},
		{"IPv4 within IPv6", "10.0.0.1:1", headers("X-Forwarded-For", "::ffff:198.51.100.1"), "198.51.100.1"},
		{"nonsense", "10.0.0.1:1", headers("X-Forwarded-For", "198.51.100.1, unknown"), "10.0.0.1"},
		{"nonsense before a proxy", "10.0.0.1:1", headers("X-Forwarded-For", "x, 10.2.3.4"), "10.2.3.4"},
		{"nothing", "10.0.0.1:1", headers("X-Forwarded-For", ""), "10.0.0.1"},
		{"proxies alone", "10.0.0.1:1", headers("X-Forwarded-For", "10.9.9.9, 10.2.3.4"), "10.9.9.9"},
		{"Forwarded", "10.0.0.1:1", headers("Forwarded", `for=192.0.2.9;proto=http, For="198.51.100.1:80";by=10.0.0.1`), "198.51.100.1"},
		{"Forwarded with IPv6", "10.0.0.1:1", headers("Forwarded", `by=x;for="[2001:db8::7]:1"`), "2001:db8::7"},
		{"Forwarded with a comma in quotes", "10.0.0.1:1", headers("Forwarded", `for=192.0.2.9;host="a,for=192.0.2.8", for=198.51.100.1;host="\",for=1.1.1.1"`), "198.51.100.1"},
		{"Forwarded that hides", "10.0.0.1:1", headers("Forwarded", "for=_secret"), "10.0.0.1"},
		{"Forwarded without it", "10.0.0.1:1", headers("Forwarded", "for=198.51.100.1, proto=https"), "10.0.0.1"},
		{"both, the same", "10.0.0.1:1", headers("Forwarded", "for=198.51.100.1", "X-Forwarded-For", "198.51.100.1"), "198.51.100.1"},
		{"both, one of them made up", "10.0.0.1:1", headers("Forwarded", "for=192.0.2.9", "X-Forwarded-For", "198.51.100.1"), "10.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			source := open()
			source.Verification = &hub.Verification{AllowNetworks: []string{"192.168.0.0/16"}}
			s := newStore(source)
			door := doorOf(t, s, func(config *receive.Config) { config.Proxies = proxies })
			directly(door, c.remote, "POST", "/in/open", c.header, strings.NewReader("{}"))
			if r := s.refusal(t); !strings.Contains(r.Detail, "came from "+c.want+",") {
				t.Error(r.Detail)
			}
		})
	}
	t.Run("and networks allowed are those of the sender", func(t *testing.T) {
		t.Parallel()
		source := open()
		source.Verification = &hub.Verification{AllowNetworks: []string{"198.51.100.0/24"}}
		door := doorOf(t, newStore(source), func(config *receive.Config) { config.Proxies = proxies })
		if w := directly(door, "10.0.0.1:1", "POST", "/in/open", headers("X-Forwarded-For", "198.51.100.1"), strings.NewReader("{}")); w.Code != 200 {
			t.Errorf("answered %d", w.Code)
		}
		if w := directly(door, "198.51.100.1:1", "POST", "/in/open", headers("X-Forwarded-For", "192.0.2.1"), strings.NewReader("{}")); w.Code != 200 {
			t.Errorf("answered %d", w.Code)
		}
		if w := directly(door, "192.0.2.1:1", "POST", "/in/open", headers("X-Forwarded-For", "198.51.100.1"), strings.NewReader("{}")); w.Code != 403 {
			t.Errorf("a lie was answered %d", w.Code)
		}
	})
}

// Whatever the headers hold, the sender is the proxy or an address that one of them names
// after the last one that is not trusted; nobody gets to be two addresses by a header.
func FuzzSender(f *testing.F) {
	f.Add("192.0.2.9, 198.51.100.1:80, 10.0.0.2", `for=192.0.2.9;proto=http, For="[2001:db8::7]:80"`)
	f.Add("", `for="\"`)
	f.Add("[::1", `for=";,`)
	f.Add(strings.Repeat("10.0.0.1,", 100), "for=unknown")
	f.Fuzz(func(t *testing.T, forwardedFor, forwarded string) {
		source := open()
		source.Verification = &hub.Verification{AllowNetworks: []string{"0.0.0.0/32"}}
		s := newStore(source)
		door := doorOf(t, s, func(config *receive.Config) { config.Proxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} })
		ask := func(h http.Header) string {
			directly(door, "10.0.0.1:1", "POST", "/in/open", h, nil)
			_, rest, _ := strings.Cut(s.refusal(t).Detail, "came from ")
			from, _, _ := strings.Cut(rest, ",")
			return from
		}
		both := http.Header{"X-Forwarded-For": {forwardedFor}, "Forwarded": {forwarded}}
		one, other, together := ask(http.Header{"X-Forwarded-For": {forwardedFor}}), ask(http.Header{"Forwarded": {forwarded}}), ask(both)
		for _, from := range []string{one, other, together} {
			if _, err := netip.ParseAddr(from); err != nil {
				t.Fatalf("the sender is %q", from)
			}
		}
		if together != "10.0.0.1" && (together != one || one != other) {
			t.Fatalf("%s and %s make %s", one, other, together)
		}
		// What a trusted proxy appends last is what counts, whatever its client has sent.
		if from := ask(http.Header{"X-Forwarded-For": {forwardedFor + ", 198.51.100.1"}}); from != "198.51.100.1" {
			t.Fatalf("behind %q it is %s", forwardedFor, from)
		}
	})
}

func TestASourceIsLookedAtAgainBeforeItRefuses(t *testing.T) {
	t.Parallel()
	old := open()
	old.AllowUnverified, old.Verification = false, &hub.Verification{APIKey: &hub.APIKeyVerification{Header: "X-API-Key"}}
	old.Secrets = []hub.Secret{"the-old-secret"}
	s := newStore(old)
	looks := 0
	rotated := *old
	rotated.Secrets = []hub.Secret{"the-new-secret"}
	s.refreshed = func() { // called with mu held
		looks++
		s.configuration = hub.NewConfiguration(2, []*hub.Source{&rotated}, nil, nil)
	}
	door := doorOf(t, s)
	post := func(key string) int {
		return directly(door, "203.0.113.7:1", "POST", "/in/open", headers("X-API-Key", key), strings.NewReader("{}")).Code
	}
	if status := post("the-old-secret"); status != 200 || looks != 0 {
		t.Fatalf("answered %d after %d looks", status, looks)
	}
	began := time.Now()
	if status := post("the-new-secret"); status != 200 || looks != 1 {
		t.Fatalf("signed with the new secret: %d after %d looks", status, looks)
	}
	for range 200 {
		if status := post("wrong"); status != 401 {
			t.Fatal(status)
		}
	}
	if most := 1 + int(time.Since(began)/time.Second); looks > most { // one a second
		t.Errorf("a flood of refusals looked %d times, at most %d", looks, most)
	}
	if _, rejections := s.counts(); rejections != 200 {
		t.Errorf("%d rejections", rejections)
	}
}

// TestWhatAnotherNodeHasPermittedIsNotRefused has everything changed elsewhere for which a
// source refuses, and tells as many sources as ask at once no more often than one.
func TestWhatAnotherNodeHasPermittedIsNotRefused(t *testing.T) {
	t.Parallel()
	from := func(network string) func(*hub.Source) {
		return func(s *hub.Source) { s.Verification = &hub.Verification{AllowNetworks: []string{network}} }
	}
	for name, c := range map[string]struct {
		refuses, permits func(*hub.Source)
		before, status   int // requests that pass before, and how the next one is refused
	}{
		"a network":     {from("198.51.100.0/24"), from("203.0.113.0/24"), 0, 403},
		"a pause":       {func(s *hub.Source) { s.State = hub.SourcePaused }, func(*hub.Source) {}, 0, 503},
		"a size":        {func(s *hub.Source) { s.MaxBodyBytes = 5 }, func(*hub.Source) {}, 0, 413},
		"an expression": {func(s *hub.Source) { s.EventType = "body.none" }, func(*hub.Source) {}, 0, 422},
		"a rate":        {func(s *hub.Source) { s.RateLimit = &hub.RateLimit{Limit: 1, Period: time.Hour} }, func(*hub.Source) {}, 1, 429},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old, permitting := open(), open()
			c.refuses(old)
			c.permits(permitting)
			permitting.ID = old.ID
			s := newStore(old)
			door := doorOf(t, s)
			post := func() int {
				return directly(door, "203.0.113.7:1", "POST", "/in/open", nil, strings.NewReader(`{"long": "enough"}`)).Code
			}
			for range c.before {
				if status := post(); status != 200 {
					t.Fatal(status)
				}
			}
			s.refreshed = func() { s.configuration = hub.NewConfiguration(2, []*hub.Source{permitting}, nil, nil) }
			if status := post(); status != 200 {
				t.Errorf("answered %d, though it is permitted", status)
			}

			s = newStore(old)
			looks := 0
			s.refreshed = func() { looks++ }
			door = doorOf(t, s)
			for range c.before {
				post()
			}
			began := time.Now()
			for range 100 {
				if status := post(); status != c.status {
					t.Fatalf("answered %d", status)
				}
			}
			if most := 1 + int(time.Since(began)/time.Second); looks < 1 || looks > most {
				t.Errorf("a flood of refusals looked %d times", looks)
			}
		})
	}
}

func TestAFloodOfRefusalsOfManySourcesIsBounded(t *testing.T) {
	t.Parallel()
	var sources []*hub.Source
	for n := range 200 {
		src := open()
		src.ID, src.Slug, src.State = fmt.Sprintf("src_%d", n), fmt.Sprintf("s%d", n), hub.SourcePaused
		sources = append(sources, src)
	}
	s := newStore(sources...)
	looks := 0
	s.refreshed = func() { looks++ }
	door := doorOf(t, s)
	began := time.Now()
	for _, src := range sources {
		if status := directly(door, "203.0.113.7:1", "POST", "/in/"+src.Slug, nil, strings.NewReader("{}")).Code; status != 503 {
			t.Fatalf("answered %d", status)
		}
	}
	if most := 20 + int(time.Since(began)/(50*time.Millisecond)); looks > most { // at once, and then 20 a second
		t.Errorf("it looked %d times, at most %d", looks, most)
	}
}

func TestAnUnknownSourceIsLookedFor(t *testing.T) {
	t.Parallel()
	s := newStore()
	s.refreshed = func() { s.configuration = hub.NewConfiguration(2, []*hub.Source{open()}, nil, nil) }
	if w := directly(doorOf(t, s), "203.0.113.7:1", "POST", "/in/open", nil, strings.NewReader("{}")); w.Code != 200 {
		t.Errorf("answered %d", w.Code)
	}
}
