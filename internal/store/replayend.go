package store

import (
	"context"
	"errors"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/delivery"
	"github.com/hookgraph/hookgraph/ent/replay"
	"github.com/hookgraph/hookgraph/ent/replayitem"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// failReplay ends a replay that cannot go on.
func (s *Store) failReplay(ctx context.Context, row *ent.Replay, reason string) error {
	n, err := s.write.Replay.Update().Where(replay.ID(row.ID), replay.StateEQ(hub.ReplayRunning)).
		SetStage(stageEnding).SetReason(reason).Save(ctx)
	if err != nil || n == 0 {
		return err
	}
	row.Stage, row.Reason = stageEnding, reason
	return s.endReplay(ctx, row)
}

const reasonReplayCanceled = "the replay was canceled"

// endReplay ends a replay that has made everything due, or is canceled, once nothing of
// it waits any more.
func (s *Store) endReplay(ctx context.Context, row *ent.Replay) error {
	state := hub.ReplayCompleted
	switch {
	case row.State == hub.ReplayCanceled:
		state = hub.ReplayCanceled
		for { // what it has not made due stays as it was
			ids, err := s.itemsOf(ctx, row.ID, nil, selectChunk)
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				break
			}
			if _, err := s.write.ReplayItem.Delete().Where(replayitem.IDIn(ids...)).Exec(ctx); err != nil {
				return err
			}
		}
		// What is being attempted is left to end by itself.
		now := column.TimeOf(s.clock.Now())
		if err := s.cancelWaiting(ctx, reasonReplayCanceled, delivery.And(delivery.ReplayID(row.ID), delivery.ReplayIDNEQ(""),
			delivery.Or(delivery.LeaseToken(""), delivery.DueAtLTE(now)))); err != nil {
			return err
		}
	case row.Reason != "":
		state = hub.ReplayFailed
	}
	return s.finishReplay(ctx, row, state)
}

// finishReplay notes that a replay has ended and announces it, unless something of it
// still waits.
func (s *Store) finishReplay(ctx context.Context, row *ent.Replay, state hub.ReplayState) (err error) {
	counts, err := s.countReplayed(ctx, s.reads, row.ID)
	if err != nil || counts[row.ID].waiting > 0 {
		return err
	}
	tx, err := s.writes.Tx(ctx)
	if err != nil {
		return err
	}
	done := false
	defer func() {
		if !done {
			_ = tx.Rollback() // nothing was to be changed, or the first error tells more
		}
	}()
	now := s.clock.Now()
	build := entsql.Dialect(s.writes.Dialect())
	// First the row, so that of several nodes one alone comes further.
	err = changeOne(ctx, tx, build.Update(replay.Table).Set(replay.FieldState, string(state)).Set(replay.FieldCompletedAt, micros(now)).
		Where(entsql.And(entsql.EQ(replay.FieldID, row.ID), entsql.EQ(replay.FieldCompletedAt, 0), entsql.EQ(replay.FieldState, string(row.State)))))
	if errors.Is(err, errPassedOn) {
		return nil
	}
	if err != nil {
		return err
	}
	if counts, err = s.countReplayed(ctx, tx, row.ID); err != nil || counts[row.ID].waiting > 0 {
		return err
	}
	c := counts[row.ID]
	if err := changeOne(ctx, tx, build.Update(replay.Table).Set(replay.FieldDone, c.done).Set(replay.FieldFailed, c.failed).
		Where(entsql.EQ(replay.FieldID, row.ID))); err != nil {
		return err
	}
	if err := s.announce(ctx, tx, hub.NewAnnouncement(hub.ReplayCompletedType, row.PartnerID, now, hub.ReplayFacts{
		ReplayID: row.ID, State: state, Reason: row.Reason, Total: row.Total, Done: c.done, Failed: c.failed,
	})); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	done = true
	s.announced()
	return nil
}
