package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// RequestBody is the resolver for the requestBody field.
func (r *attemptResolver) RequestBody(ctx context.Context, obj *model.Attempt) (*string, error) {
	l := loader.FromContext(ctx)
	delivery, err := l.Delivery(ctx, obj.Deliveries, obj.DeliveryID)
	if err != nil || delivery == nil {
		return nil, err
	}
	payload, err := l.Payload(ctx, delivery.Events, delivery.EventID)
	if err != nil || payload == nil {
		return nil, err
	}
	body := model.Text(payload.Body)
	return &body, nil
}

// Event is the resolver for the event field.
func (r *deliveryResolver) Event(ctx context.Context, obj *model.Delivery) (*model.Event, error) {
	return loader.FromContext(ctx).Event(ctx, obj.Events, obj.EventID)
}

// Attempts is the resolver for the attempts field.
func (r *deliveryResolver) Attempts(ctx context.Context, obj *model.Delivery, first *int, after *string) (*model.Connection[*model.Attempt], error) {
	p, err := page.Attempts.Page(page.Arguments{First: first, After: after})
	if err != nil {
		return nil, err
	}
	l := loader.FromContext(ctx)
	found, err := l.Attempts(ctx, obj.Siblings, obj.ID, p)
	if err != nil {
		return nil, err
	}
	return attemptConnection(found, func(ctx context.Context) (int, error) {
		return l.CountAttempts(ctx, obj.Siblings, obj.ID)
	}), nil
}

// RetryDelivery is the resolver for the retryDelivery field.
func (r *mutationResolver) RetryDelivery(ctx context.Context, id string) (*model.DeliveryPayload, error) {
	return r.deliveryPayload(r.store.RetryDelivery(ctx, id))
}

// CancelDelivery is the resolver for the cancelDelivery field.
func (r *mutationResolver) CancelDelivery(ctx context.Context, id string) (*model.DeliveryPayload, error) {
	return r.deliveryPayload(r.store.CancelDelivery(ctx, id))
}

// Delivery is the resolver for the delivery field.
func (r *queryResolver) Delivery(ctx context.Context, id string) (*model.Delivery, error) {
	found, err := loader.FromContext(ctx).Nodes(ctx, []string{id})
	delivery, _ := found[id].(*model.Delivery)
	return delivery, err
}

// Deliveries is the resolver for the deliveries field.
func (r *queryResolver) Deliveries(ctx context.Context, first *int, after *string, last *int, before *string, filter *hub.DeliveryFilter) (*model.Connection[*model.Delivery], error) {
	p, err := page.Deliveries.Page(page.Arguments{First: first, After: after, Last: last, Before: before})
	if err != nil {
		return nil, err
	}
	if err := checkDeliveryFilter(filter); err != nil {
		return nil, err
	}
	found, err := r.store.Deliveries(ctx, valueOf(filter), p)
	if err != nil {
		return nil, err
	}
	return deliveryConnection(shown(found, loader.FromContext(ctx).ShowDeliveries), func(ctx context.Context) (int, error) {
		return r.store.CountDeliveries(ctx, valueOf(filter))
	}), nil
}

func (r *Resolver) Attempt() generated.AttemptResolver { return &attemptResolver{r} }

func (r *Resolver) Delivery() generated.DeliveryResolver { return &deliveryResolver{r} }

func (r *Resolver) Mutation() generated.MutationResolver { return &mutationResolver{r} }

type (
	attemptResolver  struct{ *Resolver }
	deliveryResolver struct{ *Resolver }
	mutationResolver struct{ *Resolver }
)
