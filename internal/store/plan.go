package store

import (
	"crypto/rand"
	"time"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// plan is what one transaction stores, in the words of rows and free of dialect.
type plan struct {
	now time.Time

	head        hub.Sequence // the new head, where there are events
	reconfigure bool         // the transaction changes configuration

	events      []*eventRow
	keys        map[string]keyRow
	deliveries  []*deliveryRow
	duplicates  map[string]*duplicateRow
	settlements []*settlement
	health      []*hub.EndpointHealth
	disabled    []disableRow
	rejections  []*rejectRequest
	claims      []*claimRequest
	claimable   claimable
}

// changesLog reports whether the plan changes the row of log_head.
func (p *plan) changesLog() bool { return len(p.events) > 0 || p.reconfigure }

type eventRow struct {
	*pendingEvent
	sequence   hub.Sequence
	duplicates duplicateRow
}

// keyRow is a dedupe key and the event it belongs to.
type keyRow struct {
	eventID   string
	sequence  hub.Sequence
	firstSeen column.Time
}

// duplicateRow counts what a source has sent again.
type duplicateRow struct {
	count int
	last  column.Time
}

func (d *duplicateRow) add(at column.Time) {
	d.count++
	d.last = max(d.last, at)
}

type deliveryRow struct {
	delivery hub.Delivery
	event    *eventRow
	due      column.Time
	token    string // "" where nobody in this process takes it at once
}

type disableRow struct{ endpointID, reason string }

// planner makes the plan of one batch. It reserves slots as it goes.
type planner struct {
	store *Store
	plan  *plan
	cfg   *hub.Configuration
	known map[string]keyRow    // dedupe keys that are stored, or will be by this batch
	fresh map[string]*eventRow // events of this batch by ID
	token string
}

func (s *Store) newPlanner(cfg *hub.Configuration, head hub.Sequence, known map[string]keyRow) *planner {
	if known == nil {
		known = make(map[string]keyRow)
	}
	return &planner{
		store: s, cfg: cfg, known: known, fresh: make(map[string]*eventRow), token: rand.Text(),
		plan: &plan{
			now: s.clock.Now(), head: head,
			keys: make(map[string]keyRow), duplicates: make(map[string]*duplicateRow),
		},
	}
}

// appendAll plans the events of one request, all or none of them.
func (p *planner) appendAll(r *appendRequest) error {
	if r.revision != p.cfg.Revision {
		// The configuration has changed since they were routed, perhaps on another node.
		for _, ev := range r.events {
			if err := p.store.route(ev, p.cfg); err != nil {
				return err
			}
		}
		r.revision = p.cfg.Revision
	}
	for i, ev := range r.events {
		r.receipts[i] = p.append(ev)
	}
	return nil
}

func (p *planner) append(ev *pendingEvent) hub.Receipt {
	received := column.TimeOf(ev.event.ReceivedAt)
	if first, known := p.known[ev.keyID]; known && ev.keyID != "" {
		window := p.cfg.Sources[ev.event.SourceID].DedupeWindow
		if within(window, first.firstSeen.Time(), ev.event.ReceivedAt) {
			p.duplicate(first.eventID).add(received)
			return hub.Receipt{EventID: first.eventID, Sequence: first.sequence, Duplicate: true}
		}
	}
	p.plan.head++
	row := &eventRow{pendingEvent: ev, sequence: p.plan.head}
	p.plan.events = append(p.plan.events, row)
	p.fresh[ev.event.ID] = row
	if ev.keyID != "" {
		key := keyRow{eventID: ev.event.ID, sequence: row.sequence, firstSeen: received}
		p.known[ev.keyID] = key
		p.plan.keys[ev.keyID] = key
	}
	for _, id := range ev.routes {
		if sub := p.cfg.Subscriptions[id]; sub != nil {
			p.deliver(row, sub)
		}
	}
	return hub.Receipt{EventID: ev.event.ID, Sequence: row.sequence}
}

// duplicate returns where to count a duplicate of an event.
func (p *planner) duplicate(eventID string) *duplicateRow {
	if row, ok := p.fresh[eventID]; ok {
		return &row.duplicates
	}
	row, ok := p.plan.duplicates[eventID]
	if !ok {
		row = &duplicateRow{}
		p.plan.duplicates[eventID] = row
	}
	return row
}

// deliver plans the delivery of an event. Where it can go out at once and a slot is
// free, it is born leased; otherwise somebody claims it once it is due.
func (p *planner) deliver(row *eventRow, sub *hub.Subscription) {
	e := p.cfg.Endpoints[sub.EndpointID]
	if e == nil {
		return
	}
	now := p.plan.now
	first := now
	if len(e.RetryPolicy.Schedule) > 0 {
		first = now.Add(e.RetryPolicy.Schedule[0])
	}
	d := &deliveryRow{
		delivery: hub.Delivery{
			ID: hub.NewID(hub.DeliveryPrefix, now), EventID: row.event.ID,
			SubscriptionID: sub.ID, EndpointID: e.ID, Status: hub.DeliveryPending,
			NextAttemptAt: first, CreatedAt: now,
		},
		event: row, due: column.TimeOf(first),
	}
	_, held := hub.Hold(e, p.store.health.of(e.ID), sub, now)
	if !held && !first.After(now) && p.store.taker != nil && p.store.taker.Reserve(e.ID) {
		d.token = p.token
		d.due = column.TimeOf(now.Add(e.Timeout + LeaseMargin))
	}
	p.plan.deliveries = append(p.plan.deliveries, d)
}

// settle plans results: what they say of endpoints is folded to the last word.
func (p *planner) settle(list []*settlement) {
	p.plan.settlements = list
	health := make(map[string]int)
	for _, s := range list {
		if h := s.Health; h != nil && p.cfg.Endpoints[h.EndpointID] != nil { // else it was deleted meanwhile
			if at, seen := health[h.EndpointID]; seen {
				p.plan.health[at] = h
			} else {
				health[h.EndpointID] = len(p.plan.health)
				p.plan.health = append(p.plan.health, h)
			}
		}
		if s.Disable != "" {
			p.plan.disabled = append(p.plan.disabled, disableRow{s.Delivery.EndpointID, clean(s.Disable)})
			p.plan.reconfigure = true
		}
	}
}

// release gives back every slot that the plan reserved: it was not committed.
func (p *plan) release(taker Taker) {
	for _, d := range p.deliveries {
		if d.token != "" {
			taker.Release(d.delivery.EndpointID)
		}
	}
}

// handOver gives the leased deliveries of a committed plan to those who work.
func (p *plan) handOver(taker Taker) {
	for _, d := range p.deliveries {
		if d.token == "" {
			continue
		}
		ev := d.event.event
		ev.Sequence = d.event.sequence
		ev.DuplicateCount = d.event.duplicates.count
		ev.LastDuplicateAt = d.event.duplicates.last.Time()
		taker.Take(hub.Lease{Delivery: d.delivery, Event: ev, Token: d.token, ExpiresAt: d.due.Time()})
	}
}
