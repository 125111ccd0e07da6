package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// RequestBody is the resolver for the requestBody field.
func (r *attemptResolver) RequestBody(ctx context.Context, obj *model.Attempt) (*string, error) {
	if obj.EndpointID != "" { // it is of no delivery
		body := model.Text(obj.RequestBody)
		return &body, nil
	}
	l := loader.FromContext(ctx)
	delivery, err := l.Delivery(ctx, obj.Deliveries, obj.DeliveryID)
	if err != nil || delivery == nil || obj.Outcome == hub.AttemptTransformFailed {
		return nil, err
	}
	if delivery.BodyForm != hub.BodyReceived {
		shaped, err := l.ShapedBody(ctx, obj.Deliveries, obj.DeliveryID)
		if err != nil || shaped == nil {
			return nil, err
		}
		body := model.Text(shaped.Bytes)
		return &body, nil
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

// BlockedBy is the resolver for the blockedBy field.
func (r *deliveryResolver) BlockedBy(ctx context.Context, obj *model.Delivery) (*model.Delivery, error) {
	if obj.BlockedBy == "" {
		return nil, nil
	}
	return loader.FromContext(ctx).Delivery(ctx, obj.Heads, obj.BlockedBy)
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
	return r.deliveryPayload(r.store(ctx).RetryDelivery(ctx, id))(ctx)
}

// CancelDelivery is the resolver for the cancelDelivery field.
func (r *mutationResolver) CancelDelivery(ctx context.Context, id string) (*model.DeliveryPayload, error) {
	return r.deliveryPayload(r.store(ctx).CancelDelivery(ctx, id))(ctx)
}

// SettleDeliveries is the resolver for the settleDeliveries field.
func (r *mutationResolver) SettleDeliveries(ctx context.Context, input []*model.SettleDeliveryInput) ([]*model.DeliveryPayload, error) {
	return r.settle(ctx, input)
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
	found, err := r.store(ctx).Deliveries(store.WithParts(ctx, loader.FromContext(ctx).Parts()), valueOf(filter), p)
	if err != nil {
		return nil, err
	}
	return deliveryConnection(shown(found, loader.FromContext(ctx).ShowDeliveries), func(ctx context.Context) (int, error) {
		return r.store(ctx).CountDeliveries(ctx, valueOf(filter))
	}), nil
}

// DeliveryStream is the resolver for the deliveryStream field.
func (r *subscriptionResolver) DeliveryStream(ctx context.Context, endpointID string, maxInFlight *int) (<-chan *model.DeliveryStreamPayload, error) {
	return r.pull(ctx, endpointID, valueOf(maxInFlight))
}

// DeliveryUpdates is the resolver for the deliveryUpdates field.
func (r *subscriptionResolver) DeliveryUpdates(ctx context.Context, after *string, from *model.StreamStart, filter *hub.DeliveryFilter, batchSize *int) (<-chan *model.DeliveryUpdatesPayload, error) {
	if err := checkDeliveryFilter(filter); err != nil {
		return nil, err
	}
	request, err := requestOf(ctx, after, from, batchSize, admitsChange(filter))
	if err != nil {
		return nil, err
	}
	return relay(ctx, r.Resolver, r.changes, request, func(c *hub.DeliveryChange) hub.Sequence { return c.Sequence }, r.deliveryStep)
}

func (r *Resolver) Attempt() generated.AttemptResolver { return &attemptResolver{r} }

func (r *Resolver) Delivery() generated.DeliveryResolver { return &deliveryResolver{r} }

type (
	attemptResolver  struct{ *Resolver }
	deliveryResolver struct{ *Resolver }
)
