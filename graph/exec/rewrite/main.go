// Command rewrite makes the code that gqlgen has generated call package exec. It
// knows the forms that gqlgen gives its code, and fails where it meets none of them:
// a new version of gqlgen may have changed them.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"go/format"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

const importPath = "github.com/hookgraph/hookgraph/graph/exec"

// replacement is one form and what becomes of it.
type replacement struct {
	name string
	from *regexp.Regexp
	to   string
}

var replacements = []replacement{
	{"lists", regexp.MustCompile(`graphql\.MarshalSliceConcurrently\(ctx, len\(v\), 0, false, `), `exec.List(ctx, len(v), `},
	{"results", regexp.MustCompile(`\t\tfc := graphql\.GetFieldContext\(ctx\)\n\t\tfc\.Result = &v\[i\]\n`), ""},
	{
		"answers", regexp.MustCompile(`var buf bytes\.Buffer\n\t*data\.MarshalGQL\(&buf\)\n\t*response\.Data = buf\.Bytes\(\)`),
		`response.Data = exec.Encode(data)`,
	},
	{
		"objects", regexp.MustCompile(`fields := graphql\.CollectFields\(ec\.OperationContext, sel, (\w+)\)\n` +
			`((?:\tctx = graphql\.WithFieldContext\(ctx, &graphql\.FieldContext\{\n.*\n\t\}\)\n)?)\n` +
			`\tout := graphql\.NewFieldSet\(fields\)\n` +
			`\tdeferredFieldSet := graphql\.NewFieldSet\(nil\)\n` +
			`\tdeferLabelToView := make\(map\[string\]\*graphql\.FieldSetView\)\n` +
			`\tfor i, field := range fields \{`),
		"selection := ec.plan.Collect(ec.OperationContext, sel, $1)\n$2\n\tout := exec.NewObject(selection)\n\tfor i, field := range selection.Fields {",
	},
	{"invalid fields", regexp.MustCompile(`fs \*graphql\.FieldSet\)`), `fs *exec.Object)`},
	{"deferred fields", regexp.MustCompile(`(?s)\n\t\t\tif field\.IsDeferred\(\) \{\n.*?\n\t\t\t\}\n`), ""},
	{
		"deferred groups", regexp.MustCompile(`(?s)\n\tatomic\.AddInt32\(&ec\.Deferred, int32\(min\(len\(deferLabelToView\), math\.MaxInt32\)\)\)\n` +
			`\n\tec\.ProcessDeferredGroup\(graphql\.DeferredGroup\{\n.*?\n\t\}\)\n`),
		"",
	},
	{
		"arguments", regexp.MustCompile(`ec\.(field_\w+_args)\(ctx, field\.ArgumentMap\(ec\.Variables\)\)`),
		`ec.plan.Arguments(ctx, field, ec.Variables, ec.$1)`,
	},
	{"strings", regexp.MustCompile(`graphql\.Marshal(?:String|ID)\(`), `exec.String(`},
	{
		"state", regexp.MustCompile(`(type executionContext struct \{\n\t\*graphql\.ExecutionContextState\[.*\]\n)`),
		"$1\tplan exec.Plan\n",
	},
}

// held is a field that an object holds: it is read without arguments, context or
// middleware, and cannot fail.
var held = regexp.MustCompile(`(?m)^(func \(ec \*executionContext\) (_\w+)\(ctx context\.Context, field graphql\.CollectedField, obj .*\) \(ret graphql\.Marshaler\) \{\n)` +
	`(\treturn graphql\.ResolveField\(\n\t\tctx,\n\t\tec\.OperationContext,\n\t\tfield,\n` +
	`\t\tfunc\(ctx context\.Context, field graphql\.CollectedField\) \(\*graphql\.FieldContext, error\) \{\n.*\n\t\t\},\n` +
	`\t\tfunc\(ctx context\.Context\) \(any, error\) \{\n\t\t\treturn (obj\.\w+(?:\(\))?), nil\n\t\t\},\n\t\tnil,\n` +
	`(\t\tfunc\(ctx context\.Context, selections ast\.SelectionSet, v (.*)\) graphql\.Marshaler \{\n\t\t\treturn ec\.(\S+)\(ctx, selections, v\)\n\t\t\},\n)` +
	`\t\ttrue,\n\t\t(true|false),\n\t\)\n\})`)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "rewrite:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, "*.generated.go"))
	if err != nil {
		return err
	}
	files := make(map[string]string, len(names))
	var all strings.Builder
	for _, name := range names {
		text, err := os.ReadFile(name) //nolint:gosec // files of this module
		if err != nil {
			return err
		}
		files[name] = string(text)
		all.Write(text)
	}
	marshalers := never(all.String())
	met := make(map[string]int)
	fields := make(map[string]bool) // true for scalars
	for name, text := range files {
		files[name] = hold(text, all.String(), marshalers, fields)
	}
	if len(fields) == 0 {
		return errors.New("gqlgen generates fields in a form that is not known here")
	}
	for name, rewritten := range files {
		for _, r := range replacements {
			met[r.name] += len(r.from.FindAllStringIndex(rewritten, -1))
			rewritten = r.from.ReplaceAllString(rewritten, r.to)
		}
		if strings.Contains(rewritten, "type executionContext struct") {
			rewritten += table(fields)
		}
		if err := write(name, rewritten); err != nil {
			return err
		}
	}
	for _, r := range replacements {
		if met[r.name] == 0 {
			return fmt.Errorf("gqlgen generates %s in a form that is not known here", r.name)
		}
	}
	return nil
}

// table writes down which fields objects hold.
func table(fields map[string]bool) string {
	var b strings.Builder
	b.WriteString("\n// heldFields are those that exec reads from objects.\nvar heldFields = exec.Held{\n")
	object := ""
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		of, field, _ := strings.Cut(name, ".")
		if of != object {
			if object != "" {
				b.WriteString("},\n")
			}
			fmt.Fprintf(&b, "%q: {\n", of)
			object = of
		}
		fmt.Fprintf(&b, "%q: %t,\n", field, fields[name])
	}
	b.WriteString("},\n}\n")
	return b.String()
}

// hold lets exec read the fields that objects hold, and notes them.
func hold(text, all string, never, fields map[string]bool) string {
	return held.ReplaceAllStringFunc(text, func(function string) string {
		m := held.FindStringSubmatch(function)
		head, name, whole, value, marshal, kind, marshaler, nonNull := m[1], m[2], m[3], m[4], m[5], m[6], m[7], m[8]
		described := regexp.MustCompile(`(?s)func \(ec \*executionContext\) fieldContext` + name + `\([^\n]*\n\t(?:return (graphql\.NewScalarFieldContext)\(|fc = &graphql\.FieldContext\{\n\t\tObject: +)"(\w+)"`).FindStringSubmatch(all)
		if described == nil {
			return function
		}
		scalar, object := described[1] != "", described[2]
		read := "\t\tfunc() " + kind + " { return " + value + " },\n"
		leaf := scalar && (nonNull == "false" || never[marshaler] || kind == "time.Time")
		fields[object+"."+strings.TrimPrefix(name, "_"+object+"_")] = leaf
		call := "exec.Read(\n\t\tctx,\n\t\t&ec.plan,\n\t\theldFields,\n\t\tfield,\n"
		if leaf {
			call = "exec.Leaf(\n\t\tctx,\n\t\t" + nonNull + ",\n"
		}
		return head + "\tif ret, ok := " + call + read + marshal + "\t); ok {\n\t\treturn ret\n\t}\n" + whole
	})
}

var marshaler = regexp.MustCompile(`(?m)^func \(ec \*executionContext\) (marshal\S+)\(ctx context\.Context, sel ast\.SelectionSet, v [^*\[\n]*\) graphql\.Marshaler \{\n` +
	`\t_ = sel\n\tres := graphql\.Marshal(?:String|ID|Int|Int64|Boolean|Float)\(`)

// never finds the marshalers that never yield null.
func never(all string) map[string]bool {
	found := make(map[string]bool)
	for _, m := range marshaler.FindAllStringSubmatch(all, -1) {
		found[m[1]] = true
	}
	return found
}

// write adds the import and takes away those that nothing uses any more.
func write(name, text string) error {
	text = strings.Replace(text, "import (\n", "import (\n\t\""+importPath+"\"\n", 1)
	for _, unused := range []string{"bytes", "math", "sync/atomic"} {
		if !strings.Contains(text, filepath.Base(unused)+".") {
			text = strings.Replace(text, "\t\""+unused+"\"\n", "", 1)
		}
	}
	formatted, err := format.Source([]byte(text))
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return os.WriteFile(name, bytes.TrimLeft(formatted, "\n"), 0o644) //nolint:gosec // source code is for all to read
}
