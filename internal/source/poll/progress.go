package poll

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	// overlap is how far a run goes back behind the newest item of the one before: APIs
	// list some items later than those that came after them.
	overlap = 5 * time.Minute
	// maxPages is how many pages are asked for at a time, and whose validators are kept.
	maxPages      = 1000
	maxValidators = 100
)

// progress is how far a source has come, as it is stored.
type progress struct {
	Of    string `json:"of"`    // tells what is polled
	Rules string `json:"rules"` // tells how events are made of it
	// Under is when the source was changed to what it was when it was asked last.
	Under time.Time `json:"under,omitzero"`

	// Since is where the next run begins, as far as times are known.
	Since time.Time `json:"since,omitzero"`
	// Cursor is where it begins where the API's cursors go on from run to run.
	Cursor string `json:"cursor,omitempty"`
	// Run is the run under way, nil between runs.
	Run *run `json:"run,omitempty"`
	// Pages are those of which the API can say that nothing has changed.
	Pages []page `json:"pages,omitempty"`
	// Runs counts the runs that began; it never begins anew, since it is part of keys.
	Runs uint32 `json:"runs,omitempty"`
	// States is the memory, as it is stored.
	States []byte `json:"states,omitempty"`
	memory *memory

	Failures  int           `json:"failures,omitempty"` // in a row
	Idle      int           `json:"idle,omitempty"`     // runs in a row that found nothing new
	NotBefore time.Time     `json:"notBefore,omitzero"` // the API asks not to be asked before
	Every     time.Duration `json:"every,omitempty"`    // the interval that the API asks for
}

// run goes once through what the API lists.
type run struct {
	Began  time.Time `json:"began"`
	Since  time.Time `json:"since,omitzero"`  // what the pages are asked for by, the same for all of them
	Newest time.Time `json:"newest,omitzero"` // of what was handed over
	// Waiting is the time of the oldest item that is too young to be handed over.
	Waiting time.Time `json:"waiting,omitzero"`
	New     int       `json:"new,omitempty"` // events

	// Where the next page is.
	Next   string `json:"next,omitempty"` // its URL, where the API says that
	Cursor string `json:"cursor,omitempty"`
	Page   int    `json:"page,omitempty"`
	Offset int    `json:"offset,omitempty"`

	Asked int    `json:"asked,omitempty"` // pages
	Empty int    `json:"empty,omitempty"` // pages without items in a row
	Mark  string `json:"mark,omitempty"`  // a page that was asked for, to find out that the way is a circle
	Body  string `json:"body,omitempty"`  // the digest of the last page
}

// page is a page whose validators are known.
type page struct {
	URL      string    `json:"url"` // its digest
	ETag     string    `json:"etag,omitempty"`
	Modified string    `json:"modified,omitempty"`
	Next     string    `json:"next,omitempty"`
	Cursor   string    `json:"cursor,omitempty"`
	Items    int       `json:"items,omitempty"`
	Oldest   time.Time `json:"oldest,omitzero"`
}

// short names a text by its digest.
func short(parts ...[]byte) string {
	h := sha256.New()
	for _, part := range parts {
		h.Write(part)
		h.Write([]byte{0})
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:12])
}

// digest names anything that can be written as JSON.
func digest(value any) string {
	text, err := json.Marshal(value)
	if err != nil { // settings alone
		return ""
	}
	return short(text)
}

// readProgress returns how far a source has come. What was reached with another URL, or
// for another beginning, counts for nothing; what was seen under other rules is looked
// at once more.
func readProgress(src *hub.Source, stored json.RawMessage) *progress {
	of := digest([]any{src.Poll.URL, src.Provider, src.ProviderConfig, src.Poll.Since, src.Poll.Pagination})
	rules := digest([]any{
		src.Poll.Items, src.Poll.Headers, src.Poll.Interval, src.Poll.Reconciles, src.Poll.Grace,
		src.EventType, src.DedupeKey, src.OccurredAt, src.OrderingKey, src.MaxBodyBytes,
	})
	p := new(progress)
	if json.Unmarshal(stored, p) != nil || p.Of != of {
		return &progress{Of: of, Rules: rules, Since: src.Poll.Since, Runs: p.Runs, memory: newMemory(nil)}
	}
	if p.Rules != rules {
		p.Rules, p.Pages, p.States, p.Idle, p.Failures, p.Every = rules, nil, nil, 0, 0, 0
	}
	p.memory = newMemory(decodeStates(p.States))
	return p
}

// encode writes it down.
func (p *progress) encode() json.RawMessage {
	p.States = p.memory.encode()
	text, err := json.Marshal(p)
	if err != nil { // texts, numbers and times alone
		return nil
	}
	return text
}

// known returns the page at a URL, nil where its validators are not known.
func (p *progress) known(url string) *page {
	name := short([]byte(url))
	for i := range p.Pages {
		if p.Pages[i].URL == name {
			return &p.Pages[i]
		}
	}
	return nil
}

// keep replaces what is known of a page; a page without validators is forgotten.
func (p *progress) keep(url string, pg page) {
	pg.URL = short([]byte(url))
	for i := range p.Pages {
		if p.Pages[i].URL == pg.URL {
			p.Pages = append(p.Pages[:i:i], p.Pages[i+1:]...)
			break
		}
	}
	if pg.ETag == "" && pg.Modified == "" {
		return
	}
	if p.Pages = append(p.Pages, pg); len(p.Pages) > maxValidators {
		p.Pages = p.Pages[1:]
	}
}

// finish ends the run: the next one begins a little before the newest item that this one
// has handed over, and not after anything that still waits.
func (p *progress) finish(keepCursor bool) {
	r := p.Run
	p.Run = nil
	if keepCursor && r.Cursor != "" {
		p.Cursor = r.Cursor
	}
	if r.Newest.IsZero() {
		return
	}
	since := r.Newest
	if since.After(r.Began) { // by another clock, or planned for later
		since = r.Began
	}
	since = since.Add(-overlap)
	if !r.Waiting.IsZero() && r.Waiting.Add(-overlap).Before(since) {
		since = r.Waiting.Add(-overlap)
	}
	if since.After(p.Since) {
		p.Since = since
	}
}
