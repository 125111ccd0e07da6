package app_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// TestClients runs the reference clients and audits of test/clients, each file
// against a hub of its own.
func TestClients(t *testing.T) {
	t.Parallel()
	node := nodeJS(t)
	dir := packages(t, "clients")
	files, err := filepath.Glob(filepath.Join(dir, "*.test.js"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no tests in %s: %v", dir, err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test.js"), func(t *testing.T) {
			t.Parallel()
			runClient(t, node, file)
		})
	}
}

// nodeJS returns the path of a Node.js that is new enough for the clients.
func nodeJS(t *testing.T) string {
	t.Helper()
	const how = "install Node.js 20.14 or later"
	node := testkit.Program(t, how, "node", "nodejs")
	out, err := exec.CommandContext(t.Context(), node, "--version").Output()
	if err != nil {
		t.Fatalf("ask %s for its version: %v", node, err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(out), "v%d.%d", &major, &minor); err != nil {
		t.Fatalf("the version of %s: %q: %v", node, out, err)
	}
	if major < 20 || major == 20 && minor < 14 {
		testkit.Missing(t, "%s is version %s: %s", node, strings.TrimSpace(string(out)), how)
	}
	return node
}

// packages returns a folder in which a folder of test/ can run: itself where its
// packages are installed, else a copy into which they are.
func packages(t *testing.T, name string) string {
	t.Helper()
	source, err := filepath.Abs(filepath.Join("..", "..", "test", name))
	if err != nil {
		t.Fatal(err)
	}
	_, err = os.Stat(filepath.Join(source, "node_modules"))
	if err == nil {
		return source
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	npm := testkit.Program(t, "install npm, or run npm ci in test/"+name+" where there is one", "npm")
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(source)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, npm, "ci", "--prefer-offline", "--no-progress")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		testkit.Missing(t, "the packages of test/%s cannot be installed (%v); run npm ci there where packages can be reached:\n%s", name, err, out)
	}
	return dir
}

// runClient runs one file of tests beside a hub in production mode, which it
// restarts when they ask for it. More are further variables of its environment.
func runClient(t *testing.T, node, file string, more ...string) {
	t.Helper()
	o := options(t)
	o.Environment = config.Production
	o.Addr = testkit.FreeAddr(t) // the same after a restart
	switch filepath.Base(file) {
	case "persisted.test.js":
		o.PersistedQueries = 100
	case "trusted.test.js":
		o.TrustedDocuments, o.TrustedDocumentsDir = "only", filepath.Join(filepath.Dir(file), "trusted")
	case "vendors.test.js":
		o.PublicURL = "https://hooks.example.com" // which some vendors sign
	}
	key := func(name, scopes string) string {
		code, out, errOut := execute(t, "keys", "create", "--database-url", o.DatabaseURL, "--name", name, "--role", "VIEWER", "--scopes", scopes)
		if code != 0 {
			t.Fatal(errOut)
		}
		return strings.TrimSpace(out)
	}
	reader, schema := key("reader", "EVENTS_READ"), key("schema", "EVENTS_READ,SCHEMA_READ")
	c := start(t, o)

	restart, restarted := make(chan struct{}), make(chan struct{}, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		select {
		case restart <- struct{}{}:
		case <-ctx.Done():
			return
		}
		select {
		case <-restarted:
			w.WriteHeader(http.StatusNoContent)
		case <-ctx.Done():
		}
	}))
	defer func() { cancel(); control.Close() }() // which waits for the handler, which waits for ctx

	cmd := exec.CommandContext(ctx, node, "--test", "--test-reporter=spec", "--test-timeout=180000", "--test-force-exit", filepath.Base(file))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it takes the processes that it started along
	cmd.WaitDelay = 5 * time.Second
	cmd.Dir = filepath.Dir(file)
	cmd.Env = append(append(os.Environ(), more...),
		"HUB_URL=http://"+o.Addr, "HUB_KEY="+operatorKey, "HUB_READER_KEY="+reader, "HUB_SCHEMA_KEY="+schema, "HUB_CONTROL_URL="+control.URL)
	done := make(chan error, 1)
	var out []byte
	go func() {
		var err error
		out, err = cmd.CombinedOutput()
		done <- err
	}()
	for {
		select {
		case <-restart:
			c.stop()
			c = start(t, o)
			restarted <- struct{}{}
		case err := <-done:
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			} else {
				t.Logf("%s", out)
			}
			return
		}
	}
}
