package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// claimRequest is a claim on its way through the writer.
type claimRequest struct {
	ticket
	wants  []hub.Want
	token  string
	leases []claimedRow
}

// most is how many rows it can lease.
func (r *claimRequest) most() (rows int) {
	for _, w := range r.wants {
		rows += w.Limit
	}
	return rows
}

// claimedRow is a delivery that was claimed, and the end of its lease.
type claimedRow struct {
	delivery      hub.Delivery
	next, created column.Time
	until         column.Time
}

// claimedColumns is what a claim returns of each row, in the order of columns.
const claimedColumns = "id, event_id, subscription_id, endpoint_id, partner_id, attempt_count, schedule_position, next_attempt_at, created_at, body_form, line, mark"

func (c *claimedRow) columns() []any {
	d := &c.delivery
	return []any{&d.ID, &d.EventID, &d.SubscriptionID, &d.EndpointID, &d.PartnerID, &d.AttemptCount, &d.SchedulePosition, &c.next, &c.created, &d.BodyForm, &d.Line, &d.Mark}
}

func (c *claimedRow) finished() claimedRow {
	c.delivery.Status = hub.DeliveryPending
	c.delivery.NextAttemptAt, c.delivery.CreatedAt = c.next.Time(), c.created.Time()
	return *c
}

// claimable is what may be claimed of at a moment: a person has not stopped it.
type claimable struct {
	endpoints map[string]bool // that are not stopped
	paused    []string        // subscriptions
}

func claimableIn(cfg *hub.Configuration) claimable {
	c := claimable{endpoints: make(map[string]bool), paused: []string{}}
	for id, e := range cfg.Endpoints {
		if _, stopped := e.Stopped(); !stopped {
			c.endpoints[id] = true
		}
	}
	for _, sub := range cfg.Ordered {
		if sub.State == hub.SubscriptionPaused {
			c.paused = append(c.paused, sub.ID)
		}
	}
	return c
}

// Claim leases due deliveries of the endpoints wanted, those due longest first and
// never more than each Limit. Paused subscriptions and stopped endpoints
// have nothing to claim; an open breaker and pacing are the caller's to mind.
func (s *Store) Claim(ctx context.Context, wants []hub.Want) ([]hub.Lease, error) {
	r := &claimRequest{ticket: newTicket(), token: rand.Text()}
	for _, w := range wants {
		if w.Limit > 0 {
			r.wants = append(r.wants, w)
		}
	}
	if len(r.wants) == 0 {
		return nil, nil
	}
	if !s.writing() {
		return nil, unavailable(errStopping)
	}
	if err := s.queue.addClaim(r); err != nil {
		return nil, unavailable(err)
	}
	if !r.wait(ctx.Done()) {
		return nil, ctx.Err()
	}
	if r.err != nil {
		return nil, r.err
	}
	return s.leases(ctx, r)
}

// leases reads the events of what was claimed. If it cannot, the leases go back.
func (s *Store) leases(ctx context.Context, r *claimRequest) ([]hub.Lease, error) {
	if len(r.leases) == 0 {
		return nil, nil
	}
	ids := make([]string, len(r.leases))
	var shaped []string
	for i, row := range r.leases {
		ids[i] = row.delivery.EventID
		if row.delivery.BodyForm == hub.BodyShaped {
			shaped = append(shaped, row.delivery.ID)
		}
	}
	events, err := s.eventsWithPayload(ctx, ids)
	bodies, bodiesErr := s.ShapedBodies(ctx, shaped)
	err = cmp.Or(err, bodiesErr)
	leases := make([]hub.Lease, 0, len(r.leases))
	for _, row := range r.leases {
		ev, body := events[row.delivery.EventID], bodies[row.delivery.ID]
		if ev == nil || body == nil && row.delivery.BodyForm == hub.BodyShaped { // unread, or gone
			if err == nil {
				err = fmt.Errorf("event %s of delivery %s, or its body: %w", row.delivery.EventID, row.delivery.ID, hub.ErrNotFound)
			}
			s.Settle(hub.Settlement{LeaseToken: r.token, Delivery: row.delivery})
			continue
		}
		leases = append(leases, hub.Lease{Delivery: row.delivery, Event: ev, Body: body, Token: r.token, ExpiresAt: row.until.Time()})
	}
	if len(leases) == 0 && err != nil {
		return nil, fmt.Errorf("claim deliveries: %w", err)
	}
	slices.SortFunc(leases, func(a, b hub.Lease) int {
		return cmp.Or(a.Delivery.NextAttemptAt.Compare(b.Delivery.NextAttemptAt), cmp.Compare(a.Delivery.ID, b.Delivery.ID))
	})
	return leases, nil
}

// NextDue returns when the first delivery of each endpoint is due, leases that may
// run out included, in one statement. What a person has stopped is left out, as in
// Claim; what waits for a breaker or for pacing is in it.
func (s *Store) NextDue(ctx context.Context) (map[string]time.Time, error) {
	can := claimableIn(s.config.Load())
	paused := make(map[string]bool, len(can.paused))
	for _, id := range can.paused {
		paused[id] = true
	}
	due := make(map[string]time.Time)
	err := eachWaiting(ctx, s.reads, func(endpointID, subscriptionID string, at time.Time) {
		first, found := due[endpointID]
		if can.endpoints[endpointID] && !paused[subscriptionID] && (!found || at.Before(first)) {
			due[endpointID] = at
		}
	})
	if err != nil {
		return nil, wrap("find what is due next", err)
	}
	return due, nil
}

// firstWaiting reads the first row of each endpoint and subscription in the order of
// the index of what waits, stepping from each to the next without the rows between.
// A comparison of pairs would say it shorter, but SQLite walks the rows that are equal.
const firstWaiting = `WITH RECURSIVE waiting (endpoint_id, subscription_id, due_at) AS (
		SELECT * FROM (SELECT endpoint_id, subscription_id, due_at FROM deliveries WHERE status = 'PENDING'
			ORDER BY endpoint_id, subscription_id, due_at LIMIT 1) AS first
		UNION ALL
		SELECT next.endpoint_id, next.subscription_id, next.due_at FROM waiting CROSS JOIN deliveries AS next WHERE next.id = coalesce(
			(SELECT d.id FROM deliveries AS d WHERE d.status = 'PENDING' AND d.endpoint_id = waiting.endpoint_id
				AND d.subscription_id > waiting.subscription_id ORDER BY d.subscription_id, d.due_at LIMIT 1),
			(SELECT d.id FROM deliveries AS d WHERE d.status = 'PENDING' AND d.endpoint_id > waiting.endpoint_id
				ORDER BY d.endpoint_id, d.subscription_id, d.due_at LIMIT 1))
	)
	SELECT endpoint_id, subscription_id, due_at FROM waiting`

// eachWaiting tells when the first waiting delivery of each subscription to each
// endpoint is due.
func eachWaiting(ctx context.Context, reads dialect.Driver, first func(endpointID, subscriptionID string, due time.Time)) error {
	rows := &entsql.Rows{}
	if err := reads.Query(ctx, firstWaiting, []any{}, rows); err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var endpointID, subscriptionID string
		var due column.Time
		if err := rows.Scan(&endpointID, &subscriptionID, &due); err != nil {
			return err
		}
		first(endpointID, subscriptionID, due.Time())
	}
	return rows.Err()
}
