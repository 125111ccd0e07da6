package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// plan is what one transaction stores, in the words of rows and free of dialect.
type plan struct {
	now time.Time

	head        hub.Sequence // the new head, where there are events
	changeHead  hub.Sequence // the head of the log of changes before this plan
	reconfigure bool         // the transaction changes configuration

	events        []*eventRow
	keys          map[string]keyRow
	newest        map[string]column.Time // of sources, when their latest event happened, where that has changed
	captured      map[string]int         // of sources, how many requests are captured
	fetched       map[string]*fetchedRow // of sources that fetch, how many events are theirs
	deliveries    []*deliveryRow
	duplicates    map[string]*duplicateRow
	health        []*hub.EndpointHealth
	disabled      []disableRow
	rejections    []*rejectRequest
	claims        []*claimRequest
	claimable     claimable
	changes       []changeRow
	announcements []*announcementRow
	rollups       []*rollup
	bodies        []*bodyRequest
	released      []*settlement // that a new transform does not hold
	moved         moved         // lines of deliveries
	marked        []string      // delivered ones, which older ones are stale beside
}

// changesLog reports whether the plan stores events or changes configuration.
func (p *plan) changesLog() bool { return len(p.events) > 0 || p.reconfigure }

// movesHead reports whether the plan changes the row of log_head.
func (p *plan) movesHead() bool { return p.changesLog() || len(p.changes) > 0 }

// fetchedRow counts the new events that a source has fetched.
type fetchedRow struct{ all, recovered int }

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
	position position
	turn     string
}

type disableRow struct{ endpointID, reason string }

// knowledge is what a batch has to know of what was stored before.
type knowledge struct {
	keys   map[string]keyRow
	newest map[string]column.Time // of sources, when their latest event happened
}

func newKnowledge() knowledge {
	return knowledge{keys: make(map[string]keyRow), newest: make(map[string]column.Time)}
}

// planner makes the plan of one batch. It reserves slots as it goes.
type planner struct {
	store     *Store
	plan      *plan
	cfg       *hub.Configuration
	known     knowledge            // what is stored, or will be by this batch
	fresh     map[string]*eventRow // events of this batch by ID
	token     string
	tally     tally
	disabling map[string]bool             // endpoints that this batch disables
	told      map[string]hub.BreakerState // of endpoints, what this batch announces last
	fronts    map[string]front            // of the lines that this batch is about
}

func (s *Store) newPlanner(now time.Time, cfg *hub.Configuration, head logHead, known knowledge) *planner {
	if known.keys == nil { // the batch has no events
		known = newKnowledge()
	}
	s.book.turn(now)
	return &planner{
		store: s, cfg: cfg, known: known, fresh: make(map[string]*eventRow), token: rand.Text(), disabling: make(map[string]bool),
		told: make(map[string]hub.BreakerState), fronts: make(map[string]front),
		tally: tally{book: &s.book, now: now, touched: make(map[*rollup]struct{})},
		plan: &plan{
			now: now, head: head.sequence, changeHead: head.changes,
			keys: make(map[string]keyRow), duplicates: make(map[string]*duplicateRow),
			newest: make(map[string]column.Time), captured: make(map[string]int),
		},
	}
}

// routed returns the requests whose events are routed by the configuration in force. The
// others are answered.
func (p *planner) routed(appends []*appendRequest) []*appendRequest {
	var routed []*appendRequest
	for _, r := range appends {
		if err := p.reroute(r); err != nil {
			r.answer(err)
			continue
		}
		routed = append(routed, r)
	}
	return routed
}

// reroute routes the events of a request anew where the configuration has changed since,
// perhaps on another node.
func (p *planner) reroute(r *appendRequest) error {
	if r.revision == p.cfg.Revision {
		return nil
	}
	for _, ev := range r.events {
		if err := p.store.route(ev, p.cfg); err != nil {
			return err
		}
	}
	r.revision = p.cfg.Revision
	return nil
}

// moveLines moves the lines that results have left, and looks up those that events are
// about to join.
func (p *planner) moveLines(ctx context.Context, tx transaction, results []*settlement, appends []*appendRequest) error {
	var lines, parked []string
	for _, s := range results {
		if !s.applied || !s.state.status.Ended() {
			continue
		}
		if s.mark != "" && s.state.status == hub.DeliveryDelivered {
			p.plan.marked = append(p.plan.marked, s.Delivery.ID)
		}
		if !inLine(s.line) {
			continue
		}
		lines = append(lines, s.line)
		if sub := p.cfg.Subscriptions[s.Delivery.SubscriptionID]; s.state.status == hub.DeliveryDead && sub != nil && sub.Parks() {
			parked = append(parked, s.Delivery.ID)
		}
	}
	for _, r := range appends {
		for _, ev := range r.events {
			for _, o := range ev.positions {
				if o.stands() {
					lines = append(lines, o.line)
				}
			}
		}
	}
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	var err error
	if p.plan.moved, err = moveLines(ctx, tx, slices.Compact(lines), parked, p.cfg, p.plan.now); err != nil {
		return err
	}
	p.fronts = p.plan.moved.fronts
	for _, one := range p.plan.moved.promoted {
		p.changed(one.id, one.endpointID, one.subscriptionID, one.state())
	}
	return nil
}

// appendAll plans the events of one request, all or none of them.
func (p *planner) appendAll(r *appendRequest) {
	for i, ev := range r.events {
		r.receipts[i] = p.append(ev)
	}
}

func (p *planner) append(ev *pendingEvent) hub.Receipt {
	received := column.TimeOf(ev.event.ReceivedAt)
	if original := ev.event.Original; original != "" {
		p.duplicate(original).add(received)
		p.tally.event(ev.event, true)
		return hub.Receipt{EventID: original, Duplicate: true}
	}
	if first, known := p.known.keys[ev.keyID]; known && ev.keyID != "" {
		window := cmp.Or(p.cfg.Sources[ev.event.SourceID].DedupeWindow, ev.event.DedupeWindow)
		if within(window, first.firstSeen.Time(), ev.event.ReceivedAt) {
			p.duplicate(first.eventID).add(received)
			p.tally.event(ev.event, true)
			return hub.Receipt{EventID: first.eventID, Sequence: first.sequence, Duplicate: true}
		}
	}
	p.plan.head++
	p.order(ev.event)
	row := &eventRow{pendingEvent: ev, sequence: p.plan.head}
	p.plan.events = append(p.plan.events, row)
	p.fresh[ev.event.ID] = row
	p.tally.event(ev.event, false)
	p.countFetched(ev.event)
	if ev.keyID != "" {
		key := keyRow{eventID: ev.event.ID, sequence: row.sequence, firstSeen: received}
		p.known.keys[ev.keyID] = key
		p.plan.keys[ev.keyID] = key
	}
	for i, id := range ev.routes {
		var o position
		if ev.positions != nil {
			o = ev.positions[i].placed(row.sequence)
		}
		if sub := p.cfg.Subscriptions[id]; sub != nil {
			p.deliver(row, sub, o)
		}
	}
	return hub.Receipt{EventID: ev.event.ID, Sequence: row.sequence, OutOfOrder: ev.event.OutOfOrder}
}

// countFetched counts a new event for the source that has fetched it.
func (p *planner) countFetched(ev *hub.Event) {
	if ev.FetchedBy == "" {
		return
	}
	if p.plan.fetched == nil {
		p.plan.fetched = make(map[string]*fetchedRow)
	}
	row := p.plan.fetched[ev.FetchedBy]
	if row == nil {
		row = &fetchedRow{}
		p.plan.fetched[ev.FetchedBy] = row
	}
	row.all++
	if ev.Recovered {
		row.recovered++
	}
}

// maxAhead is how far ahead of its receipt an event may have happened for others to be
// compared with it: what claims to be of another time would make all others late.
const maxAhead = 24 * time.Hour

// order notes on an event whether its source has sent one before that happened later.
func (p *planner) order(ev *hub.Event) {
	if ev.OccurredAt.IsZero() {
		return
	}
	occurred := column.TimeOf(ev.OccurredAt)
	newest, known := p.known.newest[ev.SourceID]
	ev.OutOfOrder = known && occurred < newest
	if (!known || occurred > newest) && !ev.OccurredAt.After(ev.ReceivedAt.Add(maxAhead)) {
		p.known.newest[ev.SourceID] = occurred
		p.plan.newest[ev.SourceID] = occurred
	}
}

// reject plans what is to be stored of refused requests. Of those to be captured it is
// as many as their sources still want: log_head is held then, so the configuration is
// the one in force.
func (p *planner) reject(list []*rejectRequest) {
	for _, r := range list {
		if id := r.rejection.SourceID; r.capture {
			src := p.cfg.Sources[id]
			r.captured = src != nil && p.plan.captured[id] < src.Capturing
			if !r.captured {
				continue
			}
			p.plan.captured[id]++
			p.plan.reconfigure = true
		} else {
			p.tally.rejection(&r.rejection)
		}
		p.plan.rejections = append(p.plan.rejections, r)
	}
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

// newDelivery makes the delivery of an event to a subscription and its endpoint.
func newDelivery(ev *hub.Event, sub *hub.Subscription, e *hub.Endpoint, now time.Time) hub.Delivery {
	first := now
	if len(e.RetryPolicy.Schedule) > 0 {
		first = now.Add(e.RetryPolicy.Schedule[0])
	}
	form := hub.BodyReceived
	if sub.Transform != nil {
		form = hub.BodyUnshaped
	}
	return hub.Delivery{
		ID: hub.NewID(hub.DeliveryPrefix, now), EventID: ev.ID,
		SubscriptionID: sub.ID, EndpointID: e.ID, PartnerID: e.PartnerID, Status: hub.DeliveryPending,
		NextAttemptAt: first, CreatedAt: now, BodyForm: form,
	}
}

// deliver plans the delivery of an event. Where it can go out at once and a slot is
// free, it is born leased; otherwise somebody claims it once it is due. One that has
// others before it in its line waits for its turn.
func (p *planner) deliver(row *eventRow, sub *hub.Subscription, o position) {
	e := p.cfg.Endpoints[sub.EndpointID]
	if e == nil {
		return
	}
	now := p.plan.now
	d := &deliveryRow{delivery: newDelivery(row.event, sub, e, now), event: row}
	first := d.delivery.NextAttemptAt
	d.due = column.TimeOf(first)
	d.join(o, p.fronts)
	p.tally.created(&d.delivery, row.event)
	if d.turn == turnLater {
		p.changed(d.delivery.ID, e.ID, sub.ID, d.state())
		p.plan.deliveries = append(p.plan.deliveries, d)
		return
	}
	if o.stands() {
		p.fronts[o.line] = front{id: d.delivery.ID, subscriptionID: sub.ID, status: hub.DeliveryPending, turn: turnFirst}
	}
	p.changed(d.delivery.ID, e.ID, sub.ID, deliveryState{status: hub.DeliveryPending, next: d.due})
	held := p.plan.changes[len(p.plan.changes)-1].status == hub.DeliveryHeld
	if !held && !first.After(now) && p.store.taker != nil && p.store.taker.Reserve(e.ID) {
		d.token = p.token
		d.due = column.TimeOf(now.Add(e.AttemptTime() + LeaseMargin))
	}
	p.plan.deliveries = append(p.plan.deliveries, d)
}

// join puts a delivery into its line, where it is the first or waits behind the front.
func (d *deliveryRow) join(o position, fronts map[string]front) {
	d.position = o
	d.delivery.Line, d.delivery.Mark = o.line, o.mark
	before, blocked := fronts[o.line]
	switch {
	case o.line == unkeyed:
		d.turn, d.due, d.delivery.Reason = turnLater, neverDue, o.problem
	case o.stands() && blocked:
		d.turn, d.due, d.delivery.BlockedBy = turnLater, neverDue, before.id
	case o.stands():
		d.turn = turnFirst
	}
	if d.turn == turnLater {
		d.delivery.Status = hub.DeliveryHeld
		if d.delivery.Reason == "" {
			d.delivery.Reason = before.behind()
		}
	}
}

// state is the state of a delivery that has just been made.
func (d *deliveryRow) state() deliveryState {
	if d.turn == turnLater {
		return deliveryState{status: hub.DeliveryHeld, reason: d.delivery.Reason}
	}
	return deliveryState{status: hub.DeliveryPending, next: d.due}
}

// settle plans what follows from results that have been written: what they say of
// endpoints is folded to the last word.
func (p *planner) settle(list []*settlement) {
	health := make(map[string]int)
	for _, s := range list {
		if sub := p.cfg.Subscriptions[s.Delivery.SubscriptionID]; s.held && sub != nil && !sub.Transform.Equal(s.Transform) {
			s.held, s.Delivery.Reason, s.Delivery.NextAttemptAt = false, "", p.plan.now // changed while the old one failed
			if s.applied {
				s.state.reason, s.state.next = "", column.TimeOf(p.plan.now)
				p.plan.released = append(p.plan.released, s)
			}
		}
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
	for _, s := range list { // by the health that this batch leaves behind
		p.tally.settled(s)
		p.announceSettled(s)
		if s.recorded || s.applied {
			p.changed(s.Delivery.ID, s.Delivery.EndpointID, s.Delivery.SubscriptionID, s.state)
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
