package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
)

// EventType is an entry of the catalogue: a type of which there are events, or that
// somebody has described.
type EventType struct{ ent.Schema }

// Mixin of EventType.
func (EventType) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of EventType.
func (EventType) Fields() []ent.Field {
	return []ent.Field{
		field.String("name").Unique().Immutable().Comment("the type of the events"),
		field.String("description").Comment("empty: none"),
		field.Bytes("schema").Comment("the given one, as JSON; empty: none"),
		field.Bytes("example").Comment("JSON; empty: none"),
		field.Bool("described").Comment("somebody has put it here, and not its events alone"),
		field.Bool("common").Comment("an event of it was addressed to nobody in particular"),
		field.Int64("created_at").GoType(column.Time(0)).Immutable(),
		field.Int64("updated_at").GoType(column.Time(0)),
	}
}
