package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Subscription chooses which events an endpoint gets.
type Subscription struct{ ent.Schema }

// Mixin of Subscription.
func (Subscription) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}, Changes{}} }

// Fields of Subscription.
func (Subscription) Fields() []ent.Field {
	return []ent.Field{
		field.String("name"),
		field.String("endpoint_id"),
		field.String("state").GoType(hub.SubscriptionState("")),
		field.JSON("event_types", []string{}).Comment("exact, or with * as in invoice.*"),
		field.JSON("source_ids", []string{}).Comment("empty: every source"),
		field.String("filter").Comment("CEL that must be true; empty admits everything"),
		field.JSON("transform", &hub.Transform{}).Optional().Comment("null: the event's own body goes out"),
		field.String("ordering").GoType(hub.OrderingMode("")).Default(string(hub.OrderingNone)),
		field.String("ordering_key").Default("").Comment("CEL over the event; empty: the event's own"),
		field.String("poison").GoType(hub.PoisonRule("")).Default(string(hub.PoisonPark)).Comment("what becomes of a line whose head is dead"),
	}
}
