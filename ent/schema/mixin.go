// Package schema defines the rows of the database, one entity per file. Rows have
// no foreign keys: configuration is deleted while the log that names it stays.
package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/mixin"

	"github.com/hookgraph/hookgraph/ent/column"
)

// Identity gives an entity the opaque text ID by which it is known everywhere.
type Identity struct{ mixin.Schema }

// Fields of the mixin.
func (Identity) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").Immutable().Comment("prefixed; sorts by time of creation"),
	}
}

// Changes gives an entity the times of its creation and of its last change.
type Changes struct{ mixin.Schema }

// Fields of the mixin.
func (Changes) Fields() []ent.Field {
	return []ent.Field{
		field.Int64("created_at").GoType(column.Time(0)).Immutable(),
		field.Int64("updated_at").GoType(column.Time(0)),
	}
}
