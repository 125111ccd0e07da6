package store

import (
	"cmp"
	"context"
	"fmt"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/endpoint"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreateSubscription stores a subscription. Its endpoint must exist.
func (s *Store) CreateSubscription(ctx context.Context, sub *hub.Subscription) error {
	return s.change(ctx, "create subscription", func(tx *ent.Tx) error {
		if err := endpointExists(ctx, tx, sub.EndpointID); err != nil {
			return err
		}
		c := tx.Subscription.Create().SetID(sub.ID).
			SetCreatedAt(column.TimeOf(cmp.Or(sub.CreatedAt, s.clock.Now())))
		s.setSubscription(c.Mutation(), sub)
		return c.Exec(ctx)
	})
}

// UpdateSubscription changes a subscription as edit does and returns it as stored.
// Deliveries made before keep their endpoint. An error of edit is returned as it is.
func (s *Store) UpdateSubscription(ctx context.Context, id string, edit func(*hub.Subscription) error) (*hub.Subscription, error) {
	var changed *hub.Subscription
	err := s.change(ctx, "update subscription", func(tx *ent.Tx) error {
		row, err := tx.Subscription.Get(ctx, id)
		if err != nil {
			return notFound(err)
		}
		sub, err := toSubscription(row)
		if err != nil {
			return err
		}
		kept := sub.CreatedAt
		if err := edit(sub); err != nil {
			return err
		}
		if err := endpointExists(ctx, tx, sub.EndpointID); err != nil {
			return err
		}
		sub.ID, sub.CreatedAt, sub.UpdatedAt = id, kept, s.clock.Now()
		u := tx.Subscription.UpdateOneID(id)
		s.setSubscription(u.Mutation(), sub)
		changed = sub
		return u.Exec(ctx)
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// DeleteSubscription removes a subscription and cancels what waits for it.
func (s *Store) DeleteSubscription(ctx context.Context, id string) error {
	err := s.change(ctx, "delete subscription", func(tx *ent.Tx) error {
		return notFound(tx.Subscription.DeleteOneID(id).Exec(ctx))
	})
	if err != nil {
		return err
	}
	return s.cancelWaiting(ctx, reasonSubscriptionDeleted, delivery.SubscriptionID(id))
}

func (s *Store) setSubscription(m *ent.SubscriptionMutation, sub *hub.Subscription) {
	m.SetName(sub.Name)
	m.SetEndpointID(sub.EndpointID)
	m.SetState(sub.State)
	m.SetEventTypes(append([]string{}, sub.EventTypes...)) // never null
	m.SetSourceIds(append([]string{}, sub.SourceIDs...))
	m.SetFilter(sub.Filter)
	m.SetUpdatedAt(column.TimeOf(cmp.Or(sub.UpdatedAt, s.clock.Now())))
}

func toSubscription(row *ent.Subscription) (*hub.Subscription, error) {
	return &hub.Subscription{
		ID: row.ID, Name: row.Name, EndpointID: row.EndpointID, State: row.State,
		EventTypes: row.EventTypes, SourceIDs: row.SourceIds, Filter: row.Filter,
		CreatedAt: row.CreatedAt.Time(), UpdatedAt: row.UpdatedAt.Time(),
	}, nil
}

// endpointExists is asked under log_head, so the endpoint cannot go meanwhile.
func endpointExists(ctx context.Context, tx *ent.Tx, id string) error {
	switch found, err := tx.Endpoint.Query().Where(endpoint.ID(id)).Exist(ctx); {
	case err != nil:
		return err
	case !found:
		return hub.NewError(hub.CodeNotFound, fmt.Sprintf("there is no endpoint %q", id))
	}
	return nil
}
