package graph

import (
	"context"
	"encoding/base64"
	"fmt"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// EventType is the resolver for the eventType field.
func (r *eventResolver) EventType(ctx context.Context, obj *model.Event) (*model.EventType, error) {
	return loader.FromContext(ctx).EventType(ctx, obj.Types, obj.Type)
}

// Payload is the resolver for the payload field.
func (r *eventResolver) Payload(ctx context.Context, obj *model.Event, path *string) (model.JSON, error) {
	query, err := r.path(path)
	if err != nil {
		return nil, err
	}
	payload, err := payloadOf(ctx, obj)
	if err != nil || payload == nil {
		return nil, err
	}
	return selected(payload.Body, query, handOf(ctx).decode(obj.ID))
}

// RawBody is the resolver for the rawBody field.
func (r *eventResolver) RawBody(ctx context.Context, obj *model.Event) (*string, error) {
	payload, err := payloadOf(ctx, obj)
	if err != nil || payload == nil {
		return nil, err
	}
	body := base64.StdEncoding.EncodeToString(payload.Body)
	return &body, nil
}

// Headers is the resolver for the headers field.
func (r *eventResolver) Headers(ctx context.Context, obj *model.Event) ([]*hub.Header, error) {
	payload, err := payloadOf(ctx, obj)
	if err != nil || payload == nil {
		return nil, err
	}
	headers := make([]*hub.Header, len(payload.Headers))
	for i := range payload.Headers {
		headers[i] = &payload.Headers[i]
	}
	return headers, nil
}

// Hops is the resolver for the hops field.
func (r *eventResolver) Hops(ctx context.Context, obj *model.Event) ([]string, error) {
	payload, err := payloadOf(ctx, obj)
	if err != nil || payload == nil {
		return nil, err
	}
	var hops []string
	for _, hop := range append(hub.ReadHops(payload.Headers), hub.Hop{HubID: r.store(ctx).HubID(), EventID: obj.ID}) {
		hops = append(hops, hop.String())
	}
	return hops, nil
}

// Deliveries is the resolver for the deliveries field.
func (r *eventResolver) Deliveries(ctx context.Context, obj *model.Event, first *int, after *string, filter *hub.DeliveryFilter) (*model.Connection[*model.Delivery], error) {
	return r.deliveriesOf(ctx, store.OfEvents, obj.Siblings, obj.ID, filter, page.Arguments{First: first, After: after})
}

// Trace is the resolver for the trace field.
func (r *eventResolver) Trace(ctx context.Context, obj *model.Event) ([]*model.TraceStep, error) {
	return r.trace(ctx, obj)
}

// PublishEvent is the resolver for the publishEvent field.
func (r *mutationResolver) PublishEvent(ctx context.Context, input model.PublishEventInput) (*model.PublishEventPayload, error) {
	published, err := r.publish(ctx, []*model.PublishEventInput{&input}, func(int) []string { return []string{"input"} })
	if err != nil {
		return nil, err
	}
	return published[0], nil
}

// PublishEvents is the resolver for the publishEvents field.
func (r *mutationResolver) PublishEvents(ctx context.Context, input []*model.PublishEventInput) ([]*model.PublishEventPayload, error) {
	return r.publish(ctx, input, func(i int) []string { return []string{"input", fmt.Sprint(i)} })
}

// Event is the resolver for the event field.
func (r *queryResolver) Event(ctx context.Context, id string) (*model.Event, error) {
	found, err := loader.FromContext(ctx).Nodes(ctx, []string{id})
	event, _ := found[id].(*model.Event)
	return event, err
}

// Events is the resolver for the events field.
func (r *queryResolver) Events(ctx context.Context, first *int, after *string, last *int, before *string, filter *hub.EventFilter, orderBy *model.EventOrder) (*model.Connection[*model.Event], error) {
	p, err := page.Events.Page(page.Arguments{First: first, After: after, Last: last, Before: before})
	if err != nil {
		return nil, err
	}
	if err := r.checkEventFilter(ctx, filter); err != nil {
		return nil, err
	}
	wanted := store.EventQuery{
		Filter: valueOf(filter), Page: p, Admit: r.expressionOf(ctx, filter),
		OldestFirst: valueOf(orderBy) == model.EventOrderOldestFirst,
	}
	return r.events(ctx, wanted)
}

// EventStream is the resolver for the eventStream field.
func (r *subscriptionResolver) EventStream(ctx context.Context, after *string, from *model.StreamStart, filter *hub.EventFilter, batchSize *int) (<-chan *model.EventStreamPayload, error) {
	if err := r.checkEventFilter(ctx, filter); err != nil {
		return nil, err
	}
	request, err := requestOf(ctx, after, from, batchSize, r.admission(ctx, filter))
	if err != nil {
		return nil, err
	}
	return relay(ctx, r.Resolver, r.tail, request, func(e *hub.Event) hub.Sequence { return e.Sequence }, r.eventStep)
}

func (r *Resolver) Event() generated.EventResolver { return &eventResolver{r} }

type eventResolver struct{ *Resolver }
