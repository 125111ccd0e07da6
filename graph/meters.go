package graph

import (
	"fmt"

	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// partnersShare is which part of the points of others a partner's credentials get.
const partnersShare = 10

// meters keep the points of all credentials, and beside them in points of the same worth
// the effort that each may make the hub spend on what it does not run. Being two, what
// somebody gets wrong takes nothing from what they get right.
type meters struct {
	own, ownEffort           *gate.Points // of those who run the hub or look on
	partners, partnersEffort *gate.Points
}

// newMeters makes full buckets. Each lets at least the dearest operation through.
func newMeters(cfg gate.PointsConfig, limits gate.Limits, clock hub.Clock) (meters, error) {
	own := gate.NewPoints(cfg, clock)
	if own.Maximum() < limits.Cost {
		return meters{}, fmt.Errorf("a bucket of %d points lets no operation of %d through", own.Maximum(), limits.Cost)
	}
	m := meters{own: own, ownEffort: gate.NewPoints(cfg, clock)}
	cfg.RestoreRate = max(own.RestoreRate()/partnersShare, 1)
	m.partnersEffort = gate.NewPoints(cfg, clock)
	cfg.Maximum = max(own.Maximum()/partnersShare, limits.Cost)
	m.partners = gate.NewPoints(cfg, clock)
	return m, nil
}

// of returns the meter that a viewer's credential is on.
func (m meters) of(viewer *hub.Viewer) *gate.Points {
	if viewer != nil && viewer.Role == hub.RolePartner {
		return m.partners
	}
	return m.own
}

// effort returns the meter of what is not run for a viewer's credential.
func (m meters) effort(viewer *hub.Viewer) *gate.Points {
	if viewer != nil && viewer.Role == hub.RolePartner {
		return m.partnersEffort
	}
	return m.ownEffort
}
