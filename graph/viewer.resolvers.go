package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Viewer is the resolver for the viewer field.
func (r *queryResolver) Viewer(ctx context.Context) (*hub.Viewer, error) {
	return hub.ViewerFromContext(ctx), nil
}

// Partner is the resolver for the partner field.
func (r *viewerResolver) Partner(ctx context.Context, obj *hub.Viewer) (*model.Partner, error) {
	return model.PartnerOf(loader.FromContext(ctx).Snapshot(), obj.PartnerID), nil
}

// RateLimit is the resolver for the rateLimit field.
func (r *viewerResolver) RateLimit(ctx context.Context, obj *hub.Viewer) (*model.RateLimitStatus, error) {
	left := r.points.of(obj).Balance(obj.Credential())
	return &model.RateLimitStatus{Limit: left.Maximum, Remaining: left.Available, ResetAt: left.ResetAt}, nil
}

func (r *Resolver) Viewer() generated.ViewerResolver { return &viewerResolver{r} }

type viewerResolver struct{ *Resolver }
