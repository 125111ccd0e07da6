package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
)

// LogHead is one row, locked by every transaction that stores events, changes
// deliveries or changes configuration. So the order of sequences is the order of
// commits, dedupe lookups are exact, and a change of configuration is seen by the next
// event.
type LogHead struct{ ent.Schema }

// Fields of LogHead.
func (LogHead) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id").Immutable().Comment("always 1"),
		field.Int64("sequence").Comment("of the newest event; 0 before the first"),
		field.Int64("change_sequence").Annotations(entsql.Default("0")).Comment("of the newest change of a delivery; 0 before the first"),
		field.Int64("config_revision").Comment("grows with every change of sources, endpoints and subscriptions"),
		field.String("epoch").Immutable().Comment("random; tells this database's cursors from another's"),
	}
}

// Annotations of LogHead.
func (LogHead) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("log_head")}
}
