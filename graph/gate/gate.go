// Package gate decides whether a document may be executed, before anything is
// executed and on every transport alike: it parses with a token limit, measures
// the document's structure with each fragment measured once, validates, and
// counts what an operation may cost. It knows the schema and nothing of what
// fields do; who may ask is left to directives and resolvers.
//
// The order is what makes it safe. Validation compares fields of the same name
// pairwise, so the structure is bounded before it; both a naive cost walk and the
// executor visit a fragment each time it is spread, so the expanded size is
// bounded before them.
package gate

import (
	"fmt"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
	"github.com/vektah/gqlparser/v2/parser"
	"github.com/vektah/gqlparser/v2/validator"
	"github.com/vektah/gqlparser/v2/validator/rules"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Limits bound a document. Each is the largest value that passes.
type Limits struct {
	Tokens     int // of the whole document
	Depth      int // of nested fields, outside introspection
	Aliases    int // in the whole document
	Fragments  int // definitions
	Directives int // uses in the whole document
	SameField  int // fields that answer under one name, in one selection set with its fragments expanded
	RootFields int // of one operation
	Nodes      int // fields of all operations with their fragments expanded
	Cost       int // of one operation; see the directive @cost

	ListItems   int // of one list in the variables
	InputValues int // values that the variables hold, along their types
}

// DefaultLimits leave several times the room that the largest queries of the
// dashboard and the standard introspection query take.
func DefaultLimits() Limits {
	return Limits{
		Tokens: 2000, Depth: 15, Aliases: 100, Fragments: 30, Directives: 50,
		SameField: 50, RootFields: 20, Nodes: 5000, Cost: 10000,
		ListItems: 1000, InputValues: 20000,
	}
}

// What the cache of admitted documents holds at most.
const (
	cachedDocuments     = 512
	maxCachedDocumentKB = 16
)

// Gate admits documents. It is safe for concurrent use.
type Gate struct {
	schema    *ast.Schema
	limits    Limits
	costs     map[*ast.FieldDefinition]costRule
	documents *lru.Cache[string, *ast.QueryDocument] // admitted ones by their text
	open      *rules.Rules                           // with suggestions
	closed    *rules.Rules                           // without
}

// New makes a gate for a schema.
func New(schema *ast.Schema, limits Limits) (*Gate, error) {
	documents, err := lru.New[string, *ast.QueryDocument](cachedDocuments)
	if err != nil {
		return nil, fmt.Errorf("make document cache: %w", err)
	}
	costs, err := costRules(schema)
	if err != nil {
		return nil, err
	}
	closed := rules.NewDefaultRules()
	for _, rule := range []validator.Rule{
		rules.FieldsOnCorrectTypeRuleWithoutSuggestions,
		rules.ScalarLeafsRuleWithoutSuggestions,
		rules.KnownArgumentNamesRuleWithoutSuggestions,
		rules.KnownTypeNamesRuleWithoutSuggestions,
		rules.ValuesOfCorrectTypeRuleWithoutSuggestions,
	} {
		closed.RemoveRule(ruleWithSuggestions(rule.Name))
		closed.AddRule(rule.Name, rule.RuleFunc)
	}
	return &Gate{
		schema: schema, limits: limits, costs: costs, documents: documents,
		open: rules.NewDefaultRules(), closed: closed,
	}, nil
}

// ruleWithSuggestions is the name of the rule that a rule without suggestions replaces.
func ruleWithSuggestions(name string) string {
	const suffix = "WithoutSuggestions"
	if len(name) > len(suffix) && name[len(name)-len(suffix):] == suffix {
		return name[:len(name)-len(suffix)]
	}
	return name
}

// Admitted reports whether a document is known to be admitted, so that Admit costs nothing.
func (g *Gate) Admitted(text string) bool { return g.documents.Contains(text) }

// Admit parses, measures and validates a document. Suggest allows messages that
// name parts of the schema which the document almost named.
func (g *Gate) Admit(text string, suggest bool) (*ast.QueryDocument, gqlerror.List) {
	if document, ok := g.documents.Get(text); ok {
		return document, nil
	}
	document, err := parser.ParseQueryWithTokenLimit(&ast.Source{Input: text}, g.limits.Tokens)
	if err != nil {
		return nil, coded(hub.CodeParseFailed, gqlerror.List{gqlerror.WrapIfUnwrapped(err)})
	}
	if len(document.Operations) == 0 {
		return nil, refuse(hub.CodeValidationFailed, nil, "the document has no operation")
	}
	if errs := g.limits.measure(document); errs != nil {
		return nil, errs
	}
	checked := g.closed
	if suggest {
		checked = g.open
	}
	if errs := validator.ValidateWithRules(g.schema, document, checked); len(errs) > 0 {
		return nil, coded(hub.CodeValidationFailed, errs)
	}
	if len(text) <= maxCachedDocumentKB<<10 {
		g.documents.Add(text, document)
	}
	return document, nil
}

// refuse makes the one error of a document that is not admitted.
func refuse(code hub.Code, at *ast.Position, format string, args ...any) gqlerror.List {
	err := gqlerror.ErrorPosf(at, format, args...)
	if at == nil {
		err = gqlerror.Errorf(format, args...)
	}
	return coded(code, gqlerror.List{err})
}

// coded sets the code of all errors.
func coded(code hub.Code, errs gqlerror.List) gqlerror.List {
	for _, err := range errs {
		if err.Extensions == nil {
			err.Extensions = make(map[string]any, 1)
		}
		err.Extensions["code"] = string(code)
	}
	return errs
}
