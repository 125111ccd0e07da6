package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/fetch"
	"github.com/hookgraph/hookgraph/ent/rejection"
	"github.com/hookgraph/hookgraph/ent/source"
	"github.com/hookgraph/hookgraph/ent/sourceclock"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreateSource stores a source. A slug that is taken is a conflict.
func (v *View) CreateSource(ctx context.Context, src *hub.Source) error {
	if !v.sight.Whole() {
		return errOutOfSight
	}
	return v.store.change(ctx, "create source", func(tx *ent.Tx) error {
		c := tx.Source.Create().SetID(src.ID).SetKind(src.Kind).
			SetCreatedAt(column.TimeOf(cmp.Or(src.CreatedAt, v.store.clock.Now())))
		if err := v.store.setSource(c.Mutation(), src); err != nil {
			return err
		}
		return slugConflict(src.Slug, c.Exec(ctx))
	})
}

// UpdateSource changes a source as edit does and returns it as stored. Its kind
// stays. An error of edit is returned as it is.
func (v *View) UpdateSource(ctx context.Context, id string, edit func(*hub.Source) error) (*hub.Source, error) {
	var changed *hub.Source
	err := v.store.change(ctx, "update source", func(tx *ent.Tx) error {
		row, err := tx.Source.Query().Where(source.ID(id), v.ofOperator).Only(ctx)
		if err != nil {
			return notFound(err)
		}
		src, err := v.store.toSource(row)
		if err != nil {
			return err
		}
		kept := src.CreatedAt
		if err := edit(src); err != nil {
			return err
		}
		src.ID, src.Kind, src.CreatedAt, src.UpdatedAt = id, row.Kind, kept, v.store.clock.Now()
		u := tx.Source.UpdateOneID(id)
		if err := v.store.setSource(u.Mutation(), src); err != nil {
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

// DeleteSource removes a source with its rejections and what was learned of its events,
// which stay.
func (v *View) DeleteSource(ctx context.Context, id string) error {
	return v.store.change(ctx, "delete source", func(tx *ent.Tx) error {
		if err := deleted(tx.Source.Delete().Where(source.ID(id), v.ofOperator).Exec(ctx)); err != nil {
			return err
		}
		if _, err := tx.Fetch.Delete().Where(fetch.ID(id)).Exec(ctx); err != nil {
			return err
		}
		if err := forgetSightings(ctx, tx, id); err != nil {
			return err
		}
		if _, err := tx.SourceClock.Delete().Where(sourceclock.ID(id)).Exec(ctx); err != nil {
			return err
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
	if src.Verification == nil {
		m.ClearVerification()
	} else { // not after a Clear: PostgreSQL takes one assignment alone
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
	m.SetCapturing(src.Capturing)
	settings, err := s.seal("sources", src.ID, "settings", settingsOf(src))
	if err != nil {
		return err
	}
	m.SetSettings(settings)
	m.SetUpdatedAt(column.TimeOf(cmp.Or(src.UpdatedAt, s.clock.Now())))
	return nil
}

// sourceSettings is what a source has besides columns of its own. All of it is sealed,
// since URLs, headers and payloads may hold credentials.
type sourceSettings struct {
	RateLimit      *hub.RateLimit `json:"rateLimit,omitempty"`
	ValidateSchema bool           `json:"validateSchema,omitempty"`
	SilentAfter    time.Duration  `json:"silentAfter,omitempty"`
	Poll           *hub.Poll      `json:"poll,omitempty"`
	Upstream       *hub.Upstream  `json:"upstream,omitempty"`
	Queue          *hub.Queue     `json:"queue,omitempty"`
	Auth           *endpointAuth  `json:"auth,omitempty"`
}

func settingsOf(src *hub.Source) sourceSettings {
	out := sourceSettings{
		RateLimit: src.RateLimit, ValidateSchema: src.ValidateSchema, SilentAfter: src.SilentAfter,
		Poll: src.Poll, Upstream: src.Upstream, Queue: src.Queue,
	}
	if src.Auth != nil {
		out.Auth = &endpointAuth{EndpointAuth: *src.Auth, Secret: src.Auth.Secret.Reveal()}
	}
	return out
}

func (in *sourceSettings) apply(src *hub.Source) {
	src.RateLimit, src.ValidateSchema, src.SilentAfter = in.RateLimit, in.ValidateSchema, in.SilentAfter
	src.Poll, src.Upstream, src.Queue = in.Poll, in.Upstream, in.Queue
	if in.Auth != nil {
		src.Auth = &in.Auth.EndpointAuth
		src.Auth.Secret = hub.Secret(in.Auth.Secret)
	}
}

func (s *Store) toSource(row *ent.Source) (*hub.Source, error) {
	src := &hub.Source{
		ID: row.ID, Name: row.Name, Slug: row.Slug, Kind: row.Kind, State: row.State, Provider: row.Provider,
		Verification: row.Verification, AllowUnverified: row.AllowUnverified,
		EventType: row.EventType, DedupeKey: row.DedupeKey, OccurredAt: row.OccurredAt, OrderingKey: row.OrderingKey,
		Response: row.Response, MaxBodyBytes: row.MaxBodyBytes, DedupeWindow: row.DedupeWindow,
		Capturing: row.Capturing, CreatedAt: row.CreatedAt.Time(), UpdatedAt: row.UpdatedAt.Time(),
	}
	if row.Settings != nil { // else it was saved by a version that knew none
		var settings sourceSettings
		if err := s.open("sources", row.ID, "settings", row.Settings, &settings); err != nil {
			return nil, err
		}
		settings.apply(src)
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

// deleted turns a deletion that found no row into hub.ErrNotFound.
func deleted(rows int, err error) error {
	if err == nil && rows == 0 {
		return hub.ErrNotFound
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
