package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/registry"
)

// RegisterDocument is the resolver for the registerDocument field.
func (r *mutationResolver) RegisterDocument(ctx context.Context, input model.RegisterDocumentInput) (*model.DocumentPayload, error) {
	return documentPayload(r.configure(ctx).RegisterDocument(ctx, registry.RegisterDocumentInput{
		Name: optional(input.Name), Document: input.Document,
	}, r.documents))
}

// RemoveDocument is the resolver for the removeDocument field.
func (r *mutationResolver) RemoveDocument(ctx context.Context, input model.DeleteInput) (*model.DeletePayload, error) {
	return deletePayload(input.ID, r.configure(ctx).RemoveDocument(ctx, input.ID))
}

// Documents is the resolver for the documents field.
func (r *queryResolver) Documents(ctx context.Context, first *int, after *string, last *int, before *string) (*model.Connection[*model.Document], error) {
	all := loader.FromContext(ctx).Snapshot().Configuration.Documents
	return configured(all, func(*hub.Document) bool { return true }, func(d *hub.Document) string { return d.ID }, page.Documents,
		page.Arguments{First: first, After: after, Last: last, Before: before}, model.NewDocuments,
		func(d *model.Document) string { return d.ID })
}
