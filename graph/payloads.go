package graph

import (
	"context"
	"slices"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
)

// The payloads of mutations show what the store has returned, over a snapshot
// taken after the change.

func (r *Resolver) sourcePayload(
	source *hub.Source, err error,
) func(ctx context.Context, field ...string) (*model.SourcePayload, error) {
	return func(ctx context.Context, field ...string) (*model.SourcePayload, error) {
		problems, err := userErrors(err, field...)
		if err != nil || len(problems) > 0 {
			return &model.SourcePayload{UserErrors: problems}, err
		}
		return &model.SourcePayload{Source: model.NewSource(r.snapshot(ctx), source), UserErrors: problems}, nil
	}
}

func (r *Resolver) subscriptionPayload(
	subscription *hub.Subscription, err error,
) func(ctx context.Context, field ...string) (*model.EventSubscriptionPayload, error) {
	return func(ctx context.Context, field ...string) (*model.EventSubscriptionPayload, error) {
		problems, err := userErrors(err, field...)
		if err != nil || len(problems) > 0 {
			return &model.EventSubscriptionPayload{UserErrors: problems}, err
		}
		return &model.EventSubscriptionPayload{
			Subscription: model.NewSubscription(r.snapshot(ctx), subscription), UserErrors: problems,
		}, nil
	}
}

// endpointPayload also shows a secret that was made, this once.
func (r *Resolver) endpointPayload(
	ctx context.Context, endpoint *hub.Endpoint, secret hub.Secret, err error, field ...string,
) (*model.EndpointPayload, error) {
	problems, err := userErrors(err, field...)
	if err != nil || len(problems) > 0 {
		return &model.EndpointPayload{UserErrors: problems}, err
	}
	payload := &model.EndpointPayload{Endpoint: model.NewEndpoint(r.snapshot(ctx), endpoint), UserErrors: problems}
	if secret != "" {
		revealed := secret.Reveal()
		payload.SigningSecret = &revealed
	}
	return payload, nil
}

// seesEndpoint returns hub.ErrNotFound unless the viewer sees the endpoint.
func (r *Resolver) seesEndpoint(ctx context.Context, id string) error {
	if !r.knows(ctx, id) {
		return hub.ErrNotFound
	}
	return nil
}

func (r *Resolver) deliveryPayload(
	delivery *hub.Delivery, err error,
) func(ctx context.Context) (*model.DeliveryPayload, error) {
	return func(ctx context.Context) (*model.DeliveryPayload, error) {
		problems, err := userErrors(err, "id")
		if err != nil || len(problems) > 0 {
			return &model.DeliveryPayload{UserErrors: problems}, err
		}
		return &model.DeliveryPayload{Delivery: model.NewDelivery(r.snapshot(ctx), delivery), UserErrors: problems}, nil
	}
}

func partnerPayload(partner *hub.Partner, err error) func(field ...string) (*model.PartnerPayload, error) {
	return func(field ...string) (*model.PartnerPayload, error) {
		problems, err := userErrors(err, field...)
		if err != nil || len(problems) > 0 {
			return &model.PartnerPayload{UserErrors: problems}, err
		}
		return &model.PartnerPayload{Partner: &model.Partner{Partner: partner}, UserErrors: problems}, nil
	}
}

// apiKeyPayload also shows the key itself where it was made, this once.
func apiKeyPayload(key *hub.APIKey, text hub.Secret, err error, field ...string) (*model.APIKeyPayload, error) {
	problems, err := userErrors(err, field...)
	if err != nil || len(problems) > 0 {
		return &model.APIKeyPayload{UserErrors: problems}, err
	}
	payload := &model.APIKeyPayload{APIKey: &model.APIKey{APIKey: key}, UserErrors: problems}
	if text != "" {
		revealed := text.Reveal()
		payload.Key = &revealed
	}
	return payload, nil
}

func documentPayload(document *hub.Document, err error) (*model.DocumentPayload, error) {
	problems, err := userErrors(err, "input")
	if err != nil || len(problems) > 0 {
		return &model.DocumentPayload{UserErrors: problems}, err
	}
	return &model.DocumentPayload{Document: &model.Document{Document: document}, UserErrors: problems}, nil
}

func eventTypePayload(eventType *hub.EventType, err error) (*model.EventTypePayload, error) {
	problems, err := userErrors(err, "input", "name")
	if err != nil || len(problems) > 0 {
		return &model.EventTypePayload{UserErrors: problems}, err
	}
	return &model.EventTypePayload{EventType: model.NewEventTypes([]*hub.EventType{eventType})[0], UserErrors: problems}, nil
}

func deletePayload(id string, err error) (*model.DeletePayload, error) {
	problems, err := userErrors(err, "input", "id")
	if err != nil || len(problems) > 0 {
		return &model.DeletePayload{UserErrors: problems}, err
	}
	return &model.DeletePayload{DeletedID: &id, UserErrors: problems}, nil
}

// publish publishes events; at says where each stands in the arguments.
func (r *Resolver) publish(
	ctx context.Context, inputs []*model.PublishEventInput, at func(int) []string,
) ([]*model.PublishEventPayload, error) {
	publications := make([]receive.Publication, len(inputs))
	for i, input := range inputs {
		publications[i] = receive.Publication{
			SourceID: given(input.SourceID), PartnerID: given(input.PartnerID), Type: input.Type, Payload: []byte(input.Payload),
			DedupeKey: given(input.DedupeKey), OrderingKey: given(input.OrderingKey), OccurredAt: given(input.OccurredAt),
		}
	}
	published, err := r.publisher.Publish(ctx, publications)
	if err != nil {
		return nil, err
	}
	stored := make([]*hub.Event, 0, len(published))
	for _, p := range published {
		if p.Event != nil {
			stored = append(stored, p.Event)
		}
	}
	events := model.NewEvents(r.snapshot(ctx), stored)
	payloads := make([]*model.PublishEventPayload, len(published))
	for i, p := range published {
		for n := range p.Errors {
			p.Errors[n].Field = slices.Concat(at(i), p.Errors[n].Field)
		}
		payloads[i] = &model.PublishEventPayload{Duplicate: p.Duplicate, UserErrors: model.NewUserErrors(p.Errors)}
		if p.Event != nil {
			payloads[i].Event, events = events[0], events[1:]
		}
	}
	return payloads, nil
}

func (r *Resolver) replayPayload(ctx context.Context, replay *hub.Replay, count *int, err error, field ...string) (*model.ReplayPayload, error) {
	problems, err := userErrors(err, field...)
	if err != nil || len(problems) > 0 {
		return &model.ReplayPayload{UserErrors: problems}, err
	}
	payload := &model.ReplayPayload{Count: count, UserErrors: problems}
	if replay != nil {
		payload.Replay = model.NewReplay(r.snapshot(ctx), replay)
	}
	return payload, nil
}
