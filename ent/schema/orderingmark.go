package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/hookgraph/hookgraph/ent/column"
)

// OrderingMark is the newest event that was delivered of one ordering key of a
// subscription that skips what is stale. Its ID is the mark of the deliveries.
type OrderingMark struct{ ent.Schema }

// Mixin of OrderingMark.
func (OrderingMark) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of OrderingMark.
func (OrderingMark) Fields() []ent.Field {
	return []ent.Field{
		field.String("subscription_id").Immutable(),
		field.Int64("occurred_at").GoType(column.Time(0)).Comment("of the event; when it was received where that is not known"),
		field.Int64("sequence").Comment("of the event"),
		field.String("delivery_id"),
	}
}

// Indexes of OrderingMark.
func (OrderingMark) Indexes() []ent.Index {
	return []ent.Index{index.Fields("subscription_id")}
}
