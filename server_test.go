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
	binary, err := harness.Build(t.Context(), ".", dir)
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
		Binary: binary, DatabaseURL: "sqlite:" + filepath.Join(dir, "hub.db"), Addr: testkit.FreeAddr(t), Log: filepath.Join(dir, "log"),
	}
	if err := hub.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hub.Kill() })
	route, err := hub.Connect(t.Context(), hanging.URL) // an attempt may take 5 s
	if err != nil {
		t.Fatal(err)
	}
	conn, err := harness.Dial(hub.Addr, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	status, answer, err := conn.Post("/in/"+route.Slug, "", []byte(`{"type":"x"}`))
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
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("it took %s, so the attempt was waited for all the same", took)
	}
}
