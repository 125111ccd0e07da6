package graph

// Resolver holds what the resolvers depend on.
type Resolver struct{}
