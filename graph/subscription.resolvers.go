package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// Deliveries is the resolver for the deliveries field.
func (r *eventSubscriptionResolver) Deliveries(ctx context.Context, obj *model.EventSubscription, first *int, after *string, filter *hub.DeliveryFilter) (*model.Connection[*model.Delivery], error) {
	return r.deliveriesOf(ctx, store.OfSubscriptions, obj.Siblings, obj.ID, filter, page.Arguments{First: first, After: after})
}

// PreviewSubscription is the resolver for the previewSubscription field.
func (r *mutationResolver) PreviewSubscription(ctx context.Context, input model.PreviewSubscriptionInput) (*model.PreviewSubscriptionPayload, error) {
	if !hub.ViewerFromContext(ctx).Can(hub.ScopeEventsRead) {
		return nil, forbidden(hub.ScopeEventsRead)
	}
	return r.preview(ctx, input)
}

// CreateSubscription is the resolver for the createSubscription field.
func (r *mutationResolver) CreateSubscription(ctx context.Context, input model.CreateSubscriptionInput) (*model.EventSubscriptionPayload, error) {
	return r.subscriptionPayload(r.configure(ctx).CreateSubscription(ctx, createSubscription(input)))(ctx, "input")
}

// UpdateSubscription is the resolver for the updateSubscription field.
func (r *mutationResolver) UpdateSubscription(ctx context.Context, input model.UpdateSubscriptionInput) (*model.EventSubscriptionPayload, error) {
	return r.subscriptionPayload(r.configure(ctx).UpdateSubscription(ctx, updateSubscription(input)))(ctx, "input", "id")
}

// DeleteSubscription is the resolver for the deleteSubscription field.
func (r *mutationResolver) DeleteSubscription(ctx context.Context, input model.DeleteInput) (*model.DeletePayload, error) {
	return deletePayload(input.ID, r.configure(ctx).DeleteSubscription(ctx, input.ID))
}

// PauseSubscription is the resolver for the pauseSubscription field.
func (r *mutationResolver) PauseSubscription(ctx context.Context, id string) (*model.EventSubscriptionPayload, error) {
	return r.subscriptionPayload(r.configure(ctx).PauseSubscription(ctx, id))(ctx, "id")
}

// ResumeSubscription is the resolver for the resumeSubscription field.
func (r *mutationResolver) ResumeSubscription(ctx context.Context, id string) (*model.EventSubscriptionPayload, error) {
	return r.subscriptionPayload(r.configure(ctx).ResumeSubscription(ctx, id))(ctx, "id")
}

// Subscription is the resolver for the subscription field.
func (r *queryResolver) Subscription(ctx context.Context, id string) (*model.EventSubscription, error) {
	return one(ctx, id, func(s *model.Snapshot) map[string]*hub.Subscription { return s.Configuration.Subscriptions }, model.NewSubscription)
}

// Subscriptions is the resolver for the subscriptions field.
func (r *queryResolver) Subscriptions(ctx context.Context, first *int, after *string, last *int, before *string, filter *hub.SubscriptionFilter) (*model.Connection[*model.EventSubscription], error) {
	return subscriptions(ctx, valueOf(filter), page.Arguments{First: first, After: after, Last: last, Before: before})
}

func (r *Resolver) EventSubscription() generated.EventSubscriptionResolver {
	return &eventSubscriptionResolver{r}
}

type eventSubscriptionResolver struct{ *Resolver }
