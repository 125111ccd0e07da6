package shape_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/shape"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// given are schemas that people might write, and some that nobody should.
var given = map[string]string{
	"order.created": `{
  "$schema": "http://json-schema.org/draft-07/schema#", "title": "An order", "description": "What was bought.\n*/ export const x = 1; /** \"\"\" }",
  "type": "object", "required": ["id", "lines", "status", "secret"], "additionalProperties": false,
  "definitions": {
    "money": {"type": "object", "description": "An amount.", "properties": {"amount": {"type": "integer"}, "currency": {"enum": ["EUR", "USD"]}}, "required": ["amount", "currency"]},
    "node": {"type": "object", "properties": {"name": {"type": "string"}, "children": {"type": "array", "items": {"$ref": "#/definitions/node"}}, "parent": {"anyOf": [{"$ref": "#/definitions/node"}, {"type": "null"}]}}}
  },
  "properties": {
    "id": {"type": "string", "format": "uuid"}, "total": {"$ref": "#/definitions/money"}, "tree": {"$ref": "#/definitions/node"}, "percent": {"type": "integer", "minimum": 0, "maximum": 100},
    "status": {"enum": ["open", "paid", null, 3, -1.5e3, {"a": 1}]}, "kind": {"const": "order"}, "big-int": {"type": "integer", "format": "int64"},
    "lines": {"type": "array", "items": {"oneOf": [{"type": "object", "properties": {"sku": {"type": "string"}}, "required": ["sku"]}, {"type": "string"}]}},
    "either": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "place": {"type": "array", "items": [{"type": "number"}, {"type": "number"}]}, "pair": {"prefixItems": [{"type": "number"}], "items": false},
    "labels": {"type": "object", "additionalProperties": {"type": "string"}}, "open": {"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
    "patterns": {"type": "object", "patternProperties": {"^x-": {"type": ["string", "null"]}}}, "never": false, "always": true, "anything": {},
    "9lives": {"type": "boolean"}, "a b": {"type": "string"}, "a-b": {"type": "string"}, "a_b": {"type": "string"}, "__proto__": {"type": "string"}, "__typename": {"type": "string"}, "über": {"type": "string"}, "日本": {"type": "string"}, "\"quoted\\": {"type": "string"}, "constructor": {"type": "string"}, "": {"type": "string"}, "_": {"type": "null"},
    "remote": {"$ref": "https://a.example/schema.json"}, "lost": {"$ref": "#/definitions/none"}, "anchor": {"$ref": "#there"}, "self": {"$ref": "#"}, "selves": {"type": "array", "items": {"$ref": "#"}},
    "nullable": {"type": "string", "nullable": true}, "old": {"type": "string", "deprecated": true, "description": "Ends with */ early"},
    "both": {"allOf": [{"$ref": "#/definitions/money"}, {"type": "object", "properties": {"tax": {"type": "number"}}, "required": ["tax"]}]}, "mixed": {"type": ["string", "object"], "properties": {"a": {"type": "string"}}},
    "choice": {"type": "object", "properties": {"k": {"type": "string"}}, "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
  }
}`,
	"loop":             `{"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}, {"type": "string"}]}}}`,
	"loop.in.itself":   `{"anyOf": [{"$ref": "#"}, {"type": "string"}]}`,
	"order-created":    `{"type": "array", "items": {"type": "string"}}`,
	"order_created":    `true`,
	"Order Created":    `false`,
	"3d.secure":        `{"type": "string"}`,
	"":                 `{"type": ["integer", "null"]}`,
	"日本":               `{"type": "object", "properties": {"日": {"type": "object", "properties": {"本": {"type": "number"}}}}}`,
	"Query":            `{"type": "object", "properties": {"a": {"type": "object", "properties": {"b": {"type": "string"}}}}}`,
	"query.a":          `{"type": "object", "properties": {"JSON": {"type": "string"}}}`,
	"event.types":      `{"type": "object"}`,
	"string":           `{"type": "object", "properties": {"string": {"type": "string"}}, "required": ["string"]}`,
	"not a schema":     `[1, 2]`,
	"not JSON":         `{`,
	"wrong everywhere": `{"type": 7, "properties": [], "required": {"a": 1}, "items": 3, "allOf": {}, "enum": [], "$ref": 5, "description": {}, "additionalProperties": "x"}`,
}

// all are the given schemas and what is learned from samples.
func all(t testing.TB) map[string]json.RawMessage {
	types := map[string]json.RawMessage{}
	for name, schema := range given {
		types[name] = json.RawMessage(schema)
	}
	types["invoice.paid"] = learned(t, invoicePaid, invoicePaidLater).JSONSchema("invoice.paid", "An invoice was paid.")
	types["push"] = learned(t, push).JSONSchema("push", "")
	types["message"] = learned(t, message).JSONSchema("message", "")
	types["nothing"] = (&shape.Shape{}).JSONSchema("nothing", "")
	return types
}

func TestTypeScript(t *testing.T) {
	t.Parallel()
	got := shape.TypeScript(all(t))
	if again := shape.TypeScript(all(t)); again != got {
		t.Error("it is different each time")
	}
	for _, part := range []string{
		"/**\n * invoice.paid\n *\n * An invoice was paid.\n */\nexport interface InvoicePaid {\n",
		"      amount_paid: number;\n", "      /** Format: email. */\n      customer_email?: string;\n", "      due_date: string | null;\n",
		"          quantity?: number;\n", "  \"invoice.paid\": InvoicePaid;\n",
		"An integer that may exceed Number.MAX_SAFE_INTEGER, to which JSON.parse would round it.",
		"  status: \"open\" | \"paid\" | null | 3 | -1500 | unknown;\n",
		"  kind?: \"order\";\n", "  tree?: Node;\n", "  parent?: Node | null;\n", "  children?: Node[];\n", "  lines: ({\n    sku: string;\n  } | string)[];\n",
		"  labels?: { [key: string]: string };\n", "  never?: never;\n", "  always?: unknown;\n", "  place?: [number?, number?, ...unknown[]];\n", "  pair?: [number?];\n",
		"  patterns?: { [key: string]: string | null };\n", "  \"a-b\"?: string;\n", "  secret: unknown;\n", "  remote?: unknown;\n", "  self?: OrderCreated3;\n", "  nullable?: string | null;\n",
		"  both?: Money & {\n    tax: number;\n  };\n", "export type Loop = unknown;\n", "export type OrderCreated2 = string[];\n", "export type Type3dSecure = string;\n", "export type EventTypes2 = { [key: string]: unknown };\n", "  \"event.types\": EventTypes2;\n",
	} {
		part = strings.ReplaceAll(part, `"open" | "paid" | null | 3 | -1500 | unknown`, "unknown") // one value that has no literal
		if !strings.Contains(got, part) {
			t.Errorf("lacks\n%s", part)
		}
	}
	if strings.Contains(got, "*/ export") {
		t.Error("a description leaves its comment")
	}
	if t.Failed() {
		t.Log(got)
	}
}

// What is written compiles, and accepts what it describes.
func TestTypeScriptCompiles(t *testing.T) {
	t.Parallel()
	node := testkit.Program(t, "install Node.js", "node", "nodejs")
	dir := t.TempDir()
	usage := `import type { EventTypes, InvoicePaid } from "./types.js";
export const amount = (e: EventTypes["invoice.paid"]): number => e.data.object.amount_paid;
export const quantity = (e: InvoicePaid): number => e.data.object.lines.data[0]?.quantity ?? 0;
export const names = (e: EventTypes["message"]): string[] => Object.values(e.event.reactions).map((r) => r.name);
// @ts-expect-error it may be null
export const due = (e: InvoicePaid): string => e.data.object.due_date;
export const none: EventTypes["nothing"] = 1;
export const invoice: InvoicePaid = ` + invoicePaidLater + `;
export const pushed: EventTypes["push"] = ` + push + `;
`
	for name, text := range map[string]string{
		"types.ts": shape.TypeScript(all(t)), "usage.ts": usage, "package.json": `{"type": "module"}`,
		"none.ts":       shape.TypeScript(nil),
		"tsconfig.json": `{"compilerOptions": {"strict": true, "noEmit": true, "exactOptionalPropertyTypes": true, "noUncheckedIndexedAccess": true, "module": "nodenext", "target": "es2022", "types": []}, "include": ["*.ts"]}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	compiler := exec.CommandContext(t.Context(), node, filepath.Join(packages(t), "node_modules", "typescript", "bin", "tsc"), "--project", ".")
	compiler.Dir = dir
	if out, err := compiler.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, shape.TypeScript(all(t)))
	}
}

// packages returns a folder with the npm packages of the client tests.
func packages(t *testing.T) string {
	t.Helper()
	source, err := filepath.Abs(filepath.Join("..", "..", "test", "clients"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(source, "node_modules")); err == nil {
		return source
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	npm := testkit.Program(t, "install npm, or run npm ci in test/clients where there is one", "npm")
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json"} {
		text, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), npm, "ci", "--prefer-offline", "--no-progress")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		testkit.Missing(t, "the packages of test/clients cannot be installed (%v); run npm ci there where packages can be reached:\n%s", err, out)
	}
	return dir
}

// parses checks SDL as an executable schema's types.
func parses(t interface {
	Helper()
	Fatalf(string, ...any)
}, sdl string) *ast.Schema {
	t.Helper()
	schema, err := gqlparser.LoadSchema(&ast.Source{Name: "types.graphql", Input: sdl + "\ntype Query { ok: Boolean }\n"})
	if err != nil {
		t.Fatalf("%v\n%s", err, sdl)
	}
	return schema
}

func TestGraphQL(t *testing.T) {
	t.Parallel()
	sdl := shape.GraphQL(all(t))
	if shape.GraphQL(all(t)) != sdl {
		t.Error("it is different each time")
	}
	schema := parses(t, sdl)
	for place, want := range map[string]string{
		"InvoicePaid.data": "InvoicePaidData!", "InvoicePaidDataObject.amount_paid": "BigInt!", "InvoicePaidDataObject.due_date": "String", "InvoicePaidDataObject.customer_email": "String",
		"InvoicePaidDataObject.tax_percent": "Float!", "InvoicePaidDataObjectLines.data": "[InvoicePaidDataObjectLinesData!]!", "InvoicePaidDataObjectLinesData.quantity": "Int", "InvoicePaid.request": "InvoicePaidRequest",
		"InvoicePaid.livemode": "Boolean!", "InvoicePaid.created": "Int!", "Push.base_ref": "JSON", "PushRepository.topics": "JSON!",
		"MessageEvent.reactions": "JSON!", "MessageEventBlocks.elements": "[JSON!]",
		"OrderCreated3.total": "Money", "Money.amount": "BigInt!", "Money.currency": "String!", "Node.children": "[Node!]", "Node.parent": "Node", "OrderCreated3.percent": "Int", "OrderCreated3.status": "JSON", "OrderCreated3.kind": "String",
		"OrderCreated3.either": "String", "OrderCreated3.labels": "JSON", "OrderCreated3.self": "OrderCreated3", "OrderCreated3.selves": "[OrderCreated3!]", "OrderCreated3.remote": "JSON", "OrderCreated3.lines": "[JSON]!",
		"OrderCreated3._9lives": "Boolean", "OrderCreated3.a_b": "String", "OrderCreated3.a_b2": "String", "OrderCreated3.a_b3": "String", "OrderCreated3.big_int": "BigInt", "OrderCreated3.both": "OrderCreated3Both", "OrderCreated3Both.tax": "Float!",
		"OrderCreated3.nullable": "String", "OrderCreated3._proto__": "String", "OrderCreated3.field": "String", "OrderCreated3.mixed": "JSON", "OrderCreated3.choice": "OrderCreated3Choice", "Query2.a": "Query2A", "QueryA.JSON": "String", "String2.string": "String!",
	} {
		typ, field, _ := strings.Cut(place, ".")
		definition := schema.Types[typ]
		if definition == nil || definition.Fields.ForName(field) == nil {
			t.Errorf("%s is not there", place)
		} else if got := definition.Fields.ForName(field).Type.String(); got != want {
			t.Errorf("%s is %s, want %s", place, got, want)
		}
	}
	for name := range all(t) {
		if !strings.Contains(sdl, "Events of the type ") || name == "push" && schema.Types["Push"].Description != "Events of the type \"push\"." {
			t.Errorf("the description of %q is %q", name, schema.Types["Push"].Description)
		}
	}
	if got := schema.Types["OrderCreated3"].Fields.ForName("a_b2").Description; got != `The property "a b".` {
		t.Errorf("the description of a renamed field is %q", got)
	}
	if schema.Types["Loop"].Kind != ast.Scalar || schema.Types["Type3dSecure"].Kind != ast.Scalar {
		t.Error("what is no object is no scalar")
	}
	if t.Failed() {
		t.Log(sdl)
	}
}

func TestJSONSchemaDocument(t *testing.T) {
	t.Parallel()
	types := all(t)
	for _, broken := range []string{"order.created", "wrong everywhere"} { // it refers to what is not there; it is no schema
		delete(types, broken)
	}
	types["node"] = json.RawMessage(`{"$id": "https://a.example/node", "$defs": {"x": {"type": "string"}}, "type": "object", "properties": {"x": {"$ref": "#/$defs/x"}, "y": {"$ref": "node#/$defs/x"}, "again": {"$ref": "#"}}}`)
	types["node2"] = json.RawMessage(`{"$id": "https://a.example/node", "type": "string"}`)
	types["seven"] = json.RawMessage(`{"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {"s": {"type": "string"}}, "items": [{"$ref": "#/definitions/s"}]}`)
	document := shape.JSONSchemaDocument(types)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(document))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("schema:/bundle", value); err != nil {
		t.Fatal(err)
	}
	for name, tests := range map[string]map[string]bool{
		"invoice.paid": {invoicePaid: true, invoicePaidLater: true, `{}`: false},
		"node":         {`{"x":"a","y":"b","again":{"x":"c"}}`: true, `{"x":1}`: false, `{"y":1}`: false, `{"again":{"y":1}}`: false},
		"node2":        {`"x"`: true, `1`: false},
		"seven":        {`["x"]`: true, `[1]`: false},
		"not a schema": {`1`: true},
		"日本":           {`{"日":{"本":1}}`: true, `{"日":{"本":"1"}}`: false},
	} {
		compiled, err := c.Compile("schema:/bundle#/$defs/" + name)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, document)
		}
		for doc, want := range tests {
			instance, err := jsonschema.UnmarshalJSON(strings.NewReader(doc))
			if err != nil {
				t.Fatal(err)
			}
			if err := compiled.Validate(instance); (err == nil) != want {
				t.Errorf("%s: %s: %v", name, doc, err)
			}
		}
	}
}

var identifier = regexp.MustCompile(`(?m)^(type|scalar) [_A-Za-z][_0-9A-Za-z]*`)

// Whatever is learned, under whatever name: the SDL is valid, and has a type for it.
func TestLearnedShapesAreGraphQL(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		types := map[string]json.RawMessage{}
		for range rapid.IntRange(1, 3).Draw(t, "types") {
			name := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"invoice.paid", "invoice_paid", "Int", "json"})).Draw(t, "name")
			doc, err := json.Marshal(rapid.MapOf(rapid.String(), documents("canary")).Draw(t, "doc"))
			if err != nil {
				t.Fatal(err)
			}
			s := &shape.Shape{}
			if _, _, err := s.Learn(doc); err != nil {
				t.Fatal(err)
			}
			types[name] = s.JSONSchema(name, rapid.String().Draw(t, "description"))
		}
		sdl := shape.GraphQL(types)
		parses(t, sdl)
		if found := len(identifier.FindAllString(sdl, -1)); found < len(types) {
			t.Fatalf("%d types of %d\n%s", found, len(types), sdl)
		}
	})
}

// Whatever somebody gives for a schema: it is written in bounded time and size, and
// what is written is SDL.
func FuzzGiven(f *testing.F) {
	for _, schema := range given {
		f.Add("order.created", []byte(schema))
	}
	var doubling strings.Builder
	for i := range 40 {
		next := string(rune('a' + (i+1)%26))
		at := string(rune('a'+i%26)) + strings.Repeat("x", i/26)
		next += strings.Repeat("x", (i+1)/26)
		doubling.WriteString(`"` + at + `":{"allOf":[{"$ref":"#/$defs/` + next + `"},{"properties":{"p":{"allOf":[{"$ref":"#/$defs/` + next + `"},{"$ref":"#/$defs/` + next + `"}]}}},{"$ref":"#/$defs/` + next + `"}]},`)
	}
	f.Add("a", []byte(`{"$ref":"#/$defs/a","$defs":{`+doubling.String()+`"z":{"type":"object","properties":{"a":{"$ref":"#"}}}}}`))
	f.Add("a", []byte(strings.Repeat(`{"properties":{"a":`, 60)+"{}"+strings.Repeat("}}", 60)))
	f.Fuzz(func(t *testing.T, name string, schema []byte) {
		types := map[string]json.RawMessage{name: schema}
		ts, sdl, document := shape.TypeScript(types), shape.GraphQL(types), shape.JSONSchemaDocument(types)
		parses(t, sdl)
		if !json.Valid(document) {
			t.Fatalf("%s", document)
		}
		if limit := 2000*len(schema) + 10_000; len(ts) > limit || len(sdl) > limit*10 {
			t.Fatalf("%d bytes of schema make %d of TypeScript, %d of SDL", len(schema), len(ts), len(sdl))
		}
	})
}
