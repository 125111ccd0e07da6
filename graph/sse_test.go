package graph_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

// event is one server-sent event.
type event struct{ name, id, data string }

// events opens an event stream.
func (b *bundle) events(ctx context.Context, t testing.TB, query string, headers ...string) (*http.Response, func() (event, error)) {
	t.Helper()
	body, err := json.Marshal(map[string]any{"query": query})
	must(t, err)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url, strings.NewReader(string(body)))
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+operatorKey)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "text/event-stream")
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	t.Cleanup(func() { _ = response.Body.Close() })
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return response, func() (event, error) {
		var e event
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case lines.Text() == "" && e != (event{}):
				return e, nil
			case name == "event":
				e.name = value
			case name == "id":
				e.id = value
			case name == "data":
				e.data = value
			}
		}
		if lines.Err() != nil {
			return e, lines.Err()
		}
		return e, io.EOF
	}
}

const streamQuery = `subscription { eventStream(from: EARLIEST) { cursor events { id sequence payload } } }`

// streamed is the payload of a next message of streamQuery.
type streamed struct {
	Data struct {
		EventStream struct {
			Cursor string
			Events []struct{ ID, Sequence string }
		}
	}
	Errors []struct{ Extensions map[string]any }
}

func TestEventStreamsOverSSE(t *testing.T) {
	t.Parallel()
	b := setup(t)

	t.Run("a stream goes on from the last event's id", func(t *testing.T) {
		want := []string{b.publish("a", "1\n"), b.publish("a", `{"a":
			2}`)}
		ctx, cancel := context.WithCancel(t.Context())
		response, next := b.events(ctx, t, streamQuery)
		if got := response.Header; got.Get("Content-Type") != "text/event-stream; charset=utf-8" || got.Get("X-Accel-Buffering") != "no" {
			t.Errorf("headers are %v", got)
		}
		var got []string
		last := ""
		read := func(next func() (event, error), n int) {
			t.Helper()
			for len(got) < n {
				e, err := next()
				must(t, err)
				var s streamed
				must(t, json.Unmarshal([]byte(e.data), &s))
				if e.name != "next" || e.id == "" || e.id != s.Data.EventStream.Cursor {
					t.Fatalf("got %+v", e)
				}
				for _, one := range s.Data.EventStream.Events {
					got = append(got, one.ID)
				}
				last = e.id
			}
		}
		read(next, 2)
		cancel()
		want = append(want, b.publish("a", "3"))
		_, next = b.events(t.Context(), t, streamQuery, "Last-Event-ID", last)
		read(next, 3)
		want = append(want, b.publish("a", "4"))
		read(next, 4)
		if strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("got %v, want %v", got, want)
		}
	})

	t.Run("a query is one event and complete", func(t *testing.T) {
		_, next := b.events(t.Context(), t, `{ viewer { role } }`)
		first, err := next()
		must(t, err)
		second, err := next()
		must(t, err)
		if first.name != "next" || !strings.Contains(first.data, "OPERATOR") || second.name != "complete" {
			t.Errorf("got %+v, %+v", first, second)
		}
		if _, err := next(); !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("a stream that cannot start says why and is complete", func(t *testing.T) {
		_, next := b.events(t.Context(), t, `subscription { eventStream(after: "nonsense") { cursor } }`)
		first, err := next()
		must(t, err)
		second, err := next()
		must(t, err)
		if !strings.Contains(first.data, "BAD_USER_INPUT") || strings.Contains(first.data, `"data"`) || second.name != "complete" {
			t.Errorf("got %+v, %+v", first, second)
		}
	})

	t.Run("a broken document is a 400", func(t *testing.T) {
		response, _ := b.events(t.Context(), t, `subscription {`)
		body, err := io.ReadAll(response.Body)
		must(t, err)
		if response.StatusCode != http.StatusBadRequest || response.Header.Get("Content-Type") != mediaJSON || !strings.Contains(string(body), "GRAPHQL_PARSE_FAILED") {
			t.Errorf("got %d: %s", response.StatusCode, body)
		}
	})

	t.Run("a key is needed", func(t *testing.T) {
		if response, _ := b.events(t.Context(), t, streamQuery, "Authorization", ""); response.StatusCode != http.StatusUnauthorized {
			t.Errorf("got %d", response.StatusCode)
		}
	})
}

func TestDrainingCutsEventStreamsWithoutCompletingThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, next := b.events(t.Context(), t, streamQuery)
	_, err := next()
	must(t, err)
	must(t, b.handler.Drain(t.Context()))
	if e, err := next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %+v, %v", e, err)
	}
	if response, _ := b.events(t.Context(), t, streamQuery); response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("got %d", response.StatusCode)
	}
}

func TestStreamsThatTheTailCutsAreNotComplete(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, next := b.events(t.Context(), t, streamQuery)
	_, err := next()
	must(t, err)
	socket := b.dial(t)
	socket.init()
	socket.send(`{"type":"subscribe","id":"1","payload":{"query":"subscription { eventStream { cursor } }"}}`)
	socket.expect("next")
	must(t, b.tail.Stop(t.Context()))
	if e, err := next(); !errors.Is(err, io.EOF) {
		t.Errorf("got %+v, %v", e, err)
	}
	socket.closed(1012)
}

// until reads a stream until a text comes by, and returns all that it was told.
func until(t testing.TB, next func() (event, error), text string) string {
	t.Helper()
	var told strings.Builder
	for {
		e, err := next()
		must(t, err)
		told.WriteString(e.data)
		if strings.Contains(e.data, text) {
			return told.String()
		}
		if e.name != "next" {
			t.Fatalf("the stream ended with %+v after %s", e, told.String())
		}
	}
}
