// Package graph answers GraphQL: the resolvers of each noun, the directive that
// checks scopes, the one place where errors become GraphQL errors, and the
// handler in which the executor, the gate before it and the transports around it
// come together. Resolvers authorise, call one thing and wrap what it returns;
// rules of the business live in the rooms they call.
//
// The SDL is in schema/; `go generate` makes generated/ and model/models_gen.go
// of it and adds resolvers that are missing.
package graph

//go:generate go -C .. tool gqlgen generate
//go:generate go run ./exec/rewrite generated
//go:generate go run ./internal/faults
