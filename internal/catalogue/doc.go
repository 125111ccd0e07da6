// Package catalogue learns what events look like, and notices what is unusual about the
// sources they come from. One node at a time does so, under a lease in the database, off
// the path of events: it reads the log from a position of its own.
//
//   - Counts are exact. The position is stored in the transaction that stores the counts,
//     so that a crash counts nothing twice and leaves nothing out.
//   - Shapes are learned from samples. Where the log is longer than can be looked at,
//     events are counted without their bodies, and the samples are spread over types and
//     over the log. A body whose shape was seen lately is recognised by a fingerprint and
//     not read further. Of values nothing is kept.
//   - Drift is a body that is other than those before it, once there were ten; where a
//     schema is given, one that does not fit it. It is announced at most once an hour for
//     each type of a source, with all that has come together by then.
//   - A source is silent when it has had nothing to say for longer than somebody has set,
//     or than its rhythm of the last seven days lets expect. It is rejecting when most of
//     its requests are refused. Either is announced once, when it begins.
//
// The hub's own events are catalogued like others, but never drift, and their source is
// not watched: so nothing that is announced here brings about another announcement.
package catalogue
