package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Rejection is an inbound request that was refused.
type Rejection struct{ ent.Schema }

// Mixin of Rejection.
func (Rejection) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Rejection.
func (Rejection) Fields() []ent.Field {
	return []ent.Field{
		field.String("source_id").Immutable(),
		field.String("reason").GoType(hub.RejectionReason("")).Immutable(),
		field.String("detail").Immutable(),
		field.String("method").Immutable(),
		field.Int64("received_at").GoType(column.Time(0)).Immutable(),
		field.Int("size").Immutable().Comment("bytes that count against the source's bound"),
		field.Bytes("headers").Immutable().Comment("redacted; JSON"),
		field.Bytes("body").Immutable().Comment("its first 64 KiB"),
	}
}

// Indexes of Rejection.
func (Rejection) Indexes() []ent.Index {
	return []ent.Index{index.Fields("source_id", "id", "size")} // the size answers the bound from the index alone
}
