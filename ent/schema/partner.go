package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
)

// Partner is an outside party with a view of events of its own.
type Partner struct{ ent.Schema }

// Mixin of Partner.
func (Partner) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}, Changes{}} }

// Fields of Partner.
func (Partner) Fields() []ent.Field {
	return []ent.Field{
		field.String("name"),
		field.JSON("event_types", []string{}).Comment("shared with it; exact, or with * as in invoice.*"),
	}
}
