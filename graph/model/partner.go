package model

import (
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Partner is a partner as GraphQL shows it.
type Partner struct{ *hub.Partner }

// NewPartners shows partners.
func NewPartners(partners []*hub.Partner) []*Partner {
	out := make([]*Partner, len(partners))
	for i, p := range partners {
		out[i] = &Partner{p}
	}
	return out
}

// PartnerOf shows a partner by ID, nil where the ID is empty or out of sight.
func PartnerOf(snapshot *Snapshot, id string) *Partner {
	partner := snapshot.Configuration.Partners[id]
	if partner == nil {
		return nil
	}
	return &Partner{partner}
}
