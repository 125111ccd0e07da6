package app_test

import (
	"bytes"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/vektah/gqlparser/v2/formatter"

	"github.com/hookgraph/hookgraph/graph"
)

// release makes the schema that is served the released one. It is given once for
// each release: go test ./internal/app -run TestSchema -release.
var release = flag.Bool("release", false, "write the schema that is served as the released one")

// TestSchema lints the schema and compares it with that of the last release, by the
// checks of test/schema.
func TestSchema(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	formatter.NewFormatter(&text).FormatSchema(graph.Schema())
	served := filepath.Join(t.TempDir(), "served.graphql")
	if *release {
		served = filepath.Join(root, "schema", "released.graphql")
	}
	if err := os.WriteFile(served, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	node := nodeJS(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, node, "--test", "--test-reporter=spec", "schema.test.js")
	cmd.Dir = packages(t, "schema")
	cmd.Env = append(os.Environ(), "HOOKGRAPH_ROOT="+root, "HOOKGRAPH_SERVED_SCHEMA="+served)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
