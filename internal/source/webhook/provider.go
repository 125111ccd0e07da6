package webhook

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Provider is one row of the table: all that the hub knows about how a vendor
// sends webhooks.
type Provider struct {
	Name    string // what a source is configured with
	Title   string // what people call it
	DocsURL string // the vendor's own page about its signatures
	// SecretHint says what the vendor's secret looks like and where it is found.
	SecretHint string
	// Config lists the keys of providerConfig.
	Config []ConfigKey

	// Scheme declares the verification; nil where Verify does it.
	Scheme *Scheme
	// Verify is the verification where a declaration cannot say it. It judges on
	// raw bytes and answers whatever it is sent with a verdict.
	Verify func(*hub.Source, *Request) Verdict

	// FormField is the field that holds the JSON document where the vendor may
	// send it within a form.
	FormField string
	// The rules that find these in a request. A rule that finds nothing leaves the
	// event without; the type then falls back on what holds for every source.
	Type, DedupeKey, OrderingKey Rule
	OccurredAt                   TimeRule

	Handshakes []Handshake
}

// ConfigKey is one key of a source's providerConfig.
type ConfigKey struct {
	Name     string
	Meaning  string
	Required bool
}

// Scheme declares a signature by a keyed hash.
type Scheme struct {
	Header    string // that holds the signatures
	Format    signature.Format
	Algorithm signature.Algorithm
	// Key turns a secret as the vendor shows it into the bytes of the key.
	Key func(hub.Secret) ([]byte, error)
	// Content is what is signed, part by part.
	Content []Part
	// IDHeader holds the message's ID where the content has it.
	IDHeader string
	// Timestamp is nil where the scheme signs no time.
	Timestamp *Timestamp
}

// Timestamp declares where a signed time stands and how old or young it may be.
type Timestamp struct {
	Header    string // "": within the signature header
	Form      signature.TimeForm
	Tolerance time.Duration
}

// Part is a piece of what a scheme signs.
type Part struct {
	kind partKind
	text []byte
}

type partKind int

const (
	partLiteral partKind = iota
	partBody
	partID
	partTimestamp
	partMethod
	partURL
)

// The parts of signed content.
var (
	SignedBody      = Part{kind: partBody}      // the raw body
	SignedID        = Part{kind: partID}        // the value of IDHeader
	SignedTimestamp = Part{kind: partTimestamp} // the timestamp exactly as sent
	SignedMethod    = Part{kind: partMethod}    // the request's method
	SignedURL       = Part{kind: partURL}       // the full public URL
)

// Literal is text that stands between other parts.
func Literal(text string) Part { return Part{kind: partLiteral, text: []byte(text)} }

// Rule finds a text in a request: the first of its places that holds one.
type Rule []Place

// Place is one place in a request: a header, a path in the JSON document (in
// the syntax of gjson, names separated by dots), or what a function makes of it.
type Place struct {
	Header string
	Path   string
	Func   func(*Provider, *Request) string
}

// TimeRule finds a time in a request, written in one of the forms.
type TimeRule struct {
	Rule
	Forms []signature.TimeForm
}

// find returns what the rule finds, or "".
func (rule Rule) find(p *Provider, r *Request) string {
	for _, place := range rule {
		var found string
		switch {
		case place.Func != nil:
			found = place.Func(p, r)
		case place.Header != "":
			found = r.Header.Get(place.Header)
		default:
			found = r.lookup(p.FormField, place.Path)
		}
		if found != "" {
			return found
		}
	}
	return ""
}

// find returns the time the rule finds, or the zero time: one that the vendor
// writes in another way than it says is no reason to refuse the event.
func (rule TimeRule) find(p *Provider, r *Request) time.Time {
	text := rule.Rule.find(p, r)
	if text == "" {
		return time.Time{}
	}
	for _, form := range rule.Forms {
		if at, err := form.Parse(text); err == nil {
			return at
		}
	}
	return time.Time{}
}

// Handshake is a question by which a vendor finds out whether the URL is ours.
// Answering one never makes an event.
type Handshake struct {
	// Title is what the vendor calls it.
	Title string
	// Signed handshakes are answered only after the request has been verified.
	Signed bool
	// Answer returns the answer, or false where the request is something else.
	Answer func(*hub.Source, *Request) (Answer, bool)
}

// Answer is what a handshake is answered with.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte
}

// Table is a set of providers by name. It does not change once made.
type Table struct {
	rows map[string]*Provider
}

// NewTable makes a table of rows, whose names differ.
func NewTable(rows ...Provider) *Table {
	t := &Table{rows: make(map[string]*Provider, len(rows))}
	for _, row := range rows {
		t.rows[row.Name] = &row
	}
	return t
}

// Lookup returns the provider of a name.
func (t *Table) Lookup(name string) (*Provider, bool) {
	p, found := t.rows[name]
	return p, found
}

// Providers lists all rows by name.
func (t *Table) Providers() []*Provider {
	return slices.SortedFunc(maps.Values(t.rows), func(a, b *Provider) int { return cmp.Compare(a.Name, b.Name) })
}

// names lists the names of all rows, in order.
func (t *Table) names() []string {
	return slices.Sorted(maps.Keys(t.rows))
}
