package store

import (
	"context"
	"errors"
	"time"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/ent/eventtype"
	"github.com/hookgraph/hookgraph/ent/learnhead"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/rejection"
	entrollup "github.com/hookgraph/hookgraph/ent/rollup"
	"github.com/hookgraph/hookgraph/ent/sighting"
	"github.com/hookgraph/hookgraph/ent/watch"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func watchOf(sourceIDs ...string) predicate.Watch { return watch.IDIn(sourceIDs...) }

func toWatch(row *ent.Watch) (*hub.Watch, error) {
	return &hub.Watch{
		SourceID: row.ID, Since: row.Since.Time(), UsualPause: row.UsualPause, MeasuredAt: row.MeasuredAt.Time(),
		SilentSince: row.SilentSince.Time(), RejectingSince: row.RejectingSince.Time(), FailingSince: row.FailingSince.Time(), Uncatalogued: row.Uncatalogued,
	}, nil
}

// AllWatches returns what is known of the rhythm of all sources.
func (s *Store) AllWatches(ctx context.Context) (map[string]*hub.Watch, error) {
	list, err := readAll(ctx, s.read.Watch.Query(), toWatch)
	found := make(map[string]*hub.Watch, len(list))
	for _, one := range list {
		found[one.SourceID] = one
	}
	return found, wrap("read the rhythm of sources", err)
}

// Activity returns what came from each source since a moment, in the order of time, in
// spans as wide as they are kept.
func (s *Store) Activity(ctx context.Context, since time.Time) (list []hub.Activity, err error) {
	builder := entsql.Dialect(s.reads.Dialect())
	r := builder.Table(entrollup.Table)
	query, args := builder.Select(r.C(entrollup.FieldSourceID), r.C(entrollup.FieldStart), r.C(entrollup.FieldWidth)).
		AppendSelect("CAST(sum("+r.C(entrollup.FieldReceived)+") AS bigint)", "CAST(sum("+r.C(entrollup.FieldDuplicates)+") AS bigint)",
			"CAST(sum("+r.C(entrollup.FieldRejected)+") AS bigint)").From(r).
		Where(entsql.And(entsql.In(r.C(entrollup.FieldWidth), widths()...), entsql.GTE(r.C(entrollup.FieldStart), micros(since)), entsql.EQ(r.C(entrollup.FieldEndpointID), ""))).
		GroupBy(r.C(entrollup.FieldSourceID), r.C(entrollup.FieldStart), r.C(entrollup.FieldWidth)).
		OrderBy(r.C(entrollup.FieldStart)).Query()
	rows := &entsql.Rows{}
	if err := s.reads.Query(ctx, query, args, rows); err != nil {
		return nil, wrap("read what came from sources", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var one hub.Activity
		var start, seconds int64
		if err := rows.Scan(&one.SourceID, &start, &seconds, &one.Received, &one.Duplicates, &one.Rejected); err != nil {
			return nil, wrap("read what came from sources", err)
		}
		one.Start, one.Width = column.Time(start).Time(), time.Duration(seconds)*time.Second
		list = append(list, one)
	}
	return list, wrap("read what came from sources", rows.Err())
}

// widths are all that rollups have, so that their index serves a question about time.
func widths() []any {
	list := make([]any, len(grains))
	for i, g := range grains {
		list[i] = int64(g.width / time.Second)
	}
	return list
}

// LastHeard returns when each source sent the newest of its events by itself: what was
// recovered for it does not count. Sources without any are left out.
func (s *Store) LastHeard(ctx context.Context, sourceIDs []string) (map[string]time.Time, error) {
	p, err := bySequence(false).pager(hub.Page{Size: 0})
	if err != nil {
		return nil, err
	}
	own := func(sel *entsql.Selector) { sel.Where(entsql.EQ(sel.C(event.FieldRecovered), false)) }
	last := make(map[string]time.Time, len(sourceIDs))
	err = inChunks(sourceIDs, maxArms, func(part []string) error {
		rows, err := s.read.Event.Query().Where(p.each(event.FieldSourceID, part, s.ofEvents, []condition{own})).
			Select(event.FieldSequence, event.FieldSourceID, event.FieldReceivedAt).All(ctx)
		for _, row := range rows {
			last[row.SourceID] = row.ReceivedAt.Time()
		}
		return err
	})
	return last, wrap("find what sources sent last", err)
}

// Refusals counts what a source has refused since a moment and what is still kept, by
// reason.
func (s *Store) Refusals(ctx context.Context, sourceID string, since time.Time) (map[hub.RejectionReason]int, error) {
	counts, err := countBy(ctx, s.read.Rejection.Query().
		Where(rejection.SourceID(sourceID), rejection.ReceivedAtGTE(column.TimeOf(since))).
		GroupBy(rejection.FieldReason).Aggregate(countOf(rejection.FieldReason)))
	reasons := make(map[hub.RejectionReason]int, len(counts))
	for reason, n := range counts {
		reasons[hub.RejectionReason(reason)] = n
	}
	return reasons, wrap("count what a source refused", err)
}

// Untold returns sightings with drift that is not announced, the last announcement of
// which is not later than a moment: at most limit of them, without what was learned.
func (s *Store) Untold(ctx context.Context, before time.Time, limit int) ([]*hub.Sighting, error) {
	rows, err := s.read.Sighting.Query().Where(sighting.ToldAtLTE(column.TimeOf(before)), func(sel *entsql.Selector) {
		sel.Where(untold(sel, sighting.FieldDrift))
	}).Order(sighting.ByToldAt()).Limit(limit).
		Select(sighting.FieldID, sighting.FieldSourceID, sighting.FieldTypeID, sighting.FieldDrift).All(ctx)
	if err != nil || len(rows) == 0 {
		return nil, wrap("find what has drifted", err)
	}
	ids := make([]string, len(rows))
	for i, row := range rows {
		ids[i] = row.TypeID
	}
	types, err := s.read.EventType.Query().Where(eventtype.IDIn(ids...)).Select(eventtype.FieldID, eventtype.FieldName).All(ctx)
	names := make(map[string]string, len(types))
	for _, row := range types {
		names[row.ID] = row.Name
	}
	list := make([]*hub.Sighting, len(rows))
	for i, row := range rows {
		list[i] = &hub.Sighting{SightingKey: hub.SightingKey{SourceID: row.SourceID, Type: names[row.TypeID]}, Drift: row.Drift}
	}
	return list, wrap("find what has drifted", err)
}

// untold is the condition that the partial index of drift has.
func untold(sel *entsql.Selector, column string) *entsql.Predicate {
	name := sel.C(column)
	return entsql.P(func(b *entsql.Builder) { b.WriteString("length(").Ident(name).WriteString(") > 0") })
}

// SaveWatch stores what a look at the sources has shown, and announces it. It is an
// error that IsLost knows where another node has taken the work over; then nothing was
// stored.
func (s *Store) SaveWatch(ctx context.Context, token string, at time.Time, watches []*hub.Watch, drifted []*hub.Sighting, announcements []*hub.Announcement) error {
	err := s.asKeeper(ctx, "store the rhythm of sources", func(tx *ent.Tx) error {
		if err := lost(tx.LearnHead.Update().Where(learnhead.ID(1), learnhead.LeaseToken(token)).SetWatchedAt(column.TimeOf(at)).Save(ctx)); err != nil {
			return err
		}
		for _, w := range watches {
			if err := saveWatch(ctx, tx, w); err != nil {
				return err
			}
		}
		if err := forgetDrift(ctx, tx, drifted, at); err != nil {
			return err
		}
		told := make([]*ent.AnnouncementCreate, len(announcements))
		for i, a := range announcements {
			told[i] = tx.Announcement.Create().SetID(a.ID).SetType(a.Type).SetPartnerID(a.PartnerID).
				SetOccurredAt(column.TimeOf(a.OccurredAt)).SetBody(a.Body)
		}
		return tx.Announcement.CreateBulk(told...).Exec(ctx)
	})
	if err == nil && len(announcements) > 0 {
		s.announced()
	}
	return err
}

// forgetDrift notes that drift is announced.
func forgetDrift(ctx context.Context, tx *ent.Tx, told []*hub.Sighting, at time.Time) error {
	for _, one := range told {
		typeID, err := tx.EventType.Query().Where(eventtype.Name(one.Type)).FirstID(ctx)
		if ent.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = tx.Sighting.Update().Where(sighting.ID(sightingID(one.SourceID, typeID))).
			SetDrift([]byte{}).SetToldAt(column.TimeOf(at)).Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

func saveWatch(ctx context.Context, tx *ent.Tx, w *hub.Watch) error {
	n, err := tx.Watch.Update().Where(watch.ID(w.SourceID)).SetSince(column.TimeOf(w.Since)).SetUsualPause(w.UsualPause).
		SetMeasuredAt(column.TimeOf(w.MeasuredAt)).SetSilentSince(column.TimeOf(w.SilentSince)).
		SetRejectingSince(column.TimeOf(w.RejectingSince)).SetFailingSince(column.TimeOf(w.FailingSince)).Save(ctx)
	if err != nil || n > 0 {
		return err
	}
	return tx.Watch.Create().SetID(w.SourceID).SetSince(column.TimeOf(w.Since)).SetUsualPause(w.UsualPause).
		SetMeasuredAt(column.TimeOf(w.MeasuredAt)).SetSilentSince(column.TimeOf(w.SilentSince)).
		SetRejectingSince(column.TimeOf(w.RejectingSince)).SetFailingSince(column.TimeOf(w.FailingSince)).SetUncatalogued(0).Exec(ctx)
}

// addUncatalogued counts events whose types are beyond the bound.
func addUncatalogued(ctx context.Context, tx *ent.Tx, sourceID string, n int) error {
	there, err := tx.Watch.Update().Where(watch.ID(sourceID)).AddUncatalogued(n).Save(ctx)
	if err != nil || there > 0 {
		return err
	}
	return tx.Watch.Create().SetID(sourceID).SetSince(0).SetUsualPause(0).SetMeasuredAt(0).SetSilentSince(0).
		SetRejectingSince(0).SetFailingSince(0).SetUncatalogued(n).Exec(ctx)
}
