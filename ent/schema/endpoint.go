package schema

import (
	"time"

	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Endpoint is where deliveries go.
type Endpoint struct{ ent.Schema }

// Mixin of Endpoint.
func (Endpoint) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}, Changes{}} }

// Fields of Endpoint.
func (Endpoint) Fields() []ent.Field {
	return []ent.Field{
		field.String("name"),
		field.String("kind").GoType(hub.EndpointKind("")).Immutable(),
		field.String("url"),
		field.String("state").GoType(hub.EndpointState("")),
		field.String("state_reason").Comment("why the hub disabled it"),
		field.Int64("timeout").GoType(time.Duration(0)).Comment("nanoseconds"),
		field.Int("max_concurrency"),
		field.JSON("rate_limit", &hub.RateLimit{}).Optional().Comment("null: unlimited"),
		field.JSON("retry_policy", hub.RetryPolicy{}),
		field.Bytes("headers").Sensitive().Comment("sealed JSON list: they may carry credentials"),
		field.String("signing").GoType(hub.SigningScheme("")),
		field.Bytes("signing_secrets").Sensitive().Comment("sealed JSON list, newest first"),
	}
}
