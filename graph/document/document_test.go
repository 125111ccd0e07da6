package document_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/99designs/gqlgen/graphql"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/graph/document"
	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// open makes Documents of a folder's files.
func open(t *testing.T, options document.Options, files map[string]string) (*document.Documents, error) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if options.Files, err = document.Load(dir); err != nil {
		return nil, shortened(err, dir)
	}
	admission, err := gate.New(graph.Schema(), gate.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	d, err := document.New(options, admission, func(string) *hub.Document { return nil })
	return d, shortened(err, dir)
}

func shortened(err error, dir string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s", strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), ""))
}

const (
	role   = "query Role {\n  viewer { role }\n}"
	scopes = "{ viewer { scopes } }"
)

func TestDocumentsAreReadFromFiles(t *testing.T) {
	t.Parallel()
	d, err := open(t, document.Options{Mode: document.Only}, map[string]string{
		"role.graphql":     role + "\n",
		"admin/Scopes.gql": scopes,
		"README.md":        "not a document",
		"schema.graphqls":  "type Query { a: Int }",
		"relay/query.json": `{"0f4f0e1e5aeb9a1bbbbd2c3b1f1f2c11": "{ viewer { r: role } }"}`,
		"apollo/ops.json":  `{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": "first", "name": "Same", "type": "query", "body": "query Same { viewer { a: role } }"}, {"id": "second", "name": "Same", "type": "query", "body": "query Same { viewer { b: role } }"}]}`,
		"empty.json":       `{}`,
		"again/copy.gql":   role + "\n",
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"role": role + "\n", "admin.Scopes": scopes, "again.copy": role + "\n",
		hub.HashDocument(role): role + "\n", hub.HashDocument(role + "\n"): role + "\n",
		"0f4f0e1e5aeb9a1bbbbd2c3b1f1f2c11": "{ viewer { r: role } }",
		"first":                            "query Same { viewer { a: role } }", "second": "query Same { viewer { b: role } }",
	} {
		params := &graphql.RawParams{}
		if _, errs := d.Admit(params, id, false); errs != nil || params.Query != want {
			t.Errorf("%s: got %q, %v", id, params.Query, errs)
		}
	}
	for _, id := range []string{"README", "schema", "Role", "Same", "empty"} {
		if _, errs := d.Admit(&graphql.RawParams{}, id, false); errs == nil {
			t.Errorf("%s is a document", id)
		}
	}
}

func TestABadFileIsNamedWithItsLineAndColumn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"an unknown field":            {map[string]string{"a.graphql": "{\n  viewer {\n    nothing\n  }\n}"}, "a.graphql:3:5: Cannot query field"},
		"no GraphQL":                  {map[string]string{"a.graphql": "query {\n  viewer {"}, "a.graphql:2:11: "},
		"two bad ones":                {map[string]string{"a.graphql": "{ a }", "b/c.gql": "{ b }"}, "a.graphql:1:3: Cannot query field \"a\" on type \"Query\".\nb/c.gql:1:3: "},
		"an empty one":                {map[string]string{"a.graphql": ""}, "a.graphql:1:1: the document has no operation"},
		"a bad name":                  {map[string]string{"a b.graphql": role}, "a b.graphql:1:1: \"a b\": the name of a document is made of letters"},
		"no JSON":                     {map[string]string{"m.json": "{\n  \"a\": \"{ viewer { role } }\",\n}"}, "m.json:3:1: invalid character"},
		"JSON that ends":              {map[string]string{"m.json": "{\n  \"a\""}, "m.json:2:5: unexpected end of JSON input"},
		"a list":                      {map[string]string{"m.json": "[]"}, "m.json:1:1: a manifest is a JSON object"},
		"no texts":                    {map[string]string{"m.json": "{\n  \"a\": 1\n}"}, "m.json:2:8: \"a\": this must be a string"},
		"a manifest's document":       {map[string]string{"m.json": "{\n  \"a\": \"{\\n  nothing\\n}\"\n}"}, "m.json:2:8: \"a\", line 2, column 3: Cannot query field"},
		"another version":             {map[string]string{"m.json": `{"format": "apollo-persisted-query-manifest", "version": 2, "operations": []}`}, "m.json:1:1: a manifest of the format"},
		"an operation without a body": {map[string]string{"m.json": `{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": "a"}]}`}, "m.json:1:1: \"a\": this must be a string"},
		"a name taken":                {map[string]string{"a.graphql": role, "m.json": `{"a": "{ viewer { scopes } }"}`}, `m.json:1:7: the name "a" is taken by another text, in a.graphql`},
		"an id taken":                 {map[string]string{"m.json": `{"format": "apollo-persisted-query-manifest", "version": 1, "operations": [{"id": "a", "body": "{ viewer { role } }"}, {"id": "a", "body": "{ viewer { scopes } }"}]}`}, `the id "a" is taken by another operation`},
		"a name of the hub":           {map[string]string{"hookgraph/Documents.graphql": role}, `the name "hookgraph.Documents" is taken`},
		"a wrong hash":                {map[string]string{"m.json": `{"` + hub.HashDocument(scopes) + `": "{ viewer { role } }"}`}, "the name of a document"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := open(t, document.Options{}, c.files); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	if _, err := document.Load(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a folder that is not there was read")
	}
}

// What clients send is bounded in bytes too, whatever its number.
func TestWhatIsSentIsForgottenInTime(t *testing.T) {
	t.Parallel()
	d, err := open(t, document.Options{PersistedQueries: 10_000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	extensions := func(text string) map[string]any {
		return map[string]any{"persistedQuery": map[string]any{
			"version": json.Number("1"), "sha256Hash": strings.TrimPrefix(hub.HashDocument(text), "sha256:"),
		}}
	}
	text := func(n int) string { return fmt.Sprintf("{ viewer { role } } #%d %s", n, strings.Repeat("x", 60<<10)) }
	const count = 200 // 12 MB
	for n := range count {
		if _, errs := d.Admit(&graphql.RawParams{Query: text(n), Extensions: extensions(text(n))}, "", false); errs != nil {
			t.Fatal(errs)
		}
	}
	kept := make(map[int]bool)
	for n := range count {
		if _, errs := d.Admit(&graphql.RawParams{Extensions: extensions(text(n))}, "", false); errs == nil {
			kept[n] = true
		}
	}
	first := slices.Min(slices.Collect(maps.Keys(kept)))
	if len(kept)*len(text(0)) > 8<<20 || len(kept) < 100 || first+len(kept) != count {
		t.Errorf("%d are kept, from %d on", len(kept), first)
	}
}
