package schema

import (
	"entgo.io/ent"
	"entgo.io/ent/dialect/entsql"
	"entgo.io/ent/schema"
	"entgo.io/ent/schema/field"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// EndpointHealth is what the attempts of an endpoint have shown. It changes with
// every batch of attempts, so it stays out of the endpoint's own row and revision.
type EndpointHealth struct{ ent.Schema }

// Fields of EndpointHealth.
func (EndpointHealth) Fields() []ent.Field {
	return []ent.Field{
		field.String("id").Immutable().Comment("the endpoint's ID"),
		field.String("breaker").GoType(hub.BreakerState("")),
		field.Int64("breaker_until").GoType(column.Time(0)).Comment("when the next probe may go"),
		field.Int("probes").Comment("probes failed in a row"),
		field.Int("consecutive_failures"),
		field.Int64("failing_since").GoType(column.Time(0)).Comment("first of the consecutive failures"),
		field.Int64("last_success_at").GoType(column.Time(0)),
		field.Int64("last_failure_at").GoType(column.Time(0)),
		field.Int64("paced_until").GoType(column.Time(0)).Comment("the endpoint asked to be left alone until then"),
	}
}

// Annotations of EndpointHealth.
func (EndpointHealth) Annotations() []schema.Annotation {
	return []schema.Annotation{entsql.Table("endpoint_health")}
}
