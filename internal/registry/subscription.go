package registry

import (
	"context"
	"fmt"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// Bounds of a subscription.
const (
	maxEventTypes = 100
	maxSources    = 1000
)

// CreateSubscriptionInput is a subscription to be.
type CreateSubscriptionInput struct {
	Name        string
	EndpointID  string
	EventTypes  Optional[[]string] // all
	SourceIDs   Optional[[]string] // all
	Filter      Optional[string]   // none
	Transform   Optional[hub.Transform]
	Ordering    Optional[hub.OrderingMode] // NONE
	OrderingKey Optional[string]           // the event's own
	Poison      Optional[hub.PoisonRule]   // PARK_KEY
}

// UpdateSubscriptionInput is what is to change of a subscription.
type UpdateSubscriptionInput struct {
	ID          string
	Name        Optional[string]
	EndpointID  Optional[string]
	EventTypes  Optional[[]string]
	SourceIDs   Optional[[]string]
	Filter      Optional[string]
	Transform   Optional[hub.Transform]
	Ordering    Optional[hub.OrderingMode]
	OrderingKey Optional[string]
	Poison      Optional[hub.PoisonRule]
}

// CreateSubscription makes a subscription that chooses from the next event on.
func (r *Registry) CreateSubscription(ctx context.Context, in CreateSubscriptionInput) (*hub.Subscription, error) {
	now := r.now()
	sub := &hub.Subscription{
		ID: hub.NewID(hub.SubscriptionPrefix, now), State: hub.SubscriptionActive, EventTypes: everyType(),
		Ordering: hub.OrderingNone, Poison: hub.PoisonPark, CreatedAt: now, UpdatedAt: now,
	}
	edit, err := r.prepareSubscription(ctx, UpdateSubscriptionInput{
		Name: Some(in.Name), EndpointID: Some(in.EndpointID), EventTypes: in.EventTypes, SourceIDs: in.SourceIDs, Filter: in.Filter, Transform: in.Transform,
		Ordering: in.Ordering, OrderingKey: in.OrderingKey, Poison: in.Poison,
	})
	if err != nil {
		return nil, err
	}
	if err := edit(sub); err != nil {
		return nil, err
	}
	if err := r.store.CreateSubscription(ctx, sub); err != nil {
		if hub.CodeOf(err) == hub.CodeNotFound { // it has been deleted in the meantime
			var p problems
			noEndpoint(sub.EndpointID, &p)
			return nil, p.err()
		}
		return nil, err
	}
	return sub, nil
}

// UpdateSubscription changes a subscription. Deliveries that exist stay as they
// are.
func (r *Registry) UpdateSubscription(ctx context.Context, in UpdateSubscriptionInput) (*hub.Subscription, error) {
	edit, err := r.prepareSubscription(ctx, in)
	if err != nil {
		return nil, err
	}
	return r.store.UpdateSubscription(ctx, in.ID, func(sub *hub.Subscription) error {
		sub.UpdatedAt = r.now()
		return edit(sub)
	})
}

// DraftSubscription returns the subscription that an input describes, without a name or
// an endpoint, and saves nothing.
func (r *Registry) DraftSubscription(ctx context.Context, in UpdateSubscriptionInput) (*hub.Subscription, error) {
	edit, err := r.prepareSubscription(ctx, in)
	if err != nil {
		return nil, err
	}
	draft := &hub.Subscription{State: hub.SubscriptionActive, EventTypes: everyType()}
	if err := edit(draft); err != nil {
		return nil, err
	}
	return draft, nil
}

func everyType() []string { return []string{"*"} }

func noEndpoint(id string, p *problems) {
	p.add(hub.InputNotFound, fmt.Sprintf("there is no endpoint %.64q", id), "endpointId")
}

// prepareSubscription looks up what an input refers to, and returns the edit that
// applies it. That notes what is wrong, and does not look anything up: it may be
// called while the store holds a lock.
func (r *Registry) prepareSubscription(ctx context.Context, in UpdateSubscriptionInput) (func(*hub.Subscription) error, error) {
	var noEndpoints, noSources map[string]bool
	var err error
	if in.EndpointID.given() && in.EndpointID.Value != "" {
		noEndpoints, err = r.known(ctx, []string{in.EndpointID.Value}, func(c *hub.Configuration, id string) bool { return c.Endpoints[id] != nil })
		if err != nil {
			return nil, err
		}
	}
	if len(in.SourceIDs.Value) <= maxSources && r.store.Sight().Whole() {
		noSources, err = r.known(ctx, in.SourceIDs.Value, func(c *hub.Configuration, id string) bool { return c.Sources[id] != nil })
		if err != nil {
			return nil, err
		}
	}
	cfg := r.store.Configuration()
	return func(sub *hub.Subscription) error {
		var p problems
		p.name(in.Name, &sub.Name)
		switch {
		case in.EndpointID.Null || in.EndpointID.Set && in.EndpointID.Value == "":
			p.add(hub.InputRequired, "name the endpoint that is to get the events", "endpointId")
		case in.EndpointID.Set:
			if sub.EndpointID = in.EndpointID.Value; noEndpoints[sub.EndpointID] {
				noEndpoint(sub.EndpointID, &p)
			}
		}
		if in.EventTypes.change(&sub.EventTypes, everyType()) {
			sub.EventTypes = checkEventTypes(sub.EventTypes, &p)
		}
		switch {
		case len(in.SourceIDs.Value) > 0 && !r.store.Sight().Whole():
			p.add(hub.InputForbidden, "a partner's subscription takes events of every source; ask for event.source in the filter", "sourceIds")
		case in.SourceIDs.change(&sub.SourceIDs, nil):
			sub.SourceIDs = checkSources(sub.SourceIDs, noSources, &p)
		}
		if in.Filter.change(&sub.Filter, "") && sub.Filter != "" {
			p.expression(r.expressions.CheckFilter(sub.Filter), "filter")
		}
		in.Ordering.change(&sub.Ordering, hub.OrderingNone)
		if in.OrderingKey.change(&sub.OrderingKey, "") && sub.OrderingKey != "" {
			p.expression(r.expressions.CheckOrderingKey(sub.OrderingKey), "orderingKey")
		}
		in.Poison.change(&sub.Poison, hub.PoisonPark)
		if in.Transform.Set {
			if sub.Transform = nil; !in.Transform.Null {
				given := in.Transform.Value
				sub.Transform = &given
			}
		}
		if sub.Transform != nil && (in.Transform.Set || in.EndpointID.Set) { // an endpoint of another comes with other rights
			p.expression(r.transforms.CheckTransform(r.ownerOf(cfg, sub), sub.Transform), "transform", "expression")
		}
		return p.err()
	}, nil
}

// ownerOf returns whose rights a subscription's transform has. A partner's subscriptions
// lead to endpoints of its own alone, so that nothing it is told depends on those of others.
func (r *Registry) ownerOf(cfg *hub.Configuration, sub *hub.Subscription) string {
	if e := cfg.Endpoints[sub.EndpointID]; e != nil && r.store.Sight().Whole() {
		return e.PartnerID
	}
	return r.store.Sight().PartnerID()
}

// checkEventTypes notes what is wrong with patterns of event types and returns
// them without repetitions.
func checkEventTypes(patterns []string, p *problems) []string {
	switch {
	case len(patterns) == 0:
		p.add(hub.InputRequired, "name at least one event type, or take * for all", "eventTypes")
	case len(patterns) > maxEventTypes:
		p.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d event types can be listed; * stands for any characters", maxEventTypes), "eventTypes")
		return nil
	}
	for i, pattern := range patterns {
		if err := match.CheckTypePattern(pattern); err != nil {
			p.add(hub.InputInvalid, err.Error(), "eventTypes", index(i))
		}
	}
	return unique(patterns)
}

func checkSources(ids []string, missing map[string]bool, p *problems) []string {
	if len(ids) > maxSources {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d sources can be listed", maxSources), "sourceIds")
		return nil
	}
	for i, id := range ids {
		if missing[id] {
			p.add(hub.InputNotFound, fmt.Sprintf("there is no source %.64q", id), "sourceIds", index(i))
		}
	}
	return unique(ids)
}

// unique returns a copy without repetitions, in the order given.
func unique(list []string) []string {
	out := make([]string, 0, len(list))
	seen := make(map[string]bool, len(list))
	for _, one := range list {
		if !seen[one] {
			out = append(out, one)
		}
		seen[one] = true
	}
	return out
}

// DeleteSubscription deletes a subscription. What waits for it is canceled.
func (r *Registry) DeleteSubscription(ctx context.Context, id string) error {
	return r.store.DeleteSubscription(ctx, id)
}

// PauseSubscription holds a subscription's deliveries for the time being; they
// are made all the same. Pausing what is paused changes nothing.
func (r *Registry) PauseSubscription(ctx context.Context, id string) (*hub.Subscription, error) {
	return r.switchSubscription(ctx, id, hub.SubscriptionPaused)
}

// ResumeSubscription has a subscription's deliveries go out again. Resuming what
// is active changes nothing.
func (r *Registry) ResumeSubscription(ctx context.Context, id string) (*hub.Subscription, error) {
	return r.switchSubscription(ctx, id, hub.SubscriptionActive)
}

func (r *Registry) switchSubscription(ctx context.Context, id string, state hub.SubscriptionState) (*hub.Subscription, error) {
	var found *hub.Subscription
	saved, err := r.store.UpdateSubscription(ctx, id, func(sub *hub.Subscription) error {
		if found = sub; sub.State == state {
			return errUnchanged
		}
		sub.State, sub.UpdatedAt = state, r.now()
		return nil
	})
	return switched(found, saved, err)
}
