// Package poll asks REST APIs on a schedule and makes an event of each new or changed
// item. It knows how an API is asked (pages, conditional requests, what it asks of its
// callers) and where in an answer the items are; by which rules an item becomes an event
// is the business of the door, and which node does it of package fetch.
//
// An item is handed over once as it is: what was seen lately is remembered by its digest,
// and beyond that the dedupe keys make one event of what is seen again. A run goes
// through all pages of what the API lists. Where it is cut off, it goes on at the page it
// has reached, since how far it has come is stored once a page is durable.
package poll
