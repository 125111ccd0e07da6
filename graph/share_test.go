package graph_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// subscribed opens a WebSocket with a key and subscribes; the first message has come.
func (b *bundle) subscribed(t testing.TB, key, query string, variables map[string]any) *socket {
	t.Helper()
	s := b.dial(t)
	s.send(`{"type":"connection_init","payload":{"authorization":"Bearer ` + key + `"}}`)
	s.expect("connection_ack")
	payload, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	must(t, err)
	s.send(`{"type":"subscribe","id":"1","payload":` + string(payload) + `}`)
	s.expect("next")
	return s
}

// A message costs the database what it costs one reader, however many there are, and
// wherever each of them began.
func TestReadersWhoAskTheSameShareEachMessage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.publish("a", "0")
	const query = `subscription ($after: String) { eventStream(after: $after, from: EARLIEST) { cursor events { id deliveries { totalCount } } } }`
	read := func(s *socket) (m streamed) {
		must(t, json.Unmarshal(s.expect("next").Payload, &m))
		return m
	}
	var sockets []*socket
	var cursor *string
	cost := func() (reads int, took time.Duration) { // of a message to all there are
		b.counted()
		began := time.Now()
		id := b.publish("a", "1")
		for _, s := range sockets {
			if m := read(s); len(m.Data.EventStream.Events) != 1 || m.Data.EventStream.Events[0].ID != id {
				t.Errorf("got %+v", m)
			}
		}
		took = time.Since(began)
		for _, statement := range b.counted() {
			if strings.Contains(statement, "deliveries") {
				reads++
			}
		}
		return reads, took
	}
	alone := 0
	for n := range 20 {
		s := b.subscribed(t, operatorKey, query, map[string]any{"after": cursor})
		sockets = append(sockets, s)
		if n == 0 { // it begins with what is stored, the others behind that
			m := read(s)
			if m.Data.EventStream.Events[0].ID != first {
				t.Fatalf("got %+v", m)
			}
			alone, _ = cost()
			cursor = &m.Data.EventStream.Cursor
			continue
		}
		read(s) // what the first one has been sent meanwhile
	}
	// An answer is shared for a second: on a machine that is too busy to send it to all of
	// them in that time, another message is looked at.
	testkit.Eventually(t, "all have a message within a second", func() bool {
		together, took := cost()
		if took >= time.Second {
			return false
		}
		if alone == 0 || together != alone {
			t.Errorf("deliveries were read %d times for one reader and %d times for %d", alone, together, len(sockets))
		}
		return true
	})
}

// What is shared never crosses what readers may see, or what they ask for.
func TestReadersWhoMaySeeOrAskOtherwiseShareNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const query = `subscription ($path: String) { eventStream { events { id payload(path: $path) } } }`
	const alias = `subscription ($path: String) { stream: eventStream { events { id payload(path: $path) } } }`
	full, narrow := b.key(hub.ScopeEventsRead, hub.ScopePayloadsRead), b.key(hub.ScopeEventsRead)
	var checks []func()
	for range 2 { // of each, so that there is somebody to share with
		for name, c := range map[string]struct{ key, query, path, want string }{
			"all":               {full, query, "$.a", `"payload":1}`},
			"another path":      {full, query, "$.b", `"payload":2}`},
			"another name":      {full, alias, "$.a", `"stream":{`},
			"without payloads":  {narrow, query, "$.a", `FORBIDDEN`},
			"for the operator":  {operatorKey, query, "$.a", `"payload":1}`},
			"no path, any more": {full, query, "$.c", `"payload":null}`},
		} {
			s := b.subscribed(t, c.key, c.query, map[string]any{"path": c.path})
			checks = append(checks, func() {
				if m, err := s.read(); err != nil || m.Type != "next" || !strings.Contains(string(m.Payload), c.want) {
					t.Errorf("%s: got %s, %v", name, m.Payload, err)
				}
			})
		}
	}
	b.publish("a", `{"a":1,"b":2}`)
	for _, check := range checks {
		check()
	}
}

// Whoever makes a message for all may go away over it; the others still get it.
func TestAReaderWhoLeavesSpoilsNothingForTheOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const query = `subscription { eventStream { cursor events { id deliveries { totalCount } } } }`
	steady := b.subscribed(t, operatorKey, query, nil)
	for n := range 30 {
		var leaving []*socket
		for range 5 {
			leaving = append(leaving, b.subscribed(t, operatorKey, query, nil))
		}
		id := b.publish("a", fmt.Sprint(n))
		for _, s := range leaving {
			_ = s.conn.CloseNow()
		}
		if m := steady.expect("next"); !strings.Contains(string(m.Payload), id) || strings.Contains(string(m.Payload), "errors") {
			t.Fatalf("got %s", m.Payload)
		}
	}
}

// Two readers may stand at the same cursor and have been given different events.
func TestReadersWithOtherFiltersShareNoOthersEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	left, right := b.publish("left", "1"), b.publish("right", "2")
	const query = `subscription ($filter: EventFilter) { eventStream(from: EARLIEST, filter: $filter) { cursor events { id } } }`
	for range 3 {
		both := b.subscribed(t, operatorKey, query, nil)
		one := b.subscribed(t, operatorKey, query, map[string]any{"filter": map[string]any{"types": []string{"right"}}})
		if m := both.expect("next"); !strings.Contains(string(m.Payload), left) || !strings.Contains(string(m.Payload), right) {
			t.Errorf("without a filter: %s", m.Payload)
		}
		if m := one.expect("next"); strings.Contains(string(m.Payload), left) || !strings.Contains(string(m.Payload), right) {
			t.Errorf("with one: %s", m.Payload)
		}
	}
}
