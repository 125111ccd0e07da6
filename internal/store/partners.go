package store

import (
	"cmp"
	"context"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/partner"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreatePartner stores a partner.
func (v *View) CreatePartner(ctx context.Context, p *hub.Partner) error {
	if !v.sight.Whole() {
		return errOutOfSight
	}
	return v.store.change(ctx, "create partner", func(tx *ent.Tx) error {
		c := tx.Partner.Create().SetID(p.ID).
			SetCreatedAt(column.TimeOf(cmp.Or(p.CreatedAt, v.store.clock.Now())))
		v.store.setPartner(c.Mutation(), p)
		return c.Exec(ctx)
	})
}

// UpdatePartner changes a partner as edit does and returns it as stored. What it sees
// from then on follows from what is shared now. An error of edit is returned as it is.
func (v *View) UpdatePartner(ctx context.Context, id string, edit func(*hub.Partner) error) (*hub.Partner, error) {
	var changed *hub.Partner
	err := v.store.change(ctx, "update partner", func(tx *ent.Tx) error {
		row, err := tx.Partner.Query().Where(partner.ID(id), v.ofOperator).Only(ctx)
		if err != nil {
			return notFound(err)
		}
		p, err := toPartner(row)
		if err != nil {
			return err
		}
		kept := p.CreatedAt
		if err := edit(p); err != nil {
			return err
		}
		p.ID, p.CreatedAt, p.UpdatedAt = id, kept, v.store.clock.Now()
		u := tx.Partner.UpdateOneID(id)
		v.store.setPartner(u.Mutation(), p)
		changed = p
		return u.Exec(ctx)
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// Partner reads a partner from the database. It is for tools that have no
// configuration in memory.
func (s *Store) Partner(ctx context.Context, id string) (*hub.Partner, error) {
	row, err := s.read.Partner.Get(ctx, id)
	if err != nil {
		return nil, wrap("read partner", notFound(err))
	}
	return toPartner(row)
}

func (s *Store) setPartner(m *ent.PartnerMutation, p *hub.Partner) {
	m.SetName(p.Name)
	m.SetEventTypes(append([]string{}, p.EventTypes...)) // never null
	m.SetUpdatedAt(column.TimeOf(cmp.Or(p.UpdatedAt, s.clock.Now())))
}

func toPartner(row *ent.Partner) (*hub.Partner, error) {
	return &hub.Partner{
		ID: row.ID, Name: row.Name, EventTypes: row.EventTypes,
		CreatedAt: row.CreatedAt.Time(), UpdatedAt: row.UpdatedAt.Time(),
	}, nil
}
