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

// Stats is the resolver for the stats field.
func (r *endpointResolver) Stats(ctx context.Context, obj *model.Endpoint, since time.Time, until *time.Time) (*hub.StatsBucket, error) {
	return loader.FromContext(ctx).Stats(ctx, store.StatsOfEndpoints, obj.Siblings, obj.ID, since, valueOf(until))
}

// CreateEndpoint is the resolver for the createEndpoint field.
func (r *mutationResolver) CreateEndpoint(ctx context.Context, input model.CreateEndpointInput) (*model.EndpointPayload, error) {
	endpoint, secret, err := r.configure(ctx).CreateEndpoint(ctx, createEndpoint(input))
	return r.endpointPayload(ctx, endpoint, secret, err, "input")
}

// UpdateEndpoint is the resolver for the updateEndpoint field.
func (r *mutationResolver) UpdateEndpoint(ctx context.Context, input model.UpdateEndpointInput) (*model.EndpointPayload, error) {
	endpoint, secret, err := r.configure(ctx).UpdateEndpoint(ctx, updateEndpoint(input))
	return r.endpointPayload(ctx, endpoint, secret, err, "input", "id")
}

// DeleteEndpoint is the resolver for the deleteEndpoint field.
func (r *mutationResolver) DeleteEndpoint(ctx context.Context, input model.DeleteInput) (*model.DeletePayload, error) {
	return deletePayload(input.ID, r.configure(ctx).DeleteEndpoint(ctx, input.ID))
}

// PauseEndpoint is the resolver for the pauseEndpoint field.
func (r *mutationResolver) PauseEndpoint(ctx context.Context, id string) (*model.EndpointPayload, error) {
	endpoint, err := r.configure(ctx).PauseEndpoint(ctx, id)
	return r.endpointPayload(ctx, endpoint, "", err, "id")
}

func (r *mutationResolver) DisableEndpoint(ctx context.Context, id string, reason *string) (*model.EndpointPayload, error) {
	endpoint, err := r.configure(ctx).DisableEndpoint(ctx, id, valueOf(reason))
	return r.endpointPayload(ctx, endpoint, "", err, "id")
}

// ResumeEndpoint is the resolver for the resumeEndpoint field.
func (r *mutationResolver) ResumeEndpoint(ctx context.Context, id string, backlog *hub.BacklogChoice) (*model.EndpointPayload, error) {
	endpoint, err := r.configure(ctx).ResumeEndpoint(ctx, id, valueOf(backlog))
	return r.endpointPayload(ctx, endpoint, "", err, "id")
}

// RotateEndpointSecret is the resolver for the rotateEndpointSecret field.
func (r *mutationResolver) RotateEndpointSecret(ctx context.Context, id string, overlap *time.Duration) (*model.EndpointPayload, error) {
	endpoint, secret, err := r.configure(ctx).RotateEndpointSecret(ctx, id, valueOf(overlap))
	return r.endpointPayload(ctx, endpoint, secret, err, "id")
}

// VerifyEndpoint is the resolver for the verifyEndpoint field.
func (r *mutationResolver) VerifyEndpoint(ctx context.Context, id string) (*model.EndpointPayload, error) {
	if err := r.seesEndpoint(ctx, id); err != nil {
		return r.endpointPayload(ctx, nil, "", err, "id")
	}
	endpoint, err := r.prober.VerifyEndpoint(ctx, id)
	return r.endpointPayload(ctx, endpoint, "", err, "id")
}

// TestEndpoint is the resolver for the testEndpoint field.
func (r *mutationResolver) TestEndpoint(ctx context.Context, id string, eventType *string, payload model.JSON) (*model.TestEndpointPayload, error) {
	var attempt *hub.Attempt
	err := r.seesEndpoint(ctx, id)
	if err == nil {
		attempt, err = r.prober.TestEndpoint(ctx, id, valueOf(eventType), []byte(payload))
	}
	problems, err := userErrors(err, "id")
	if err != nil || len(problems) > 0 {
		return &model.TestEndpointPayload{UserErrors: problems}, err
	}
	return &model.TestEndpointPayload{Attempt: model.NewAttempts([]*hub.Attempt{attempt})[0], UserErrors: problems}, nil
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
