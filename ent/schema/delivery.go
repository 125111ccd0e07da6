package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema/field"
	"entgo.io/ent/schema/index"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Delivery is one event owed to one subscription.
type Delivery struct{ ent.Schema }

// Mixin of Delivery.
func (Delivery) Mixin() []ent.Mixin { return []ent.Mixin{Identity{}} }

// Fields of Delivery.
func (Delivery) Fields() []ent.Field {
	return []ent.Field{
		field.String("event_id").Immutable(),
		field.String("subscription_id").Immutable(),
		field.String("endpoint_id").Immutable(),
		field.String("partner_id").Default("").Immutable().Comment("whose the endpoint is; empty: the operator's"),
		field.String("status").GoType(hub.DeliveryStatus("")).Comment("never HELD, which is derived"),
		field.String("reason").Comment("why, for DEAD and CANCELED; on a PENDING row what holds it until somebody acts"),
		field.Int("attempt_count").Comment("how many attempts are recorded"),
		field.Int("schedule_position").Comment("place of the next attempt in the retry schedule, from 0"),
		field.Int64("next_attempt_at").GoType(column.Time(0)).Comment("as people see it; 0 once ended"),
		field.Int64("due_at").GoType(column.Time(0)).Comment("when any worker may claim it: the lease's end while leased"),
		field.String("lease_token").Comment("fences the lease; empty while nobody holds one"),
		field.Int64("created_at").GoType(column.Time(0)).Immutable(),
		field.Int64("completed_at").GoType(column.Time(0)),
		field.String("body_form").GoType(hub.BodyForm("")).Annotations(entsql.Default(string(hub.BodyReceived))).
			Comment("whose bytes the attempts send; UNSHAPED until delivery_bodies has them"),
		field.String("replay_id").Default("").Comment("the last replay that made it due; empty: none"),
		field.String("line").Default("").Comment("names its subscription and key where they are STRICT; ?: no key could be made of the event"),
		field.String("mark").Default("").Comment("the same where they are SKIP_STALE"),
		field.Int64("place").Default(0).Comment("in its line: the sequence of the event; beside a mark: when that occurred"),
		field.String("turn").Default("").Comment("FIRST of its line, LATER, or empty: it is in none, or not any more"),
	}
}

// Indexes of Delivery.
func (Delivery) Indexes() []ent.Index {
	return []ent.Index{
		// What is due: it holds what waits alone, so it stays small however long the history.
		// The subscription stands before the moment so that what waits for a paused one is
		// stepped over at once.
		index.Fields("endpoint_id", "subscription_id", "due_at").
			StorageKey("delivery_pending").Annotations(entsql.IndexWhere("status = 'PENDING'")),
		// What replays have made due: it comes after everything else of its endpoint.
		index.Fields("endpoint_id", "subscription_id", "due_at").
			StorageKey("delivery_replaying").Annotations(entsql.IndexWhere("status = 'PENDING' AND replay_id <> ''")),
		index.Fields("replay_id", "status").
			StorageKey("delivery_of_replay").Annotations(entsql.IndexWhere("replay_id <> ''")),
		// Lists of what was not delivered, in their order.
		index.Fields("status", "id").StorageKey("delivery_undelivered").Annotations(entsql.IndexWhere("status <> 'DELIVERED'")),
		// The same of one endpoint or subscription, which else would be looked for in its whole
		// history. What is delivered, or waits to be, is in neither.
		index.Fields("endpoint_id", "status", "id").
			StorageKey("delivery_dead_of_endpoint").Annotations(entsql.IndexWhere("status IN ('DEAD', 'CANCELED')")),
		index.Fields("subscription_id", "status", "id").
			StorageKey("delivery_dead_of_subscription").Annotations(entsql.IndexWhere("status IN ('DEAD', 'CANCELED')")),
		// What a change of a subscription's transform lets go again.
		index.Fields("subscription_id").
			StorageKey("delivery_held").Annotations(entsql.IndexWhere("status = 'PENDING' AND reason <> ''")),
		// Who stands in a line: the one whose turn it is, then the others in their order.
		index.Fields("line", "turn", "place", "id").
			StorageKey("delivery_line").Annotations(entsql.IndexWhere("turn <> ''")),
		// The dead that keep their lines from going on.
		index.Fields("subscription_id").
			StorageKey("delivery_parked").Annotations(entsql.IndexWhere("status = 'DEAD' AND turn <> ''")),
		// Which of those that wait under a mark is the newest.
		index.Fields("mark", "place").
			StorageKey("delivery_mark").Annotations(entsql.IndexWhere("status = 'PENDING' AND mark <> ''")),
		index.Fields("event_id"),
		index.Fields("endpoint_id", "id"),
		index.Fields("subscription_id", "id"),
		// What a partner sees: it outlives its endpoints.
		index.Fields("partner_id", "id").Annotations(entsql.IndexWhere("partner_id <> ''")),
	}
}
