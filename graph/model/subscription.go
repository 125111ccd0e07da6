package model

import (
	"github.com/hookgraph/hookgraph/internal/hub"
)

// EventSubscription is a subscription as GraphQL shows it.
type EventSubscription struct {
	*hub.Subscription
	Siblings *Group // the subscriptions that were fetched together with it

	snapshot  *Snapshot
	endpoints *Group // the endpoints of all siblings
}

// NewSubscriptions shows subscriptions that were fetched together.
func NewSubscriptions(snapshot *Snapshot, subscriptions []*hub.Subscription) []*EventSubscription {
	group := NewGroup(subscriptions, func(s *hub.Subscription) string { return s.ID })
	endpoints := NewGroup(subscriptions, func(s *hub.Subscription) string { return s.EndpointID })
	out := make([]*EventSubscription, len(subscriptions))
	for i, s := range subscriptions {
		out[i] = &EventSubscription{Subscription: s, Siblings: group, snapshot: snapshot, endpoints: endpoints}
	}
	return out
}

// NewSubscription shows one subscription.
func NewSubscription(snapshot *Snapshot, subscription *hub.Subscription) *EventSubscription {
	return NewSubscriptions(snapshot, []*hub.Subscription{subscription})[0]
}

// Endpoint returns where the deliveries go.
func (s *EventSubscription) Endpoint() *Endpoint {
	return endpointOf(s.snapshot, s.EndpointID, s.endpoints)
}

// Partner returns whose the endpoint is, nil where that is the operator's or gone.
func (s *EventSubscription) Partner() *Partner {
	endpoint := s.snapshot.Configuration.Endpoints[s.EndpointID]
	if endpoint == nil {
		return nil
	}
	return PartnerOf(s.snapshot, endpoint.PartnerID)
}

// Sources returns the sources it wants, nil for every source. A deleted source
// is wanted no more.
func (s *EventSubscription) Sources() []*Source {
	if len(s.SourceIDs) == 0 {
		return nil
	}
	found := make([]*hub.Source, 0, len(s.SourceIDs))
	for _, id := range s.SourceIDs {
		if source := s.snapshot.Configuration.Sources[id]; source != nil {
			found = append(found, source)
		}
	}
	return NewSources(s.snapshot, found)
}

// OrderingKey returns the expression that yields the key, nil for the event's own.
func (s *EventSubscription) OrderingKey() *string { return optional(s.Subscription.OrderingKey) }

// Filter returns the expression that must be true, nil where there is none.
func (s *EventSubscription) Filter() *string { return optional(s.Subscription.Filter) }
