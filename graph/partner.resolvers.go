package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreatePartner is the resolver for the createPartner field.
func (r *mutationResolver) CreatePartner(ctx context.Context, input model.CreatePartnerInput) (*model.PartnerPayload, error) {
	return partnerPayload(r.configure(ctx).CreatePartner(ctx, createPartner(input)))("input")
}

// UpdatePartner is the resolver for the updatePartner field.
func (r *mutationResolver) UpdatePartner(ctx context.Context, input model.UpdatePartnerInput) (*model.PartnerPayload, error) {
	return partnerPayload(r.configure(ctx).UpdatePartner(ctx, updatePartner(input)))("input", "id")
}

// Endpoints is the resolver for the endpoints field.
func (r *partnerResolver) Endpoints(ctx context.Context, obj *model.Partner, first *int, after *string) (*model.Connection[*model.Endpoint], error) {
	return endpoints(ctx, hub.EndpointFilter{PartnerIDs: []string{obj.ID}}, page.Arguments{First: first, After: after})
}

// Subscriptions is the resolver for the subscriptions field.
func (r *partnerResolver) Subscriptions(ctx context.Context, obj *model.Partner, first *int, after *string) (*model.Connection[*model.EventSubscription], error) {
	return subscriptions(ctx, hub.SubscriptionFilter{PartnerIDs: []string{obj.ID}}, page.Arguments{First: first, After: after})
}

// Partner is the resolver for the partner field.
func (r *queryResolver) Partner(ctx context.Context, id string) (*model.Partner, error) {
	return model.PartnerOf(loader.FromContext(ctx).Snapshot(), id), nil
}

// Partners is the resolver for the partners field.
func (r *queryResolver) Partners(ctx context.Context, first *int, after *string, last *int, before *string) (*model.Connection[*model.Partner], error) {
	return partners(ctx, page.Arguments{First: first, After: after, Last: last, Before: before})
}

func (r *Resolver) Partner() generated.PartnerResolver { return &partnerResolver{r} }

type partnerResolver struct{ *Resolver }
