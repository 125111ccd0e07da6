package store

import (
	"cmp"
	"context"
	"fmt"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/rejection"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreateSource stores a source. A slug that is taken is a conflict.
func (s *Store) CreateSource(ctx context.Context, src *hub.Source) error {
	return s.change(ctx, "create source", func(tx *ent.Tx) error {
		c := tx.Source.Create().SetID(src.ID).SetKind(src.Kind).
			SetCreatedAt(column.TimeOf(cmp.Or(src.CreatedAt, s.clock.Now())))
		if err := s.setSource(c.Mutation(), src); err != nil {
			return err
		}
		return slugConflict(src.Slug, c.Exec(ctx))
	})
}

// UpdateSource changes a source as edit does and returns it as stored. Its kind
// stays. An error of edit is returned as it is.
func (s *Store) UpdateSource(ctx context.Context, id string, edit func(*hub.Source) error) (*hub.Source, error) {
	var changed *hub.Source
	err := s.change(ctx, "update source", func(tx *ent.Tx) error {
		row, err := tx.Source.Get(ctx, id)
		if err != nil {
			return notFound(err)
		}
		src, err := s.toSource(row)
		if err != nil {
			return err
		}
		kept := src.CreatedAt
		if err := edit(src); err != nil {
			return err
		}
		src.ID, src.Kind, src.CreatedAt, src.UpdatedAt = id, row.Kind, kept, s.clock.Now()
		u := tx.Source.UpdateOneID(id)
		if err := s.setSource(u.Mutation(), src); err != nil {
			return err
		}
		changed = src
		return slugConflict(src.Slug, u.Exec(ctx))
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// DeleteSource removes a source and its rejections. Its events stay.
func (s *Store) DeleteSource(ctx context.Context, id string) error {
	return s.change(ctx, "delete source", func(tx *ent.Tx) error {
		if err := tx.Source.DeleteOneID(id).Exec(ctx); err != nil {
			return notFound(err)
		}
		_, err := tx.Rejection.Delete().Where(rejection.SourceID(id)).Exec(ctx)
		return err
	})
}

func (s *Store) setSource(m *ent.SourceMutation, src *hub.Source) error {
	revealed := make([]string, len(src.Secrets))
	for i, secret := range src.Secrets {
		revealed[i] = secret.Reveal()
	}
	secrets, err := s.seal("sources", src.ID, "secrets", revealed)
	if err != nil {
		return err
	}
	providerConfig, err := s.seal("sources", src.ID, "provider_config", src.ProviderConfig)
	if err != nil {
		return err
	}
	m.SetName(src.Name)
	m.SetSlug(src.Slug)
	m.SetState(src.State)
	m.SetProvider(src.Provider)
	m.SetSecrets(secrets)
	m.SetProviderConfig(providerConfig)
	if m.ClearVerification(); src.Verification != nil {
		m.SetVerification(src.Verification)
	}
	m.SetAllowUnverified(src.AllowUnverified)
	m.SetEventType(src.EventType)
	m.SetDedupeKey(src.DedupeKey)
	m.SetOccurredAt(src.OccurredAt)
	m.SetOrderingKey(src.OrderingKey)
	m.SetResponse(src.Response)
	m.SetMaxBodyBytes(src.MaxBodyBytes)
	m.SetDedupeWindow(src.DedupeWindow)
	m.SetUpdatedAt(column.TimeOf(cmp.Or(src.UpdatedAt, s.clock.Now())))
	return nil
}

func (s *Store) toSource(row *ent.Source) (*hub.Source, error) {
	src := &hub.Source{
		ID: row.ID, Name: row.Name, Slug: row.Slug, Kind: row.Kind, State: row.State, Provider: row.Provider,
		Verification: row.Verification, AllowUnverified: row.AllowUnverified,
		EventType: row.EventType, DedupeKey: row.DedupeKey, OccurredAt: row.OccurredAt, OrderingKey: row.OrderingKey,
		Response: row.Response, MaxBodyBytes: row.MaxBodyBytes, DedupeWindow: row.DedupeWindow,
		CreatedAt: row.CreatedAt.Time(), UpdatedAt: row.UpdatedAt.Time(),
	}
	var revealed []string
	if err := s.open("sources", row.ID, "secrets", row.Secrets, &revealed); err != nil {
		return nil, err
	}
	for _, secret := range revealed {
		src.Secrets = append(src.Secrets, hub.Secret(secret))
	}
	if err := s.open("sources", row.ID, "provider_config", row.ProviderConfig, &src.ProviderConfig); err != nil {
		return nil, err
	}
	return src, nil
}

func slugConflict(slug string, err error) error {
	if ent.IsConstraintError(err) {
		return &hub.Error{Code: hub.CodeConflict, Message: fmt.Sprintf("the slug %q is taken", slug), Err: err}
	}
	return err
}

// notFound turns ent's answer for a missing row into the hub's.
func notFound(err error) error {
	if ent.IsNotFound(err) {
		return hub.ErrNotFound
	}
	return err
}
