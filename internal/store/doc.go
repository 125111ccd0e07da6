// Package store keeps everything that must survive: configuration, the log of
// events, deliveries and their attempts. It is the only room of the pipeline that
// knows ent and SQL, and it behaves alike on SQLite and PostgreSQL; what the two
// do differently is behind the engine interface, in one file each.
//
// Work of the hot path (events, results of attempts, claims, rejections) goes
// through one writer goroutine per process. It takes whatever waits and commits
// all of it in one transaction, so that many callers share the cost of one durable
// commit. A transaction that stores events or changes configuration first locks
// the one row of log_head. From this follow three promises, across nodes too:
//
//   - the order of sequences is the order of commits, so whoever reads the log up
//     to a sequence has read everything before it;
//   - a dedupe key is looked up while nobody else can store it;
//   - an event is routed by the configuration as it stands at its commit.
//
// What the store leaves to others: which subscriptions want an event (Router),
// whether a delivery can be worked on at once (Taker), what an attempt's result
// means for the delivery (it stores the Settlement it is given), and validation of
// configuration.
package store
