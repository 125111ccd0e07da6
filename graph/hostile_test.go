package graph_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/graph/gate/gatetest"
)

// Whatever is out to hurt is answered the same on every way in.
func TestHostileRequestsAreRefusedOnEveryTransport(t *testing.T) {
	t.Parallel()
	b := setup(t, unmetered)
	s := b.dial(t)
	s.init()
	codeOf := func(body []byte) string {
		var told struct {
			Errors []struct{ Extensions struct{ Code string } }
		}
		if json.Unmarshal(body, &told) != nil || len(told.Errors) == 0 {
			return fmt.Sprintf("%.100s", body)
		}
		return told.Errors[0].Extensions.Code
	}
	for i, request := range gatetest.All() {
		want := request.Code
		switch request.Name {
		case "operations": // of which none is named
			want = "GRAPHQL_VALIDATION_FAILED"
		case "nothing":
			want = "BAD_USER_INPUT"
		}
		if want == "" {
			continue // it runs: see TestWhatIsHostileAndAdmittedRuns
		}
		send := func(method, query, body, media string, statuses ...int) {
			t.Helper()
			a := b.send(method, query, body, "Authorization", "Bearer "+operatorKey, "Content-Type", "application/json", "Accept", media)
			if got := codeOf([]byte(a.Raw)); got != want || !slices.Contains(statuses, a.Status) {
				t.Errorf("%s: %s for %s: %d %s, want %s", request.Name, method, media, a.Status, got, want)
			}
		}
		body := string(request.Body())
		ok := http.StatusOK
		if want == "BAD_USER_INPUT" {
			ok = http.StatusBadRequest
		}
		send(http.MethodPost, "", body, "application/json", ok)
		send(http.MethodPost, "", body, "application/graphql-response+json", 400)
		send(http.MethodPost, "", body, "text/event-stream", 400)
		if values := (url.Values{"query": {strings.ToValidUTF8(request.Query, "\uFFFD")}, "variables": {request.Variables}}).Encode(); len(values) < 32<<10 && !strings.HasPrefix(request.Query, "mutation") {
			send(http.MethodGet, "?"+values, "", "application/json", ok)
			send(http.MethodGet, "?"+values, "", "text/event-stream", 400)
		}
		if want == "BAD_USER_INPUT" {
			broken := b.dial(t) // what cannot be read ends the connection
			broken.init()
			broken.send(fmt.Sprintf(`{"type":"subscribe","id":"%d","payload":%s}`, i, body))
			broken.closed(4400)
			continue
		}
		s.send(fmt.Sprintf(`{"type":"subscribe","id":"%d","payload":%s}`, i, body))
		if m := s.expect("error"); codeOf(fmt.Appendf(nil, `{"errors":%s}`, m.Payload)) != want {
			t.Errorf("%s over a WebSocket: %.200s", request.Name, m.Payload)
		}
	}
	// What is larger than a request may be.
	large := `{"query":"{ viewer { role } }","variables":{"v":"` + strings.Repeat("x", 1<<20) + `"}}`
	a := b.send(http.MethodPost, "", large, "Authorization", "Bearer "+operatorKey, "Content-Type", "application/json")
	if a.Status != http.StatusRequestEntityTooLarge || a.code() != "PAYLOAD_TOO_LARGE" {
		t.Errorf("got %d %.200s", a.Status, a.Raw)
	}
}

func TestWhatIsHostileAndAdmittedRuns(t *testing.T) {
	t.Parallel()
	b := setup(t, unmetered)
	for _, request := range gatetest.All() {
		if request.Code != "" || request.Name == "operations" || strings.HasPrefix(request.Query, "subscription") {
			continue
		}
		a := b.send(http.MethodPost, "", string(request.Body()), "Authorization", "Bearer "+operatorKey, "Content-Type", "application/json")
		if a.Status != http.StatusOK || len(a.Data) == 0 {
			t.Errorf("%s: got %d %.300s", request.Name, a.Status, a.Raw)
		}
	}
}

// unmetered gives more points than a test can spend.
func unmetered(cfg *graph.Config) {
	cfg.Points = gate.PointsConfig{Maximum: 1_000_000_000, RestoreRate: 1_000_000_000}
}

// serve sends a body to the handler itself, without a network between.
func serve(h http.Handler, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/graphql", bytes.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+operatorKey)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// cpu is the processor time that this process has taken.
func cpu() time.Duration {
	var used syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &used) != nil {
		return 0
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkHostile reports the processor time that each hostile request costs, the
// collection of its garbage included.
func BenchmarkHostile(b *testing.B) {
	hub := setup(b, unmetered)
	for _, request := range gatetest.All() {
		if strings.HasPrefix(request.Query, "subscription { ...A } fragment") {
			continue // it is admitted, and refused over a single answer
		}
		b.Run(request.Name, func(b *testing.B) {
			body := request.Body()
			began := cpu()
			for b.Loop() {
				serve(hub.handler, body)
			}
			b.ReportMetric(float64((cpu()-began).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}
