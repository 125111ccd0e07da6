package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/hookgraph/hookgraph/ent/column"
)

// SubscriptionRevision is the rule by which a subscription chose its events, from one
// place in the log to the next revision's. It is written in the transaction that
// changes the subscription, under log_head, so it tells exactly which rule an event met.
type SubscriptionRevision struct{ ent.Schema }

// Mixin of SubscriptionRevision.
func (SubscriptionRevision) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of SubscriptionRevision.
func (SubscriptionRevision) Fields() []ent.Field {
	return []ent.Field{
		field.String("subscription_id").Immutable(),
		field.Int64("revision").Immutable().Comment("config_revision of the change, which orders revisions"),
		field.Int64("since").Immutable().Comment("sequence of the last event before it held"),
		field.Int64("at").GoType(column.Time(0)).Immutable(),
		field.Bool("deleted").Immutable().Comment("from here on the subscription is gone"),
		field.String("name").Immutable(),
		field.String("endpoint_id").Immutable(),
		field.JSON("event_types", []string{}).Immutable(),
		field.JSON("source_ids", []string{}).Immutable(),
		field.String("filter").Immutable(),
	}
}

// Indexes of SubscriptionRevision.
func (SubscriptionRevision) Indexes() []ent.Index {
	return []ent.Index{index.Fields("subscription_id", "revision").Unique()}
}
