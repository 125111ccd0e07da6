package graphiql_test

import (
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/graph/graphiql"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func newHandler(t *testing.T) *graphiql.Handler {
	t.Helper()
	h, err := graphiql.New()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func get(h http.Handler, path string, headers ...string) *httptest.ResponseRecorder {
	request := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	return recorder
}

func TestThePageLoadsFromItsOwnHubAlone(t *testing.T) {
	t.Parallel()
	h := newHandler(t)
	page := get(h, "/graphiql")
	if page.Code != 200 || page.Header().Get("Content-Type") != "text/html; charset=utf-8" {
		t.Fatalf("got %d, %v", page.Code, page.Header())
	}
	if slash := get(h, "/graphiql/"); slash.Body.String() != page.Body.String() {
		t.Error("the page is another one with a slash")
	}
	references := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page.Body.String(), -1)
	if len(references) < 6 {
		t.Fatalf("found only %v", references)
	}
	for _, reference := range references {
		if reference[1] == "data:," { // no icon
			continue
		}
		got := get(h, reference[1])
		if !strings.HasPrefix(reference[1], "/graphiql/") || got.Code != 200 || got.Body.Len() == 0 {
			t.Errorf("%s: got %d", reference[1], got.Code)
		}
		if policy := got.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "http") {
			t.Errorf("%s: the policy is %q", reference[1], policy)
		}
	}
}

func TestAssetsAreServedAsTheClientTakesThem(t *testing.T) {
	t.Parallel()
	h := newHandler(t)
	plain := get(h, "/graphiql/graphiql.js")
	packed := get(h, "/graphiql/graphiql.js", "Accept-Encoding", "gzip, br")
	if packed.Header().Get("Content-Encoding") != "gzip" || plain.Header().Get("Content-Encoding") != "" {
		t.Fatalf("got %v and %v", packed.Header(), plain.Header())
	}
	reader, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	if unpacked, err := io.ReadAll(reader); err != nil || string(unpacked) != plain.Body.String() {
		t.Errorf("the two forms differ: %v", err)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	t.Parallel()
	h := newHandler(t)
	for _, path := range []string{"/graphiql/vendor.sh", "/graphiql/../graphiql.go", "/graphiql/assets/react.js.gz"} {
		if got := get(h, path); got.Code != 404 {
			t.Errorf("%s: got %d", path, got.Code)
		}
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, "/graphiql", nil))
	if recorder.Code != 405 {
		t.Errorf("POST: got %d", recorder.Code)
	}
}

func TestThePageStartsInABrowser(t *testing.T) {
	t.Parallel()
	browser := testkit.Program(t, "install Chromium", "chromium", "chromium-browser", "google-chrome")
	mux := http.NewServeMux()
	mux.Handle("/graphiql", newHandler(t))
	mux.Handle("/graphiql/", newHandler(t))
	mux.HandleFunc("/graphql", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"errors":[{"message":"a key is needed"}]}`)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	profile, err := os.MkdirTemp("", "hookgraph-browser-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(profile) }) // the browser may still be writing to it
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	page, err := exec.CommandContext(ctx, browser, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+profile,
		"--virtual-time-budget=5000", "--dump-dom", server.URL+"/graphiql").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"graphiql-container", "CreateSource", "WatchEvents", "graphiql-execute-button"} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page has no %s: %.500s", want, page)
		}
	}
}
