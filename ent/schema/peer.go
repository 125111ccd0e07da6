package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
)

// Peer is a node of the hub as the others know it, on a database that several can use.
// Its ID is the node's, made anew whenever the node takes its place.
type Peer struct{ ent.Schema }

// Fields of Peer.
func (Peer) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").Immutable(),
		field.Int64("seen_at").GoType(column.Time(0)).Comment("when it last said that it is there, by the clock of the database"),
		field.Int64("session").Immutable().Comment("the advisory lock that its connection holds: free once that has ended"),
		field.JSON("counted", []string{}).Comment("the nodes with which it shares what endpoints permit"),
	}
}
