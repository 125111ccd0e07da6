package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/hookgraph/hookgraph/ent/column"
)

// Event is one thing that happened, received once. The payload columns come last,
// so that lists never walk their overflow pages.
type Event struct{ ent.Schema }

// Mixin of Event.
func (Event) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Event.
func (Event) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("sequence").Unique().Immutable().Comment("place in the total order of commits, from 1"),
		field.String("source_id").Immutable(),
		field.String("partner_id").Default("").Immutable().Comment("whom it is addressed to; empty: nobody in particular"),
		field.String("type").Immutable(),
		field.String("dedupe_key").Immutable(),
		field.String("ordering_key").Immutable(),
		field.Int64("occurred_at").GoType(column.Time(0)).Immutable(),
		field.Int64("received_at").GoType(column.Time(0)).Immutable(),
		field.String("content_type").Immutable(),
		field.Int("duplicate_count"),
		field.Int64("last_duplicate_at").GoType(column.Time(0)),
		field.Bool("recovered").Default(false).Immutable().Comment("its source never sent it, and another found it missing"),
		field.Bool("out_of_order").Default(false).Immutable().Comment("its source had sent one before that happened later"),
		field.Bytes("headers").Immutable().Comment("redacted; JSON, as bytes so that any text survives"),
		field.Bytes("query").Immutable().Comment("raw query of the request's URL"),
		field.Bytes("body").Immutable().Comment("byte for byte as received"),
	}
}

// Indexes of Event.
func (Event) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("source_id", "sequence"),
		index.Fields("type", "sequence"),
		index.Fields("received_at"),
		index.Fields("partner_id", "sequence").Annotations(entsql.IndexWhere("partner_id <> ''")),
		index.Fields("dedupe_key").Annotations(entsql.IndexWhere("dedupe_key <> ''")),
		index.Fields("ordering_key", "sequence").Annotations(entsql.IndexWhere("ordering_key <> ''")),
	}
}
