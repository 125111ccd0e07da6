package hub

import "time"

// The types of hub events about sources.
const (
	SourceSilentType    = "hookgraph.source.silent"
	SourceResumedType   = "hookgraph.source.resumed"
	SourceRejectingType = "hookgraph.source.rejecting"
	SourceFailingType   = "hookgraph.source.failing"
	SourceDriftType     = "hookgraph.source.drift"
)

// Bounds of how long a source may have nothing to say.
const (
	MinSilentAfter = time.Minute
	MaxSilentAfter = 366 * 24 * time.Hour
)

// Watch is what is known of a source's rhythm.
type Watch struct {
	SourceID       string
	Since          time.Time     // from when on its silence counts; zero: it is not watched
	UsualPause     time.Duration // how long it may be silent by its rhythm; 0: not known
	MeasuredAt     time.Time     // when its rhythm was worked out
	SilentSince    time.Time     // zero: it is not silent
	RejectingSince time.Time     // zero: it does not refuse most of its requests
	FailingSince   time.Time     // since when it cannot be fetched from, once that has been told; zero: it can
	Uncatalogued   int           // events whose types are beyond MaxTypesPerSource
}

// Expected returns how long a source may have nothing to say: as it was set, or else by
// its rhythm; 0 where neither is known. w may be nil.
func (w *Watch) Expected(src *Source) time.Duration {
	if src.SilentAfter > 0 || w == nil {
		return src.SilentAfter
	}
	return w.UsualPause
}

// Activity is what came from a source within one span of time.
type Activity struct {
	SourceID                       string
	Start                          time.Time
	Width                          time.Duration
	Received, Duplicates, Rejected int
}

// SourceFacts is the body of the events about a source.
type SourceFacts struct {
	SourceID string `json:"sourceId"`
	Name     string `json:"name"`
	Slug     string `json:"slug"`

	// Of silent and resumed: since when there was nothing, and after how many seconds
	// that counts.
	SilentSince  *time.Time `json:"silentSince,omitempty"`
	ExpectedOnce float64    `json:"expectedWithinSeconds,omitempty"`
	// Set says that somebody has set it, and it is not learned.
	Set bool `json:"set,omitempty"`
	// ResumedAt is when it spoke again, or could be fetched from.
	ResumedAt *time.Time `json:"resumedAt,omitempty"`

	// Of failing and resumed: since when it could not be fetched from, how often that was
	// tried, and why it failed the last time.
	FailingSince *time.Time `json:"failingSince,omitempty"`
	Failures     int        `json:"failures,omitempty"`
	Error        string     `json:"error,omitempty"`

	// Of rejecting: how many requests came within how many seconds, how many of them
	// were refused, and those that are kept by reason.
	WindowSeconds float64                 `json:"windowSeconds,omitempty"`
	Requests      int                     `json:"requests,omitempty"`
	Rejected      int                     `json:"rejected,omitempty"`
	Reasons       map[RejectionReason]int `json:"reasons,omitempty"`

	// Of drift: the type of the events, what is new of them, and whether that is against
	// a given schema.
	EventType   string       `json:"eventType,omitempty"`
	GivenSchema bool         `json:"givenSchema,omitempty"`
	Changes     []TypeChange `json:"changes,omitempty"`
}

// NewSourceAnnouncement makes an announcement about a source. It concerns the operator
// alone.
func NewSourceAnnouncement(eventType string, src *Source, at time.Time, facts SourceFacts) *Announcement {
	facts.SourceID, facts.Name, facts.Slug = src.ID, src.Name, src.Slug
	return NewAnnouncement(eventType, "", at, facts)
}
