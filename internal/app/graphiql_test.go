package app_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/vektah/gqlparser/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/graph/graphiql"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// The examples of GraphiQL are executed in order, each with what those before it
// have made.
func TestTheExamplesOfGraphiQLLeadFromASourceToADelivery(t *testing.T) {
	t.Parallel()
	examples, err := graphiql.Examples()
	if err != nil || len(examples) < 5 {
		t.Fatalf("%d examples, %v", len(examples), err)
	}
	c := start(t, options(t))
	remembered := map[string]string{"hub": c.url}
	for _, example := range examples {
		document, errs := gqlparser.LoadQueryWithRules(graph.Schema(), example.Query, rules.NewDefaultRules())
		if errs != nil {
			t.Fatalf("%s: %v", example.File, errs)
		}
		raw, err := json.Marshal(example.Variables)
		if err != nil {
			t.Fatal(err)
		}
		text := string(raw)
		text = strings.NewReplacer(`\u003c`, "<", `\u003e`, ">").Replace(text)
		for name, value := range remembered {
			text = strings.ReplaceAll(text, "<"+name+">", value)
		}
		if strings.Contains(text, "<") {
			t.Fatalf("%s: nothing before it has made what its variables need: %s", example.File, text)
		}
		var variables map[string]any
		if err := json.Unmarshal([]byte(text), &variables); err != nil {
			t.Fatal(err)
		}
		if document.Operations[0].Operation == ast.Subscription {
			continue // TestTheFirstEvent and others read the stream
		}
		var data map[string]any
		c.do(&data, example.Query, variables)
		for _, answer := range data {
			if problems, _ := answer.(map[string]any)["userErrors"].([]any); len(problems) > 0 {
				t.Fatalf("%s: %v", example.File, problems)
			}
		}
		for name, path := range example.Remember {
			var at any = data
			for _, step := range path {
				at = at.(map[string]any)[step]
			}
			remembered[name] = fmt.Sprint(at)
		}
		if example.File == "5-deliveries.graphql" {
			testkit.Eventually(t, "the event is delivered", func() bool {
				var got struct {
					Event struct{ Deliveries struct{ Nodes []delivery } }
				}
				c.do(&got, example.Query, variables)
				nodes := got.Event.Deliveries.Nodes
				return len(nodes) == 1 && nodes[0].Status == "DELIVERED" && len(nodes[0].Attempts.Nodes) == 1
			})
		}
	}
}
