package receive_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/receive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var now = time.Date(2026, 3, 14, 15, 9, 26, 535897000, time.UTC)

type clock struct{ at time.Time }

func (c clock) Now() time.Time { return c.at }

// store is a small real store in memory: it keeps what it is given, and knows
// duplicates. Err, where set, is what it answers instead.
type store struct {
	mu            sync.Mutex // guards what follows
	configuration *hub.Configuration
	events        []*hub.Event
	rejections    []*hub.Rejection
	appends       int
	err           error
	rejectErr     error
	captures      int    // how many requests are still to be captured
	refreshed     func() // called within Refresh
	appended      func() // called within Append, before it returns
}

func newStore(sources ...*hub.Source) *store {
	return &store{configuration: hub.NewConfiguration(1, sources, nil, nil)}
}

func (s *store) Configuration() *hub.Configuration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.configuration
}

func (s *store) Refresh(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refreshed != nil {
		s.refreshed()
	}
	return nil
}

func (s *store) Append(ctx context.Context, events []*hub.Event) ([]hub.Receipt, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.appended != nil {
		s.appended()
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if s.err != nil {
		return nil, s.err
	}
	s.appends++
	receipts := make([]hub.Receipt, len(events))
next:
	for i, event := range events {
		for _, known := range s.events {
			if event.DedupeKey != "" && known.DedupeKey == event.DedupeKey && known.SourceID == event.SourceID {
				receipts[i] = hub.Receipt{EventID: known.ID, Sequence: known.Sequence, Duplicate: true}
				continue next
			}
		}
		stored := *event
		stored.Sequence = hub.Sequence(len(s.events) + 1)
		s.events = append(s.events, &stored)
		receipts[i] = hub.Receipt{EventID: event.ID, Sequence: stored.Sequence}
	}
	return receipts, nil
}

func (s *store) Reject(_ context.Context, r *hub.Rejection) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejections = append(s.rejections, r)
	return s.rejectErr
}

func (s *store) Capture(ctx context.Context, r *hub.Rejection) (bool, error) {
	s.mu.Lock()
	left := s.captures
	s.captures = max(left-1, 0)
	s.mu.Unlock()
	if left == 0 {
		return false, nil
	}
	return true, s.Reject(ctx, r)
}

func (s *store) EventsByID(_ context.Context, ids []string) (map[string]*hub.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := map[string]*hub.Event{}
	for _, id := range ids {
		for _, event := range s.events {
			if event.ID == id {
				found[id] = event
			}
		}
	}
	return found, nil
}

func (s *store) all() []*hub.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*hub.Event(nil), s.events...)
}

// last returns the newest event, or fails.
func (s *store) last(t testing.TB) *hub.Event {
	t.Helper()
	events := s.all()
	if len(events) == 0 {
		t.Fatalf("nothing was stored; rejected: %s", s.why())
	}
	return events[len(events)-1]
}

// refusal returns the newest rejection, or fails.
func (s *store) refusal(t testing.TB) *hub.Rejection {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.rejections) == 0 {
		t.Fatal("nothing was rejected")
	}
	return s.rejections[len(s.rejections)-1]
}

// configure replaces the sources.
func (s *store) configure(sources ...*hub.Source) {
	s.mu.Lock()
	defer s.mu.Unlock()
	copies := make([]*hub.Source, len(sources))
	for i, src := range sources {
		of := *src
		copies[i] = &of
	}
	s.configuration = hub.NewConfiguration(s.configuration.Revision+1, copies, nil, nil)
}

// told counts the rejections by their IDs and the requests that they stand for.
func (s *store) told() (ids, requests int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, r := range s.rejections {
		seen[r.ID] = true
		requests += max(r.Requests, 1)
	}
	return len(seen), requests
}

func (s *store) why() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, r := range s.rejections {
		b.WriteString(string(r.Reason) + ": " + r.Detail + "\n")
	}
	return b.String()
}

func (s *store) counts() (events, rejections int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.events), len(s.rejections)
}

// open is a source that accepts anybody.
func open() *hub.Source {
	return &hub.Source{ID: "src_open", Slug: "open", Kind: hub.SourceWebhook, State: hub.SourceActive, AllowUnverified: true}
}

func newMatcher(t testing.TB) *match.Matcher {
	t.Helper()
	m, err := match.New()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// serve puts a door over the store behind a real server and returns its URL.
func serve(t testing.TB, s *store, change ...func(*receive.Config)) string {
	t.Helper()
	config := receive.Config{Store: s, Expressions: newMatcher(t), Clock: clock{now}}
	for _, f := range change {
		f(&config)
	}
	server := httptest.NewServer(receive.New(config))
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return server.URL
}

type response struct {
	status int
	header http.Header
	body   string
}

func send(t testing.TB, method, url string, header http.Header, body []byte) response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatal(err)
	}
	return response{answer.StatusCode, answer.Header, string(text)}
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func at(when time.Time) func(*receive.Config) {
	return func(c *receive.Config) { c.Clock = clock{when} }
}
