package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
)

// Fetch is how far a source that fetches has come, and who works on it. Its ID is the
// source's.
type Fetch struct{ ent.Schema }

// Mixin of Fetch.
func (Fetch) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Fetch.
func (Fetch) Fields() []ent.Field {
	return []ent.Field{
		field.Bytes("progress").Comment("in words of the fetcher's own; empty at the beginning"),
		field.Int64("last_at").GoType(column.Time(0)),
		field.Int64("next_at").GoType(column.Time(0)),
		field.String("error"),
		field.Int64("failing_since").GoType(column.Time(0)).Annotations(entsql.Default("0")).Comment("0: it did not fail the last time"),
		field.Int("failures").Annotations(entsql.Default("0")).Comment("in a row"),
		field.Int("fetched_count"),
		field.Int("recovered_count"),
		field.Int("told_count").Annotations(entsql.Default("0")).Comment("of recovered_count, how many have been told"),
		field.Int64("asked_at").GoType(column.Time(0)).Comment("when somebody asked for it last"),
		field.String("lease_token").Comment("of the process that works on it"),
		field.Int64("lease_until").GoType(column.Time(0)),
	}
}
