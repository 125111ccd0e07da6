package httpapi_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/httpapi"
	"github.com/hookgraph/hookgraph/internal/observe"
)

// serve starts an API over the routes and returns it with a function that asks it.
func serve(t *testing.T, routes httpapi.Routes, log io.Writer) (*httpapi.API, func(path string) (int, http.Header, string)) {
	t.Helper()
	api := httpapi.New(routes, slog.New(slog.NewTextHandler(log, nil)))
	server := httptest.NewServer(api)
	t.Cleanup(server.Close)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return api, func(path string) (int, http.Header, string) {
		t.Helper()
		resp, err := client.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, resp.Header, string(body)
	}
}

func TestInboundPathsArriveAsTheyWereSent(t *testing.T) {
	t.Parallel()
	_, get := serve(t, httpapi.Routes{Inbound: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.URL.Path)
	})}, io.Discard)
	for _, path := range []string{"/in/a", "/in/a//b", "/in/a/../b", "/in/a/./b/"} {
		if status, _, body := get(path); status != http.StatusOK || body != path {
			t.Errorf("%s was answered %d %s", path, status, body)
		}
	}
}

func TestAPanicEndsOneRequestAlone(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	_, get := serve(t, httpapi.Routes{
		GraphQL: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a secret of the inside") }),
		Ready:   func(context.Context) error { return nil },
	}, &log)
	status, header, body := get("/graphql")
	if status != http.StatusInternalServerError || header.Get("Content-Type") != "application/problem+json" ||
		!strings.Contains(body, `"code":"INTERNAL"`) || strings.Contains(body, "secret") {
		t.Errorf("answered %d %s", status, body)
	}
	if status, _, _ := get("/readyz"); status != http.StatusOK {
		t.Errorf("afterwards: %d", status)
	}
	if !strings.Contains(log.String(), "a secret of the inside") {
		t.Errorf("the log says %s", log.String())
	}
}

func TestHealthIsNotReadiness(t *testing.T) {
	t.Parallel()
	broken := errors.New("connect to 10.1.2.3: refused")
	var failing error
	api, get := serve(t, httpapi.Routes{Ready: func(context.Context) error { return failing }}, io.Discard)
	want := func(when string, healthy, ready int) {
		t.Helper()
		if status, _, _ := get("/healthz"); status != healthy {
			t.Errorf("%s: /healthz answered %d", when, status)
		}
		status, header, body := get("/readyz")
		if status != ready || strings.Contains(body, "10.1.2.3") || (ready != http.StatusOK) != (header.Get("Retry-After") != "") {
			t.Errorf("%s: /readyz answered %d %v %s", when, status, header, body)
		}
	}
	want("at work", http.StatusOK, http.StatusOK)
	failing = broken
	want("without its database", http.StatusOK, http.StatusServiceUnavailable)
	failing = nil
	api.Drain()
	want("about to stop", http.StatusOK, http.StatusServiceUnavailable)
}

func TestMetricsTellWhatWasReported(t *testing.T) {
	t.Parallel()
	metrics := observe.NewMetrics()
	metrics.Received("ACCEPTED", 3*time.Millisecond)
	metrics.Received("SIGNATURE_INVALID", time.Millisecond)
	metrics.Attempted("SUCCEEDED", 20*time.Millisecond)
	metrics.Delivered(time.Second)
	metrics.Gauge("hookgraph_test", "A figure.", func() float64 { return 7 })
	_, get := serve(t, httpapi.Routes{Metrics: metrics.Handler()}, io.Discard)
	_, _, body := get("/metrics")
	for _, line := range []string{
		`hookgraph_received_total{result="ACCEPTED"} 1`, `hookgraph_received_total{result="SIGNATURE_INVALID"} 1`,
		`hookgraph_acknowledge_seconds_count 2`, `hookgraph_attempts_total{outcome="SUCCEEDED"} 1`,
		`hookgraph_end_to_end_seconds_sum 1`, `hookgraph_test 7`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("the metrics lack %s", line)
		}
	}
}
