package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// APIKey is a credential. The key itself is not kept, only its hash.
type APIKey struct{ ent.Schema }

// Mixin of APIKey.
func (APIKey) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of APIKey.
func (APIKey) Fields() []ent.Field {
	return []ent.Field{
		field.String("name").Immutable(),
		field.String("role").GoType(hub.Role("")).Immutable(),
		field.String("partner_id").Default("").Immutable().Comment("of role PARTNER: whose it is; else empty"),
		field.JSON("scopes", []hub.Scope{}).Immutable(),
		field.String("prefix").Immutable().Comment("its first characters, to recognise it by"),
		field.Bytes("hash").Sensitive().Immutable().Comment("SHA-256"),
		field.Int64("created_at").GoType(column.Time(0)).Immutable(),
		field.Int64("expires_at").GoType(column.Time(0)).Immutable().Comment("0: does not expire"),
		field.Int64("revoked_at").GoType(column.Time(0)).Comment("0: not revoked"),
		field.Int64("last_used_at").GoType(column.Time(0)).Comment("0: never"),
	}
}
