package problem_test

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/problem"
)

func TestAProblemSaysItsCodeAndNoMore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		document []byte
		want     map[string]any
	}{
		"without a detail": {
			problem.Document(http.StatusServiceUnavailable, hub.CodeUnavailable, ""),
			map[string]any{"title": "Service Unavailable", "status": 503.0, "code": "UNAVAILABLE"},
		},
		"with a detail": {
			problem.Document(http.StatusNotFound, hub.CodeNotFound, `there is no "shop"`),
			map[string]any{"title": "Not Found", "status": 404.0, "code": "NOT_FOUND", "detail": `there is no "shop"`},
		},
	} {
		var got map[string]any
		if err := json.Unmarshal(c.document, &got); err != nil || !maps.Equal(got, c.want) {
			t.Errorf("%s: %s, %v; want %v", name, c.document, err, c.want)
		}
	}
}

func TestAProblemIsAnsweredAsOne(t *testing.T) {
	t.Parallel()
	for wait, header := range map[time.Duration]string{
		0:                       "",
		-time.Second:            "",
		time.Nanosecond:         "1", // never sooner than it makes sense
		time.Second:             "1",
		1001 * time.Millisecond: "2",
		time.Hour:               "3600",
	} {
		w := httptest.NewRecorder()
		problem.Write(w, http.StatusTooManyRequests, hub.CodeRateLimited, "slow down", wait)
		answer := w.Result()
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		if answer.StatusCode != http.StatusTooManyRequests || string(body) != string(problem.Document(http.StatusTooManyRequests, hub.CodeRateLimited, "slow down")) {
			t.Errorf("answered %d: %s", answer.StatusCode, body)
		}
		if h := answer.Header; h.Get("Content-Type") != "application/problem+json" || h.Get("Cache-Control") != "no-store" || h.Get("Retry-After") != header {
			t.Errorf("for a wait of %s the headers are %v", wait, h)
		}
	}
}
