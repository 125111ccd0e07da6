// Package match decides which subscriptions want an event, and evaluates the
// expressions that people write: filters over events, transforms that make a body of
// one, and what a source's expressions take out of a request. One language serves all of them, CEL, and
// type patterns such as invoice.* beside it.
//
// Expressions are compiled and type-checked before they are saved, bounded in
// length and in what they may cost, and compiled once. What they read is decoded
// only if they read it, once per event however many expressions ask.
//
// Where expressions are kept and what follows from their results is left to
// others.
package match
