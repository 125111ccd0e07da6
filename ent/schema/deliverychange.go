package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// DeliveryChange is one entry of the log of what became of deliveries. Its
// sequence is given out under the lock of log_head, like that of events.
type DeliveryChange struct{ ent.Schema }

// Fields of DeliveryChange.
func (DeliveryChange) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("id").StorageKey("sequence").Immutable().Annotations(entsql.Annotation{Incremental: new(bool)}).
			Comment("place in the log, from 1"),
		field.String("delivery_id").Immutable(),
		field.String("status").GoType(hub.DeliveryStatus("")).Immutable().Comment("HELD too, as things stood at the change"),
		field.String("reason").Immutable(),
		field.Int("attempt_count").Immutable(),
		field.Int64("next_attempt_at").GoType(column.Time(0)).Immutable(),
		field.Int64("completed_at").GoType(column.Time(0)).Immutable(),
		field.Int64("changed_at").GoType(column.Time(0)).Immutable(),
	}
}

// Annotations of DeliveryChange.
func (DeliveryChange) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("delivery_changes")}
}
