// Package deliver makes the deliveries: it takes leases on those that are due,
// sends each to its endpoint, and hands the result to the store. What a result
// means for the delivery and its endpoint is decided by package policy.
//
// Each endpoint has a lane with its own slots, breaker, pace and rate, so one
// that hangs delays nobody else. A lease reaches a lane in one of two ways:
//
//	commit of an event ──Reserve, Take──▶ ┌──────┐
//	                                      │ lane │──▶ attempt ──▶ Settle
//	recovery loop ───────────Claim──────▶ └──────┘
//
// The first is the quick way, in memory, for fresh deliveries that find room. All
// else waits in the database, which is the queue: retries, what found no room,
// what another node or an earlier process left. The loop claims it for lanes that
// have room, woken by freed slots, by due times, by Wake, and every second in any
// case, so a wake-up that is lost costs latency and nothing else.
//
// Where a hub has several nodes, a lane works with this node's share of its endpoint's
// limits. A lane without any takes nothing: it is for another node to claim.
//
// A lane with quick answers may hold a few more leases than slots, a twentieth
// of a second's work, so that its slots need not wait for the database.
//
// The body of a delivery whose subscription has a transform is made by a Shaper before
// the first attempt and stored before it is sent.
//
// Locks are taken in this order: lane.settling, lane.mu, slots.mu, then one of
// Dispatcher.mu, agenda.mu and returns.mu.
package deliver
