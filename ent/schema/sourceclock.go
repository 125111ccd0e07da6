package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
)

// SourceClock remembers when the latest of a source's events happened, so that those
// that come late are known. Its ID is the source's, from which it is apart because it
// changes with the events.
type SourceClock struct{ ent.Schema }

// Mixin of SourceClock.
func (SourceClock) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of SourceClock.
func (SourceClock) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("newest_at").GoType(column.Time(0)).Comment("when the latest event that it has sent happened"),
	}
}
