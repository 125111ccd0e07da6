package schema

import (
	"time"

	"entgo.io/ent"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Attempt is one try to make a delivery.
type Attempt struct{ ent.Schema }

// Mixin of Attempt.
func (Attempt) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Attempt.
func (Attempt) Fields() []ent.Field {
	return []ent.Field{
		field.String("delivery_id").Immutable(),
		field.Int("number").Immutable().Comment("from 1"),
		field.Int64("started_at").GoType(column.Time(0)).Immutable(),
		field.Int64("duration").GoType(time.Duration(0)).Immutable().Comment("nanoseconds"),
		field.String("outcome").GoType(hub.AttemptOutcome("")).Immutable(),
		field.Int("status_code").Immutable().Comment("0 where there was no answer"),
		field.String("error").Immutable(),
		field.String("request_url").Immutable(),
		field.Bytes("request_headers").Immutable().Comment("redacted; JSON"),
		field.Bytes("response_headers").Immutable().Comment("redacted; JSON, as bytes since a peer may send anything"),
		field.Bytes("response_body").Immutable().Comment("its first 16 KiB"),
		field.String("endpoint_id").Immutable().Optional().Comment("of a test or a challenge, which are of no delivery"),
		field.Bytes("request_body").Immutable().Optional().Comment("likewise; null: the event's"),
	}
}

// Indexes of Attempt.
func (Attempt) Indexes() []ent.Index {
	return []ent.Index{index.Fields("delivery_id", "number").Unique()}
}
