package store

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"slices"
	"strconv"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/endpoint"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/replay"
	"github.com/hookgraph/hookgraph/ent/replayitem"
	"github.com/hookgraph/hookgraph/ent/subscription"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// The stages of a replay that runs. One over deliveries first writes down which it
// chooses; then, like one over events, it makes them due at its rate; then it waits
// until they have ended. What it has done and how far it is are stored together, so that
// whoever goes on after a crash does nothing twice and leaves nothing out.
const (
	stageSelecting = "SELECTING"
	stageSending   = "SENDING"
	stageEnding    = "ENDING"
)

const (
	selectChunk = 1000             // deliveries that one step writes down
	scansAStep  = 20               // how often one step looks on where nothing is to be sent
	sendChunk   = 500              // deliveries that one step makes due at most
	replayLease = 10 * time.Second // after which another node takes a replay over

	replayEvery = 100 * time.Millisecond // how often a replay that runs is gone on with
	replayLook  = time.Second            // how often new ones are looked for
)

// errPassedOn says that another node goes on with a replay, or somebody has ended it.
var errPassedOn = errors.New("the replay has passed to another")

// runReplays goes on with replays until ctx ends.
func (s *Store) runReplays(ctx context.Context) {
	token := rand.Text()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.replaying:
		}
		wait := replayLook
		open, err := s.stepReplays(ctx, token)
		if err != nil {
			s.complain(ctx, err)
		} else if open {
			wait = replayEvery
		}
		timer.Reset(wait)
	}
}

// wakeReplays says that there is a replay to go on with.
func (s *Store) wakeReplays() {
	select {
	case s.replaying <- struct{}{}:
	default:
	}
}

// stepReplays takes each replay that has not ended a step further, and reports whether
// there are any.
func (s *Store) stepReplays(ctx context.Context, token string) (open bool, err error) {
	rows, err := s.read.Replay.Query().Where(func(sel *entsql.Selector) {
		sel.Where(written(sel, replay.FieldCompletedAt, " = 0"))
	}).Order(ent.Asc(replay.FieldID)).All(ctx)
	if err != nil {
		return false, wrap("find replays", err)
	}
	if len(rows) > 0 {
		// One may be over what another node has made a moment before.
		if _, err := s.catchUp(ctx); err != nil {
			return true, wrap("go on with replays", err)
		}
	}
	var errs []error
	for _, row := range rows {
		open = true
		if row.LeaseToken != token && row.LeaseUntil.Time().After(s.clock.Now()) {
			continue
		}
		if err := s.stepReplay(ctx, token, row); err != nil && !errors.Is(err, errPassedOn) {
			errs = append(errs, wrap("go on with "+row.ID, err))
		}
	}
	return open, errors.Join(errs...)
}

func (s *Store) stepReplay(ctx context.Context, token string, row *ent.Replay) error {
	view := s.View
	if row.PartnerID != "" {
		view = s.For(hub.PartnerSight(row.PartnerID))
	}
	step := &replayStep{Store: s, view: view, row: row, token: token, now: s.clock.Now(), stage: row.Stage, progress: row.Progress, total: row.Total}
	switch {
	case row.State == hub.ReplayCanceled || row.Stage == stageEnding:
		return s.endReplay(ctx, row)
	case row.Stage == stageSelecting:
		return step.choose(ctx)
	case row.Selection.Deliveries != nil:
		return step.sendAgain(ctx)
	}
	return step.sendEvents(ctx)
}

// allowance returns how many deliveries a rate allows now when it was used up to a
// moment, and up to when it is used up once some have been taken of them. What was not
// used is saved up for a quarter of a second alone, so that a replay that had to wait
// does not come in a burst.
func allowance(usedUp, now time.Time, rate int) (n int, then func(taken int) time.Time) {
	each := time.Second / time.Duration(rate)
	if saved := max(each, time.Second/4); now.Sub(usedUp) > saved {
		usedUp = now.Add(-saved)
	}
	return max(0, int(now.Sub(usedUp)/each)), func(taken int) time.Time { return usedUp.Add(time.Duration(taken) * each) }
}

// replayStep is one step of a replay in one transaction.
type replayStep struct {
	*Store
	view  *View
	row   *ent.Replay
	token string
	now   time.Time

	// What the replay is after the step.
	stage, progress string
	total           int
	begun           int // by this step
	pacedAt         time.Time
}

// run does a step in a transaction that has made sure that nobody else does it. On
// PostgreSQL the steps of all replays take turns, so that no two of them make a delivery
// of one event to one subscription. Deliveries come before log_head, as everywhere.
func (p *replayStep) run(ctx context.Context, do func(dialect.Tx) (acted, error)) (err error) {
	tx, err := p.writes.Tx(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback() // the first error tells more
		}
	}()
	if p.writes.Dialect() == dialect.Postgres {
		err := each(ctx, tx, "SELECT id FROM replays WHERE completed_at = 0 ORDER BY id FOR UPDATE", []any{}, func(*entsql.Rows) error { return nil })
		if err != nil {
			return err
		}
	}
	build := entsql.Dialect(p.writes.Dialect())
	free := entsql.Or(entsql.EQ(replay.FieldLeaseToken, p.token), entsql.LTE(replay.FieldLeaseUntil, micros(p.now)))
	if err := changeOne(ctx, tx, build.Update(replay.Table).
		Set(replay.FieldLeaseToken, p.token).Set(replay.FieldLeaseUntil, micros(p.now.Add(replayLease))).
		Where(entsql.And(entsql.EQ(replay.FieldID, p.row.ID), entsql.EQ(replay.FieldState, string(hub.ReplayRunning)),
			entsql.EQ(replay.FieldStage, p.row.Stage), entsql.EQ(replay.FieldProgress, p.row.Progress),
			entsql.EQ(replay.FieldBegun, p.row.Begun), free))); err != nil {
		return err
	}
	a, err := do(tx)
	if err != nil {
		return err
	}
	update := build.Update(replay.Table).Set(replay.FieldStage, p.stage).Set(replay.FieldProgress, p.progress).
		Set(replay.FieldTotal, p.total).Set(replay.FieldBegun, p.row.Begun+p.begun).Where(entsql.EQ(replay.FieldID, p.row.ID))
	if !p.pacedAt.IsZero() {
		update.Set(replay.FieldPacedAt, micros(p.pacedAt))
	}
	if err := changeOne(ctx, tx, update); err != nil {
		return err
	}
	if err := p.moveOn(ctx, tx, &a, p.now); err != nil {
		return err
	}
	if err := p.logChanges(ctx, tx, a.changes, p.now); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	p.movedOn(a.moved)
	if len(a.changes) > 0 {
		if slices.ContainsFunc(a.changes, func(c changeRow) bool { return c.line == unkeyed }) {
			p.unkeyed.Store(true)
			p.wakeSorter()
		}
		p.notifyChanges()
		p.notify() // it may be another node that has a slot free
		p.wakeTaker()
	}
	return nil
}

// changeOne runs an update of the row of a replay, which is errPassedOn where it finds
// none.
func changeOne(ctx context.Context, tx dialect.Tx, update *entsql.UpdateBuilder) error {
	query, args := update.Query()
	var result sql.Result
	if err := tx.Exec(ctx, query, args, &result); err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(err, errPassedOn)
	}
	return nil
}

// choose writes down a chunk of the deliveries that a replay is over.
func (p *replayStep) choose(ctx context.Context) error {
	conditions := append(p.view.replayable(*p.row.Selection.Deliveries), delivery.IDGT(p.row.Progress), delivery.CreatedAtLTE(p.row.CreatedAt))
	rows, err := p.view.deliveries().Where(all[predicate.Delivery](conditions)...).
		Order(ent.Asc(delivery.FieldID)).Limit(selectChunk).Select(delivery.FieldID, delivery.FieldEndpointID).All(ctx)
	if err != nil {
		return err
	}
	if len(rows) < selectChunk {
		p.stage, p.progress = stageSending, ""
	} else {
		p.progress = rows[len(rows)-1].ID
	}
	return p.run(ctx, func(tx dialect.Tx) (acted, error) {
		if len(rows) == 0 {
			return acted{}, nil
		}
		insert := entsql.Dialect(p.writes.Dialect()).Insert(replayitem.Table).Columns(replayitem.Columns...)
		for _, row := range rows {
			insert.Values(row.ID, p.row.ID, row.EndpointID)
		}
		query, args := insert.OnConflict(entsql.ConflictColumns(replayitem.FieldID), entsql.DoNothing()).Query()
		return acted{}, tx.Exec(ctx, query, args, nil)
	})
}

// sendAgain makes due as many of the chosen deliveries as the rate allows, and leaves
// out endpoints that do not keep up.
func (p *replayStep) sendAgain(ctx context.Context) error {
	n, then := allowance(p.row.PacedAt.Time(), p.now, p.row.Rate)
	if n = min(n, sendChunk); n == 0 {
		return nil
	}
	full, err := p.crowded(ctx)
	if err != nil {
		return err
	}
	ids, err := p.itemsOf(ctx, p.row.ID, full, n)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		if len(full) > 0 {
			left, err := p.itemsOf(ctx, p.row.ID, nil, 1)
			if err != nil || len(left) > 0 {
				return err // they will go on once there is room
			}
		}
		p.stage, p.progress, p.total = stageEnding, "", p.row.Begun
		return p.run(ctx, func(dialect.Tx) (acted, error) { return acted{}, nil })
	}
	p.progress, p.pacedAt = ids[len(ids)-1], then(len(ids))
	return p.run(ctx, func(tx dialect.Tx) (acted, error) {
		a, err := p.restart(ctx, tx, ids)
		if err != nil {
			return a, err
		}
		query, args := entsql.Dialect(p.writes.Dialect()).Delete(replayitem.Table).Where(entsql.In(replayitem.FieldID, anys(ids)...)).Query()
		return a, tx.Exec(ctx, query, args, nil)
	})
}

// restart makes deliveries due again, of those that have ended and can be sent.
func (p *replayStep) restart(ctx context.Context, tx dialect.Tx, ids []string) (acted, error) {
	if len(ids) == 0 {
		return acted{}, nil
	}
	build := entsql.Dialect(p.writes.Dialect())
	chosen := build.Select().From(build.Table(delivery.Table))
	for _, condition := range []condition{
		delivery.IDIn(ids...), delivery.StatusNEQ(hub.DeliveryPending),
		refersTo(delivery.FieldEndpointID, endpoint.Table), refersTo(delivery.FieldSubscriptionID, subscription.Table),
	} {
		condition(chosen)
	}
	if err := p.lockInOrder(ctx, tx, chosen); err != nil {
		return acted{}, err
	}
	a, err := p.changed(ctx, tx, p.dueAgain(column.TimeOf(p.now)).Set(delivery.FieldReplayID, p.row.ID).FromSelect(chosen), p.now)
	p.begun += len(a.changes)
	return a, err
}

// sendEvents makes deliveries of as many of the events as the rate allows.
func (p *replayStep) sendEvents(ctx context.Context) error {
	targets, gone := targetsOf(p.row.Selection, p.config.Load())
	if gone != "" {
		return p.failReplay(ctx, p.row, gone)
	}
	n, then := allowance(p.row.PacedAt.Time(), p.now, p.row.Rate)
	if n = min(n, sendChunk); n == 0 {
		return nil
	}
	full, err := p.crowded(ctx)
	if err != nil {
		return err
	}
	if len(targets) > 0 && slices.Contains(full, targets[0].EndpointID) { // all of one endpoint
		return nil
	}
	after, _ := strconv.ParseInt(p.row.Progress, 10, 64) // "": from the start
	var list []chosenEvent
	last, bound := hub.Sequence(after), hub.Sequence(p.row.Bound)
	for looked := 0; looked < scansAStep && len(list) == 0 && (looked == 0 || last < bound); looked++ {
		if list, last, err = p.view.choose(ctx, p.row.Selection, targets, last, bound, n); err != nil {
			return err
		}
	}
	p.progress = strconv.FormatInt(int64(last), 10)
	return p.run(ctx, func(tx dialect.Tx) (acted, error) {
		known, err := p.knownDeliveries(ctx, tx, list)
		if err != nil {
			return acted{}, err
		}
		cfg := p.config.Load()
		var again []string
		var fresh []replayed
		for _, c := range list {
			for _, id := range c.routes {
				switch j := known.judge(c.event.ID, cfg.Subscriptions[id], p.row.Selection.MissedBy != nil); j.verdict {
				case pass:
				case restart:
					again = append(again, j.id)
				case make1:
					fresh = append(fresh, replayed{c.event, id})
				}
			}
		}
		p.pacedAt = then(len(again) + len(fresh))
		a, err := p.restart(ctx, tx, again)
		if err != nil {
			return a, err
		}
		made, err := p.create(ctx, tx, fresh)
		if int64(last) >= p.row.Bound {
			p.stage, p.total = stageEnding, p.row.Begun+p.begun
		}
		a.add(made)
		return a, err
	})
}

// replayed is an event that gets a delivery to a subscription.
type replayed struct {
	event          *hub.Event
	subscriptionID string
}

// create makes deliveries, counts them and says how they stand.
func (p *replayStep) create(ctx context.Context, tx dialect.Tx, list []replayed) (a acted, err error) {
	if len(list) == 0 {
		return a, nil
	}
	cfg := p.config.Load()
	t := newTally(p.now)
	insert := entsql.Dialect(p.writes.Dialect()).Insert(delivery.Table).Columns(
		delivery.FieldID, delivery.FieldEventID, delivery.FieldSubscriptionID, delivery.FieldEndpointID, delivery.FieldPartnerID,
		delivery.FieldStatus, delivery.FieldReason, delivery.FieldAttemptCount, delivery.FieldSchedulePosition,
		delivery.FieldNextAttemptAt, delivery.FieldDueAt, delivery.FieldLeaseToken, delivery.FieldCreatedAt, delivery.FieldCompletedAt,
		delivery.FieldReplayID, delivery.FieldBodyForm, delivery.FieldLine, delivery.FieldMark, delivery.FieldPlace, delivery.FieldTurn)
	for _, one := range list {
		sub := cfg.Subscriptions[one.subscriptionID]
		if sub == nil || cfg.Endpoints[sub.EndpointID] == nil {
			continue // deleted since
		}
		e := cfg.Endpoints[sub.EndpointID]
		row := deliveryRow{delivery: newDelivery(one.event, sub, e, p.now)}
		d := &row.delivery
		next := column.TimeOf(d.NextAttemptAt)
		row.due = next
		o := p.positionOf(one.event, sub, cfg)
		row.join(o, nil)
		if row.turn == turnFirst { // whose turn it is, log_head says, which is locked later
			row.turn, row.due = turnLater, neverDue
		}
		insert.Values(d.ID, d.EventID, d.SubscriptionID, d.EndpointID, d.PartnerID, string(hub.DeliveryPending), o.problem, 0, 0,
			int64(next), int64(row.due), "", micros(p.now), 0, p.row.ID, string(d.BodyForm), o.line, o.mark, o.place, row.turn)
		t.created(d, one.event)
		state := row.state().shown(e, p.health.of(e.ID), sub, p.now)
		a.changes = append(a.changes, changeRow{
			deliveryID: d.ID, deliveryState: state, line: o.line, subscriptionID: sub.ID, later: row.turn == turnLater,
		})
	}
	if len(a.changes) == 0 {
		return a, nil
	}
	p.begun += len(a.changes)
	query, args := insert.Query()
	if err := tx.Exec(ctx, query, args, nil); err != nil {
		return a, err
	}
	return a, p.writeTally(ctx, tx, t)
}

func anys(ids []string) []any {
	list := make([]any, len(ids))
	for i, id := range ids {
		list[i] = id
	}
	return list
}
