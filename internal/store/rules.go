package store

import (
	"context"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/subscriptionrevision"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// recordRule notes from which event on rules hold, or hold no more. Whoever calls it
// holds log_head, so the place is exact.
func (s *Store) recordRule(ctx context.Context, tx *ent.Tx, deleted bool, rules ...hub.Rule) error {
	head, err := tx.LogHead.Get(ctx, 1)
	if err != nil {
		return err
	}
	now := s.clock.Now()
	for _, r := range rules {
		err := tx.SubscriptionRevision.Create().SetID(hub.NewID(hub.RevisionPrefix, now)).
			SetSubscriptionID(r.SubscriptionID).SetRevision(head.ConfigRevision).SetSince(head.Sequence).
			SetAt(column.TimeOf(now)).SetDeleted(deleted).SetName(r.Name).SetEndpointID(r.EndpointID).
			SetEventTypes(append([]string{}, r.EventTypes...)).SetSourceIds(append([]string{}, r.SourceIDs...)).
			SetFilter(r.Filter).Exec(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

// RulesAt returns the rules that an event met which has the sequence, by subscription
// ID: at most limit of them, the oldest subscriptions first.
func (v *View) RulesAt(ctx context.Context, sequence hub.Sequence, limit int) ([]hub.Rule, error) {
	rows, err := v.store.read.SubscriptionRevision.Query().Where(
		subscriptionrevision.Deleted(false), subscriptionrevision.SinceLT(int64(sequence)), v.ofRules,
		func(sel *entsql.Selector) {
			later := entsql.Table(subscriptionrevision.Table).As("later")
			newest := entsql.Dialect(sel.Dialect()).Select(entsql.Max(later.C(subscriptionrevision.FieldRevision))).From(later)
			newest.Where(entsql.And(
				entsql.LT(later.C(subscriptionrevision.FieldSince), int64(sequence)),
				entsql.ColumnsEQ(later.C(subscriptionrevision.FieldSubscriptionID), sel.C(subscriptionrevision.FieldSubscriptionID))))
			sel.Where(entsql.EQ(sel.C(subscriptionrevision.FieldRevision), newest))
		}).
		Order(ent.Asc(subscriptionrevision.FieldSubscriptionID)).Limit(limit).All(ctx)
	if err != nil {
		return nil, wrap("read rules of subscriptions", err)
	}
	rules := make([]hub.Rule, len(rows))
	for i, row := range rows {
		rules[i] = hub.Rule{
			SubscriptionID: row.SubscriptionID, Name: row.Name, EndpointID: row.EndpointID,
			EventTypes: row.EventTypes, SourceIDs: row.SourceIds, Filter: row.Filter,
		}
	}
	return rules, nil
}
