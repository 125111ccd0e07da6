package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Replay is a bulk job over past events or deliveries.
type Replay struct{ ent.Schema }

// Mixin of Replay.
func (Replay) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Replay.
func (Replay) Fields() []ent.Field {
	return []ent.Field{
		field.String("partner_id").Immutable().Comment("who asked for it; empty: the operator"),
		field.String("requested_by").Immutable().Default("").Comment("the holder of which credential"),
		field.String("state").GoType(hub.ReplayState("")),
		field.String("reason").Comment("why, for FAILED"),
		field.JSON("selection", hub.ReplaySelection{}).Immutable(),
		field.String("fingerprint").Immutable().Comment("of the selection, so that the same one is not run twice at a time"),
		field.String("idempotency_key").Immutable(),
		field.Int("rate").Immutable().Comment("deliveries a second"),
		field.String("stage").Comment("SELECTING, SENDING or ENDING"),
		field.String("progress").Comment("how far the stage has come: a delivery's ID or an event's sequence"),
		field.Int64("bound").Immutable().Comment("the last event's sequence that it is over"),
		field.Int("total"),
		field.Int("begun").Comment("how many deliveries were made due"),
		field.Int("done").Comment("once it has ended; counted until then"),
		field.Int("failed").Comment("likewise"),
		field.Int64("paced_at").GoType(column.Time(0)).Comment("up to when its rate is used up"),
		field.String("lease_token").Comment("of the process that works on it"),
		field.Int64("lease_until").GoType(column.Time(0)),
		field.Int64("created_at").GoType(column.Time(0)).Immutable(),
		field.Int64("completed_at").GoType(column.Time(0)),
	}
}

// Indexes of Replay.
func (Replay) Indexes() []ent.Index {
	return []ent.Index{
		index.Fields("partner_id", "id"),
		// The same selection is not run twice at a time.
		index.Fields("partner_id", "fingerprint").Unique().
			StorageKey("replay_running").Annotations(entsql.IndexWhere("state = 'RUNNING'")),
		index.Fields("partner_id", "idempotency_key").Unique().
			StorageKey("replay_asked").Annotations(entsql.IndexWhere("idempotency_key <> ''")),
		index.Fields("id").StorageKey("replay_open").Annotations(entsql.IndexWhere("completed_at = 0")),
	}
}

// ReplayItem is a delivery that a replay has chosen and not made due yet. A delivery is
// chosen by one replay at a time.
type ReplayItem struct{ ent.Schema }

// Fields of ReplayItem.
func (ReplayItem) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").Immutable().Comment("of the delivery"),
		field.String("replay_id").Immutable(),
		field.String("endpoint_id").Immutable(),
	}
}

// Indexes of ReplayItem.
func (ReplayItem) Indexes() []ent.Index {
	return []ent.Index{index.Fields("replay_id", "id")}
}
