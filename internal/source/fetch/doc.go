// Package fetch keeps sources going from which the hub gets events itself: REST APIs that
// are polled, upstream GraphQL subscriptions, queues. For each such source one node at a
// time runs the fetcher of its kind, under a lease in the database. What a fetcher finds
// goes through the same door as webhooks; how far it has come is stored after what it
// found is durable, so that the end of a process repeats something at worst, and the
// dedupe keys make that one event.
package fetch
