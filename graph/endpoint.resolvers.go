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

// Backlog is the resolver for the backlog field.
func (r *endpointResolver) Backlog(ctx context.Context, obj *model.Endpoint) (int, error) {
	return loader.FromContext(ctx).Backlog(ctx, obj.Siblings, obj.ID)
}

// Subscriptions is the resolver for the subscriptions field.
func (r *endpointResolver) Subscriptions(ctx context.Context, obj *model.Endpoint, first *int, after *string) (*model.Connection[*model.EventSubscription], error) {
	return subscriptions(ctx, hub.SubscriptionFilter{EndpointIDs: []string{obj.ID}}, page.Arguments{First: first, After: after})
}

// Deliveries is the resolver for the deliveries field.
func (r *endpointResolver) Deliveries(ctx context.Context, obj *model.Endpoint, first *int, after *string, filter *hub.DeliveryFilter) (*model.Connection[*model.Delivery], error) {
	return r.deliveriesOf(ctx, store.OfEndpoints, obj.Siblings, obj.ID, filter, page.Arguments{First: first, After: after})
}

// CreateEndpoint is the resolver for the createEndpoint field.
func (r *mutationResolver) CreateEndpoint(ctx context.Context, input model.CreateEndpointInput) (*model.EndpointPayload, error) {
	endpoint, secret, err := r.registry.CreateEndpoint(ctx, createEndpoint(input))
	return r.endpointPayload(endpoint, secret, err, "input")
}

// UpdateEndpoint is the resolver for the updateEndpoint field.
func (r *mutationResolver) UpdateEndpoint(ctx context.Context, input model.UpdateEndpointInput) (*model.EndpointPayload, error) {
	endpoint, err := r.registry.UpdateEndpoint(ctx, updateEndpoint(input))
	return r.endpointPayload(endpoint, "", err, "input", "id")
}

// DeleteEndpoint is the resolver for the deleteEndpoint field.
func (r *mutationResolver) DeleteEndpoint(ctx context.Context, input model.DeleteInput) (*model.DeletePayload, error) {
	return deletePayload(input.ID, r.registry.DeleteEndpoint(ctx, input.ID))
}

// PauseEndpoint is the resolver for the pauseEndpoint field.
func (r *mutationResolver) PauseEndpoint(ctx context.Context, id string) (*model.EndpointPayload, error) {
	endpoint, err := r.registry.PauseEndpoint(ctx, id)
	return r.endpointPayload(endpoint, "", err, "id")
}

// ResumeEndpoint is the resolver for the resumeEndpoint field.
func (r *mutationResolver) ResumeEndpoint(ctx context.Context, id string) (*model.EndpointPayload, error) {
	endpoint, err := r.registry.ResumeEndpoint(ctx, id)
	return r.endpointPayload(endpoint, "", err, "id")
}

// RotateEndpointSecret is the resolver for the rotateEndpointSecret field.
func (r *mutationResolver) RotateEndpointSecret(ctx context.Context, id string, overlap *time.Duration) (*model.EndpointPayload, error) {
	endpoint, secret, err := r.registry.RotateEndpointSecret(ctx, id, valueOf(overlap))
	return r.endpointPayload(endpoint, secret, err, "id")
}

// Endpoint is the resolver for the endpoint field.
func (r *queryResolver) Endpoint(ctx context.Context, id string) (*model.Endpoint, error) {
	return one(ctx, id, func(s *model.Snapshot) map[string]*hub.Endpoint { return s.Configuration.Endpoints }, model.NewEndpoint)
}

// Endpoints is the resolver for the endpoints field.
func (r *queryResolver) Endpoints(ctx context.Context, first *int, after *string, last *int, before *string, filter *hub.EndpointFilter) (*model.Connection[*model.Endpoint], error) {
	return endpoints(ctx, valueOf(filter), page.Arguments{First: first, After: after, Last: last, Before: before})
}

func (r *Resolver) Endpoint() generated.EndpointResolver { return &endpointResolver{r} }

type endpointResolver struct{ *Resolver }
