package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/parser"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/shape"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// catalogued is an event type as a dashboard shows it.
type catalogued struct {
	ID, Name, SchemaOrigin string
	Description            *string
	Schema, Example        json.RawMessage
	EventCount             int
	Sources                []struct{ Slug string }
}

// types lists what a filter chooses of the catalogue, by name.
func (c *client) types(filter string) map[string]catalogued {
	c.t.Helper()
	var got struct{ EventTypes struct{ Nodes []catalogued } }
	c.do(&got, `{ eventTypes(filter: {`+filter+`}) { nodes { id name schemaOrigin description schema example eventCount sources { slug } } } }`, nil)
	found := make(map[string]catalogued)
	for _, one := range got.EventTypes.Nodes {
		found[one.Name] = one
	}
	return found
}

// put describes an event type and returns what was wrong with that.
func (c *client) put(input map[string]any) []string {
	c.t.Helper()
	a := c.ask(`mutation ($input: PutEventTypeInput!) { putEventType(input: $input) { eventType { id name schemaOrigin } userErrors { code message field } } }`,
		map[string]any{"input": input})
	var got struct {
		PutEventType struct {
			EventType  *catalogued
			UserErrors []struct{ Code, Message string }
		}
	}
	if err := json.Unmarshal(a.Data, &got); err != nil || len(a.Errors) > 0 {
		c.t.Fatalf("%s %+v", a.Data, a.Errors)
	}
	var wrong []string
	for _, p := range got.PutEventType.UserErrors {
		wrong = append(wrong, p.Code+" "+p.Message)
	}
	if (got.PutEventType.EventType == nil) != (len(wrong) > 0) {
		c.t.Fatalf("answered %s", a.Data)
	}
	return wrong
}

func TestEventTypesAreLearnedGivenAndExported(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		source := c.source("shop")
		c.source("other")
		first := c.post("shop", nil, []byte(`{"type":"order.paid","id":"ord_1","total":42,"at":"2026-03-01T12:00:00Z","lines":[{"sku":"CANARY","n":1}]}`))
		c.post("shop", nil, []byte(`{"type":"order.paid","id":"ord_2","total":4.5,"at":"2026-03-01T12:00:00Z","note":null,"lines":[]}`))
		c.post("other", nil, []byte(`{"type":"user.created","name":"CANARY"}`))
		testkit.Eventually(t, "the types are learned", func() bool {
			types := c.types("")
			return types["order.paid"].EventCount == 2 && types["user.created"].EventCount == 1
		})
		paid := c.types(`nameContains: "ORDER", sourceIds: ["` + source + `"]`)
		if one := paid["order.paid"]; len(paid) != 1 || one.SchemaOrigin != "LEARNED" || len(one.Sources) != 1 || one.Sources[0].Slug != "shop" ||
			!strings.Contains(string(one.Schema), `"date-time"`) || strings.Contains(string(one.Schema), "CANARY") {
			t.Fatalf("the catalogue has %+v: %s", paid, one.Schema)
		}
		var met struct {
			Event  struct{ EventType catalogued }
			Node   catalogued
			Source struct{ EventTypes struct{ Nodes []catalogued } }
		}
		c.do(&met, fmt.Sprintf(`{ event(id: %q) { eventType { id name } } node(id: %q) { ... on EventType { name } } source(id: %q) { eventTypes { totalCount nodes { name eventCount } } } }`,
			first.ID, paid["order.paid"].ID, source), nil)
		if met.Event.EventType.ID != paid["order.paid"].ID || met.Node.Name != "order.paid" || len(met.Source.EventTypes.Nodes) != 1 || met.Source.EventTypes.Nodes[0].EventCount != 2 {
			t.Fatalf("met %+v", met)
		}

		if wrong := c.put(map[string]any{"name": "order.paid", "schema": map[string]any{"properties": map[string]any{"total": map[string]any{"type": "numeric"}}}}); len(wrong) != 1 || !strings.Contains(wrong[0], "/properties/total") {
			t.Fatalf("a wrong schema is %v", wrong)
		}
		given := map[string]any{"type": "object", "properties": map[string]any{"total": map[string]any{"type": "integer"}}, "required": []string{"total"}}
		if wrong := c.put(map[string]any{"name": "order.paid", "description": "Somebody has paid.", "schema": given, "example": map[string]any{"total": 1}}); wrong != nil {
			t.Fatalf("the schema was refused: %v", wrong)
		}
		if wrong := c.put(map[string]any{"name": "order.lost", "example": map[string]any{"lost": true}}); wrong != nil {
			t.Fatalf("the example was refused: %v", wrong)
		}
		types := c.types("")
		if types["order.paid"].SchemaOrigin != "GIVEN" || types["order.lost"].SchemaOrigin != "LEARNED" || !strings.Contains(string(types["order.lost"].Schema), `"lost"`) {
			t.Fatalf("the catalogue has %+v", types)
		}
		c.exports(t)

		// A partner sees what is shared with it, and no counts.
		var made struct {
			CreatePartner struct{ Partner struct{ ID string } }
		}
		c.do(&made, `mutation { createPartner(input: {name: "P", eventTypes: ["order.*"]}) { partner { id } userErrors { message } } }`, nil)
		partner := c.as(*c.createKey(fmt.Sprintf(`name: "p", role: PARTNER, partnerId: %q`, made.CreatePartner.Partner.ID)).Key)
		var shared struct {
			EventTypes struct {
				TotalCount int
				Nodes      []catalogued
			}
			ExportEventTypes string
			Event            struct{ EventType catalogued }
		}
		// What was learned, of its own events as well, may be from those of others.
		seen := c.post("shop", nil, []byte(`{"type":"order.seen","CANARY":1}`))
		testkit.Eventually(t, "one more type is learned", func() bool { return c.types(`nameContains: "order.seen"`)["order.seen"].SchemaOrigin == "LEARNED" })
		partner.do(&shared, `query ($id: ID!) { eventTypes { totalCount nodes { name schemaOrigin description schema example } } exportEventTypes(format: TYPESCRIPT)
			event(id: $id) { eventType { name schemaOrigin schema } } }`, map[string]any{"id": seen.ID})
		if shared.EventTypes.TotalCount != 3 || len(shared.EventTypes.Nodes) != 3 || strings.Contains(shared.ExportEventTypes, "user.created") {
			t.Fatalf("a partner sees %+v", shared)
		}
		for _, one := range append(shared.EventTypes.Nodes, shared.Event.EventType) {
			given := one.Name == "order.paid"
			if given != (one.SchemaOrigin == "GIVEN") || given != strings.Contains(string(one.Schema), `"total"`) || !given && (one.SchemaOrigin != "NONE" || string(one.Schema) != "null") {
				t.Errorf("a partner sees of %s the schema %s, %s", one.Name, one.Schema, one.SchemaOrigin)
			}
		}
		if shared.Event.EventType.Name != "order.seen" || strings.Contains(shared.ExportEventTypes, "CANARY") || !strings.Contains(shared.ExportEventTypes, "total") {
			t.Errorf("a partner's export is %s", shared.ExportEventTypes)
		}
		if code := partner.refusal(`{ exportEventTypes(format: GRAPHQL, names: ["user.created"]) }`); code != "BAD_USER_INPUT" {
			t.Errorf("a type that is not shared is answered %s", code)
		}
		if code := partner.refusal(`mutation { putEventType(input: {name: "order.paid"}) { userErrors { code } } }`); code != "FORBIDDEN" {
			t.Errorf("describing one is answered %s", code)
		}
	})
}

// exports checks the documents that the catalogue is exported as.
func (c *client) exports(t *testing.T) {
	t.Helper()
	var got struct{ JSONSchema, TypeScript, GraphQL string }
	c.do(&got, `{ jsonSchema: exportEventTypes(format: JSON_SCHEMA) typeScript: exportEventTypes(format: TYPESCRIPT, names: ["order.paid", "order.lost", "user.created"])
		graphql: exportEventTypes(format: GRAPHQL, names: ["order.paid", "user.created"]) }`, nil)
	if _, err := shape.Compile([]byte(got.JSONSchema)); err != nil || !strings.Contains(got.JSONSchema, "user.created") {
		t.Errorf("the bundle is no schema: %v\n%s", err, got.JSONSchema)
	}
	if _, err := parser.ParseSchema(&ast.Source{Input: got.GraphQL}); err != nil || !strings.Contains(got.GraphQL, "type OrderPaid") {
		t.Errorf("the SDL is not parsed: %v\n%s", err, got.GraphQL)
	}
	node, dir := nodeJS(t), t.TempDir()
	for name, text := range map[string]string{
		"types.ts":      got.TypeScript,
		"use.ts":        `import type { EventTypes, OrderPaid } from "./types.js"; export const paid: OrderPaid = { total: 1 }; export const lost: EventTypes["order.lost"] = { lost: true };`,
		"tsconfig.json": `{"compilerOptions": {"strict": true, "noEmit": true, "module": "nodenext", "target": "es2022", "types": []}, "include": ["*.ts"]}`,
		"package.json":  `{"type": "module"}`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	compiler := exec.CommandContext(t.Context(), node, filepath.Join(packages(t, "clients"), "node_modules", "typescript", "bin", "tsc"), "--project", ".")
	compiler.Dir = dir
	if out, err := compiler.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, got.TypeScript)
	}
}

func TestWhatDoesNotFitAGivenSchemaIsRefused(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		c := start(t, o)
		source := c.source("shop")
		given := map[string]any{"type": "object", "properties": map[string]any{"total": map[string]any{"type": "integer"}}, "required": []string{"total"}}
		if wrong := c.put(map[string]any{"name": "order.paid", "schema": given}); wrong != nil {
			t.Fatal(wrong)
		}
		c.post("shop", nil, []byte(`{"type":"order.paid","total":"not asked to look"}`))
		c.do(new(any), fmt.Sprintf(`mutation { updateSource(input: {id: %q, validateSchema: true}) { source { validateSchema } userErrors { message } } }`, source), nil)
		c.post("shop", nil, []byte(`{"type":"order.paid","total":7}`))
		c.post("shop", nil, []byte(`{"type":"order.unknown","total":"x"}`))
		status, raw := c.send(http.MethodPost, "/in/shop", nil, []byte(`{"type":"order.paid","total":"CANARY"}`))
		if status != http.StatusUnprocessableEntity || strings.Contains(string(raw), "total") {
			t.Fatalf("what does not fit is answered %d %s", status, raw)
		}
		var got struct {
			Source struct {
				Rejections struct {
					Nodes []struct{ Reason, Detail string }
				}
			}
		}
		c.do(&got, fmt.Sprintf(`{ source(id: %q) { rejections { nodes { reason detail } } } }`, source), nil)
		if list := got.Source.Rejections.Nodes; len(list) != 1 || list[0].Reason != "SCHEMA_MISMATCH" || !strings.Contains(list[0].Detail, "/total") || strings.Contains(list[0].Detail, "CANARY") {
			t.Fatalf("the rejections are %+v", list)
		}

		var api struct {
			CreateSource struct{ Source struct{ ID string } }
		}
		c.do(&api, `mutation { createSource(input: {name: "strict", kind: API, validateSchema: true, silentAfter: "PT1H"}) { source { id } userErrors { message } } }`, nil)
		a := c.ask(`mutation ($id: ID!) { publishEvent(input: {sourceId: $id, type: "order.paid", payload: {total: "CANARY"}}) { event { id } userErrors { code field message } } }`,
			map[string]any{"id": api.CreateSource.Source.ID})
		if text := string(a.Data); !strings.Contains(text, `"INVALID"`) || !strings.Contains(text, `"payload"`) || !strings.Contains(text, "/total") || strings.Contains(text, "CANARY") {
			t.Fatalf("publishing it is answered %s %+v", a.Data, a.Errors)
		}
		testkit.Eventually(t, "the source is watched", func() bool {
			var got struct {
				Source struct{ SilentAfter, ExpectedEvery string }
			}
			c.do(&got, fmt.Sprintf(`{ source(id: %q) { silentAfter expectedEvery silentSince rejectingSince uncataloguedCount } }`, api.CreateSource.Source.ID), nil)
			return got.Source.SilentAfter == "PT1H" && got.Source.ExpectedEvery == "PT1H"
		})
	})
}
