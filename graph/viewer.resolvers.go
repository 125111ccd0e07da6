package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Viewer is the resolver for the viewer field.
func (r *queryResolver) Viewer(ctx context.Context) (*hub.Viewer, error) {
	return hub.ViewerFromContext(ctx), nil
}
