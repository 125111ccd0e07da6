package graph

import (
	"context"
	"time"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// CreateSource is the resolver for the createSource field.
func (r *mutationResolver) CreateSource(ctx context.Context, input model.CreateSourceInput) (*model.SourcePayload, error) {
	return r.sourcePayload(r.configure(ctx).CreateSource(ctx, createSource(input)))(ctx, "input")
}

// UpdateSource is the resolver for the updateSource field.
func (r *mutationResolver) UpdateSource(ctx context.Context, input model.UpdateSourceInput) (*model.SourcePayload, error) {
	return r.sourcePayload(r.configure(ctx).UpdateSource(ctx, updateSource(input)))(ctx, "input", "id")
}

// DeleteSource is the resolver for the deleteSource field.
func (r *mutationResolver) DeleteSource(ctx context.Context, input model.DeleteInput) (*model.DeletePayload, error) {
	return deletePayload(input.ID, r.configure(ctx).DeleteSource(ctx, input.ID))
}

// PauseSource is the resolver for the pauseSource field.
func (r *mutationResolver) PauseSource(ctx context.Context, id string) (*model.SourcePayload, error) {
	return r.sourcePayload(r.configure(ctx).PauseSource(ctx, id))(ctx, "id")
}

// ResumeSource is the resolver for the resumeSource field.
func (r *mutationResolver) ResumeSource(ctx context.Context, id string) (*model.SourcePayload, error) {
	return r.sourcePayload(r.configure(ctx).ResumeSource(ctx, id))(ctx, "id")
}

func (r *mutationResolver) CaptureSource(ctx context.Context, id string, count int) (*model.SourcePayload, error) {
	return r.sourcePayload(r.configure(ctx).CaptureSource(ctx, id, count))(ctx, "id")
}

// FetchSource is the resolver for the fetchSource field.
func (r *mutationResolver) FetchSource(ctx context.Context, id string) (*model.SourcePayload, error) {
	return r.sourcePayload(r.configure(ctx).FetchSource(ctx, id))(ctx, "id")
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
func (r *queryResolver) Providers(ctx context.Context, kind *hub.SourceKind) ([]*model.Provider, error) {
	wanted := hub.SourceWebhook
	if kind != nil {
		wanted = *kind
	}
	found := []*model.Provider{}
	for _, p := range r.providers {
		if p.Kind == wanted {
			found = append(found, p)
		}
	}
	return found, nil
}

// ExpectedEvery is the resolver for the expectedEvery field.
func (r *sourceResolver) ExpectedEvery(ctx context.Context, obj *model.Source) (*time.Duration, error) {
	watch, err := loader.FromContext(ctx).Watch(ctx, obj.Siblings, obj.ID)
	if expected := watch.Expected(obj.Source); expected > 0 {
		return &expected, err
	}
	return nil, err
}

// SilentSince is the resolver for the silentSince field.
func (r *sourceResolver) SilentSince(ctx context.Context, obj *model.Source) (*time.Time, error) {
	watch, err := loader.FromContext(ctx).Watch(ctx, obj.Siblings, obj.ID)
	return &watch.SilentSince, err
}

// RejectingSince is the resolver for the rejectingSince field.
func (r *sourceResolver) RejectingSince(ctx context.Context, obj *model.Source) (*time.Time, error) {
	watch, err := loader.FromContext(ctx).Watch(ctx, obj.Siblings, obj.ID)
	return &watch.RejectingSince, err
}

// EventTypes is the resolver for the eventTypes field.
func (r *sourceResolver) EventTypes(ctx context.Context, obj *model.Source, first *int, after *string) (*model.Connection[*model.EventType], error) {
	p, err := page.EventTypes.Page(page.Arguments{First: first, After: after})
	if err != nil {
		return nil, err
	}
	l := loader.FromContext(ctx)
	found, err := l.EventTypesOfSource(ctx, obj.Siblings, obj.ID, p)
	if err != nil {
		return nil, err
	}
	return eventTypeConnection(found, func(ctx context.Context) (int, error) {
		return l.CountEventTypesOfSource(ctx, obj.Siblings, obj.ID)
	}), nil
}

// UncataloguedCount is the resolver for the uncataloguedCount field.
func (r *sourceResolver) UncataloguedCount(ctx context.Context, obj *model.Source) (*int, error) {
	watch, err := loader.FromContext(ctx).Watch(ctx, obj.Siblings, obj.ID)
	return &watch.Uncatalogued, err
}

// Fetch is the resolver for the fetch field.
func (r *sourceResolver) Fetch(ctx context.Context, obj *model.Source) (*model.FetchStatus, error) {
	if !obj.Fetches() {
		return nil, nil
	}
	fetch, err := loader.FromContext(ctx).Fetch(ctx, obj.Siblings, obj.ID)
	if fetch == nil {
		fetch = &hub.Fetch{SourceID: obj.ID}
	}
	return &model.FetchStatus{Fetch: fetch, Paused: obj.State == hub.SourcePaused}, err
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

// Stats is the resolver for the stats field.
func (r *sourceResolver) Stats(ctx context.Context, obj *model.Source, since time.Time, until *time.Time) (*hub.StatsBucket, error) {
	return loader.FromContext(ctx).Stats(ctx, store.StatsOfSources, obj.Siblings, obj.ID, since, valueOf(until))
}

func (r *Resolver) Source() generated.SourceResolver { return &sourceResolver{r} }

type sourceResolver struct{ *Resolver }
