package hub

import "slices"

// Sight is what somebody may see and change. The zero value sees nothing.
//
// A partner sees an event when it is addressed to it, or is addressed to nobody
// and its type is shared with that partner. Of everything else it sees what it
// owns: itself, its endpoints with their subscriptions, and the deliveries that
// were made to them.
type Sight struct {
	whole   bool
	partner string
}

// WholeSight is that of the hub itself: it sees everything.
func WholeSight() Sight { return Sight{whole: true} }

// PartnerSight is that of a partner.
func PartnerSight(partnerID string) Sight { return Sight{partner: partnerID} }

// SightOf returns what a viewer may see. Nobody sees nothing, and so does a partner's
// credential that names no partner.
func SightOf(v *Viewer) Sight {
	if v == nil {
		return Sight{}
	}
	switch v.Role {
	case RoleOperator, RoleViewer:
		return WholeSight()
	case RolePartner:
		return PartnerSight(v.PartnerID)
	}
	return Sight{}
}

// Whole reports whether everything is seen.
func (s Sight) Whole() bool { return s.whole }

// PartnerID returns whose sight it is, "" where it is no partner's.
func (s Sight) PartnerID() string { return s.partner }

// Owns reports whether what belongs to a partner, or to the operator where partnerID
// is "", is within sight.
func (s Sight) Owns(partnerID string) bool {
	return s.whole || s.partner != "" && s.partner == partnerID
}

// Shared returns the patterns of the event types that are seen of events addressed to
// nobody, as they are now.
func (s Sight) Shared(c *Configuration) []string {
	if s.whole {
		return []string{"*"}
	}
	if partner := c.Partners[s.partner]; partner != nil {
		return partner.EventTypes
	}
	return nil
}

// Sees reports whether an event is within sight as things are now.
func (s Sight) Sees(ev *Event, c *Configuration) bool {
	if s.Owns(ev.PartnerID) {
		return true
	}
	return ev.PartnerID == "" && slices.ContainsFunc(s.Shared(c), func(pattern string) bool {
		return TypeMatches(pattern, ev.Type)
	})
}

// For returns what of a configuration is within sight. A partner meets a source only
// through an event, so there are none among what it can look up; Senders shows those of
// its events.
func (c *Configuration) For(s Sight) *Configuration {
	if s.whole {
		return c
	}
	if known, ok := c.seen.Load(s.partner); ok {
		return known.(*Configuration) //nolint:forcetypeassert // nothing else is stored
	}
	var endpoints []*Endpoint
	for _, e := range c.Endpoints {
		if s.Owns(e.PartnerID) {
			endpoints = append(endpoints, e)
		}
	}
	var subscriptions []*Subscription
	for _, sub := range c.Ordered {
		if e := c.Endpoints[sub.EndpointID]; e != nil && s.Owns(e.PartnerID) {
			subscriptions = append(subscriptions, sub)
		}
	}
	var partners []*Partner
	if partner := c.Partners[s.partner]; partner != nil {
		partners = append(partners, partner)
	}
	seen := NewConfiguration(c.Revision, nil, endpoints, subscriptions, partners...)
	if len(partners) > 0 { // nobody else sees events, nor needs to be remembered
		for id, source := range c.Sources {
			seen.Senders[id] = &Source{ID: source.ID, Name: source.Name, Slug: source.Slug, Kind: source.Kind}
		}
		c.seen.Store(s.partner, seen)
	}
	return seen
}
