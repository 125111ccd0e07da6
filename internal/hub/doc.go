// Package hub is the vocabulary of Hookgraph: its nouns, their states, the
// error codes, IDs and the clock. It imports the standard library alone and
// knows neither databases nor protocols; every other room speaks in its words.
//
// An event is received once from a source. A subscription chooses events for an
// endpoint; each choice is one delivery, and each try to make that delivery is
// one attempt.
package hub
