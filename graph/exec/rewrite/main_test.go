package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata/rewritten.go.txt anew")

// sample is what gqlgen makes of a few fields, in a directory of its own.
func sample(t *testing.T, change func(string) string) (dir, file string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", "gqlgen.go.txt"))
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	file = filepath.Join(dir, "sample.generated.go")
	if err := os.WriteFile(file, []byte(change(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir, file
}

func unchanged(text string) string { return text }

func TestGeneratedCodeIsMadeToCallExec(t *testing.T) {
	t.Parallel()
	dir, file := sample(t, unchanged)
	if err := run(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(file) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "rewritten.go.txt")
	if *update {
		if err := os.WriteFile(golden, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden) //nolint:gosec // the test's own
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("it is not %s, which -update writes anew:\n%s", golden, got)
	}
}

func TestAFormThatIsNotKnownIsAnError(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ was, is string }{
		"lists":           {"graphql.MarshalSliceConcurrently(ctx, len(v), 0, false, ", "graphql.MarshalSlice(ctx, len(v), "},
		"results":         {"fc.Result = &v[i]", "fc.SetResult(&v[i])"},
		"answers":         {"data.MarshalGQL(&buf)", "data.WriteTo(&buf)"},
		"objects":         {"out := graphql.NewFieldSet(fields)", "out := graphql.NewFields(fields)"},
		"invalid fields":  {"fs *graphql.FieldSet)", "fs *graphql.Fields)"},
		"deferred fields": {"if field.IsDeferred() {", "if field.Deferred != nil {"},
		"deferred groups": {"ec.ProcessDeferredGroup(graphql.DeferredGroup{", "ec.Defer(graphql.DeferredGroup{"},
		"arguments":       {"field.ArgumentMap(ec.Variables)", "field.Arguments(ec.Variables)"},
		"strings":         {"graphql.MarshalString(", "graphql.WriteString("},
		"state":           {"*graphql.ExecutionContextState[", "*graphql.State["},
		"fields":          {"return graphql.ResolveField(", "return graphql.Resolve("},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, _ := sample(t, func(text string) string {
				if !strings.Contains(text, c.was) {
					t.Fatalf("the sample has no %q", c.was)
				}
				return strings.ReplaceAll(text, c.was, c.is)
			})
			if err := run(dir); err == nil || !strings.Contains(err.Error(), "generates "+name+" in a form that is not known here") {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestRewritingTwiceIsAnError(t *testing.T) {
	t.Parallel()
	dir, _ := sample(t, unchanged)
	if err := run(dir); err != nil {
		t.Fatal(err)
	}
	if err := run(dir); err == nil {
		t.Error("what was rewritten already was taken for gqlgen's")
	}
}
