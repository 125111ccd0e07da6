package webhook

import (
	"cmp"
	"context"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Provider is one row of the table: all that the hub knows about how a vendor
// sends webhooks.
type Provider struct {
	Name  string // what a source is configured with
	Title string // what people call it
	// Kind is that of the sources that can use it; "" is WEBHOOK.
	Kind    hub.SourceKind
	DocsURL string // the vendor's own page about its signatures
	// SecretHint says what the vendor's secret looks like and where it is found.
	SecretHint string
	// Config lists the keys of providerConfig.
	Config []ConfigKey

	// Scheme declares the verification; nil where Verify does it.
	Scheme *Scheme
	// Verify is the verification where a declaration cannot say it. It judges on
	// raw bytes and answers whatever it is sent with a verdict.
	Verify func(context.Context, *Case) Verdict
	// Method says in words how Verify does it, for the documentation.
	Method string
	// Key reads a secret for Verify; nil takes its characters as they are.
	Key func(hub.Secret) ([]byte, error)
	// SecretsOptional marks vendors whose key material is, or may be, in the
	// configuration, and those that show the secret only after a handshake.
	SecretsOptional bool
	// Fetches is the key of the configuration that pins what Verify otherwise has
	// to fetch from the vendor; "" where it fetches nothing.
	Fetches string
	// Check says what else is wrong with a source, by the path of the field and a
	// sentence; nil where the configuration's own checks are enough.
	Check func(src *hub.Source) (field []string, problem string)

	// FormField is the field that holds the JSON document where the vendor may
	// send it within a form.
	FormField string
	// The rules that find these in a request. A rule that finds nothing leaves the
	// event without; the type then falls back on what holds for every source.
	Type, DedupeKey, OrderingKey Rule
	OccurredAt                   TimeRule

	Handshakes []Handshake
}

// Case is one request to one source, with what judging it may need.
type Case struct {
	Source   *hub.Source
	Request  *Request
	Provider *Provider

	remote *remote // nil where nothing can be fetched
	tokens *tokens // nil where tokens are not remembered
}

// ConfigKey is one key of a source's providerConfig.
type ConfigKey struct {
	Name     string
	Meaning  string
	Required bool
	// Verifies marks the material that requests are verified with.
	Verifies bool
	// Check says what is wrong with a value, or ""; nil accepts any text.
	Check func(value any) string
}

// settings returns the texts under a key of the configuration, which holds one or
// a list of them.
func settings(src *hub.Source, name string) []string {
	switch value := src.ProviderConfig[name].(type) {
	case string:
		if value != "" {
			return []string{value}
		}
	case []any:
		texts := make([]string, 0, len(value))
		for _, item := range value {
			if text, ok := item.(string); ok && text != "" {
				texts = append(texts, text)
			}
		}
		return texts
	case []string:
		return value
	}
	return nil
}

// setting returns the text under a key of the configuration, or "".
func setting(src *hub.Source, name string) string {
	text, _ := src.ProviderConfig[name].(string)
	return text
}

// key returns how the vendor's secrets are read.
func (p *Provider) key() func(hub.Secret) ([]byte, error) {
	switch {
	case p.Scheme != nil:
		return p.Scheme.Key
	case p.Key != nil:
		return p.Key
	}
	return textKey
}

// keyed reports whether the source's configuration holds material to verify with.
func (p *Provider) keyed(src *hub.Source) bool {
	return slices.ContainsFunc(p.Config, func(k ConfigKey) bool { return k.Verifies && src.ProviderConfig[k.Name] != nil })
}

// Scheme declares a signature by a keyed hash.
type Scheme struct {
	Header string // that holds the signatures
	// Newer is its name in a newer form of the vendor's, which counts where it comes;
	// "" where there is none.
	Newer string
	// Unbranded is the same under other names of all its headers, for requests that
	// have none of these; nil where there is none.
	Unbranded *Scheme
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
	Header string // "": within the signature header, or at the path
	// Path is where in the JSON document the time is, which is signed with it. A
	// document without one is not judged by time: nobody but the vendor could have
	// left it out.
	Path      string
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

// Place is one place in a request: a header, a field of a form, a path in the
// JSON document (in the syntax of gjson, names separated by dots), or what a
// function makes of it.
type Place struct {
	Header string
	Form   string
	Path   string
	Func   func(*Provider, *Request) string
	Says   string // what Func finds, for the documentation
	// Holds is how long a dedupe key from here tells events apart, where the vendor may
	// mean something new by the same later; 0: for good.
	Holds time.Duration
}

// TimeRule finds a time in a request, written in one of the forms.
type TimeRule struct {
	Rule
	Forms []signature.TimeForm
}

// find returns what the rule finds, or "".
func (rule Rule) find(p *Provider, r *Request) string {
	found, _ := rule.first(p, r)
	return found
}

// first returns what the rule finds, or "", and the place where that is.
func (rule Rule) first(p *Provider, r *Request) (string, Place) {
	for _, place := range rule {
		var found string
		switch {
		case place.Func != nil:
			found = place.Func(p, r)
		case place.Header != "":
			found = r.Header.Get(place.Header)
		case place.Form != "":
			found = r.form().Get(place.Form)
		default:
			found = r.lookup(p.FormField, place.Path)
		}
		if found != "" {
			return found, place
		}
	}
	return "", Place{}
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
	// Bare handshakes are refused without a body too, as their vendor demands of
	// whatever they are answered with.
	Bare bool
	// Answer returns the answer, or false where the request is something else.
	Answer func(context.Context, *Case) (Answer, bool)
}

// Answer is what a handshake is answered with.
type Answer struct {
	Status      int
	ContentType string
	Header      http.Header // besides Content-Type
	Body        []byte
	// Refusal, where it refuses, stands instead of all the rest: the request is a
	// handshake, and not one that this source answers.
	Refusal Verdict
	// Note, where it is set, is kept for the operator among the rejections, since
	// the handshake asks something of people.
	Note Verdict
}

// Table is a set of providers by name. It does not change once made.
type Table struct {
	rows   map[string]*Provider
	remote *remote
}

// Fetching returns the same table for a hub that can fetch certificates and keys
// from vendors. The transport is trusted to keep calls off private networks.
func (t *Table) Fetching(transport http.RoundTripper) *Table {
	return &Table{rows: t.rows, remote: newRemote(transport)}
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

// Of lists the rows for a kind of source by name.
func (t *Table) Of(kind hub.SourceKind) []*Provider {
	rows := slices.SortedFunc(maps.Values(t.rows), func(a, b *Provider) int { return cmp.Compare(a.Name, b.Name) })
	return slices.DeleteFunc(rows, func(p *Provider) bool { return p.kind() != kind })
}

// kind is the kind of source that a row is for.
func (p *Provider) kind() hub.SourceKind { return cmp.Or(p.Kind, hub.SourceWebhook) }

// names lists the names of the rows for a kind of source, in order.
func (t *Table) names(kind hub.SourceKind) []string {
	var names []string
	for _, p := range t.Of(kind) {
		names = append(names, p.Name)
	}
	return names
}

// Keyed reports whether what a source polls can have the dedupe keys that a webhook
// source's own rules give to what it is sent. Rules that look at headers alone find
// nothing in what is polled, unless its preset brings the headers with it.
func (t *Table) Keyed(src, of *hub.Source) bool {
	if src.DedupeKey != "" || of.DedupeKey != "" || src.Provider != "" {
		return true
	}
	p, found := t.Lookup(of.Provider)
	return found && slices.ContainsFunc(p.DedupeKey, func(place Place) bool { return place.Header == "" })
}
