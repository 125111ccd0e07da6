package hub

import (
	"encoding/json"
	"time"
)

// Bounds of the catalogue.
const (
	// MaxTypesPerSource is how many types of one source are catalogued. Events of others
	// are received like any, and counted together.
	MaxTypesPerSource = 1000
	// MaxShapeBytes is how much is kept of what was learned at one source, in bytes. What
	// was learned before that stays, and no more is learned.
	MaxShapeBytes = 8 << 20
	// MaxDescribedTypes and MaxDescribedBytes bound what people put into the catalogue.
	// Every node has the schemas in memory.
	MaxDescribedTypes = 1000
	MaxDescribedBytes = 8 << 20
	// MaxDescriptionLength is in characters.
	MaxDescriptionLength = 2000
	// MaxExampleBytes bounds one example.
	MaxExampleBytes = 64 << 10
)

// EventType is an entry of the catalogue.
type EventType struct {
	ID          string
	Name        string // the type of its events
	Description string
	Schema      json.RawMessage // the given one; nil: none
	Example     json.RawMessage // nil: none
	// Described says that somebody has put it into the catalogue, or added to it.
	Described bool
	// Common says that an event of it was addressed to nobody in particular.
	Common    bool
	CreatedAt time.Time
	UpdatedAt time.Time
}

// EventTypeFilter chooses event types, as EventFilter does events.
type EventTypeFilter struct {
	NameContains string   // without regard to case
	SourceIDs    []string // seen at any of them
}

// SightingKey names a type at a source.
type SightingKey struct{ SourceID, Type string }

// Sighting is what was seen of an event type at one source.
type Sighting struct {
	SightingKey

	EventCount   int       // exact, duplicates not counted
	SampleCount  int       // bodies that were looked at
	LastSeenAt   time.Time // zero: captured requests alone
	DriftedAt    time.Time // when a body was other than those before; zero: never
	ToldAt       time.Time // when drift was announced last; zero: never
	Drift        json.RawMessage
	Fingerprints []uint64 // of the shapes seen last, oldest first
	// Shape is what is known of the bodies. Nil where it was not asked for; to be stored,
	// nil leaves it as it is.
	Shape json.RawMessage
}

// Sightings is what was seen of one event type at all sources together.
type Sightings struct {
	EventCount  int
	SampleCount int
	LastSeenAt  time.Time // zero: never
	DriftedAt   time.Time // zero: never
	SourceIDs   []string  // in order
}

// LogEntry is what the catalogue counts of an event.
type LogEntry struct {
	Sequence   Sequence
	SourceID   string
	Type       string
	Common     bool // addressed to nobody in particular
	ReceivedAt time.Time
	Size       int // of the body, in bytes
}

// Learning is how far the catalogue has come.
type Learning struct {
	Position   Sequence  // of the last event that is counted
	CapturedAt time.Time // of the newest captured request that was learned from; zero: none
	WatchedAt  time.Time // when somebody last looked for silent sources; zero: never
}

// Learned is one step of the catalogue, stored all at once.
type Learned struct {
	From, To     Sequence // the events after From, up to To, are counted
	CapturedAt   time.Time
	Sightings    []*Sighting // as they are now
	Common       []string    // types of which an event was addressed to nobody
	Uncatalogued map[string]int
}

// TypeChange is one entry in the body of hookgraph.source.drift.
type TypeChange struct {
	// Path is where: a JSON pointer, with * for the items of an array and for keys that
	// are data. Empty for the body itself.
	Path string `json:"path"`
	Kind string `json:"kind"` // PROPERTY_ADDED, TYPE_WIDENED, …; MISMATCH where a schema is given
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}
