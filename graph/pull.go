package graph

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/transport"
	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// settleBound is how long results may wait to be stored.
const settleBound = 15 * time.Second

// pull has the transport draw the deliveries of an endpoint until ctx ends, and frees
// those that are not settled then. The first step comes at once.
func (r *Resolver) pull(ctx context.Context, endpointID string, most int) (<-chan *model.DeliveryStreamPayload, error) {
	if most < 1 || most > deliver.MaxPulled {
		return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("maxInFlight is 1 to %d", deliver.MaxPulled))
	}
	if !r.knows(ctx, endpointID) {
		return nil, asNotFound(hub.ErrNotFound)
	}
	consumer, err := r.puller.Pull(endpointID, most)
	if errors.Is(err, deliver.ErrDraining) {
		return nil, &hub.Error{Code: hub.CodeUnavailable, Message: "the hub is shutting down; try again", RetryAfter: time.Second}
	}
	if err != nil {
		return nil, asNotFound(err)
	}
	context.AfterFunc(ctx, consumer.Close)
	first := true
	return transport.Feed(ctx, func(ctx context.Context) (message transport.Message[*model.DeliveryStreamPayload], err error) {
		var step []hub.Pulled
		if !first {
			step, err = consumer.Next(ctx)
		}
		first = false
		switch {
		case errors.Is(err, deliver.ErrDraining):
			return message, transport.ErrInterrupted
		case ctx.Err() != nil:
			return message, io.EOF
		case err != nil:
			return message, asNotFound(err)
		}
		message.Payload = func() *model.DeliveryStreamPayload { return r.pulledStep(ctx, step) }
		return message, nil
	}), nil
}

// asNotFound says for people that there is no such endpoint.
func asNotFound(err error) error {
	if errors.Is(err, hub.ErrNotFound) {
		return hub.NewError(hub.CodeNotFound, "there is no such endpoint")
	}
	return err
}

func (r *Resolver) pulledStep(ctx context.Context, step []hub.Pulled) *model.DeliveryStreamPayload {
	deliveries := make([]*hub.Delivery, len(step))
	for i := range step {
		deliveries[i] = &step[i].Delivery
	}
	payload := &model.DeliveryStreamPayload{Deliveries: make([]*model.LeasedDelivery, len(step))}
	for i, shown := range model.NewDeliveries(r.snapshot(ctx), deliveries) {
		p := &step[i]
		payload.Deliveries[i] = &model.LeasedDelivery{
			Delivery: shown, Body: model.Text(p.Body), RawBody: base64.StdEncoding.EncodeToString(p.Body),
			ContentType: p.ContentType, LeaseToken: p.Token, LeaseExpiresAt: p.ExpiresAt,
		}
	}
	return payload
}

// settle settles what the viewer sees of the deliveries, and shows each as it is then.
func (r *Resolver) settle(ctx context.Context, input []*model.SettleDeliveryInput) ([]*model.DeliveryPayload, error) {
	if len(input) > deliver.MaxSettlings {
		return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("at most %d deliveries are settled at once", deliver.MaxSettlings))
	}
	ids := make([]string, len(input))
	for i, one := range input {
		ids[i] = one.DeliveryID
	}
	visible, err := r.store(ctx).DeliveriesByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	for _, d := range visible {
		if !r.knows(ctx, d.EndpointID) { // it is gone: no need to ask for each
			break
		}
	}
	settlings := make([]hub.Settling, 0, len(input))
	places := make([]int, 0, len(input))
	problems := make([]error, len(input))
	for i, one := range input {
		if visible[one.DeliveryID] == nil {
			problems[i] = hub.ErrNotFound
			continue
		}
		settlings = append(settlings, hub.Settling{DeliveryID: one.DeliveryID, Token: one.LeaseToken, Outcome: one.Outcome, Reason: given(one.Reason)})
		places = append(places, i)
	}
	bounded, cancel := context.WithTimeout(ctx, settleBound)
	defer cancel()
	settled, err := r.puller.SettlePulled(bounded, settlings)
	if err != nil {
		return nil, err
	}
	for i, problem := range settled {
		problems[places[i]] = problem
	}
	now, err := r.store(ctx).DeliveriesByID(ctx, ids)
	if err != nil {
		return nil, err
	}
	return r.settledPayloads(ctx, input, problems, now)
}

func (r *Resolver) settledPayloads(
	ctx context.Context, input []*model.SettleDeliveryInput, problems []error, now map[string]*hub.Delivery,
) ([]*model.DeliveryPayload, error) {
	payloads := make([]*model.DeliveryPayload, len(input))
	var deliveries []*hub.Delivery
	for i, one := range input {
		at := "leaseToken"
		if errors.Is(problems[i], hub.ErrNotFound) {
			at = "deliveryId"
		}
		list, err := userErrors(problems[i], "input", fmt.Sprint(i), at)
		if err != nil {
			return nil, err
		}
		payloads[i] = &model.DeliveryPayload{UserErrors: list}
		if d := now[one.DeliveryID]; len(list) == 0 && d != nil {
			deliveries = append(deliveries, d)
		}
	}
	shown := model.NewDeliveries(r.snapshot(ctx), deliveries)
	for i := range payloads {
		if len(payloads[i].UserErrors) == 0 && len(shown) > 0 && now[input[i].DeliveryID] != nil {
			payloads[i].Delivery, shown = shown[0], shown[1:]
		}
	}
	return payloads, nil
}
