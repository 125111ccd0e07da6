package gate

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// costRule is what the directive @cost says of a field, or its default.
type costRule struct {
	weight      int
	sizedBy     []string // arguments, the first that is given counts
	assumedSize int
	connection  bool // the size is that of the page: it multiplies nodes and edges alone
}

// costRules reads the rules of all fields once.
func costRules(schema *ast.Schema) (map[*ast.FieldDefinition]costRule, error) {
	out := make(map[*ast.FieldDefinition]costRule)
	for _, definition := range schema.Types {
		for _, field := range definition.Fields {
			rule := costRule{assumedSize: 1}
			named := schema.Types[field.Type.Name()]
			switch {
			case named == nil:
				continue
			case strings.HasSuffix(named.Name, "Connection"):
				rule.weight, rule.connection = 1, true
				rule.sizedBy, rule.assumedSize = []string{"first", "last"}, hub.DefaultPageSize
			case named.IsCompositeType() && !strings.HasSuffix(named.Name, "Edge") && named.Name != "PageInfo":
				rule.weight = 1
			}
			if directive := field.Directives.ForName("cost"); directive != nil {
				given := directive.ArgumentMap(nil)
				if weight, ok := given["weight"].(int64); ok {
					rule.weight = int(weight)
				}
				if size, ok := given["assumedSize"].(int64); ok {
					rule.assumedSize = int(size)
				}
				if argument, ok := given["sizedBy"].(string); ok {
					if field.Arguments.ForName(argument) == nil {
						return nil, fmt.Errorf("@cost of %s.%s: no argument %s", definition.Name, field.Name, argument)
					}
					rule.sizedBy = []string{argument}
				}
			}
			out[field] = rule
		}
	}
	return out, nil
}

// Cost returns what an admitted operation costs with its variables, saturating.
func (g *Gate) Cost(operation *ast.OperationDefinition, variables map[string]any) int {
	p := &pricer{costs: g.costs, variables: variables, fragments: make(map[*ast.FragmentDefinition]price)}
	return p.selections(operation.SelectionSet).whole(1)
}

// CheckCost returns the error of an operation that costs too much, nil if it does not.
func (g *Gate) CheckCost(cost int) *gqlerror.Error {
	if cost <= g.limits.Cost {
		return nil
	}
	err := gqlerror.Errorf("the operation costs %d points; at most %d are admitted", cost, g.limits.Cost)
	err.Extensions = map[string]any{"code": string(hub.CodeCostLimitExceeded)}
	return err
}

// price is the cost of a selection set. What lies under nodes and edges is kept
// apart, because in a connection it is multiplied by the page size.
type price struct {
	items, rest int
}

// whole is the cost where the items are as many as size.
func (p price) whole(size int) int { return add(p.rest, multiply(size, p.items)) }

// pricer walks an operation. Each selection set of its text is visited once.
type pricer struct {
	costs     map[*ast.FieldDefinition]costRule
	variables map[string]any
	fragments map[*ast.FragmentDefinition]price
}

func (p *pricer) selections(set ast.SelectionSet) price {
	var sum price
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			cost := p.field(s)
			if s.Name == "nodes" || s.Name == "edges" {
				sum.items = add(sum.items, cost)
			} else {
				sum.rest = add(sum.rest, cost)
			}
		case *ast.InlineFragment:
			sum = sum.plus(p.selections(s.SelectionSet))
		case *ast.FragmentSpread:
			if s.Definition == nil {
				continue
			}
			known, ok := p.fragments[s.Definition]
			if !ok {
				known = p.selections(s.Definition.SelectionSet)
				p.fragments[s.Definition] = known
			}
			sum = sum.plus(known)
		}
	}
	return sum
}

func (p price) plus(other price) price {
	return price{items: add(p.items, other.items), rest: add(p.rest, other.rest)}
}

func (p *pricer) field(f *ast.Field) int {
	if f.Definition == nil || strings.HasPrefix(f.Name, "__") {
		return 0 // introspection is bounded by the size of the document and of the schema
	}
	rule := p.costs[f.Definition]
	children := p.selections(f.SelectionSet)
	size := p.size(rule, f)
	if rule.connection {
		return add(rule.weight, children.whole(size))
	}
	return multiply(max(size, 1), add(rule.weight, children.whole(1)))
}

// size returns how many items a field may yield.
func (p *pricer) size(rule costRule, f *ast.Field) int {
	if len(rule.sizedBy) == 0 {
		return rule.assumedSize
	}
	given := f.ArgumentMap(p.variables)
	for _, name := range rule.sizedBy {
		if size, ok := sizeOf(given[name]); ok {
			return size
		}
	}
	return rule.assumedSize
}

// sizeOf returns the value of a number or the length of a list. What is negative
// or malformed counts as nothing, because it is refused later.
func sizeOf(value any) (int, bool) {
	switch v := value.(type) {
	case nil:
		return 0, false
	case json.Number:
		n, err := strconv.ParseFloat(v.String(), 64)
		if err != nil {
			return 0, true
		}
		return clamp(n), true
	}
	v := reflect.ValueOf(value)
	switch {
	case v.CanInt():
		return int(max(v.Int(), 0)), true
	case v.CanFloat():
		return clamp(v.Float()), true
	case v.Kind() == reflect.Slice:
		return v.Len(), true
	}
	return 1, true // a single value stands for a list of one
}

// clamp turns a float into a non-negative int.
func clamp(f float64) int {
	switch {
	case math.IsNaN(f) || f < 0:
		return 0
	case f >= math.MaxInt32:
		return math.MaxInt32
	}
	return int(f)
}
