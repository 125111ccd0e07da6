package hub

import (
	"encoding/binary"
	"encoding/hex"
	"time"
)

// Event is one thing that happened, received once. It never changes, apart
// from the count of its duplicates.
type Event struct {
	ID       string
	Sequence Sequence
	SourceID string
	// PartnerID is whom it is addressed to; "" where that is nobody in particular.
	PartnerID string
	Type      string
	// DedupeKey is what its source calls it; "" where every request is an event.
	DedupeKey string
	// DedupeWindow is how long the key counts, from the first event with it, where the
	// source does not say; 0: as long as events are kept. It is for storing an event, and
	// not stored with it.
	DedupeWindow time.Duration
	OrderingKey  string
	// OccurredAt is when it happened, as its source says; zero where it does not.
	OccurredAt  time.Time
	ReceivedAt  time.Time
	ContentType string

	// Recovered says that its source never sent it: another source, which asks the same
	// provider, found it missing.
	Recovered bool
	// FetchedBy is the source that has fetched it, on its way to be stored; it is not kept.
	FetchedBy string
	// Original is the event of this hub that has come back to it by way of other hubs; then
	// this is a duplicate of that one. "": it has not been here.
	Original string
	// OutOfOrder says that its source had sent an event before that happened later.
	OutOfOrder bool

	DuplicateCount  int
	LastDuplicateAt time.Time // zero while there is none

	// Payload is nil where it was not asked for: lists leave it in the database.
	Payload *Payload
}

// Payload is what an event carries, byte for byte as received.
type Payload struct {
	Body    []byte
	Headers []Header // redacted
	Query   string   // the raw query of the request's URL
}

// Sequence is an event's place in the total order of commits, from 1. Whoever
// has been handed sequence N has been handed everything before N.
type Sequence int64

// String gives the sequence in 16 hexadecimal digits, which sort as text.
func (s Sequence) String() string {
	var raw [8]byte
	binary.BigEndian.PutUint64(raw[:], uint64(s))
	return hex.EncodeToString(raw[:])
}

// Receipt says what became of an event that was handed to the store.
type Receipt struct {
	EventID  string // the first event's ID where this one is its duplicate
	Sequence Sequence
	// Duplicate is true where the source had sent the same dedupe key before.
	Duplicate bool
	// OutOfOrder is that of the event, where it is none.
	OutOfOrder bool
}
