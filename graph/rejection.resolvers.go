package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Rejections is the resolver for the rejections field.
func (r *queryResolver) Rejections(ctx context.Context, first *int, after *string, last *int, before *string, filter *hub.RejectionFilter) (*model.Connection[*model.Rejection], error) {
	p, err := page.Rejections.Page(page.Arguments{First: first, After: after, Last: last, Before: before})
	if err != nil {
		return nil, err
	}
	wanted := valueOf(filter)
	if err := checkLengths(len(wanted.SourceIDs), len(wanted.Reasons)); err != nil {
		return nil, err
	}
	found, err := r.store(ctx).Rejections(ctx, wanted, p)
	if err != nil {
		return nil, err
	}
	return rejectionConnection(shown(found, loader.FromContext(ctx).ShowRejections), func(ctx context.Context) (int, error) {
		return r.store(ctx).CountRejections(ctx, wanted)
	}), nil
}
