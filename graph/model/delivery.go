package model

import (
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Delivery is a delivery as GraphQL shows it.
type Delivery struct {
	*hub.Delivery
	Siblings *Group // the deliveries that were fetched together with it
	Events   *Group // the events of all siblings
	Heads    *Group // the deliveries that siblings wait behind

	snapshot                 *Snapshot
	subscriptions, endpoints *Group // those of all siblings
	moved                    *Group // the endpoints that subscriptions of siblings deliver to since
}

// NewDeliveries shows deliveries that were fetched together.
func NewDeliveries(snapshot *Snapshot, deliveries []*hub.Delivery) []*Delivery {
	group := NewGroup(deliveries, func(d *hub.Delivery) string { return d.ID })
	events := NewGroup(deliveries, func(d *hub.Delivery) string { return d.EventID })
	heads := NewGroup(deliveries, func(d *hub.Delivery) string { return d.BlockedBy })
	subscriptions := NewGroup(deliveries, func(d *hub.Delivery) string { return d.SubscriptionID })
	endpoints := NewGroup(deliveries, func(d *hub.Delivery) string { return d.EndpointID })
	moved := NewGroup(deliveries, func(d *hub.Delivery) string {
		if s := snapshot.Configuration.Subscriptions[d.SubscriptionID]; s != nil && s.EndpointID != d.EndpointID {
			return s.EndpointID
		}
		return ""
	})
	out, all := make([]*Delivery, len(deliveries)), make([]Delivery, len(deliveries))
	for i, d := range deliveries {
		all[i] = Delivery{
			Delivery: d, Siblings: group, Events: events, Heads: heads,
			snapshot: snapshot, subscriptions: subscriptions, endpoints: endpoints, moved: moved,
		}
		out[i] = &all[i]
	}
	return out
}

// NewDelivery shows one delivery.
func NewDelivery(snapshot *Snapshot, delivery *hub.Delivery) *Delivery {
	return NewDeliveries(snapshot, []*hub.Delivery{delivery})[0]
}

// Subscription returns why the delivery is owed, nil once that is deleted.
func (d *Delivery) Subscription() *EventSubscription {
	subscription := d.snapshot.Configuration.Subscriptions[d.SubscriptionID]
	if subscription == nil {
		return nil
	}
	endpoints := d.endpoints
	if subscription.EndpointID != d.EndpointID {
		endpoints = d.moved
	}
	return &EventSubscription{
		Subscription: subscription, Siblings: d.subscriptions, snapshot: d.snapshot, endpoints: endpoints,
	}
}

// Endpoint returns where it goes, nil once that is deleted.
func (d *Delivery) Endpoint() *Endpoint { return endpointOf(d.snapshot, d.EndpointID, d.endpoints) }

// Reason returns why it is held, dead or canceled.
func (d *Delivery) Reason() *string { return optional(d.Delivery.Reason) }

// Attempt is an attempt as GraphQL shows it.
type Attempt struct {
	*hub.Attempt
	Deliveries *Group // the deliveries of all attempts fetched together with it
}

// NewAttempts shows attempts that were fetched together.
func NewAttempts(attempts []*hub.Attempt) []*Attempt {
	deliveries := NewGroup(attempts, func(a *hub.Attempt) string { return a.DeliveryID })
	out := make([]*Attempt, len(attempts))
	for i, a := range attempts {
		out[i] = &Attempt{Attempt: a, Deliveries: deliveries}
	}
	return out
}

// StatusCode returns the status of the answer, nil where there was none.
func (a *Attempt) StatusCode() *int { return optional(a.Attempt.StatusCode) }

// Error returns what went wrong, nil where nothing did.
func (a *Attempt) Error() *string { return optional(a.Attempt.Error) }

// RequestURL returns where the request was sent, nil where none could be.
func (a *Attempt) RequestURL() *string { return optional(a.Attempt.RequestURL) }

// ResponseBody returns the stored part of the answer as text, nil where there
// was none.
func (a *Attempt) ResponseBody() *string {
	if a.Attempt.StatusCode == 0 && len(a.Attempt.ResponseBody) == 0 {
		return nil
	}
	body := Text(a.Attempt.ResponseBody)
	return &body
}

// ResponseHeaders returns the headers of the answer, nil where there was none.
func (a *Attempt) ResponseHeaders() []hub.Header { return a.Attempt.ResponseHeaders }

// Duration returns how long it took.
func (a *Attempt) Duration() time.Duration { return a.Attempt.Duration }
