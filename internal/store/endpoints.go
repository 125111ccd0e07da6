package store

import (
	"cmp"
	"context"
	"errors"
	"time"

	"entgo.io/ent/dialect"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/endpoint"
	"github.com/hookgraph/hookgraph/ent/endpointhealth"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/subscription"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreateEndpoint stores an endpoint. For somebody else than the one who asks that is
// CodeForbidden.
func (v *View) CreateEndpoint(ctx context.Context, e *hub.Endpoint) error {
	if !v.sight.Owns(e.PartnerID) {
		return errOutOfSight
	}
	return v.store.change(ctx, "create endpoint", func(tx *ent.Tx) error {
		c := tx.Endpoint.Create().SetID(e.ID).SetPartnerID(e.PartnerID).SetKind(e.Kind).
			SetCreatedAt(column.TimeOf(cmp.Or(e.CreatedAt, v.store.clock.Now())))
		if err := v.store.setEndpoint(c.Mutation(), e); err != nil {
			return err
		}
		return c.Exec(ctx)
	})
}

// UpdateEndpoint changes an endpoint as edit does and returns it as stored. Its
// kind and its partner stay. An error of edit is returned as it is.
func (v *View) UpdateEndpoint(ctx context.Context, id string, edit func(*hub.Endpoint) error) (*hub.Endpoint, error) {
	var changed *hub.Endpoint
	var told []*hub.Announcement
	err := v.store.change(ctx, "update endpoint", func(tx *ent.Tx) error {
		row, err := tx.Endpoint.Query().Where(endpoint.ID(id), v.ofEndpoints).Only(ctx)
		if err != nil {
			return notFound(err)
		}
		e, err := v.store.toEndpoint(row)
		if err != nil {
			return err
		}
		kept, secret, state := e.CreatedAt, newestSecret(e), e.State
		if err := edit(e); err != nil {
			return err
		}
		e.ID, e.PartnerID, e.Kind, e.CreatedAt, e.UpdatedAt = id, row.PartnerID, row.Kind, kept, v.store.clock.Now()
		u := tx.Endpoint.UpdateOneID(id)
		if err := v.store.setEndpoint(u.Mutation(), e); err != nil {
			return err
		}
		changed = e
		if err := u.Exec(ctx); err != nil {
			return err
		}
		if newest := newestSecret(e); newest != secret && newest != "" {
			told = append(told, hub.NewEndpointAnnouncement(hub.EndpointSecretRotatedType, e, e.UpdatedAt, hub.EndpointFacts{SecretID: newest}))
		}
		if state != hub.EndpointDisabled && e.State == hub.EndpointDisabled {
			told = append(told, hub.NewEndpointAnnouncement(hub.EndpointDisabledType, e, e.UpdatedAt, hub.EndpointFacts{Reason: e.StateReason}))
		}
		if state == hub.EndpointDisabled && e.State == hub.EndpointActive {
			told = append(told, hub.NewEndpointAnnouncement(hub.EndpointRecoveredType, e, e.UpdatedAt, hub.EndpointFacts{From: string(hub.EndpointDisabled)}))
		}
		for _, a := range told {
			if err := tx.Announcement.Create().SetID(a.ID).SetType(a.Type).SetPartnerID(a.PartnerID).
				SetOccurredAt(column.TimeOf(a.OccurredAt)).SetBody(a.Body).Exec(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(told) > 0 {
		v.store.announced()
	}
	return changed, nil
}

// newestSecret returns the ID of the secret that signs first, "" where none does.
func newestSecret(e *hub.Endpoint) string {
	if len(e.SigningSecrets) == 0 {
		return ""
	}
	return e.SigningSecrets[0].ID
}

// DeleteEndpoint removes an endpoint, its subscriptions and its health, and
// cancels what waits for it.
func (v *View) DeleteEndpoint(ctx context.Context, id string) error {
	var gone []string // its subscriptions
	err := v.store.change(ctx, "delete endpoint", func(tx *ent.Tx) error {
		if err := deleted(tx.Endpoint.Delete().Where(endpoint.ID(id), v.ofEndpoints).Exec(ctx)); err != nil {
			return err
		}
		subscriptions, err := tx.Subscription.Query().Where(subscription.EndpointID(id)).All(ctx)
		if err == nil {
			for _, sub := range subscriptions {
				gone = append(gone, sub.ID)
			}
			err = v.store.deleteSubscriptions(ctx, tx, subscriptions...)
		}
		_, healthErr := tx.EndpointHealth.Delete().Where(endpointhealth.ID(id)).Exec(ctx)
		return errors.Join(err, healthErr)
	})
	if err != nil {
		return err
	}
	if err := v.store.cancelWaiting(ctx, reasonEndpointDeleted, delivery.EndpointID(id)); err != nil || len(gone) == 0 {
		return err
	}
	for _, sub := range gone { // what was made for another endpoint, before the subscription went to this one
		if err := v.store.cancelWaiting(ctx, reasonSubscriptionDeleted, delivery.SubscriptionID(sub)); err != nil {
			return err
		}
	}
	return v.store.forgetMarks(ctx, gone...)
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
	m.SetStateReason(clean(e.StateReason))
	m.SetTimeout(e.Timeout)
	m.SetMaxConcurrency(e.MaxConcurrency)
	if e.RateLimit == nil {
		m.ClearRateLimit()
	} else { // not after a Clear: PostgreSQL takes one assignment alone
		m.SetRateLimit(e.RateLimit)
	}
	m.SetRetryPolicy(e.RetryPolicy)
	m.SetHeaders(headers)
	m.SetSigning(e.Signing)
	m.SetSigningSecrets(secrets)
	if e.Auth == nil {
		m.ClearAuth()
	} else {
		auth, err := s.seal("endpoints", e.ID, "auth", endpointAuth{EndpointAuth: *e.Auth, Secret: e.Auth.Secret.Reveal()})
		if err != nil {
			return err
		}
		m.SetAuth(auth)
	}
	m.SetMaxAge(e.MaxAge)
	m.SetVerifiedAt(column.TimeOf(e.VerifiedAt))
	m.SetBacklogChoice("")
	m.SetBacklogBefore(0)
	if b := e.Backlog; b != nil {
		m.SetBacklogChoice(b.Choice)
		m.SetBacklogBefore(column.TimeOf(b.Before))
	}
	m.SetUpdatedAt(column.TimeOf(cmp.Or(e.UpdatedAt, s.clock.Now())))
	return nil
}

func (s *Store) toEndpoint(row *ent.Endpoint) (*hub.Endpoint, error) {
	e := &hub.Endpoint{
		ID: row.ID, PartnerID: row.PartnerID, Name: row.Name, Kind: row.Kind, URL: row.URL, State: row.State, StateReason: row.StateReason,
		Timeout: row.Timeout, MaxConcurrency: row.MaxConcurrency, RateLimit: row.RateLimit, RetryPolicy: row.RetryPolicy,
		Signing: row.Signing, MaxAge: row.MaxAge, VerifiedAt: row.VerifiedAt.Time(),
		CreatedAt: row.CreatedAt.Time(), UpdatedAt: row.UpdatedAt.Time(),
	}
	e.MustVerify = s.cfg.Verification.Concerns(e)
	if row.BacklogChoice != "" {
		e.Backlog = &hub.BacklogOrder{Choice: row.BacklogChoice, Before: row.BacklogBefore.Time()}
	}
	if len(row.Auth) > 0 {
		var auth endpointAuth
		if err := s.open("endpoints", row.ID, "auth", row.Auth, &auth); err != nil {
			return nil, err
		}
		e.Auth = &auth.EndpointAuth
		e.Auth.Secret = hub.Secret(auth.Secret)
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

// endpointAuth is a hub.EndpointAuth with its secret in the clear, as it is sealed.
type endpointAuth struct {
	hub.EndpointAuth
	Secret string `json:"secret"`
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
		if _, err := s.cancelDeliveries(ctx, reason, delivery.IDIn(ids...)); err != nil {
			return wrap("cancel waiting deliveries", err)
		}
	}
}

// cancelDeliveries cancels waiting deliveries and fences their leases.
func (s *Store) cancelDeliveries(ctx context.Context, reason string, which ...condition) (canceled int, err error) {
	return s.act(ctx, s.ending(hub.DeliveryCanceled, reason, s.clock.Now()), append(which, delivery.StatusEQ(hub.DeliveryPending))...)
}

// cancelOrphans cancels deliveries that wait for a subscription or an endpoint that is
// gone: its deletion was cut off before it came to them, or a replay made them while it
// happened.
func (s *Store) cancelOrphans(ctx context.Context, reads dialect.Driver) error {
	type pair struct{ endpointID, subscriptionID string }
	var waiting []pair
	known := s.config.Load()
	err := eachWaiting(ctx, reads, func(endpointID, subscriptionID string, _ time.Time) {
		if known.Endpoints[endpointID] == nil || known.Subscriptions[subscriptionID] == nil {
			waiting = append(waiting, pair{endpointID, subscriptionID})
		}
	})
	if err != nil || len(waiting) == 0 {
		return wrap("find orphaned deliveries", err)
	}
	// After what waits: what has been made since the snapshot is known then.
	cfg, err := s.loadConfiguration(ctx)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		var reason string
		switch {
		case cfg.Endpoints[w.endpointID] == nil:
			reason = reasonEndpointDeleted
		case cfg.Subscriptions[w.subscriptionID] == nil:
			reason = reasonSubscriptionDeleted
		default:
			continue
		}
		if err := s.cancelWaiting(ctx, reason, delivery.And(delivery.EndpointID(w.endpointID), delivery.SubscriptionID(w.subscriptionID))); err != nil {
			return err
		}
	}
	return nil
}
