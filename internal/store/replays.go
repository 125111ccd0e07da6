package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/endpoint"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/replay"
	"github.com/hookgraph/hookgraph/ent/replayitem"
	"github.com/hookgraph/hookgraph/ent/subscription"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// ended are the statuses that a replay over deliveries can choose.
var ended = []hub.DeliveryStatus{hub.DeliveryDelivered, hub.DeliveryDead, hub.DeliveryCanceled}

func (v *View) replays() *ent.ReplayQuery { return v.store.read.Replay.Query().Where(v.ofReplays) }

func (v *View) ofReplays(sel *entsql.Selector) {
	v.restrict(sel, func(partnerID string) *entsql.Predicate {
		return entsql.EQ(sel.C(replay.FieldPartnerID), partnerID)
	})
}

// replayable are the conditions of deliveries that a replay can choose: they have
// ended, can be sent again and are part of no other replay.
func (v *View) replayable(f hub.DeliveryFilter) []condition {
	if len(f.Statuses) == 0 {
		f.Statuses = ended
	}
	return append(v.store.deliveryConditions(f), v.ofDeliveries,
		refersTo(delivery.FieldEndpointID, endpoint.Table), refersTo(delivery.FieldSubscriptionID, subscription.Table),
		func(sel *entsql.Selector) {
			id, of := sel.C(delivery.FieldID), sel.C(delivery.FieldReplayID)
			sel.Where(entsql.P(func(b *entsql.Builder) {
				b.WriteString("NOT EXISTS (SELECT 1 FROM replay_items AS item WHERE item.id = ").Ident(id).
					WriteString(") AND NOT EXISTS (SELECT 1 FROM replays AS other WHERE other.id = ").Ident(of).
					WriteString(" AND other.state = 'RUNNING')")
			}))
		})
}

// CountReplay counts what a selection chooses as things are now.
func (v *View) CountReplay(ctx context.Context, selection hub.ReplaySelection) (int, error) {
	if f := selection.Deliveries; f != nil {
		n, err := v.deliveries().Where(all[predicate.Delivery](v.replayable(*f))...).Count(ctx)
		return n, wrap("count deliveries to replay", err)
	}
	log, err := v.store.catchUp(ctx)
	if err != nil {
		return 0, wrap("count events to replay", err)
	}
	head := log.sequence
	cfg := v.Configuration()
	targets, _ := targetsOf(selection, cfg)
	n, after := 0, hub.Sequence(0)
	for {
		list, last, err := v.choose(ctx, selection, targets, after, head, replayScan)
		if err != nil {
			return 0, wrap("count events to replay", err)
		}
		known, err := v.store.knownDeliveries(ctx, v.store.reads, list)
		if err != nil {
			return 0, wrap("count events to replay", err)
		}
		for _, c := range list {
			for _, id := range c.routes {
				if known.judge(c.event.ID, cfg.Subscriptions[id], selection.MissedBy != nil).verdict != pass {
					n++
				}
			}
		}
		if after = last; after >= head {
			return n, nil
		}
	}
}

// StartReplay stores a replay, from which on it runs. Where one was asked for with the
// same key, or runs over the same selection, it returns that one. A key that was given
// for another selection is CodeConflict.
func (v *View) StartReplay(ctx context.Context, r *hub.Replay) (*hub.Replay, error) {
	print, err := fingerprint(r.Selection)
	if err != nil {
		return nil, wrap("start replay", err)
	}
	if found, err := v.asked(ctx, r.IdempotencyKey, print); err != nil || found != nil {
		return found, err
	}
	head, err := v.store.Head(ctx)
	if err != nil {
		return nil, err
	}
	now := v.store.clock.Now()
	stage := stageSending
	if r.Selection.Deliveries != nil {
		stage = stageSelecting
	}
	err = v.store.write.Replay.Create().SetID(hub.NewID(hub.ReplayPrefix, now)).SetPartnerID(v.sight.PartnerID()).SetRequestedBy(r.RequestedBy).
		SetState(hub.ReplayRunning).SetReason("").SetSelection(r.Selection).SetFingerprint(print).SetIdempotencyKey(r.IdempotencyKey).
		SetRate(r.Rate).SetStage(stage).SetProgress("").SetBound(int64(head)).SetTotal(r.Total).SetBegun(0).SetDone(0).SetFailed(0).
		SetPacedAt(column.TimeOf(now)).SetLeaseToken("").SetLeaseUntil(0).SetCreatedAt(column.TimeOf(now)).SetCompletedAt(0).Exec(ctx)
	if err != nil && !ent.IsConstraintError(err) {
		return nil, wrap("start replay", err)
	}
	found, err := v.asked(ctx, r.IdempotencyKey, print) // perhaps what somebody else started a moment before
	if err == nil && found == nil {
		err = hub.NewError(hub.CodeConflict, "the replay has just ended; ask again")
	}
	v.store.wakeReplays()
	return found, err
}

// asked returns the replay that was asked for with a key, or else the one that runs
// over a selection; nil where there is neither.
func (v *View) asked(ctx context.Context, key, print string) (*hub.Replay, error) {
	mine := replay.PartnerID(v.sight.PartnerID())
	if key != "" {
		row, err := v.replays().Where(mine, replay.IdempotencyKey(key)).Only(ctx)
		switch {
		case err == nil && row.Fingerprint != print:
			return nil, hub.UserErrors{{Code: hub.InputConflict, Field: []string{"input", "idempotencyKey"}, Message: "another selection was replayed with this key: " + row.ID}}
		case err == nil:
			return v.replay(ctx, row)
		case !ent.IsNotFound(err):
			return nil, wrap("find replay", err)
		}
	}
	row, err := v.replays().Where(mine, replay.Fingerprint(print), replay.StateEQ(hub.ReplayRunning)).Only(ctx)
	if ent.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, wrap("find replay", err)
	}
	return v.replay(ctx, row)
}

// fingerprint tells selections apart.
func fingerprint(selection hub.ReplaySelection) (string, error) {
	text, err := json.Marshal(selection)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16]), nil
}

// Replays returns a page of the replays that a filter admits, newest first.
func (v *View) Replays(ctx context.Context, f hub.ReplayFilter, page hub.Page) (hub.Slice[*hub.Replay], error) {
	p, err := newestID().pager(page)
	if err != nil {
		return hub.Slice[*hub.Replay]{}, err
	}
	rows, err := v.replays().Where(anyOf(replay.FieldState, f.States), p.single).All(ctx)
	if err != nil {
		return hub.Slice[*hub.Replay]{}, wrap("list replays", err)
	}
	list, err := v.toReplays(ctx, rows)
	return slice(p, list), err
}

// CountReplays counts the replays that a filter admits.
func (v *View) CountReplays(ctx context.Context, f hub.ReplayFilter) (int, error) {
	n, err := v.replays().Where(anyOf(replay.FieldState, f.States)).Count(ctx)
	return n, wrap("count replays", err)
}

// ReplaysByID returns those of the replays that exist.
func (v *View) ReplaysByID(ctx context.Context, ids []string) (map[string]*hub.Replay, error) {
	found := make(map[string]*hub.Replay, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		rows, err := v.replays().Where(replay.IDIn(part...)).All(ctx)
		if err != nil {
			return err
		}
		list, err := v.toReplays(ctx, rows)
		for _, r := range list {
			found[r.ID] = r
		}
		return err
	})
	return found, wrap("read replays", err)
}

func (v *View) replay(ctx context.Context, row *ent.Replay) (*hub.Replay, error) {
	list, err := v.toReplays(ctx, []*ent.Replay{row})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// toReplays maps rows. Of replays that have not ended, what they have brought about is
// counted.
func (v *View) toReplays(ctx context.Context, rows []*ent.Replay) ([]*hub.Replay, error) {
	list := make([]*hub.Replay, len(rows))
	open := make(map[string]*hub.Replay)
	for i, row := range rows {
		list[i] = &hub.Replay{
			ID: row.ID, PartnerID: row.PartnerID, RequestedBy: row.RequestedBy, State: row.State, Reason: row.Reason, Selection: row.Selection, Rate: row.Rate,
			Total: row.Total, Done: row.Done, Failed: row.Failed, IdempotencyKey: row.IdempotencyKey,
			CreatedAt: row.CreatedAt.Time(), CompletedAt: row.CompletedAt.Time(),
		}
		if row.CompletedAt == 0 {
			open[row.ID] = list[i]
		}
	}
	if len(open) == 0 {
		return list, nil
	}
	ids := make([]any, 0, len(open))
	for id := range open {
		ids = append(ids, id)
	}
	counts, err := v.store.countReplayed(ctx, v.store.reads, ids...)
	if err != nil {
		return nil, wrap("count what replays have done", err)
	}
	for id, r := range open {
		r.Done, r.Failed = counts[id].done, counts[id].failed
	}
	return list, nil
}

// replayCounts is what became of the deliveries of a replay.
type replayCounts struct{ waiting, done, failed int }

// countReplayed counts the deliveries that replays have made due.
func (s *Store) countReplayed(ctx context.Context, in dialect.ExecQuerier, ids ...any) (map[string]replayCounts, error) {
	query, args := entsql.Dialect(s.reads.Dialect()).Select(delivery.FieldReplayID, delivery.FieldStatus, entsql.Count("*")).
		From(entsql.Table(delivery.Table)).
		Where(entsql.And(entsql.In(delivery.FieldReplayID, ids...), entsql.P(func(b *entsql.Builder) { b.WriteString("replay_id <> ''") }))).
		GroupBy(delivery.FieldReplayID, delivery.FieldStatus).Query()
	counts := make(map[string]replayCounts)
	err := each(ctx, in, query, args, func(rows *entsql.Rows) error {
		var id string
		var status hub.DeliveryStatus
		var n int
		if err := rows.Scan(&id, &status, &n); err != nil {
			return err
		}
		c := counts[id]
		switch status {
		case hub.DeliveryDelivered:
			c.done += n
		case hub.DeliveryDead, hub.DeliveryCanceled:
			c.failed += n
		case hub.DeliveryPending, hub.DeliveryHeld:
			c.waiting += n
		}
		counts[id] = c
		return nil
	})
	return counts, err
}

// CancelReplay stops a replay. What it has made due and nobody attempts right now is
// canceled before this returns.
func (v *View) CancelReplay(ctx context.Context, id string) (*hub.Replay, error) {
	n, err := v.store.write.Replay.Update().Where(v.ofReplays, replay.ID(id), replay.StateEQ(hub.ReplayRunning)).
		SetState(hub.ReplayCanceled).Save(ctx)
	if err != nil {
		return nil, wrap("cancel replay", err)
	}
	row, err := v.replays().Where(replay.ID(id)).Only(ctx)
	switch {
	case ent.IsNotFound(err):
		return nil, hub.ErrNotFound
	case err != nil:
		return nil, wrap("cancel replay", err)
	case n == 0 && row.State != hub.ReplayCanceled:
		return nil, hub.NewError(hub.CodeConflict, fmt.Sprintf("the replay has already ended (it is %s)", row.State))
	}
	if err := v.store.endReplay(ctx, row); err != nil {
		return nil, wrap("cancel replay", err)
	}
	found, err := v.ReplaysByID(ctx, []string{id})
	return found[id], err
}

// targetsOf returns the subscriptions that a selection of events goes to, or why there
// are none any more.
func targetsOf(selection hub.ReplaySelection, cfg *hub.Configuration) (targets []*hub.Subscription, gone string) {
	if missed := selection.MissedBy; missed != nil {
		if cfg.Endpoints[missed.EndpointID] == nil {
			return nil, "the endpoint was deleted"
		}
		for _, sub := range cfg.Ordered {
			if sub.EndpointID == missed.EndpointID {
				targets = append(targets, sub)
			}
		}
		return targets, ""
	}
	sub := cfg.Subscriptions[selection.SubscriptionID]
	if sub == nil || cfg.Endpoints[sub.EndpointID] == nil {
		return nil, "the subscription was deleted"
	}
	return []*hub.Subscription{sub}, ""
}

// replayScan is how many events one step looks at.
const replayScan = 200

// chosenEvent is an event and the subscriptions that it is replayed to.
type chosenEvent struct {
	event  *hub.Event
	routes []string
}

// choose returns the events after a sequence that a selection chooses and its targets
// want as they are now, until they make at least limit deliveries, and how far it looked.
func (v *View) choose(
	ctx context.Context, selection hub.ReplaySelection, targets []*hub.Subscription, after, bound hub.Sequence, limit int,
) (list []chosenEvent, last hub.Sequence, err error) {
	if len(targets) == 0 || v.store.cfg.Router == nil {
		return nil, bound, nil
	}
	var f hub.EventFilter
	if selection.Events != nil {
		f = *selection.Events
	} else {
		f.ReceivedAt = selection.MissedBy.Received
	}
	var types []string
	for _, sub := range targets {
		types = append(types, sub.EventTypes...)
	}
	conditions := append(v.store.eventConditions(f), v.ofEvents, v.store.typeAnyOf(types))
	events, err := readAll(ctx, v.store.read.Event.Query().Where(all[predicate.Event](conditions)...).
		Where(event.SequenceGT(int64(after)), event.SequenceLTE(int64(bound))).
		Order(ent.Asc(event.FieldSequence)).Limit(replayScan), toWholeEvent)
	if err != nil {
		return nil, 0, err
	}
	cfg := v.store.config.Load()
	among := cfg.With(targets)
	n := 0
	for _, ev := range events {
		if n >= limit {
			return list, last, nil
		}
		last = ev.Sequence
		if f.Expression != "" {
			if v.store.cfg.Admits == nil {
				continue
			}
			slug := ""
			if source := cfg.Senders[ev.SourceID]; source != nil {
				slug = source.Slug
			}
			if admitted, err := v.store.cfg.Admits(f.Expression, ev, slug); err != nil || !admitted {
				continue // as in queries, an event that the expression fails on is not admitted
			}
		}
		if routes := v.store.cfg.Router.Route(ev, among); len(routes) > 0 {
			list = append(list, chosenEvent{ev, routes})
			n += len(routes)
		}
	}
	if len(events) < replayScan {
		last = bound
	}
	return list, last, nil
}

// verdict is what a replay does about an event and a subscription.
type verdict int

const (
	pass    verdict = iota // nothing: it waits already, was not missed or is part of another replay
	make1                  // it gets a delivery
	restart                // the one that it has to the same endpoint is made due again
)

type judged struct {
	verdict verdict
	id      string // of the delivery that there is
}

// known are the deliveries that events have.
type known map[[2]string][]knownDelivery

type knownDelivery struct {
	id, endpointID string
	status         hub.DeliveryStatus
	taken          bool // by a replay that runs
}

// judge says what is to be done for an event and a subscription, nil for one that is gone. A
// delivery keeps the endpoint that it was made for: what went to another before the
// subscription did is not sent there again.
func (k known) judge(eventID string, sub *hub.Subscription, missedOnly bool) judged {
	if sub == nil {
		return judged{}
	}
	j := judged{verdict: make1}
	for _, d := range k[[2]string{eventID, sub.ID}] {
		if d.taken || !d.status.Ended() || missedOnly && d.status == hub.DeliveryDelivered {
			return judged{}
		}
		if d.endpointID == sub.EndpointID {
			j = judged{restart, d.id}
		}
	}
	return j
}

// knownDeliveries reads the deliveries of chosen events.
func (s *Store) knownDeliveries(ctx context.Context, in dialect.ExecQuerier, list []chosenEvent) (known, error) {
	k := make(known)
	if len(list) == 0 {
		return k, nil
	}
	ids := make([]any, len(list))
	for i, c := range list {
		ids[i] = c.event.ID
	}
	d := entsql.Table(delivery.Table).As("d")
	query, args := entsql.Dialect(s.reads.Dialect()).Select(d.C(delivery.FieldID), d.C(delivery.FieldEventID), d.C(delivery.FieldSubscriptionID), d.C(delivery.FieldEndpointID), d.C(delivery.FieldStatus)).
		AppendSelectExpr(entsql.Expr(`CASE WHEN EXISTS (SELECT 1 FROM replay_items AS item WHERE item.id = d.id)
			OR EXISTS (SELECT 1 FROM replays AS other WHERE other.id = d.replay_id AND other.state = 'RUNNING') THEN 1 ELSE 0 END`)).
		From(d).Where(entsql.In(d.C(delivery.FieldEventID), ids...)).OrderBy(d.C(delivery.FieldID)).Query()
	err := each(ctx, in, query, args, func(rows *entsql.Rows) error {
		var one knownDelivery
		var eventID, subscriptionID string
		var taken int
		if err := rows.Scan(&one.id, &eventID, &subscriptionID, &one.endpointID, &one.status, &taken); err != nil {
			return err
		}
		one.taken = taken == 1
		key := [2]string{eventID, subscriptionID}
		k[key] = append(k[key], one)
		return nil
	})
	return k, err
}

// each reads rows one by one.
func each(ctx context.Context, in dialect.ExecQuerier, query string, args []any, read func(*entsql.Rows) error) error {
	rows := &entsql.Rows{}
	if err := in.Query(ctx, query, args, rows); err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := read(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// itemsOf reads what a replay has chosen and not made due yet, in order, without that
// of some endpoints.
func (s *Store) itemsOf(ctx context.Context, replayID string, without []string, limit int) ([]string, error) {
	q := s.read.ReplayItem.Query().Where(replayitem.ReplayID(replayID))
	if len(without) > 0 {
		q = q.Where(replayitem.EndpointIDNotIn(without...))
	}
	rows, err := q.Order(ent.Asc(replayitem.FieldID)).Limit(limit).All(ctx)
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.ID
	}
	return ids, err
}

// crowded lists the endpoints at which as many deliveries of replays are due as may be.
// One that does not keep up thus holds up its own part of a replay alone, and what is
// live never has many of them before it.
func (s *Store) crowded(ctx context.Context) ([]string, error) {
	query, args := entsql.Dialect(s.reads.Dialect()).Select(delivery.FieldEndpointID).From(entsql.Table(delivery.Table)).
		Where(entsql.And(entsql.P(func(b *entsql.Builder) { b.WriteString("status = 'PENDING' AND replay_id <> ''") }),
			entsql.LTE(delivery.FieldDueAt, micros(s.clock.Now())))).
		GroupBy(delivery.FieldEndpointID).Having(entsql.GTE(entsql.Count("*"), hub.MaxReplayDueEndpoint)).Query()
	var full []string
	err := each(ctx, s.reads, query, args, func(rows *entsql.Rows) error {
		var id string
		err := rows.Scan(&id)
		full = append(full, id)
		return err
	})
	slices.Sort(full)
	return full, err
}
