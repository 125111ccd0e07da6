// Package stream gives live streams of a log, that of events or that of what became
// of deliveries: first what is stored after a reader's cursor, then what is committed
// from then on, in sequence order, each entry once per position.
//
// The durable log is the only source of truth and a reader is nothing but a
// position in it:
//
//	            wake-up, or the poll
//	                    │
//	log ──page──▶ tail ─┴─▶ ring of the newest ones ──▶ readers inside the ring
//	 │
//	 └────page─────────────────────────────────────────▶ readers before the ring
//
// One tail for all readers of the node follows the log. Wake-ups only say "look
// again", and the tail also looks by itself, so a lost one costs latency and no
// entry. A reader is pulled by whoever consumes it: a slow one falls back in the
// log, not into memory. So a slow reader, a reconnect and a change of node are one
// case, reading on from a position.
//
// What a reader may see and how it travels is left to those who ask.
package stream
