package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"
)

// DeliveryBody is the body that a transform made for a delivery, under the delivery's
// ID. It is stored before the first attempt, so that every attempt sends the same bytes.
type DeliveryBody struct{ ent.Schema }

// Mixin of DeliveryBody.
func (DeliveryBody) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of DeliveryBody.
func (DeliveryBody) Fields() []ent.Field {
	return []ent.Field{
		field.String("content_type").Immutable(),
		field.Bytes("body").Immutable(),
	}
}

// Annotations of DeliveryBody.
func (DeliveryBody) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("delivery_bodies")}
}
