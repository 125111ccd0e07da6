package graph

import (
	"context"
	"time"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/catalogue"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Schema is the resolver for the schema field.
func (r *eventTypeResolver) Schema(ctx context.Context, obj *model.EventType) (model.JSON, error) {
	if obj.Schema != nil {
		return model.JSON(obj.Schema), nil
	}
	return r.learnedSchema(ctx, obj)
}

// SchemaOrigin is the resolver for the schemaOrigin field.
func (r *eventTypeResolver) SchemaOrigin(ctx context.Context, obj *model.EventType) (model.SchemaOrigin, error) {
	if obj.Schema != nil {
		return model.SchemaOriginGiven, nil
	}
	learned, err := r.learnedSchema(ctx, obj)
	if err != nil || learned == nil {
		return model.SchemaOriginNone, err
	}
	return model.SchemaOriginLearned, nil
}

// LearnedSchema is the resolver for the learnedSchema field.
func (r *eventTypeResolver) LearnedSchema(ctx context.Context, obj *model.EventType) (model.JSON, error) {
	return r.learnedSchema(ctx, obj)
}

// EventCount is the resolver for the eventCount field.
func (r *eventTypeResolver) EventCount(ctx context.Context, obj *model.EventType) (int, error) {
	seen, err := loader.FromContext(ctx).Sightings(ctx, obj.Siblings, obj.ID)
	return seen.EventCount, err
}

// SampleCount is the resolver for the sampleCount field.
func (r *eventTypeResolver) SampleCount(ctx context.Context, obj *model.EventType) (*int, error) {
	seen, err := loader.FromContext(ctx).Sightings(ctx, obj.Siblings, obj.ID)
	return &seen.SampleCount, err
}

// LastSeenAt is the resolver for the lastSeenAt field.
func (r *eventTypeResolver) LastSeenAt(ctx context.Context, obj *model.EventType) (*time.Time, error) {
	seen, err := loader.FromContext(ctx).Sightings(ctx, obj.Siblings, obj.ID)
	return &seen.LastSeenAt, err
}

// DriftedAt is the resolver for the driftedAt field.
func (r *eventTypeResolver) DriftedAt(ctx context.Context, obj *model.EventType) (*time.Time, error) {
	seen, err := loader.FromContext(ctx).Sightings(ctx, obj.Siblings, obj.ID)
	return &seen.DriftedAt, err
}

// Sources is the resolver for the sources field.
func (r *eventTypeResolver) Sources(ctx context.Context, obj *model.EventType) ([]*model.Source, error) {
	l := loader.FromContext(ctx)
	seen, err := l.Sightings(ctx, obj.Siblings, obj.ID)
	return model.SourcesOf(l.Snapshot(), seen.SourceIDs), err
}

// PutEventType is the resolver for the putEventType field.
func (r *mutationResolver) PutEventType(ctx context.Context, input model.PutEventTypeInput) (*model.EventTypePayload, error) {
	return eventTypePayload(r.configure(ctx).PutEventType(ctx, putEventType(input)))
}

// EventTypes is the resolver for the eventTypes field.
func (r *queryResolver) EventTypes(ctx context.Context, first *int, after *string, last *int, before *string, filter *hub.EventTypeFilter) (*model.Connection[*model.EventType], error) {
	p, err := page.EventTypes.Page(page.Arguments{First: first, After: after, Last: last, Before: before})
	if err != nil {
		return nil, err
	}
	f := valueOf(filter)
	if err := checkLengths(len(f.SourceIDs)); err != nil {
		return nil, err
	}
	found, err := r.store(ctx).EventTypes(ctx, f, p)
	if err != nil {
		return nil, err
	}
	return eventTypeConnection(shown(found, model.NewEventTypes), func(ctx context.Context) (int, error) {
		return r.store(ctx).CountEventTypes(ctx, f)
	}), nil
}

// ExportEventTypes is the resolver for the exportEventTypes field.
func (r *queryResolver) ExportEventTypes(ctx context.Context, format model.SchemaFormat, names []string) (string, error) {
	types, err := r.typesToExport(ctx, names)
	if err != nil {
		return "", err
	}
	schemas, err := r.schemasOf(ctx, types)
	if err != nil {
		return "", err
	}
	return catalogue.Export(catalogue.Format(format), schemas)
}

func (r *Resolver) EventType() generated.EventTypeResolver { return &eventTypeResolver{r} }

type eventTypeResolver struct{ *Resolver }
