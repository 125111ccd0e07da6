package graph

import (
	"github.com/99designs/gqlgen/graphql"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/registry"
)

// given returns what an input says of a field, the zero value where it is absent
// or null.
func given[T any](field graphql.Omittable[*T]) T { return valueOf(field.Value()) }

func createSource(in model.CreateSourceInput) (registry.CreateSourceInput, error) {
	return registry.CreateSourceInput{Name: in.Name, Slug: given(in.Slug)}, nil
}
func updateSource(in model.UpdateSourceInput) (registry.UpdateSourceInput, error) {
	return registry.UpdateSourceInput{ID: in.ID}, nil
}
func createEndpoint(in model.CreateEndpointInput) registry.CreateEndpointInput {
	return registry.CreateEndpointInput{Name: in.Name}
}
func updateEndpoint(in model.UpdateEndpointInput) registry.UpdateEndpointInput {
	return registry.UpdateEndpointInput{ID: in.ID}
}
func createSubscription(in model.CreateSubscriptionInput) registry.CreateSubscriptionInput {
	return registry.CreateSubscriptionInput{Name: in.Name}
}
func updateSubscription(in model.UpdateSubscriptionInput) registry.UpdateSubscriptionInput {
	return registry.UpdateSubscriptionInput{ID: in.ID}
}
