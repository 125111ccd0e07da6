package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/internal/store"
)

// partsOfFields are the parts of events and deliveries that their fields show. A field
// that is not among them may look at anything.
var partsOfFields = map[string]map[string]store.Parts{
	"Event": {
		"id": 0, "type": 0, "source": 0, "partner": store.EventPartner, "sequence": 0, "receivedAt": 0, "deliveries": 0,
		"dedupeKey": store.EventKeys, "orderingKey": store.EventKeys, "occurredAt": store.EventOccurredAt,
		"contentType": store.EventContentType, "duplicateCount": store.EventDuplicates, "lastDuplicateAt": store.EventDuplicates,
		"recovered": store.EventMarks, "outOfOrder": store.EventMarks,
	},
	"Delivery": {
		"id": 0, "event": 0, "subscription": 0, "endpoint": 0, "status": 0, "reason": 0,
		"attemptCount": store.DeliveryCounts, "nextAttemptAt": store.DeliveryTimes, "createdAt": store.DeliveryTimes, "completedAt": store.DeliveryTimes,
	},
}

// partsOf returns the parts that an operation can show, wherever it does: an event of a
// list is also what the deliveries under it refer back to.
func partsOf(ctx context.Context) store.Parts {
	if !graphql.HasOperationContext(ctx) {
		return store.AllParts
	}
	operation := graphql.GetOperationContext(ctx).Operation
	if operation == nil {
		return store.AllParts
	}
	return partsUnder(operation.SelectionSet, make(map[*ast.FragmentDefinition]bool))
}

func partsUnder(set ast.SelectionSet, seen map[*ast.FragmentDefinition]bool) (parts store.Parts) {
	for _, selection := range set {
		switch s := selection.(type) {
		case *ast.Field:
			parts |= partsOfField(s) | partsUnder(s.SelectionSet, seen)
		case *ast.InlineFragment:
			parts |= partsUnder(s.SelectionSet, seen)
		case *ast.FragmentSpread:
			if s.Definition != nil && !seen[s.Definition] {
				seen[s.Definition] = true
				parts |= partsUnder(s.Definition.SelectionSet, seen)
			}
		}
	}
	return parts
}

func partsOfField(field *ast.Field) store.Parts {
	of := field.ObjectDefinition
	switch {
	case field.Name == "__typename" || of != nil && of.IsAbstractType() && field.Name == "id":
		return 0
	case of == nil || of.IsAbstractType(): // of an event, perhaps
		return store.AllParts
	}
	fields, some := partsOfFields[of.Name]
	if parts, known := fields[field.Name]; known || !some {
		return parts
	}
	return store.AllParts
}
