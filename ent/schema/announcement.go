package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
)

// Announcement is a hub event that is not in the log yet: it is stored in the
// transaction that does what it tells.
type Announcement struct{ ent.Schema }

// Fields of Announcement.
func (Announcement) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").Immutable().Comment("of the event"),
		field.String("type").Immutable(),
		field.String("partner_id").Immutable().Comment("whom it is addressed to; empty: nobody in particular"),
		field.Int64("occurred_at").GoType(column.Time(0)).Immutable(),
		field.Bytes("body").Immutable(),
	}
}
