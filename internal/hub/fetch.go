package hub

import (
	"encoding/json"
	"time"
)

// Bounds and defaults of sources that fetch.
const (
	DefaultPollInterval = time.Minute
	MinPollInterval     = time.Second
	MaxPollInterval     = 24 * time.Hour
	// DefaultPollItems are the elements of the answer, which is a list then.
	DefaultPollItems = "$[*]"
)

// Poll is a REST API that is asked on a schedule. Each new or changed item is one event,
// with the item as its body.
type Poll struct {
	URL        string          `json:"url"` // RFC 6570 template over since, sinceUnix, cursor, page and offset; "" with a provider
	Headers    []Header        `json:"headers,omitempty"`
	Interval   time.Duration   `json:"interval"`
	Items      string          `json:"items"` // RFC 9535 path to the items in the answer
	Pagination *PollPagination `json:"pagination,omitempty"`
	// Since is from when on everything is loaded first; zero: what the API lists.
	Since time.Time `json:"since"`
	// Reconciles is the webhook source whose gaps this one fills: what it finds and that
	// source never got becomes an event of that source. "": none.
	Reconciles string `json:"reconciles,omitempty"`
	// Grace is how old an item must be before it counts as never sent. Where an item's
	// time is not known it is not waited for.
	Grace time.Duration `json:"grace,omitempty"`
}

// PollPagination says how an answer leads to the next one. At most one is set; paths
// are RFC 9535 into the answer.
type PollPagination struct {
	LinkHeader bool   `json:"linkHeader,omitempty"` // RFC 8288, rel="next"
	NextURL    string `json:"nextUrl,omitempty"`    // path to the URL of the next page
	Cursor     string `json:"cursor,omitempty"`     // path to the template's next cursor
	Page       bool   `json:"page,omitempty"`       // the template's page counts up from 1 until a page is empty
	Offset     bool   `json:"offset,omitempty"`     // the template's offset counts items until a page is empty
	// KeepCursor says that the API's cursors go on from one time to the next, as in a feed of
	// changes; otherwise each time begins without one.
	KeepCursor bool `json:"keepCursor,omitempty"`
}

// Upstream is a GraphQL subscription of another server.
type Upstream struct {
	URL               string          `json:"url"` // http and https: SSE; ws and wss: graphql-transport-ws
	Document          string          `json:"document"`
	Variables         json.RawMessage `json:"variables,omitempty"`         // an object
	ConnectionPayload json.RawMessage `json:"connectionPayload,omitempty"` // an object
	Items             string          `json:"items,omitempty"`             // RFC 9535 path to the events in a result's data
	// ResumeVariable takes, after a break, the newest value that ResumePath (RFC 9535)
	// has found in the results.
	ResumeVariable string `json:"resumeVariable,omitempty"`
	ResumePath     string `json:"resumePath,omitempty"`
}

// Queue is a subject or queue of a message broker.
type Queue struct {
	URL string `json:"url"`
}

// FetchMark is what those who want to fetch from a source have left behind at it.
type FetchMark struct {
	AskedAt time.Time // as in Fetch
	Token   string    // of the process that fetches from it; "": none
	Until   time.Time // how long nobody else may
}

// Fetch is how far a source that fetches has come.
type Fetch struct {
	SourceID string
	// Progress is what its fetcher goes on from, in words of the fetcher's own; nil at
	// the beginning.
	Progress       json.RawMessage
	LastAt         time.Time // when it was asked last; zero: never
	NextAt         time.Time // when it is asked next; zero: it is followed all the time, or not at all
	Error          string    // why the last time failed, in a sentence for people; "": it did not
	FailingSince   time.Time // when the first of its last failures in a row was; zero: the last time was none
	Failures       int       // in a row
	FetchedCount   int       // events that came by it, counted where they are stored
	RecoveredCount int       // those among them that their webhook source had never got
	AskedAt        time.Time // when somebody asked for it last; zero: nobody has
	// Tell says that what was recovered and is not told yet is to be told now; Recovered
	// has the IDs of the newest of that, as far as this process has stored it.
	Tell      bool
	Recovered []string
}
