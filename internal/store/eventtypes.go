package store

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/ent/eventtype"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/sighting"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func toEventType(row *ent.EventType) (*hub.EventType, error) {
	return &hub.EventType{
		ID: row.ID, Name: row.Name, Description: row.Description, Schema: orNil(row.Schema), Example: orNil(row.Example),
		Described: row.Described, Common: row.Common, CreatedAt: row.CreatedAt.Time(), UpdatedAt: row.UpdatedAt.Time(),
	}, nil
}

// orNil is the JSON of a column that is empty where there is none.
func orNil(text []byte) json.RawMessage {
	if len(text) == 0 {
		return nil
	}
	return text
}

// givenSchemas reads the schemas that are part of the configuration.
func givenSchemas(ctx context.Context, tx *ent.Tx) (map[string]json.RawMessage, error) {
	rows, err := tx.EventType.Query().Where(eventtype.Described(true)).Select(eventtype.FieldName, eventtype.FieldSchema).All(ctx)
	if err != nil {
		return nil, err
	}
	schemas := make(map[string]json.RawMessage)
	for _, row := range rows {
		if len(row.Schema) > 0 {
			schemas[row.Name] = row.Schema
		}
	}
	return schemas, nil
}

// PutEventType changes an event type as edit does, which is given a new one where there
// is none of the name, and all that have been described. An error of edit is returned
// as it is.
func (v *View) PutEventType(ctx context.Context, name string, edit func(one *hub.EventType, described []*hub.EventType) error) (*hub.EventType, error) {
	if !v.sight.Whole() {
		return nil, errOutOfSight
	}
	one, err := v.putEventType(ctx, name, edit)
	if ent.IsConstraintError(err) { // an event of it has just put it there
		one, err = v.putEventType(ctx, name, edit)
	}
	return one, err
}

func (v *View) putEventType(ctx context.Context, name string, edit func(one *hub.EventType, described []*hub.EventType) error) (*hub.EventType, error) {
	var changed *hub.EventType
	err := v.store.change(ctx, "put event type", func(tx *ent.Tx) error {
		described, err := readAll(ctx, tx.EventType.Query().Where(eventtype.Described(true)), toEventType)
		if err != nil {
			return err
		}
		ids, err := v.store.typeIDs(ctx, tx, []string{name})
		if err != nil {
			return err
		}
		row, err := tx.EventType.Get(ctx, ids[name])
		if err != nil {
			return err
		}
		one, err := toEventType(row)
		if err != nil {
			return err
		}
		kept := *one
		if err := edit(one, described); err != nil {
			return err
		}
		one.ID, one.Name, one.Common, one.CreatedAt = kept.ID, kept.Name, kept.Common, kept.CreatedAt
		one.Described, one.UpdatedAt = true, v.store.clock.Now()
		changed = one
		return tx.EventType.UpdateOneID(one.ID).SetDescription(clean(one.Description)).
			SetSchema(append([]byte{}, one.Schema...)).SetExample(append([]byte{}, one.Example...)).
			SetDescribed(true).SetUpdatedAt(column.TimeOf(one.UpdatedAt)).Exec(ctx)
	})
	if err != nil {
		return nil, err
	}
	return changed, nil
}

// typeIDs returns the IDs of event types by their names, and makes those that there are
// not yet. Another transaction may make one of them meanwhile: then this one fails, and
// is to be repeated.
func (s *Store) typeIDs(ctx context.Context, tx *ent.Tx, names []string) (map[string]string, error) {
	ids := make(map[string]string, len(names))
	err := inChunks(names, maxInList, func(part []string) error {
		rows, err := tx.EventType.Query().Where(eventtype.NameIn(part...)).Select(eventtype.FieldID, eventtype.FieldName).All(ctx)
		for _, row := range rows {
			ids[row.Name] = row.ID
		}
		return err
	})
	if err != nil || len(ids) == len(names) {
		return ids, err
	}
	now := s.clock.Now()
	var missing []*ent.EventTypeCreate
	for _, name := range names {
		if ids[name] == "" {
			ids[name] = hub.NewID(hub.EventTypePrefix, now)
			missing = append(missing, tx.EventType.Create().SetID(ids[name]).SetName(name).SetDescription("").SetSchema([]byte{}).
				SetExample([]byte{}).SetDescribed(false).SetCommon(false).SetCreatedAt(column.TimeOf(now)).SetUpdatedAt(column.TimeOf(now)))
		}
	}
	for part := range slices.Chunk(missing, insertChunk) {
		if err := tx.EventType.CreateBulk(part...).Exec(ctx); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// insertChunk keeps one insertion of event types under the parameters that SQLite allows.
const insertChunk = 1000

// forgetSightings forgets what was learned at a source, and the types of which nothing is
// left.
func forgetSightings(ctx context.Context, tx *ent.Tx, sourceID string) error {
	// Whoever learns holds this row, and looks for the source under it.
	if err := tx.LearnHead.UpdateOneID(1).AddPosition(0).Exec(ctx); err != nil {
		return err
	}
	if _, err := tx.Watch.Delete().Where(watchOf(sourceID)).Exec(ctx); err != nil {
		return err
	}
	seen, err := tx.Sighting.Query().Where(sighting.SourceID(sourceID)).Select(sighting.FieldTypeID).Strings(ctx)
	if err != nil {
		return err
	}
	if _, err := tx.Sighting.Delete().Where(sighting.SourceID(sourceID)).Exec(ctx); err != nil {
		return err
	}
	return inChunks(seen, maxInList, func(part []string) error {
		_, err := tx.EventType.Delete().Where(eventtype.IDIn(part...), eventtype.Described(false), func(sel *entsql.Selector) {
			other := entsql.Table(sighting.Table).As("other")
			sel.Where(entsql.NotExists(entsql.Dialect(sel.Dialect()).Select(other.C(sighting.FieldID)).From(other).
				Where(entsql.ColumnsEQ(other.C(sighting.FieldTypeID), sel.C(eventtype.FieldID)))))
		}).Exec(ctx)
		return err
	})
}

// EventTypes returns a page of event types, newest in the catalogue first.
func (v *View) EventTypes(ctx context.Context, f hub.EventTypeFilter, page hub.Page) (hub.Slice[*hub.EventType], error) {
	p, err := newestID().pager(page)
	if err != nil {
		return hub.Slice[*hub.EventType]{}, err
	}
	list, err := readAll(ctx, v.eventTypes().Where(all[predicate.EventType](v.eventTypeConditions(f), p.single)...), toEventType)
	if err != nil {
		return hub.Slice[*hub.EventType]{}, wrap("list event types", err)
	}
	return slice(p, list), nil
}

// CountEventTypes counts the event types that a filter admits.
func (v *View) CountEventTypes(ctx context.Context, f hub.EventTypeFilter) (int, error) {
	n, err := v.eventTypes().Where(all[predicate.EventType](v.eventTypeConditions(f))...).Count(ctx)
	return n, wrap("count event types", err)
}

// eventTypeConditions are those of a filter. Where a type was seen is the operator's to
// know: for a partner nothing was seen anywhere.
func (v *View) eventTypeConditions(f hub.EventTypeFilter) []condition {
	var list []condition
	if f.NameContains != "" {
		list = append(list, entsql.FieldContainsFold(eventtype.FieldName, clean(f.NameContains)))
	}
	if len(f.SourceIDs) > 0 {
		list = append(list, func(sel *entsql.Selector) {
			if !v.sight.Whole() {
				sel.Where(entsql.False())
				return
			}
			seen := entsql.Table(sighting.Table).As("seen")
			sources := make([]any, len(f.SourceIDs))
			for i, id := range f.SourceIDs {
				sources[i] = id
			}
			sel.Where(entsql.Exists(entsql.Dialect(sel.Dialect()).Select(seen.C(sighting.FieldID)).From(seen).Where(entsql.And(
				entsql.ColumnsEQ(seen.C(sighting.FieldTypeID), sel.C(eventtype.FieldID)),
				entsql.In(seen.C(sighting.FieldSourceID), sources...)))))
		})
	}
	return list
}

// EventTypesByID returns those of the event types that exist.
func (v *View) EventTypesByID(ctx context.Context, ids []string) (map[string]*hub.EventType, error) {
	return v.eventTypesBy(ctx, ids, func(part []string) predicate.EventType { return eventtype.IDIn(part...) },
		func(one *hub.EventType) string { return one.ID })
}

// EventTypesByName does so by the names.
func (v *View) EventTypesByName(ctx context.Context, names []string) (map[string]*hub.EventType, error) {
	return v.eventTypesBy(ctx, names, func(part []string) predicate.EventType { return eventtype.NameIn(part...) },
		func(one *hub.EventType) string { return one.Name })
}

func (v *View) eventTypesBy(
	ctx context.Context, keys []string, among func([]string) predicate.EventType, key func(*hub.EventType) string,
) (map[string]*hub.EventType, error) {
	found := make(map[string]*hub.EventType, len(keys))
	err := inChunks(keys, maxInList, func(part []string) error {
		list, err := readAll(ctx, v.eventTypes().Where(among(part)), toEventType)
		for _, one := range list {
			found[key(one)] = one
		}
		return err
	})
	return found, wrap("read event types", err)
}

// EventTypesOfSources returns a page of the event types that were seen at each source,
// for up to 200 sources, in two statements.
func (v *View) EventTypesOfSources(ctx context.Context, sourceIDs []string, page hub.Page) (map[string]hub.Slice[*hub.EventType], error) {
	o := newestID()
	o.column = sighting.FieldTypeID
	p, err := o.pager(page)
	if err != nil {
		return nil, err
	}
	var seen []*ent.Sighting
	err = inChunks(sourceIDs, maxArms, func(part []string) error {
		rows, err := v.store.read.Sighting.Query().Where(p.each(sighting.FieldSourceID, part, v.ofOperator, nil)).
			Select(sighting.FieldID, sighting.FieldSourceID, sighting.FieldTypeID).All(ctx)
		seen = append(seen, rows...)
		return err
	})
	if err != nil {
		return nil, wrap("list event types of sources", err)
	}
	ids := make([]string, len(seen))
	for i, row := range seen {
		ids[i] = row.TypeID
	}
	slices.Sort(ids)
	types, err := v.EventTypesByID(ctx, slices.Compact(ids))
	if err != nil {
		return nil, err
	}
	rows := slicesOf(p, sourceIDs, seen, func(row *ent.Sighting) string { return row.SourceID })
	found := make(map[string]hub.Slice[*hub.EventType], len(rows))
	for id, s := range rows {
		out := hub.Slice[*hub.EventType]{HasNext: s.HasNext, HasPrevious: s.HasPrevious}
		for _, row := range s.Items {
			if one := types[row.TypeID]; one != nil { // else it was forgotten between the two
				out.Items = append(out.Items, one)
			}
		}
		found[id] = out
	}
	return found, nil
}

// CountEventTypesOfSources counts the event types that were seen at each source. One
// without any is left out.
func (v *View) CountEventTypesOfSources(ctx context.Context, sourceIDs []string) (map[string]int, error) {
	counts, err := countBy(ctx, v.sightings().Where(sighting.SourceIDIn(sourceIDs...)).
		GroupBy(sighting.FieldSourceID).Aggregate(countOf(sighting.FieldSourceID)))
	return counts, wrap("count event types of sources", err)
}

// SightingsOf returns what was seen of event types at all sources together, by their
// IDs. One that was never seen is left out.
func (v *View) SightingsOf(ctx context.Context, typeIDs []string) (map[string]*hub.Sightings, error) {
	if !v.sight.Whole() {
		return v.sightingsInSight(ctx, typeIDs)
	}
	found := make(map[string]*hub.Sightings, len(typeIDs))
	err := inChunks(typeIDs, maxInList, func(part []string) error {
		rows, err := v.sightings().Where(sighting.TypeIDIn(part...)).Order(sighting.BySourceID()).
			Select(sighting.FieldID, sighting.FieldSourceID, sighting.FieldTypeID, sighting.FieldEventCount, sighting.FieldSampleCount,
				sighting.FieldLastSeenAt, sighting.FieldDriftedAt).All(ctx)
		for _, row := range rows {
			one := found[row.TypeID]
			if one == nil {
				one = &hub.Sightings{}
				found[row.TypeID] = one
			}
			one.EventCount += row.EventCount
			one.SampleCount += row.SampleCount
			one.LastSeenAt, one.DriftedAt = later(one.LastSeenAt, row.LastSeenAt.Time()), later(one.DriftedAt, row.DriftedAt.Time())
			one.SourceIDs = append(one.SourceIDs, row.SourceID)
		}
		return err
	})
	return found, wrap("read what was seen of event types", err)
}

// sightingsInSight counts the events in sight, since what was noted down of a type is of
// all its events.
func (v *View) sightingsInSight(ctx context.Context, typeIDs []string) (map[string]*hub.Sightings, error) {
	found := make(map[string]*hub.Sightings, len(typeIDs))
	types, err := v.EventTypesByID(ctx, typeIDs)
	if err != nil {
		return nil, err
	}
	ids := make(map[string]string, len(types)) // by name
	names := make([]string, 0, len(types))
	for id, one := range types {
		ids[one.Name] = id
		names = append(names, one.Name)
	}
	slices.Sort(names)
	err = inChunks(names, maxInList, func(part []string) error {
		var rows []struct {
			Type string      `json:"type"`
			N    int         `json:"n"`
			Last column.Time `json:"last"`
		}
		err := v.events().Where(event.TypeIn(part...)).GroupBy(event.FieldType).
			Aggregate(ent.As(ent.Count(), "n"), ent.As(ent.Max(event.FieldReceivedAt), "last")).Scan(ctx, &rows)
		for _, row := range rows {
			found[ids[row.Type]] = &hub.Sightings{EventCount: row.N, LastSeenAt: row.Last.Time()}
		}
		return err
	})
	return found, wrap("count events of event types", err)
}

// ShapesOf returns what was learned of event types, source by source, by the types' IDs.
// It is learned from all events of a type, whomever they were addressed to, so it is not
// for partners: to them nothing was learned.
func (v *View) ShapesOf(ctx context.Context, typeIDs []string) (map[string][]json.RawMessage, error) {
	found := make(map[string][]json.RawMessage, len(typeIDs))
	err := inChunks(typeIDs, maxInList, func(part []string) error {
		rows, err := v.store.read.Sighting.Query().Where(sighting.TypeIDIn(part...), v.ofOperator, sighting.SizeGT(0)).
			Order(sighting.BySourceID()).Select(sighting.FieldID, sighting.FieldTypeID, sighting.FieldShape).All(ctx)
		for _, row := range rows {
			found[row.TypeID] = append(found[row.TypeID], row.Shape)
		}
		return err
	})
	return found, wrap("read what was learned of event types", err)
}

func (v *View) sightings() *ent.SightingQuery {
	return v.store.read.Sighting.Query().Where(v.ofOperator)
}

// Watches returns what is known of the rhythm of each source; one that was never looked
// at is left out.
func (v *View) Watches(ctx context.Context, sourceIDs []string) (map[string]*hub.Watch, error) {
	found := make(map[string]*hub.Watch, len(sourceIDs))
	err := inChunks(sourceIDs, maxInList, func(part []string) error {
		list, err := readAll(ctx, v.store.read.Watch.Query().Where(v.ofOperator, watchOf(part...)), toWatch)
		for _, one := range list {
			found[one.SourceID] = one
		}
		return err
	})
	return found, wrap("read the rhythm of sources", err)
}

var errCatalogueLost = hub.NewError(hub.CodeConflict, "another node has the catalogue now")

// lost turns the answer for an update that found no row into errCatalogueLost.
func lost(rows int, err error) error {
	if err == nil && rows == 0 {
		return errCatalogueLost
	}
	return err
}

// IsLost reports whether an error says that another node has taken the work over.
func IsLost(err error) bool { return errors.Is(err, errCatalogueLost) }
