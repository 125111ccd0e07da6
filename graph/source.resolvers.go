package graph

import (
	"context"
	"time"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreateSource is the resolver for the createSource field.
func (r *mutationResolver) CreateSource(ctx context.Context, input model.CreateSourceInput) (*model.SourcePayload, error) {
	return r.sourcePayload(r.registry.CreateSource(ctx, createSource(input)))("input")
}

// UpdateSource is the resolver for the updateSource field.
func (r *mutationResolver) UpdateSource(ctx context.Context, input model.UpdateSourceInput) (*model.SourcePayload, error) {
	return r.sourcePayload(r.registry.UpdateSource(ctx, updateSource(input)))("input", "id")
}

// DeleteSource is the resolver for the deleteSource field.
func (r *mutationResolver) DeleteSource(ctx context.Context, input model.DeleteInput) (*model.DeletePayload, error) {
	return deletePayload(input.ID, r.registry.DeleteSource(ctx, input.ID))
}

// PauseSource is the resolver for the pauseSource field.
func (r *mutationResolver) PauseSource(ctx context.Context, id string) (*model.SourcePayload, error) {
	return r.sourcePayload(r.registry.PauseSource(ctx, id))("id")
}

// ResumeSource is the resolver for the resumeSource field.
func (r *mutationResolver) ResumeSource(ctx context.Context, id string) (*model.SourcePayload, error) {
	return r.sourcePayload(r.registry.ResumeSource(ctx, id))("id")
}

// Source is the resolver for the source field.
func (r *queryResolver) Source(ctx context.Context, id *string, slug *string) (*model.Source, error) {
	if (id == nil) == (slug == nil) {
		return nil, hub.NewError(hub.CodeBadUserInput, "give either id or slug")
	}
	if slug != nil {
		return one(ctx, *slug, func(s *model.Snapshot) map[string]*hub.Source { return s.Configuration.SourcesBySlug }, model.NewSource)
	}
	return one(ctx, *id, func(s *model.Snapshot) map[string]*hub.Source { return s.Configuration.Sources }, model.NewSource)
}

// Sources is the resolver for the sources field.
func (r *queryResolver) Sources(ctx context.Context, first *int, after *string, last *int, before *string, filter *hub.SourceFilter) (*model.Connection[*model.Source], error) {
	return sources(ctx, valueOf(filter), page.Arguments{First: first, After: after, Last: last, Before: before})
}

// Providers is the resolver for the providers field.
func (r *queryResolver) Providers(ctx context.Context) ([]*model.Provider, error) {
	return r.providers, nil
}

// LastEventAt is the resolver for the lastEventAt field.
func (r *sourceResolver) LastEventAt(ctx context.Context, obj *model.Source) (*time.Time, error) {
	at, err := loader.FromContext(ctx).LastEventAt(ctx, obj.Siblings, obj.ID)
	return &at, err
}

// Events is the resolver for the events field.
func (r *sourceResolver) Events(ctx context.Context, obj *model.Source, first *int, after *string, filter *hub.EventFilter) (*model.Connection[*model.Event], error) {
	p, err := page.Events.Page(page.Arguments{First: first, After: after})
	if err != nil {
		return nil, err
	}
	if err := r.checkEventFilter(ctx, filter); err != nil {
		return nil, err
	}
	if valueOf(filter).Expression != "" {
		return r.searchSource(ctx, obj, *filter, p)
	}
	l := loader.FromContext(ctx)
	found, err := l.EventsOfSource(ctx, obj.Siblings, obj.ID, filter, p)
	if err != nil {
		return nil, err
	}
	return eventConnection(found, func(ctx context.Context) (int, error) {
		return l.CountEventsOfSource(ctx, obj.Siblings, obj.ID, filter)
	}), nil
}

// Rejections is the resolver for the rejections field.
func (r *sourceResolver) Rejections(ctx context.Context, obj *model.Source, first *int, after *string) (*model.Connection[*model.Rejection], error) {
	p, err := page.Rejections.Page(page.Arguments{First: first, After: after})
	if err != nil {
		return nil, err
	}
	l := loader.FromContext(ctx)
	found, err := l.Rejections(ctx, obj.Siblings, obj.ID, p)
	if err != nil {
		return nil, err
	}
	return rejectionConnection(found, func(ctx context.Context) (int, error) {
		return l.CountRejections(ctx, obj.Siblings, obj.ID)
	}), nil
}

func (r *Resolver) Source() generated.SourceResolver { return &sourceResolver{r} }

type sourceResolver struct{ *Resolver }
