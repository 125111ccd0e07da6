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

func (r *Resolver) sourcePayload(source *hub.Source, err error) func(field ...string) (*model.SourcePayload, error) {
	return func(field ...string) (*model.SourcePayload, error) {
		problems, err := userErrors(err, field...)
		if err != nil || len(problems) > 0 {
			return &model.SourcePayload{UserErrors: problems}, err
		}
		return &model.SourcePayload{Source: model.NewSource(r.snapshot(), source), UserErrors: problems}, nil
	}
}

func (r *Resolver) subscriptionPayload(
	subscription *hub.Subscription, err error,
) func(field ...string) (*model.EventSubscriptionPayload, error) {
	return func(field ...string) (*model.EventSubscriptionPayload, error) {
		problems, err := userErrors(err, field...)
		if err != nil || len(problems) > 0 {
			return &model.EventSubscriptionPayload{UserErrors: problems}, err
		}
		return &model.EventSubscriptionPayload{
			Subscription: model.NewSubscription(r.snapshot(), subscription), UserErrors: problems,
		}, nil
	}
}

// endpointPayload also shows a secret that was made, this once.
func (r *Resolver) endpointPayload(
	endpoint *hub.Endpoint, secret hub.Secret, err error, field ...string,
) (*model.EndpointPayload, error) {
	problems, err := userErrors(err, field...)
	if err != nil || len(problems) > 0 {
		return &model.EndpointPayload{UserErrors: problems}, err
	}
	payload := &model.EndpointPayload{Endpoint: model.NewEndpoint(r.snapshot(), endpoint), UserErrors: problems}
	if secret != "" {
		revealed := secret.Reveal()
		payload.SigningSecret = &revealed
	}
	return payload, nil
}

func (r *Resolver) deliveryPayload(delivery *hub.Delivery, err error) (*model.DeliveryPayload, error) {
	problems, err := userErrors(err, "id")
	if err != nil || len(problems) > 0 {
		return &model.DeliveryPayload{UserErrors: problems}, err
	}
	return &model.DeliveryPayload{Delivery: model.NewDelivery(r.snapshot(), delivery), UserErrors: problems}, nil
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
			SourceID: given(input.SourceID), Type: input.Type, Payload: []byte(input.Payload),
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
	events := model.NewEvents(r.snapshot(), stored)
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
