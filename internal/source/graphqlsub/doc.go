// Package graphqlsub gets events from GraphQL subscriptions of other servers. Each item
// of a result is one event. Where a subscription has a variable to resume by, the newest
// value that the results held is stored once everything before it is durable, and sent
// again after every break: what the end of a process or a connection cost comes again,
// and dedupe keys make that one event.
package graphqlsub
