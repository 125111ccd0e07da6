package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/hookgraph/hookgraph/ent/column"
)

// Sighting is what was seen of an event type at one source. Its ID is the source's and
// the type's. What is large comes last.
type Sighting struct{ ent.Schema }

// Mixin of Sighting.
func (Sighting) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Sighting.
func (Sighting) Fields() []ent.Field {
	return []ent.Field{
		field.String("source_id").Immutable(),
		field.String("type_id").Immutable(),
		field.Int("event_count").Comment("exact, up to the position of learn_head"),
		field.Int("sample_count").Comment("bodies that were looked at"),
		field.Int64("last_seen_at").GoType(column.Time(0)).Comment("when the newest event came in; 0: captured requests alone"),
		field.Int64("drifted_at").GoType(column.Time(0)).Comment("when a body was other than those before; 0: never"),
		field.Int64("told_at").GoType(column.Time(0)).Comment("when drift was announced last; 0: never"),
		field.Int("size").Comment("bytes of the shape"),
		field.Bytes("drift").Comment("what is not announced yet, as JSON; empty: nothing"),
		field.Bytes("fingerprints").Comment("of the shapes seen last, 8 bytes each"),
		field.Bytes("shape").Comment("what is known of the bodies, as JSON; empty: nothing"),
	}
}

// Indexes of Sighting.
func (Sighting) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("source_id", "type_id", "size"),
		index.Fields("type_id"),
		index.Fields("told_at").StorageKey("sighting_untold").Annotations(entsql.IndexWhere("length(drift) > 0")),
	}
}
