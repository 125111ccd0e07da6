package store

import (
	"context"
	"slices"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/announcement"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Announcements are stored in the transaction that does what they tell. The relay hands
// them to the door like events of any source; their IDs are their dedupe keys, so that
// one which is handed over twice is one event.

// announcementRow is an announcement on its way through the writer. One about a breaker
// is made only where the stored breaker is in one of the states that it comes from, as
// other nodes may have seen the change before.
type announcementRow struct {
	*hub.Announcement
	endpointID string // "": made in any case
	from       []hub.BreakerState
	learned    time.Time // when the health is from
}

// states lists what the stored breaker may be.
func (a *announcementRow) states() []string {
	list := make([]string, len(a.from))
	for i, state := range a.from {
		list[i] = string(state)
	}
	return list
}

// fromClosed reports whether an endpoint without a row of health will do: nothing was
// wrong with it before.
func (a *announcementRow) fromClosed() bool { return slices.Contains(a.from, hub.BreakerClosed) }

// announceSettled plans what results have brought about. What comes of delivering a hub
// event is not announced, except that an endpoint is disabled, which ends there: so no
// hub event brings about others for ever, whatever subscribes to what.
func (p *planner) announceSettled(s *settlement) {
	d, own := &s.Delivery, s.sourceID == hub.BuiltInHubID
	if s.applied && s.state.status == hub.DeliveryDead && !own {
		p.announce(&announcementRow{Announcement: deadAnnouncement(d, s.state, p.plan.now)})
	}
	e := p.cfg.Endpoints[d.EndpointID]
	if e == nil {
		return
	}
	if s.Health != nil && !own {
		p.announceHealth(s.Health)
	}
	if s.Disable != "" && e.State != hub.EndpointDisabled && !p.disabling[e.ID] {
		p.disabling[e.ID] = true
		p.announce(&announcementRow{Announcement: hub.NewEndpointAnnouncement(hub.EndpointDisabledType, e, p.plan.now,
			hub.EndpointFacts{Reason: clean(s.Disable)})})
	}
}

// announceHealth plans what a result says of an endpoint's breaker. Results of one batch
// often say the same, and what is stored is not yet what the first of them says.
func (p *planner) announceHealth(h *hub.EndpointHealth) {
	e := p.cfg.Endpoints[h.EndpointID]
	if e == nil {
		return
	}
	told := p.told[e.ID]
	if told == h.Breaker {
		return
	}
	row := &announcementRow{endpointID: e.ID, learned: later(h.LastSuccessAt, h.LastFailureAt)}
	switch h.Breaker {
	case hub.BreakerOpen:
		row.from = []hub.BreakerState{hub.BreakerClosed}
		until := h.BreakerUntil.UTC()
		row.Announcement = hub.NewEndpointAnnouncement(hub.EndpointBreakerOpenedType, e, p.plan.now, hub.EndpointFacts{NextProbeAt: &until})
	case hub.BreakerClosed:
		before := p.store.health.of(e.ID)
		if told == "" && (before == nil || before.Breaker == hub.BreakerClosed) {
			return // as nearly always
		}
		row.from = []hub.BreakerState{hub.BreakerOpen, hub.BreakerHalfOpen}
		row.Announcement = hub.NewEndpointAnnouncement(hub.EndpointRecoveredType, e, p.plan.now, hub.EndpointFacts{From: "BREAKER_OPEN"})
	case hub.BreakerHalfOpen:
		return
	}
	if told != "" {
		row.from = []hub.BreakerState{hub.BreakerClosed, hub.BreakerOpen, hub.BreakerHalfOpen}
	}
	p.told[e.ID] = h.Breaker
	p.announce(row)
}

func (p *planner) announce(row *announcementRow) {
	p.plan.announcements = append(p.plan.announcements, row)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func deadAnnouncement(d *hub.Delivery, state deliveryState, now time.Time) *hub.Announcement {
	return hub.NewAnnouncement(hub.DeliveryDeadType, d.PartnerID, now, hub.DeliveryFacts{
		DeliveryID: d.ID, EventID: d.EventID, SubscriptionID: d.SubscriptionID, EndpointID: d.EndpointID,
		Reason: state.reason, AttemptCount: state.attemptCount,
	})
}

// announce stores announcements in a transaction outside the writer.
func (s *Store) announce(ctx context.Context, tx dialect.ExecQuerier, list ...*hub.Announcement) error {
	if len(list) == 0 {
		return nil
	}
	insert := entsql.Dialect(s.writes.Dialect()).Insert(announcement.Table).Columns(announcement.Columns...)
	for _, a := range list {
		insert.Values(a.ID, a.Type, a.PartnerID, micros(a.OccurredAt), []byte(a.Body))
	}
	query, args := insert.Query()
	return tx.Exec(ctx, query, args, nil)
}

// announced wakes the relay after a commit.
func (s *Store) announced() {
	select {
	case s.announcing <- struct{}{}:
	default:
	}
}

// Announcing returns a channel that has something in it after an announcement was
// stored by this process. Others' are to be looked for now and then.
func (s *Store) Announcing() <-chan struct{} { return s.announcing }

// Announcements returns the oldest announcements that are not in the log yet.
func (s *Store) Announcements(ctx context.Context, limit int) ([]*hub.Announcement, error) {
	list, err := readAll(ctx, s.read.Announcement.Query().Order(ent.Asc(announcement.FieldID)).Limit(limit),
		func(row *ent.Announcement) (*hub.Announcement, error) {
			return &hub.Announcement{ID: row.ID, Type: row.Type, PartnerID: row.PartnerID, OccurredAt: row.OccurredAt.Time(), Body: row.Body}, nil
		})
	return list, wrap("read announcements", err)
}

// Announced forgets announcements that are in the log.
func (s *Store) Announced(ctx context.Context, ids []string) error {
	_, err := s.write.Announcement.Delete().Where(announcement.IDIn(ids...)).Exec(ctx)
	return wrap("forget announcements", err)
}
