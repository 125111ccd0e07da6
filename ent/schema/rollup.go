package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/hookgraph/hookgraph/ent/column"
)

// Rollup is what one writer has counted of one combination of source, endpoint,
// subscription and partner within one span of time. Its numbers are added up when
// they are asked for. A writer writes rows of its own alone, as they stand in its
// memory, so that none is read to be written and no two nodes meet in one.
type Rollup struct{ ent.Schema }

// Mixin of Rollup.
func (Rollup) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Rollup.
func (Rollup) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("start").GoType(column.Time(0)).Immutable(),
		field.Int64("width").Immutable().Comment("of the span, in seconds"),
		field.String("source_id").Immutable(),
		field.String("endpoint_id").Immutable().Comment("empty for what concerns events and rejections"),
		field.String("subscription_id").Immutable().Comment("empty likewise"),
		field.String("partner_id").Immutable().Comment("the endpoint's, or the event's; empty: nobody's"),
		field.Int64("received"),
		field.Int64("duplicates"),
		field.Int64("rejected"),
		field.Int64("deliveries_created"),
		field.Int64("delivered"),
		field.Int64("dead"),
		field.Int64("attempts"),
		field.Int64("failed_attempts"),
		field.Bytes("latency").Comment("sketch of the attempts' durations"),
		field.Bytes("end_to_end").Comment("sketch of the times from receipt to delivered"),
	}
}

// Indexes of Rollup.
func (Rollup) Indexes() []ent.Index {
	return []ent.Index{index.Fields("width", "start")}
}
