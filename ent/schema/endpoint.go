package schema

import (
	"time"

	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Endpoint is where deliveries go.
type Endpoint struct{ ent.Schema }

// Mixin of Endpoint.
func (Endpoint) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}, Changes{}} }

// Fields of Endpoint.
func (Endpoint) Fields() []ent.Field {
	return []ent.Field{
		field.String("partner_id").Default("").Immutable().Comment("whose it is; empty: the operator's"),
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
		field.Bytes("auth").Sensitive().Optional().Comment("sealed JSON; null: none"),
		field.Int64("max_age").GoType(time.Duration(0)).Optional().Comment("nanoseconds; 0 or null: none"),
		field.Int64("verified_at").GoType(column.Time(0)).Optional().Comment("0 or null: not verified"),
		field.String("backlog_choice").GoType(hub.BacklogChoice("")).Optional().
			Comment("what is being done with deliveries that waited; empty: nothing"),
		field.Int64("backlog_before").GoType(column.Time(0)).Optional().Comment("to those made up to then"),
	}
}
