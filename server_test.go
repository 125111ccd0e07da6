package main_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestASecondSignalEndsTheProcessAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Bool
	release := make(chan struct{})
	hanging := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked.Store(true)
		<-release
	}))
	t.Cleanup(hanging.Close)
	t.Cleanup(func() { close(release) })
	hub := &harness.Server{
		Binary: program, DatabaseURL: "sqlite:" + filepath.Join(dir, "hub.db"), Addr: testkit.FreeAddr(t), Log: filepath.Join(dir, "log"),
	}
	if err := hub.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Kill() })
	slug, sourceID, err := hub.Source(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	endpointID, err := hub.Endpoint(t.Context(), map[string]any{"name": "Hanging", "url": hanging.URL, "timeout": "PT30S"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Subscription(t.Context(), map[string]any{"name": "All", "endpointId": endpointID, "sourceIds": []string{sourceID}}); err != nil {
		t.Fatal(err)
	}
	conn, err := harness.Dial(hub.Addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	status, answer, err := conn.Post("/in/"+slug, "", []byte(`{"type":"x"}`))
	conn.Close()
	if err != nil || status != http.StatusOK {
		t.Fatalf("the source answered %d %s: %v", status, answer, err)
	}
	testkit.Eventually(t, "the attempt is under way", asked.Load)

	began := time.Now()
	if err := syscall.Kill(hub.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, "the hub stops", func() bool {
		resp, err := http.Get(hub.URL() + "/readyz")
		if err != nil {
			return true
		}
		_ = resp.Body.Close()
		return resp.StatusCode != http.StatusOK
	})
	if err := hub.Stop(); err != nil { // the second signal
		t.Fatal(err)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s, so the attempt was waited for all the same", took)
	}
}
