package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/catalogue"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Bounds of one export.
const (
	maxExportedTypes = 1000
	maxExportedBytes = 16 << 20
	exportChunk      = 50 // types whose shapes are in memory at once
)

// learnedSchema is what was learned of an event type, nil where that is nothing, and for
// a partner, since others' events were learned from.
func (r *Resolver) learnedSchema(ctx context.Context, t *model.EventType) (model.JSON, error) {
	if !r.store(ctx).Sight().Whole() {
		return nil, nil
	}
	shapes, err := loader.FromContext(ctx).Shapes(ctx, t.Siblings, t.ID)
	if err != nil {
		return nil, err
	}
	text, err := catalogue.LearnedSchema(t.EventType, shapes)
	if err != nil || text == nil {
		return nil, err
	}
	var compact bytes.Buffer
	err = json.Compact(&compact, text)
	return model.JSON(compact.Bytes()), err
}

// typesToExport finds event types by name, or all of them.
func (r *Resolver) typesToExport(ctx context.Context, names []string) ([]*hub.EventType, error) {
	if err := checkLengths(len(names)); err != nil {
		return nil, err
	}
	if names == nil {
		found, err := r.store(ctx).EventTypes(ctx, hub.EventTypeFilter{}, hub.Page{Size: maxExportedTypes})
		if err == nil && found.HasNext {
			err = hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("there are more than %d event types: give names", maxExportedTypes))
		}
		return found.Items, err
	}
	found, err := r.store(ctx).EventTypesByName(ctx, names)
	if err != nil {
		return nil, err
	}
	var types []*hub.EventType
	for _, name := range names {
		if found[name] == nil {
			return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("there is no event type %q", name))
		}
		types = append(types, found[name])
	}
	return types, nil
}

// schemasOf returns the schemas of event types by their names, given or learned; for a
// partner the given ones alone. A type of which nothing is known allows everything.
func (r *Resolver) schemasOf(ctx context.Context, types []*hub.EventType) (map[string]json.RawMessage, error) {
	schemas := make(map[string]json.RawMessage, len(types))
	size, learned := 0, r.store(ctx).Sight().Whole()
	for part := range slices.Chunk(types, exportChunk) {
		var ids []string
		for _, t := range part {
			if t.Schema == nil && learned {
				ids = append(ids, t.ID)
			}
		}
		shapes, err := r.store(ctx).ShapesOf(ctx, ids)
		if err != nil {
			return nil, err
		}
		for _, t := range part {
			schema := t.Schema
			if schema == nil && learned {
				if schema, err = catalogue.LearnedSchema(t, shapes[t.ID]); err != nil {
					return nil, err
				}
			}
			if schema == nil {
				schema = json.RawMessage("true")
			}
			schemas[t.Name] = schema
			if size += len(schema); size > maxExportedBytes {
				return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("the schemas come to more than %d bytes: give fewer names", maxExportedBytes))
			}
		}
	}
	return schemas, nil
}
