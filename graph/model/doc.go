// Package model holds the nouns as GraphQL shows them: views over the vocabulary
// in internal/hub that know a snapshot of the configuration, so that whatever
// lies in memory (names, states, health, edges between configured things) is a
// plain method; the scalars; and the connections. What needs the database is
// left to resolvers and loaders.
//
// The file models_gen.go is generated from the SDL.
package model
