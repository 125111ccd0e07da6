package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
)

// DedupeKey remembers that a source has sent a key, and which event it made. It is
// small and of its own, so that keys can be remembered longer than payloads.
type DedupeKey struct{ ent.Schema }

// Fields of DedupeKey.
func (DedupeKey) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").Immutable().Comment("first 16 bytes of the SHA-256 of source and key, base64url"),
		field.String("event_id"),
		field.Int64("sequence").Comment("of that event"),
		field.Int64("first_seen_at").GoType(column.Time(0)).Comment("the source's window counts from here"),
	}
}
