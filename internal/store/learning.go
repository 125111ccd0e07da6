package store

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"time"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/ent/eventtype"
	"github.com/hookgraph/hookgraph/ent/learnhead"
	"github.com/hookgraph/hookgraph/ent/rejection"
	"github.com/hookgraph/hookgraph/ent/sighting"
	"github.com/hookgraph/hookgraph/ent/source"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// TakeCatalogue makes the holder of a token the only one to work on the catalogue until
// a moment, and returns how far that has come; nil where another one is at it.
func (s *Store) TakeCatalogue(ctx context.Context, token string, until time.Time) (*hub.Learning, error) {
	n, err := s.write.LearnHead.Update().
		Where(learnhead.ID(1), learnhead.Or(learnhead.LeaseToken(token), learnhead.LeaseUntilLTE(column.TimeOf(s.clock.Now())))).
		SetLeaseToken(token).SetLeaseUntil(column.TimeOf(until)).Save(ctx)
	if err != nil || n == 0 {
		return nil, wrap("take the catalogue", err)
	}
	head, err := s.write.LearnHead.Get(ctx, 1)
	if err != nil {
		return nil, wrap("take the catalogue", err)
	}
	return &hub.Learning{Position: hub.Sequence(head.Position), CapturedAt: head.CapturedAt.Time(), WatchedAt: head.WatchedAt.Time()}, nil
}

// FreeCatalogue gives the lease back before its end.
func (s *Store) FreeCatalogue(ctx context.Context, token string) error {
	_, err := s.write.LearnHead.Update().Where(learnhead.ID(1), learnhead.LeaseToken(token)).SetLeaseToken("").SetLeaseUntil(0).Save(ctx)
	return wrap("give the catalogue back", err)
}

// LogEntries returns what the catalogue counts of the events that follow a sequence, in
// order, at most limit of them. Bodies are not read.
func (s *Store) LogEntries(ctx context.Context, after hub.Sequence, limit int) (entries []hub.LogEntry, err error) {
	builder := entsql.Dialect(s.reads.Dialect())
	e := builder.Table(event.Table)
	query, args := builder.Select(e.C(event.FieldSequence), e.C(event.FieldSourceID), e.C(event.FieldType), e.C(event.FieldPartnerID),
		e.C(event.FieldReceivedAt)).AppendSelect("length(" + e.C(event.FieldBody) + ")").From(e).
		Where(entsql.GT(e.C(event.FieldSequence), int64(after))).OrderBy(e.C(event.FieldSequence)).Limit(limit).Query()
	rows := &entsql.Rows{}
	if err := s.reads.Query(ctx, query, args, rows); err != nil {
		return nil, wrap("read the log", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var one hub.LogEntry
		var partnerID string
		var received column.Time
		if err := rows.Scan((*int64)(&one.Sequence), &one.SourceID, &one.Type, &partnerID, (*int64)(&received), &one.Size); err != nil {
			return nil, wrap("read the log", err)
		}
		one.Common, one.ReceivedAt = partnerID == "", received.Time()
		entries = append(entries, one)
	}
	return entries, wrap("read the log", rows.Err())
}

// EventBodies returns the bodies of events by their sequences. One that is not stored any
// more is left out.
func (s *Store) EventBodies(ctx context.Context, sequences []hub.Sequence) (map[hub.Sequence][]byte, error) {
	bodies := make(map[hub.Sequence][]byte, len(sequences))
	for part := range slices.Chunk(sequences, maxInList) {
		list := make([]int64, len(part))
		for i, sequence := range part {
			list[i] = int64(sequence)
		}
		rows, err := s.read.Event.Query().Where(event.SequenceIn(list...)).Select(event.FieldSequence, event.FieldBody).All(ctx)
		if err != nil {
			return nil, wrap("read bodies", err)
		}
		for _, row := range rows {
			bodies[hub.Sequence(row.Sequence)] = row.Body
		}
	}
	return bodies, nil
}

// Captured returns the IDs of the requests that were captured from a moment on, oldest
// first, at most limit of them.
func (s *Store) Captured(ctx context.Context, since time.Time, limit int) ([]string, error) {
	ids, err := s.read.Rejection.Query().
		Where(rejection.ReasonEQ(hub.RejectedCaptured), rejection.ReceivedAtGTE(column.TimeOf(since))).
		Order(rejection.ByReceivedAt(), rejection.ByID()).Limit(limit).IDs(ctx)
	return ids, wrap("find captured requests", err)
}

// sightingID names a type at a source.
func sightingID(sourceID, typeID string) string { return sourceID + "/" + typeID }

// Sightings returns what was seen of types at sources, without what was learned of their
// bodies. One that was never seen is left out.
func (s *Store) Sightings(ctx context.Context, keys []hub.SightingKey) (map[hub.SightingKey]*hub.Sighting, error) {
	found := make(map[hub.SightingKey]*hub.Sighting, len(keys))
	err := s.eachSighting(ctx, keys, []string{
		sighting.FieldID, sighting.FieldEventCount, sighting.FieldSampleCount, sighting.FieldLastSeenAt, sighting.FieldDriftedAt, sighting.FieldToldAt,
		sighting.FieldDrift, sighting.FieldFingerprints,
	}, func(key hub.SightingKey, row *ent.Sighting) {
		found[key] = &hub.Sighting{
			SightingKey: key, EventCount: row.EventCount, SampleCount: row.SampleCount, LastSeenAt: row.LastSeenAt.Time(),
			DriftedAt: row.DriftedAt.Time(), ToldAt: row.ToldAt.Time(), Drift: orNil(row.Drift), Fingerprints: decodeFingerprints(row.Fingerprints),
		}
	})
	return found, wrap("read what was seen of event types", err)
}

// Shapes adds what was learned of bodies to sightings.
func (s *Store) Shapes(ctx context.Context, sightings []*hub.Sighting) error {
	keys := make([]hub.SightingKey, len(sightings))
	byKey := make(map[hub.SightingKey]*hub.Sighting, len(sightings))
	for i, one := range sightings {
		keys[i], byKey[one.SightingKey] = one.SightingKey, one
	}
	return wrap("read what was learned of event types", s.eachSighting(ctx, keys, []string{sighting.FieldID, sighting.FieldShape},
		func(key hub.SightingKey, row *ent.Sighting) { byKey[key].Shape = orNil(row.Shape) }))
}

// eachSighting reads some columns of sightings.
func (s *Store) eachSighting(ctx context.Context, keys []hub.SightingKey, columns []string, do func(hub.SightingKey, *ent.Sighting)) error {
	for part := range slices.Chunk(keys, maxInList) {
		names := make([]string, 0, len(part))
		for _, key := range part {
			names = append(names, key.Type)
		}
		slices.Sort(names)
		types, err := s.read.EventType.Query().Where(eventtype.NameIn(slices.Compact(names)...)).
			Select(eventtype.FieldID, eventtype.FieldName).All(ctx)
		if err != nil {
			return err
		}
		ids := make(map[string]string, len(types))
		for _, row := range types {
			ids[row.Name] = row.ID
		}
		byID := make(map[string]hub.SightingKey, len(part))
		var wanted []string
		for _, key := range part {
			if typeID := ids[key.Type]; typeID != "" {
				id := sightingID(key.SourceID, typeID)
				byID[id], wanted = key, append(wanted, id)
			}
		}
		if len(wanted) == 0 {
			continue
		}
		rows, err := s.read.Sighting.Query().Where(sighting.IDIn(wanted...)).Select(columns...).All(ctx)
		if err != nil {
			return err
		}
		for _, row := range rows {
			do(byID[row.ID], row)
		}
	}
	return nil
}

// Room is how much of the catalogue a source takes up.
type Room struct{ Types, Bytes int }

// Rooms returns how much of the catalogue each source takes up.
func (s *Store) Rooms(ctx context.Context, sourceIDs []string) (map[string]Room, error) {
	var rows []struct {
		SourceID string `json:"source_id"`
		Types    int    `json:"types"`
		Bytes    int    `json:"bytes"`
	}
	err := s.read.Sighting.Query().Where(sighting.SourceIDIn(sourceIDs...)).GroupBy(sighting.FieldSourceID).
		Aggregate(ent.As(ent.Count(), "types"), ent.As(ent.Sum(sighting.FieldSize), "bytes")).Scan(ctx, &rows)
	rooms := make(map[string]Room, len(rows))
	for _, row := range rows {
		rooms[row.SourceID] = Room{row.Types, row.Bytes}
	}
	return rooms, wrap("measure the catalogue", err)
}

// SaveLearned stores one step of the catalogue. It is an error that IsLost knows where
// another node has taken the work over; then nothing was stored. What concerns a source
// that was deleted meanwhile is left out.
func (s *Store) SaveLearned(ctx context.Context, token string, step *hub.Learned) error {
	return s.asKeeper(ctx, "store what was learned", func(tx *ent.Tx) error {
		u := tx.LearnHead.Update().Where(learnhead.ID(1), learnhead.LeaseToken(token), learnhead.Position(int64(step.From))).
			SetPosition(int64(step.To))
		if !step.CapturedAt.IsZero() {
			u.SetCapturedAt(column.TimeOf(step.CapturedAt))
		}
		if err := lost(u.Save(ctx)); err != nil {
			return err
		}
		var sources, names []string
		for _, one := range step.Sightings {
			sources, names = append(sources, one.SourceID), append(names, one.Type)
		}
		for id := range step.Uncatalogued {
			sources = append(sources, id)
		}
		slices.Sort(sources)
		slices.Sort(names)
		there, err := tx.Source.Query().Where(source.IDIn(slices.Compact(sources)...)).IDs(ctx)
		if err != nil {
			return err
		}
		known := func(id string) bool { return slices.Contains(there, id) }
		step.Sightings = slices.DeleteFunc(step.Sightings, func(one *hub.Sighting) bool { return !known(one.SourceID) })
		names = names[:0]
		for _, one := range step.Sightings {
			names = append(names, one.Type)
		}
		slices.Sort(names)
		names = slices.Compact(names)
		ids, err := s.typeIDs(ctx, tx, names)
		if err != nil {
			return err
		}
		for _, one := range step.Sightings {
			if err := saveSighting(ctx, tx, one, ids[one.Type]); err != nil {
				return err
			}
		}
		if len(step.Common) > 0 {
			if err := tx.EventType.Update().Where(eventtype.NameIn(step.Common...), eventtype.Common(false)).SetCommon(true).Exec(ctx); err != nil {
				return err
			}
		}
		for id, n := range step.Uncatalogued {
			if !known(id) {
				continue
			}
			if err := addUncatalogued(ctx, tx, id, n); err != nil {
				return err
			}
		}
		return nil
	})
}

// saveSighting stores what was seen of a type at a source. The shape is large, so it is
// written where it has changed alone.
func saveSighting(ctx context.Context, tx *ent.Tx, one *hub.Sighting, typeID string) error {
	id := sightingID(one.SourceID, typeID)
	u := tx.Sighting.Update().Where(sighting.ID(id)).SetEventCount(one.EventCount).SetSampleCount(one.SampleCount).
		SetLastSeenAt(column.TimeOf(one.LastSeenAt)).SetDriftedAt(column.TimeOf(one.DriftedAt)).SetToldAt(column.TimeOf(one.ToldAt)).
		SetDrift(append([]byte{}, one.Drift...)).SetFingerprints(encodeFingerprints(one.Fingerprints))
	if one.Shape != nil {
		u.SetShape(one.Shape).SetSize(len(one.Shape))
	}
	n, err := u.Save(ctx)
	if err != nil || n > 0 {
		return err
	}
	return tx.Sighting.Create().SetID(id).SetSourceID(one.SourceID).SetTypeID(typeID).
		SetEventCount(one.EventCount).SetSampleCount(one.SampleCount).SetLastSeenAt(column.TimeOf(one.LastSeenAt)).
		SetDriftedAt(column.TimeOf(one.DriftedAt)).SetToldAt(column.TimeOf(one.ToldAt)).SetDrift(append([]byte{}, one.Drift...)).
		SetFingerprints(encodeFingerprints(one.Fingerprints)).SetShape(append([]byte{}, one.Shape...)).SetSize(len(one.Shape)).Exec(ctx)
}

// asKeeper runs a transaction of whoever keeps the catalogue.
func (s *Store) asKeeper(ctx context.Context, what string, do func(*ent.Tx) error) error {
	tx, err := s.write.Tx(ctx)
	if err != nil {
		return wrap(what, err)
	}
	if err := do(tx); err != nil {
		_ = tx.Rollback() // the first error tells more
		return wrap(what, err)
	}
	return wrap(what, tx.Commit())
}

func encodeFingerprints(list []uint64) []byte {
	out := make([]byte, 0, 8*len(list))
	for _, one := range list {
		out = binary.BigEndian.AppendUint64(out, one)
	}
	return out
}

func decodeFingerprints(raw []byte) []uint64 {
	list := make([]uint64, 0, len(raw)/8)
	for ; len(raw) >= 8; raw = raw[8:] {
		list = append(list, binary.BigEndian.Uint64(raw))
	}
	return list
}
