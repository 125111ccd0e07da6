// Package receive is the one door through which events come in. It reads an
// inbound request within bounds, has it verified on its raw bytes, finds out which
// event it carries, hands that to the store, and acknowledges it only after the
// store has committed it. What is refused is recorded with its reason, while the
// sender learns no more than a code. What is published over GraphQL takes the same
// way from there on.
//
// How each provider signs is the business of package webhook; deduplication,
// routing and durability are the store's.
package receive
