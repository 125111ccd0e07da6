package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
)

// LearnHead is one row: how far the catalogue has read the log, and who works on it.
type LearnHead struct{ ent.Schema }

// Fields of LearnHead.
func (LearnHead) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id").Immutable().Comment("always 1"),
		field.Int64("position").Comment("sequence of the last event that is counted"),
		field.Int64("captured_at").GoType(column.Time(0)).Comment("when the newest captured request came in that was learned from"),
		field.Int64("watched_at").GoType(column.Time(0)).Comment("when somebody last looked for silent sources"),
		field.String("lease_token").Comment("of the process that works on it"),
		field.Int64("lease_until").GoType(column.Time(0)),
	}
}

// Annotations of LearnHead.
func (LearnHead) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("learn_head")}
}
