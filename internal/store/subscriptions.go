package store

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/endpoint"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/subscription"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreateSubscription stores a subscription. Its endpoint must exist.
func (v *View) CreateSubscription(ctx context.Context, sub *hub.Subscription) error {
	return v.store.change(ctx, "create subscription", func(tx *ent.Tx) error {
		if err := v.endpointExists(ctx, tx, sub.EndpointID); err != nil {
			return err
		}
		c := tx.Subscription.Create().SetID(sub.ID).
			SetCreatedAt(column.TimeOf(cmp.Or(sub.CreatedAt, v.store.clock.Now())))
		v.store.setSubscription(c.Mutation(), sub)
		if err := c.Exec(ctx); err != nil {
			return err
		}
		return v.store.recordRule(ctx, tx, false, sub.Rule())
	})
}

// UpdateSubscription changes a subscription as edit does and returns it as stored.
// Deliveries made before keep their endpoint; those held because the old transform
// failed are due again under a new one. An error of edit is returned as it is.
// Where somebody acts on those meanwhile, it gives way and begins again.
func (v *View) UpdateSubscription(ctx context.Context, id string, edit func(*hub.Subscription) error) (*hub.Subscription, error) {
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		changed, err := v.updateSubscription(ctx, id, edit)
		if !isLocked(err) {
			return changed, err
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

func (v *View) updateSubscription(ctx context.Context, id string, edit func(*hub.Subscription) error) (*hub.Subscription, error) {
	var changed *hub.Subscription
	err := v.store.change(ctx, "update subscription", func(tx *ent.Tx) error {
		row, err := tx.Subscription.Query().Where(subscription.ID(id), v.ofSubscriptions).Only(ctx)
		if err != nil {
			return notFound(err)
		}
		sub, err := toSubscription(row)
		if err != nil {
			return err
		}
		before := *sub
		if err := edit(sub); err != nil {
			return err
		}
		if err := v.endpointExists(ctx, tx, sub.EndpointID); err != nil {
			return err
		}
		sub.ID, sub.CreatedAt, sub.UpdatedAt = id, before.CreatedAt, v.store.clock.Now()
		u := tx.Subscription.UpdateOneID(id)
		v.store.setSubscription(u.Mutation(), sub)
		changed = sub
		if err := u.Exec(ctx); err != nil {
			return err
		}
		if !sub.Transform.Equal(before.Transform) {
			if err := v.store.releaseHeld(ctx, tx, sub); err != nil {
				return err
			}
		}
		if reflect.DeepEqual(sub.Rule(), before.Rule()) {
			return nil
		}
		return v.store.recordRule(ctx, tx, false, sub.Rule())
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// DeleteSubscription removes a subscription and cancels what waits for it.
func (v *View) DeleteSubscription(ctx context.Context, id string) error {
	err := v.store.change(ctx, "delete subscription", func(tx *ent.Tx) error {
		row, err := tx.Subscription.Query().Where(subscription.ID(id), v.ofSubscriptions).Only(ctx)
		if err != nil {
			return notFound(err)
		}
		return v.store.deleteSubscriptions(ctx, tx, row)
	})
	if err != nil {
		return err
	}
	if err := v.store.cancelWaiting(ctx, reasonSubscriptionDeleted, delivery.SubscriptionID(id)); err != nil {
		return err
	}
	return v.store.forgetMarks(ctx, id)
}

// deleteSubscriptions deletes subscriptions and notes that they chose until now.
func (s *Store) deleteSubscriptions(ctx context.Context, tx *ent.Tx, rows ...*ent.Subscription) error {
	rules := make([]hub.Rule, len(rows))
	for i, row := range rows {
		if err := tx.Subscription.DeleteOne(row).Exec(ctx); err != nil {
			return err
		}
		sub, err := toSubscription(row)
		if err != nil {
			return err
		}
		rules[i] = sub.Rule()
	}
	return s.recordRule(ctx, tx, true, rules...)
}

// releaseHeld makes due what the old transform of a subscription holds, and logs it. The
// transaction holds log_head, as every change of configuration does, and whoever else
// changes deliveries comes to them first: so it does not wait for one that somebody has,
// which would wait for log_head in turn. The error is isLocked then.
func (s *Store) releaseHeld(ctx context.Context, tx *ent.Tx, sub *hub.Subscription) error {
	now := column.TimeOf(s.clock.Now())
	held := []predicate.Delivery{delivery.SubscriptionID(sub.ID), pending, heldByItself, notLater}
	rows, err := tx.Delivery.Query().Where(held...).Where(lockedAtOnce).Select(delivery.FieldID, delivery.FieldEndpointID, delivery.FieldAttemptCount).All(ctx)
	if err != nil || len(rows) == 0 {
		return err
	}
	if err := tx.Delivery.Update().Where(held...).SetReason("").SetNextAttemptAt(now).SetDueAt(now).Exec(ctx); err != nil {
		return err
	}
	head, err := tx.LogHead.UpdateOneID(1).AddChangeSequence(int64(len(rows))).Save(ctx)
	if err != nil {
		return err
	}
	cfg, sequence := s.config.Load(), head.ChangeSequence-int64(len(rows))
	for part := range slices.Chunk(rows, cancelChunk) {
		entries := make([]*ent.DeliveryChangeCreate, len(part))
		for i, row := range part {
			sequence++
			state := deliveryState{status: hub.DeliveryPending, attemptCount: row.AttemptCount, next: now}.
				shown(cfg.Endpoints[row.EndpointID], s.health.of(row.EndpointID), sub, now.Time())
			entries[i] = tx.DeliveryChange.Create().SetID(sequence).SetDeliveryID(row.ID).SetStatus(state.status).SetReason(state.reason).
				SetAttemptCount(state.attemptCount).SetNextAttemptAt(state.next).SetCompletedAt(0).SetChangedAt(now)
		}
		if err := tx.DeliveryChange.CreateBulk(entries...).Exec(ctx); err != nil {
			return err
		}
	}
	return nil
}

// lockedAtOnce locks the rows of a query, or fails where somebody has one of them. SQLite
// has one writer at a time, which needs no locks.
func lockedAtOnce(sel *entsql.Selector) {
	if sel.Dialect() == dialect.Postgres {
		sel.ForUpdate(entsql.WithLockAction(entsql.NoWait))
	}
}

// heldByItself restricts a query to the waiting rows that something holds until
// somebody acts, as their partial index says it.
func heldByItself(sel *entsql.Selector) { sel.Where(written(sel, delivery.FieldReason, " <> ''")) }

func (s *Store) setSubscription(m *ent.SubscriptionMutation, sub *hub.Subscription) {
	m.SetName(sub.Name)
	m.SetEndpointID(sub.EndpointID)
	m.SetState(sub.State)
	m.SetEventTypes(append([]string{}, sub.EventTypes...)) // never null
	m.SetSourceIds(append([]string{}, sub.SourceIDs...))
	m.SetFilter(sub.Filter)
	if sub.Transform != nil {
		m.SetTransform(sub.Transform)
	} else {
		m.ClearTransform()
	}
	m.SetOrdering(cmp.Or(sub.Ordering, hub.OrderingNone))
	m.SetOrderingKey(sub.OrderingKey)
	m.SetPoison(cmp.Or(sub.Poison, hub.PoisonPark))
	m.SetUpdatedAt(column.TimeOf(cmp.Or(sub.UpdatedAt, s.clock.Now())))
}

func toSubscription(row *ent.Subscription) (*hub.Subscription, error) {
	return &hub.Subscription{
		ID: row.ID, Name: row.Name, EndpointID: row.EndpointID, State: row.State,
		EventTypes: row.EventTypes, SourceIDs: row.SourceIds, Filter: row.Filter, Transform: row.Transform,
		Ordering: row.Ordering, OrderingKey: row.OrderingKey, Poison: row.Poison,
		CreatedAt: row.CreatedAt.Time(), UpdatedAt: row.UpdatedAt.Time(),
	}, nil
}

// endpointExists is asked under log_head, so the endpoint cannot go meanwhile.
func (v *View) endpointExists(ctx context.Context, tx *ent.Tx, id string) error {
	switch found, err := tx.Endpoint.Query().Where(endpoint.ID(id), v.ofEndpoints).Exist(ctx); {
	case err != nil:
		return err
	case !found:
		return hub.NewError(hub.CodeNotFound, fmt.Sprintf("there is no endpoint %q", id))
	}
	return nil
}
