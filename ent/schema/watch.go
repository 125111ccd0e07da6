package schema

import (
	"time"

	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
)

// Watch is what the watcher knows of a source. Its ID is the source's.
type Watch struct{ ent.Schema }

// Mixin of Watch.
func (Watch) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Watch.
func (Watch) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("since").GoType(column.Time(0)).Comment("from when on its silence counts; 0: it is not watched"),
		field.Int64("usual_pause").GoType(time.Duration(0)).Comment("how long it may be silent by its rhythm; 0: not known"),
		field.Int64("measured_at").GoType(column.Time(0)).Comment("when its rhythm was worked out"),
		field.Int64("silent_since").GoType(column.Time(0)).Comment("0: it is not silent"),
		field.Int64("rejecting_since").GoType(column.Time(0)).Comment("0: it does not refuse most of its requests"),
		field.Int64("failing_since").GoType(column.Time(0)).Annotations(entsql.Default("0")).Comment("the failure that has been told; 0: none"),
		field.Int("uncatalogued").Comment("events whose types are beyond the bound of types"),
	}
}
