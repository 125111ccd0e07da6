package registry

import (
	"context"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreatePartnerInput is a partner to be.
type CreatePartnerInput struct {
	Name       string
	EventTypes Optional[[]string] // none
}

// UpdatePartnerInput is what is to change of a partner.
type UpdatePartnerInput struct {
	ID         string
	Name       Optional[string]
	EventTypes Optional[[]string]
}

// CreatePartner makes a partner.
func (r *Registry) CreatePartner(ctx context.Context, in CreatePartnerInput) (*hub.Partner, error) {
	now := r.now()
	partner := &hub.Partner{ID: hub.NewID(hub.PartnerPrefix, now), CreatedAt: now, UpdatedAt: now}
	if err := editPartner(partner, UpdatePartnerInput{Name: Some(in.Name), EventTypes: in.EventTypes}); err != nil {
		return nil, err
	}
	if err := r.store.CreatePartner(ctx, partner); err != nil {
		return nil, err
	}
	return partner, nil
}

// UpdatePartner changes a partner. What is shared with it from then on decides what it
// sees of all events, those stored before included.
func (r *Registry) UpdatePartner(ctx context.Context, in UpdatePartnerInput) (*hub.Partner, error) {
	return r.store.UpdatePartner(ctx, in.ID, func(partner *hub.Partner) error {
		partner.UpdatedAt = r.now()
		return editPartner(partner, in)
	})
}

// editPartner applies an input to a partner, or says what is wrong with it.
func editPartner(partner *hub.Partner, in UpdatePartnerInput) error {
	var p problems
	p.name(in.Name, &partner.Name)
	if in.EventTypes.change(&partner.EventTypes, nil) && len(partner.EventTypes) > 0 {
		partner.EventTypes = checkEventTypes(partner.EventTypes, &p)
	}
	return p.err()
}

// owner finds out whose an endpoint is to be: a partner makes it for itself alone, and
// need not say so.
func (r *Registry) owner(ctx context.Context, in Optional[string], p *problems) (string, error) {
	own := r.store.Sight().PartnerID()
	switch {
	case !in.given():
		return own, nil
	case !r.store.Sight().Owns(in.Value):
		p.add(hub.InputForbidden, "a partner makes endpoints for itself alone", "partnerId")
		return "", nil
	}
	missing, err := r.known(ctx, []string{in.Value}, func(c *hub.Configuration, id string) bool { return c.Partners[id] != nil })
	if err != nil {
		return "", err
	}
	if missing[in.Value] {
		p.add(hub.InputNotFound, "there is no such partner", "partnerId")
	}
	return in.Value, nil
}
