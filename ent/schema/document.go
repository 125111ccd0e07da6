package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
)

// Document is a GraphQL document that clients ask for by name or hash.
type Document struct{ ent.Schema }

// Mixin of Document.
func (Document) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Document.
func (Document) Fields() []ent.Field {
	return []ent.Field{
		field.String("name").Unique().Immutable().Comment("the hash where people gave none"),
		field.String("hash").Immutable().Comment("sha256: and hexadecimal digits"),
		field.String("text").Immutable(),
		field.Int64("created_at").GoType(column.Time(0)).Immutable(),
	}
}
