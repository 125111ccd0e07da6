// Package ent is the database client that entgo.io/ent generates from the
// schemas in ent/schema. Only internal/store uses it.
package ent

//go:generate go -C .. tool ent generate ./ent/schema
