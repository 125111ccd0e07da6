// Package webhook is the adapter of webhook sources: it tells whether an inbound
// request comes from whom it should, which event it carries, and how to answer
// the handshakes of providers.
//
// Providers are rows of one table (see presets.go). A row declares what a
// declaration can say - headers, signed content, algorithm, tolerance, where type
// and keys are - and holds a function where it cannot. Custom schemes and CEL
// expressions of a source take the place of a row, or of single rules in it.
//
// The package judges requests that are in memory. Reading them, storing what
// comes of them and answering the sender is the work of package receive.
package webhook

//go:generate go test -run ^TestProvidersPage$ -update .
