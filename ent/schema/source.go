package schema

import (
	"time"

	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Source is where events come in.
type Source struct{ ent.Schema }

// Mixin of Source.
func (Source) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}, Changes{}} }

// Fields of Source.
func (Source) Fields() []ent.Field {
	return []ent.Field{
		field.String("name"),
		field.String("slug").Unique().Comment("its place under /in/"),
		field.String("kind").GoType(hub.SourceKind("")).Immutable(),
		field.String("state").GoType(hub.SourceState("")),
		field.String("provider").Comment("preset; empty for a custom scheme"),
		field.Bytes("secrets").Sensitive().Comment("sealed JSON list, in the order they are tried"),
		field.Bytes("provider_config").Sensitive().Comment("sealed JSON object: some presets keep secrets in it"),
		field.JSON("verification", &hub.Verification{}).Optional().Comment("custom scheme, instead of a preset"),
		field.Bool("allow_unverified"),
		field.String("event_type").Comment("CEL; empty takes the preset's rule, as in the next three"),
		field.String("dedupe_key"),
		field.String("occurred_at"),
		field.String("ordering_key"),
		field.JSON("response", hub.SourceResponse{}),
		field.Int("max_body_bytes"),
		field.Int64("dedupe_window").GoType(time.Duration(0)).Comment("nanoseconds; 0: as long as the key is kept"),
		field.Bytes("settings").Optional().Sensitive().Comment("sealed JSON object: limits, and where events are fetched from"),
		field.Int("capturing").Default(0).Comment("how many requests are still to be captured"),
	}
}
