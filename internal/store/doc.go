// Package store keeps everything that must survive: configuration, the log of
// events, deliveries and their attempts. It is the only room of the pipeline that
// knows ent and SQL, and it behaves alike on SQLite and PostgreSQL; what the two
// do differently is behind the engine interface, in one file each.
//
// Work of the hot path (events, results of attempts, claims, rejections) goes
// through one writer goroutine per process. It takes whatever waits and commits
// all of it in one transaction, so that many callers share the cost of one durable
// commit. A transaction that stores events, changes deliveries or changes configuration
// locks the one row of log_head. From this follow these promises, across nodes too:
//
//   - the order of sequences is the order of commits, so whoever reads the log up
//     to a sequence has read everything before it;
//   - a dedupe key is looked up while nobody else can store it;
//   - an event is routed by the configuration as it stands at its commit;
//   - every change of a delivery is in a log of its own, in the order of commits.
//
// Whatever changes deliveries locks them first and log_head afterwards.
//
// The log of changes is a table of its own, to which the state after each change is
// appended, and not a column of deliveries: so a reader sees every change and not only
// the last one, and the rows of deliveries, which are rewritten often enough, get no
// further index that moves with every result. An entry costs 2 to 3 µs; the log is cut
// off at its front.
//
// Statistics are rollups: counters and two sketches for each source, endpoint,
// subscription and partner in each ten seconds. The writer keeps the newest in memory
// and writes those that a batch has touched as they stand, in the batch's transaction.
// Each process has rows of its own (rollupBook), so that nothing is read to be written
// and nodes do not meet; reading adds them up. They are merged into coarser ones as they
// age, so that a question about months reads few. Sketches of 1 % (DDSketch) rather than
// fixed buckets, because they are as exact for a millisecond as for a minute and store
// no empty ones.
//
// What the store leaves to others: which subscriptions want an event (Router),
// whether a delivery can be worked on at once (Taker), what an attempt's result
// means for the delivery (it stores the Settlement it is given), and validation of
// configuration.
package store
