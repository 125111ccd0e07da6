package graph_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/stream"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// failing is a store whose reads of events go wrong in one way.
type failing struct {
	graph.View
	fail func(context.Context) error
}

func (f failing) Events(ctx context.Context, _ store.EventQuery) (hub.Slice[*hub.Event], error) {
	return hub.Slice[*hub.Event]{}, f.fail(ctx)
}

func TestFailuresShowNothingInternal(t *testing.T) {
	t.Parallel()
	const inside = "dial tcp 10.1.2.3:5432: password of postgres"
	for name, c := range map[string]struct {
		fail func(context.Context) error
		code string
	}{
		"an unknown error": {func(context.Context) error { return errors.New(inside) }, "INTERNAL"},
		"a panic":          {func(context.Context) error { panic(inside) }, "INTERNAL"},
		"the cause of a known error": {func(context.Context) error {
			return fmt.Errorf("read: %w", &hub.Error{Code: hub.CodeUnavailable, Message: "try again", RetryAfter: 2 * time.Second, Err: errors.New(inside)})
		}, "UNAVAILABLE"},
		"a timeout": {func(ctx context.Context) error {
			<-ctx.Done()
			return fmt.Errorf("%s: %w", inside, ctx.Err())
		}, "TIMEOUT"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &testkit.Output{}
			b := setup(t, func(cfg *graph.Config) {
				open := cfg.View
				cfg.View = func(sight hub.Sight) graph.View { return failing{open(sight), c.fail} }
				cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
				if c.code == "TIMEOUT" {
					cfg.QueryTimeout = 100 * time.Millisecond
				}
			})
			answer := b.ask(`{ viewer { role } sources { totalCount } events { totalCount } }`)
			if answer.code() != c.code || strings.Contains(answer.Raw, "postgres") || strings.Contains(answer.Raw, "goroutine") || answer.Status != 200 {
				t.Errorf("got %d %s", answer.Status, answer.Raw)
			}
			if c.code == "INTERNAL" {
				id := fmt.Sprint(answer.Errors[0].Extensions["requestId"])
				if !strings.Contains(log.String(), id) || strings.Count(log.String(), "level=ERROR") != 1 || !strings.Contains(log.String(), "postgres") {
					t.Errorf("logged %s", log)
				}
			}
			if c.code == "UNAVAILABLE" && fmt.Sprint(answer.Errors[0].Extensions["retryAfter"]) != "2" {
				t.Errorf("got %s", answer.Raw)
			}
		})
	}
}

// scripted is a tail that says what a test has it say.
type scripted struct{ batches []stream.Batch[*hub.Event] }

func (s scripted) Read(ctx context.Context, _ hub.Sight, _ stream.Request[*hub.Event]) (<-chan stream.Batch[*hub.Event], error) {
	out := make(chan stream.Batch[*hub.Event])
	go func() {
		defer close(out)
		for _, batch := range s.batches {
			select {
			case out <- batch:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}

func TestAStreamThatBreaksSaysWhy(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) {
		cfg.Tail = scripted{[]stream.Batch[*hub.Event]{
			{Cursor: "one"}, {Cursor: "two"}, {Err: hub.NewError(hub.CodeCursorExpired, "events behind this cursor are gone")},
		}}
	})
	t.Run("over SSE, and is complete", func(t *testing.T) {
		_, next := b.events(t.Context(), t, `subscription { eventStream { __typename } }`)
		for _, want := range []event{
			{"next", "one", `{"data":{"eventStream":{"__typename":"EventStreamPayload"}},"extensions":{"cost":{"available":19999950,"limit":10000,"maximumAvailable":20000000,"requested":50,"restoreRate":5000000}}}`},
			{"next", "two", `{"data":{"eventStream":{"__typename":"EventStreamPayload"}}}`},
			{"next", "", `{"errors":[{"message":"events behind this cursor are gone","extensions":{"code":"CURSOR_EXPIRED"}}]}`},
			{"complete", "", ""},
		} {
			if got, err := next(); err != nil || got != want {
				t.Errorf("got %+v, %v, want %+v", got, err, want)
			}
		}
	})
	t.Run("over a WebSocket, and nothing more", func(t *testing.T) {
		s := b.dial(t)
		s.init()
		s.send(fmt.Sprintf(subscribe, "1", "subscription { eventStream { cursor } }"))
		s.expect("next")
		s.expect("next")
		if m := s.expect("error"); string(m.Payload) != `[{"message":"events behind this cursor are gone","extensions":{"code":"CURSOR_EXPIRED"}}]` {
			t.Errorf("got %s", m.Payload)
		}
		s.send(`{"type":"ping"}`)
		s.expect("pong")
	})
}

func TestAStreamThatEndsIsComplete(t *testing.T) {
	t.Parallel()
	b := setup(t, func(cfg *graph.Config) { cfg.Tail = scripted{[]stream.Batch[*hub.Event]{{Cursor: "one"}}} })
	s := b.dial(t)
	s.init()
	s.send(fmt.Sprintf(subscribe, "1", "subscription { eventStream { cursor } }"))
	s.expect("next")
	s.expect("complete")
}

// The limits hold on every way in.
func TestLimitsHoldOnEveryTransport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	s := b.dial(t)
	s.init()
	for query, code := range map[string]string{
		`subscription { eventStream(batchSize: 500) { events { deliveries(first: 100) { nodes { id } } } } }`:                   "COST_LIMIT_EXCEEDED",
		`{ events(first: 100) { nodes { deliveries(first: 100) { nodes { id } } } } }`:                                          "COST_LIMIT_EXCEEDED",
		`{ events { nodes ` + strings.Repeat(`{ source { events { nodes `, 6) + `{ id }` + strings.Repeat(` } } }`, 6) + ` } }`: "DEPTH_LIMIT_EXCEEDED",
		`{ ` + strings.Repeat(`__typename `, 60) + `}`:                                                                          "GRAPHQL_VALIDATION_FAILED",
	} {
		s.send(fmt.Sprintf(subscribe, "1", query))
		if m := s.expect("error"); !strings.Contains(string(m.Payload), code) {
			t.Errorf("WebSocket: %s", m.Payload)
		}
		if answer := b.ask(query); answer.code() != code {
			t.Errorf("HTTP: %s", answer.Raw)
		}
		if response, _ := b.events(t.Context(), t, query); response.StatusCode != http.StatusBadRequest {
			t.Errorf("SSE: %d", response.StatusCode)
		}
	}
}

// A reader that does not read is cut off, and holds up nobody meanwhile.
func TestAReaderThatDoesNotReadIsCutOff(t *testing.T) {
	t.Parallel()
	var ended sync.WaitGroup
	ended.Add(1)
	b := setup(t, func(cfg *graph.Config) { cfg.Tail = flood{ended.Done} })
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimSuffix(strings.TrimPrefix(b.url, "http://"), "/graphql"))
	must(t, err)
	defer func() { _ = conn.Close() }()
	body := `{"query":"subscription { eventStream { events { rawBody } } }"}`
	_, err = fmt.Fprintf(conn, "POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		operatorKey, len(body), body)
	must(t, err)
	began := time.Now()
	ended.Wait() // nothing is ever read from the connection
	if took := time.Since(began); took > 60*time.Second {
		t.Errorf("it took %s", took)
	}
	if answer := b.ask(`{ viewer { role } }`); answer.Status != http.StatusOK {
		t.Errorf("got %s", answer.Raw)
	}
}

// flood is a tail that never runs dry, and tells when its reader is gone.
type flood struct{ gone func() }

func (f flood) Read(ctx context.Context, _ hub.Sight, _ stream.Request[*hub.Event]) (<-chan stream.Batch[*hub.Event], error) {
	out := make(chan stream.Batch[*hub.Event])
	large := &hub.Event{ID: "evt_x", ReceivedAt: now(), Payload: &hub.Payload{Body: make([]byte, 1<<20)}}
	go func() {
		defer f.gone()
		defer close(out)
		for {
			select {
			case out <- stream.Batch[*hub.Event]{Cursor: "c", Items: []*hub.Event{large}}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return out, nil
}
