package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/endpointhealth"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/subscription"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreateEndpoint stores an endpoint.
func (s *Store) CreateEndpoint(ctx context.Context, e *hub.Endpoint) error {
	return s.change(ctx, "create endpoint", func(tx *ent.Tx) error {
		c := tx.Endpoint.Create().SetID(e.ID).SetKind(e.Kind).
			SetCreatedAt(column.TimeOf(cmp.Or(e.CreatedAt, s.clock.Now())))
		if err := s.setEndpoint(c.Mutation(), e); err != nil {
			return err
		}
		return c.Exec(ctx)
	})
}

// UpdateEndpoint changes an endpoint as edit does and returns it as stored. Its
// kind stays. An error of edit is returned as it is.
func (s *Store) UpdateEndpoint(ctx context.Context, id string, edit func(*hub.Endpoint) error) (*hub.Endpoint, error) {
	var changed *hub.Endpoint
	err := s.change(ctx, "update endpoint", func(tx *ent.Tx) error {
		row, err := tx.Endpoint.Get(ctx, id)
		if err != nil {
			return notFound(err)
		}
		e, err := s.toEndpoint(row)
		if err != nil {
			return err
		}
		kept := e.CreatedAt
		if err := edit(e); err != nil {
			return err
		}
		e.ID, e.Kind, e.CreatedAt, e.UpdatedAt = id, row.Kind, kept, s.clock.Now()
		u := tx.Endpoint.UpdateOneID(id)
		if err := s.setEndpoint(u.Mutation(), e); err != nil {
			return err
		}
		changed = e
		return u.Exec(ctx)
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// DeleteEndpoint removes an endpoint, its subscriptions and its health, and
// cancels what waits for it.
func (s *Store) DeleteEndpoint(ctx context.Context, id string) error {
	err := s.change(ctx, "delete endpoint", func(tx *ent.Tx) error {
		if err := tx.Endpoint.DeleteOneID(id).Exec(ctx); err != nil {
			return notFound(err)
		}
		_, err := tx.Subscription.Delete().Where(subscription.EndpointID(id)).Exec(ctx)
		_, healthErr := tx.EndpointHealth.Delete().Where(endpointhealth.ID(id)).Exec(ctx)
		return errors.Join(err, healthErr)
	})
	if err != nil {
		return err
	}
	return s.cancelWaiting(ctx, reasonEndpointDeleted, delivery.EndpointID(id))
}

func (s *Store) setEndpoint(m *ent.EndpointMutation, e *hub.Endpoint) error {
	headers, err := s.seal("endpoints", e.ID, "headers", e.Headers)
	if err != nil {
		return err
	}
	kept := make([]signingSecret, len(e.SigningSecrets))
	for i, one := range e.SigningSecrets {
		kept[i] = signingSecret{ID: one.ID, Secret: one.Secret.Reveal(), CreatedAt: one.CreatedAt, ExpiresAt: one.ExpiresAt}
	}
	secrets, err := s.seal("endpoints", e.ID, "signing_secrets", kept)
	if err != nil {
		return err
	}
	m.SetName(e.Name)
	m.SetURL(e.URL)
	m.SetState(e.State)
	m.SetStateReason(e.StateReason)
	m.SetTimeout(e.Timeout)
	m.SetMaxConcurrency(e.MaxConcurrency)
	if m.ClearRateLimit(); e.RateLimit != nil {
		m.SetRateLimit(e.RateLimit)
	}
	m.SetRetryPolicy(e.RetryPolicy)
	m.SetHeaders(headers)
	m.SetSigning(e.Signing)
	m.SetSigningSecrets(secrets)
	m.SetUpdatedAt(column.TimeOf(cmp.Or(e.UpdatedAt, s.clock.Now())))
	return nil
}

func (s *Store) toEndpoint(row *ent.Endpoint) (*hub.Endpoint, error) {
	e := &hub.Endpoint{
		ID: row.ID, Name: row.Name, Kind: row.Kind, URL: row.URL, State: row.State, StateReason: row.StateReason,
		Timeout: row.Timeout, MaxConcurrency: row.MaxConcurrency, RateLimit: row.RateLimit, RetryPolicy: row.RetryPolicy,
		Signing: row.Signing, CreatedAt: row.CreatedAt.Time(), UpdatedAt: row.UpdatedAt.Time(),
	}
	if err := s.open("endpoints", row.ID, "headers", row.Headers, &e.Headers); err != nil {
		return nil, err
	}
	var kept []signingSecret
	if err := s.open("endpoints", row.ID, "signing_secrets", row.SigningSecrets, &kept); err != nil {
		return nil, err
	}
	for _, one := range kept {
		e.SigningSecrets = append(e.SigningSecrets, hub.SigningSecret{
			ID: one.ID, Secret: hub.Secret(one.Secret), CreatedAt: one.CreatedAt, ExpiresAt: one.ExpiresAt,
		})
	}
	return e, nil
}

// signingSecret is a hub.SigningSecret in the clear, as it is sealed.
type signingSecret struct {
	ID        string    `json:"id"`
	Secret    string    `json:"secret"`
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt"`
}

// Why deliveries are canceled with what they were owed to.
const (
	reasonEndpointDeleted     = "the endpoint was deleted"
	reasonSubscriptionDeleted = "the subscription was deleted"
	reasonCanceled            = "canceled by request"
)

// cancelChunk keeps one cancellation from holding up the writer.
const cancelChunk = 500

// cancelWaiting cancels the waiting deliveries of which a condition holds, chunk by
// chunk. What a crash leaves over is found by cancelOrphans.
func (s *Store) cancelWaiting(ctx context.Context, reason string, which predicate.Delivery) error {
	for last := ""; ; {
		ids, err := s.read.Delivery.Query().
			Where(which, pending, delivery.IDGT(last)).
			Order(ent.Asc(delivery.FieldID)).Limit(cancelChunk).IDs(ctx)
		if err != nil {
			return wrap("cancel waiting deliveries", err)
		}
		if len(ids) == 0 {
			return nil
		}
		last = ids[len(ids)-1]
		if _, err := cancelation(s.write, reason, s.clock.Now()).Where(delivery.IDIn(ids...)).Save(ctx); err != nil {
			return wrap("cancel waiting deliveries", err)
		}
	}
}

// cancelation is the update that cancels waiting deliveries and fences their leases.
func cancelation(c *ent.Client, reason string, now time.Time) *ent.DeliveryUpdate {
	return c.Delivery.Update().Where(delivery.StatusEQ(hub.DeliveryPending)).
		SetStatus(hub.DeliveryCanceled).SetReason(reason).SetLeaseToken("").
		SetDueAt(0).SetNextAttemptAt(0).SetCompletedAt(column.TimeOf(now))
}

// cancelOrphans cancels deliveries that wait for a subscription that is gone: its
// deletion was cut off before it came to them.
func (s *Store) cancelOrphans(ctx context.Context) error {
	// First what waits, then the configuration: a subscription made in between is known.
	var waiting []struct {
		SubscriptionID string `json:"subscription_id"`
	}
	err := s.read.Delivery.Query().Where(pending).
		GroupBy(delivery.FieldSubscriptionID).Scan(ctx, &waiting)
	if err != nil {
		return wrap("find orphaned deliveries", err)
	}
	cfg, err := s.loadConfiguration(ctx)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		if _, ok := cfg.Subscriptions[w.SubscriptionID]; ok {
			continue
		}
		if err := s.cancelWaiting(ctx, reasonSubscriptionDeleted, delivery.SubscriptionID(w.SubscriptionID)); err != nil {
			return err
		}
	}
	return nil
}
