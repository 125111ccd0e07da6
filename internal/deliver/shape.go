package deliver

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	// shapeBound bounds the making and keeping of one body. It is within the slack that
	// a lease has beyond the endpoint's timeout.
	shapeBound = 10 * time.Second
	// shapeRetry is how soon a body is tried again that could not be made for want of
	// something else, such as the database.
	shapeRetry = 5 * time.Second
)

// shape makes the body of a delivery that has none yet, and has it kept before anything
// is sent: so every attempt sends the same bytes, after a crash and after a change of
// the transform too. It returns the attempt that has failed by that, nil where the body
// is ready. With later, the lease has gone back and there is nothing to attempt.
func (d *Dispatcher) shape(j *job) (failed *hub.Attempt, later bool) {
	lease := &j.lease
	if lease.Delivery.BodyForm != hub.BodyUnshaped || lease.Body != nil {
		return nil, false
	}
	subscription := d.config.Store.Configuration().Subscriptions[lease.Delivery.SubscriptionID]
	if subscription == nil { // deleted: the delivery is being canceled
		d.returns.add(*lease)
		return nil, true
	}
	startedAt, began := d.clock.Now(), time.Now()
	ctx, cancel := context.WithTimeout(d.base, shapeBound)
	defer cancel()
	body, err := d.bodyOf(ctx, subscription, lease)
	if err == nil {
		if err = d.config.Store.KeepBody(ctx, *lease, body); err == nil {
			lease.Body, lease.Delivery.BodyForm = &body, hub.BodyShaped
			return nil, false
		}
		d.putOff(j, "shaping.put_off", err)
		return nil, true
	}
	if hub.CodeOf(err) == hub.CodeUnavailable || d.base.Err() != nil {
		d.putOff(j, "shaping.put_off", err)
		return nil, true
	}
	j.transform = subscription.Transform
	return &hub.Attempt{
		ID: hub.NewID(hub.AttemptPrefix, startedAt), DeliveryID: lease.Delivery.ID, Number: lease.Delivery.AttemptCount + 1,
		StartedAt: startedAt, Duration: time.Since(began), Outcome: hub.AttemptTransformFailed, Error: err.Error(),
	}, false
}

// putOff gives a lease back that is not ready to be attempted, because its body could not
// be made or kept now, or the store did not answer.
func (d *Dispatcher) putOff(j *job, what string, err error) {
	back := j.lease
	if d.base.Err() == nil && hub.CodeOf(err) != hub.CodeConflict { // else it is to be had by another at once, or is already
		d.logger.WarnContext(d.base, what, slog.String("delivery_id", back.Delivery.ID),
			slog.String("subscription_id", back.Delivery.SubscriptionID), slog.Any("error", err))
		back.Delivery.NextAttemptAt = d.clock.Now().Add(shapeRetry)
		d.agenda.at(j.lane, back.Delivery.NextAttemptAt)
	}
	d.returns.add(back)
}

// bodyOf makes a body. A subscription whose transform was taken away meanwhile sends the
// event's own, and a shaper that panics has failed. The rights are those of whoever gets
// the body: the subscription may lead to the endpoint of another by now.
func (d *Dispatcher) bodyOf(ctx context.Context, subscription *hub.Subscription, lease *hub.Lease) (body hub.Body, err error) {
	defer func() {
		if p := recover(); p != nil {
			d.logger.ErrorContext(d.base, "shaping.panicked", slog.Any("panic", p), slog.String("subscription_id", subscription.ID),
				slog.String("stack", string(debug.Stack())))
			err = fmt.Errorf("the hub failed while it shaped this event")
		}
	}()
	if subscription.Transform == nil {
		return hub.Body{ContentType: lease.Event.ContentType, Bytes: lease.Event.Payload.Body}, nil
	}
	return d.config.Shaper.Shape(ctx, lease.Delivery.PartnerID, subscription.Transform, lease.Event)
}
