package store

import (
	"context"
	"time"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/fetch"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func toFetch(row *ent.Fetch) (*hub.Fetch, error) {
	f := &hub.Fetch{
		SourceID: row.ID, LastAt: row.LastAt.Time(), NextAt: row.NextAt.Time(), Error: row.Error,
		FailingSince: row.FailingSince.Time(), Failures: row.Failures,
		FetchedCount: row.FetchedCount, RecoveredCount: row.RecoveredCount, AskedAt: row.AskedAt.Time(),
	}
	if len(row.Progress) > 0 {
		f.Progress = row.Progress
	}
	return f, nil
}

// Fetches returns how far each of the sources has come; one that was never fetched from
// is left out.
func (v *View) Fetches(ctx context.Context, sourceIDs []string) (map[string]*hub.Fetch, error) {
	found := make(map[string]*hub.Fetch, len(sourceIDs))
	if !v.sight.Whole() {
		return found, nil
	}
	err := inChunks(sourceIDs, maxInList, func(part []string) error {
		list, err := readAll(ctx, v.store.read.Fetch.Query().Where(fetch.IDIn(part...)), toFetch)
		for _, f := range list {
			found[f.SourceID] = f
		}
		return err
	})
	return found, wrap("read how far sources have come", err)
}

// FailingFetches returns since when, how often and why it failed to fetch from those
// sources that fail, and no more of them.
func (s *Store) FailingFetches(ctx context.Context) (map[string]*hub.Fetch, error) {
	rows, err := s.read.Fetch.Query().Where(fetch.FailuresGT(0)).
		Select(fetch.FieldID, fetch.FieldFailingSince, fetch.FieldFailures, fetch.FieldError).All(ctx)
	found := make(map[string]*hub.Fetch, len(rows))
	for _, row := range rows {
		found[row.ID] = &hub.Fetch{SourceID: row.ID, FailingSince: row.FailingSince.Time(), Failures: row.Failures, Error: row.Error}
	}
	return found, wrap("find which sources cannot be fetched from", err)
}

// FetchWorks stores that a source that failed can be fetched from, where the holder of a
// token still does so.
func (s *Store) FetchWorks(ctx context.Context, sourceID, token string) error {
	_, err := s.write.Fetch.Update().Where(fetch.ID(sourceID), fetch.LeaseToken(token), fetch.FailuresGT(0)).
		SetFailingSince(0).SetFailures(0).Save(ctx)
	return wrap("store that a source can be fetched from", err)
}

// AskFetch notes that somebody wants a source to be fetched from now. Whichever node
// works on it looks for that every second.
func (v *View) AskFetch(ctx context.Context, sourceID string) error {
	if !v.sight.Whole() || v.store.config.Load().Sources[sourceID] == nil {
		return hub.ErrNotFound
	}
	now := column.TimeOf(v.store.clock.Now())
	n, err := v.store.write.Fetch.Update().Where(fetch.ID(sourceID)).SetAskedAt(now).Save(ctx)
	if err == nil && n == 0 {
		if err = v.store.newFetch(sourceID).SetAskedAt(now).Exec(ctx); ent.IsConstraintError(err) { // made in between
			err = v.store.write.Fetch.UpdateOneID(sourceID).SetAskedAt(now).Exec(ctx)
		}
	}
	return wrap("ask for a fetch", err)
}

// FetchMarks returns what those who want to fetch from sources have left behind at each.
// One that nobody has come to yet is left out.
func (s *Store) FetchMarks(ctx context.Context) (map[string]hub.FetchMark, error) {
	rows, err := s.read.Fetch.Query().Select(fetch.FieldID, fetch.FieldAskedAt, fetch.FieldLeaseToken, fetch.FieldLeaseUntil).All(ctx)
	if err != nil {
		return nil, wrap("find who fetches from sources", err)
	}
	marks := make(map[string]hub.FetchMark, len(rows))
	for _, row := range rows {
		marks[row.ID] = hub.FetchMark{AskedAt: row.AskedAt.Time(), Token: row.LeaseToken, Until: row.LeaseUntil.Time()}
	}
	return marks, nil
}

// TakeFetch makes the holder of a token the only one to fetch from a source until a
// moment, and returns how far the source has come; nil where another one is at it.
func (s *Store) TakeFetch(ctx context.Context, sourceID, token string, until time.Time) (*hub.Fetch, error) {
	if s.config.Load().Sources[sourceID] == nil {
		return nil, nil
	}
	n, err := s.write.Fetch.Update().
		Where(fetch.ID(sourceID), fetch.Or(fetch.LeaseToken(token), fetch.LeaseUntilLTE(column.TimeOf(s.clock.Now())))).
		SetLeaseToken(token).SetLeaseUntil(column.TimeOf(until)).Save(ctx)
	if err == nil && n == 0 {
		err = s.newFetch(sourceID).SetLeaseToken(token).SetLeaseUntil(column.TimeOf(until)).Exec(ctx)
		if ent.IsConstraintError(err) { // it is there, and another one's
			return nil, nil
		}
	}
	if err != nil {
		return nil, wrap("take a source to fetch from", err)
	}
	row, err := s.write.Fetch.Get(ctx, sourceID)
	if err != nil {
		return nil, wrap("take a source to fetch from", err)
	}
	return toFetch(row)
}

// SaveFetch stores how far a source has come, announces what it has recovered where that
// is to be told, and keeps the lease until a moment. Its counts are those of Append, which
// this does not change. It is hub.CodeConflict where the lease has passed to another: then
// nothing was stored.
func (s *Store) SaveFetch(ctx context.Context, f *hub.Fetch, token string, until time.Time) error {
	tx, err := s.write.Tx(ctx)
	if err != nil {
		return wrap("store how far a source has come", err)
	}
	told, err := s.saveFetch(ctx, tx, f, token, until)
	if err != nil {
		_ = tx.Rollback() // the first error tells more
		if hub.CodeOf(err) == hub.CodeConflict {
			return err
		}
		return wrap("store how far a source has come", err)
	}
	if err := tx.Commit(); err != nil {
		return wrap("store how far a source has come", err)
	}
	if told {
		s.announced()
	}
	return nil
}

func (s *Store) saveFetch(ctx context.Context, tx *ent.Tx, f *hub.Fetch, token string, until time.Time) (told bool, err error) {
	n, err := tx.Fetch.Update().Where(fetch.ID(f.SourceID), fetch.LeaseToken(token)).
		SetProgress(append([]byte{}, f.Progress...)).SetLastAt(column.TimeOf(f.LastAt)).SetNextAt(column.TimeOf(f.NextAt)).SetError(clean(f.Error)).
		SetFailingSince(column.TimeOf(f.FailingSince)).SetFailures(f.Failures).SetLeaseUntil(column.TimeOf(until)).Save(ctx)
	if err != nil {
		return false, err
	}
	if n == 0 {
		return false, hub.NewError(hub.CodeConflict, "another node fetches from the source now")
	}
	if !f.Tell {
		return false, nil
	}
	row, err := tx.Fetch.Get(ctx, f.SourceID) // locked by the update
	if err != nil || row.RecoveredCount <= row.ToldCount {
		return false, err
	}
	if err := tx.Fetch.UpdateOneID(f.SourceID).SetToldCount(row.RecoveredCount).Exec(ctx); err != nil {
		return false, err
	}
	announcement := s.recoveredAnnouncement(f, row.RecoveredCount-row.ToldCount)
	if announcement == nil {
		return false, nil
	}
	return true, tx.Announcement.Create().SetID(announcement.ID).SetType(announcement.Type).SetPartnerID(announcement.PartnerID).
		SetOccurredAt(column.TimeOf(announcement.OccurredAt)).SetBody(announcement.Body).Exec(ctx)
}

// recoveredAnnouncement tells how many events a source has recovered for the one behind
// which it stands; nil where it stands behind none.
func (s *Store) recoveredAnnouncement(f *hub.Fetch, count int) *hub.Announcement {
	sources := s.config.Load().Sources
	src := sources[f.SourceID]
	if src == nil || src.Poll == nil || sources[src.Poll.Reconciles] == nil {
		return nil
	}
	of := sources[src.Poll.Reconciles]
	return hub.NewAnnouncement(hub.SourceRecoveredType, "", s.clock.Now(), hub.RecoveryFacts{
		SourceID: of.ID, Name: of.Name, PollID: src.ID, PollName: src.Name, Count: count, EventIDs: f.Recovered,
	})
}

// FreeFetch gives a lease back before its end.
func (s *Store) FreeFetch(ctx context.Context, sourceID, token string) error {
	_, err := s.write.Fetch.Update().Where(fetch.ID(sourceID), fetch.LeaseToken(token)).SetLeaseToken("").SetLeaseUntil(0).Save(ctx)
	return wrap("give a source back", err)
}

// newFetch makes the row of a source from which nothing was fetched yet.
func (s *Store) newFetch(sourceID string) *ent.FetchCreate {
	return s.write.Fetch.Create().SetID(sourceID).SetProgress([]byte{}).SetLastAt(0).SetNextAt(0).SetError("").SetFailingSince(0).SetFailures(0).
		SetFetchedCount(0).SetRecoveredCount(0).SetToldCount(0).SetAskedAt(0).SetLeaseToken("").SetLeaseUntil(0)
}
