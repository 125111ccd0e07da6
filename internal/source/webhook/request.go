package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// Request is an inbound request as it came in. It is for one goroutine at a time.
type Request struct {
	Method string
	// Target is the path and query as sent.
	Target string
	// PublicURL is how the outside reaches the hub, without a trailing slash. Where
	// a provider signs its URL, the target is appended to this and never to the
	// request's own Host.
	PublicURL string
	RawQuery  string
	// Host is the name the request asked for. It is recorded, and trusted in nothing.
	Host   string
	Header http.Header
	Body   []byte
	// Fingerprint tells secrets apart in what the operator is told of a mismatch;
	// nil leaves that out.
	Fingerprint func(hub.Secret) string
	// Peer is the address of the other end of the connection.
	Peer       netip.Addr
	ReceivedAt time.Time

	inbound  *match.Inbound
	document []byte
	parsed   bool
	fields   url.Values
}

// Headers lists Host and the other headers, these in the order of their names:
// net/http does not keep the order they came in, only that of repeated ones. What
// is not UTF-8 is replaced, since neither database nor GraphQL can hold it.
func (r *Request) Headers() []hub.Header { return listHeaders(r.Host, r.Header) }

// inboundView is the request as expressions see it: with every header in the
// clear, since a signature may cover any of them.
func (r *Request) inboundView() *match.Inbound {
	if r.inbound == nil {
		query, _ := url.ParseQuery(r.RawQuery) // what cannot be parsed is left out, as net/http does it
		r.inbound = &match.Inbound{
			Headers: r.Headers(), Query: query, Body: r.Body, ContentType: r.Header.Get("Content-Type"),
		}
	}
	return r.inbound
}

// json returns the JSON document, an object or an array, that the body is, or that stands in the given
// field of a form, and nil where there is none.
func (r *Request) json(formField string) []byte {
	if r.parsed {
		return r.document
	}
	r.parsed = true
	document := r.Body
	if formField != "" && isForm(r.Header.Get("Content-Type")) {
		form, err := url.ParseQuery(string(r.Body))
		if err != nil {
			return nil
		}
		document = []byte(form.Get(formField))
	}
	// Looking up a path in what is no JSON would find things that are not there.
	if trimmed := bytes.TrimLeft(document, " \t\r\n"); len(trimmed) > 0 && (trimmed[0] == '{' || trimmed[0] == '[') && validJSON(trimmed) {
		r.document = trimmed
	}
	return r.document
}

// form returns the fields of a body that is a form; what cannot be parsed is left out.
func (r *Request) form() url.Values {
	if r.fields == nil && isForm(r.Header.Get("Content-Type")) {
		r.fields, _ = url.ParseQuery(string(r.Body))
	}
	return r.fields
}

// publicURL is the URL that the outside has sent the request to.
func (r *Request) publicURL() string { return r.PublicURL + r.Target }

// maxQuickDepth is how deep gjson may recurse; encoding/json stops there as well.
const maxQuickDepth = 10_000

// validJSON reports whether a text is JSON no deeper than encoding/json reads it.
// gjson is three times as fast and recurses without a bound, so it gets only what
// cannot be deeper than its brackets are many.
func validJSON(text []byte) bool {
	if bytes.Count(text, []byte{'{'})+bytes.Count(text, []byte{'['}) <= maxQuickDepth {
		return gjson.ValidBytes(text)
	}
	return json.Valid(text)
}

// lookup returns the text at a path of the request's JSON document: a string as
// it is, a number as it is written. Everything else counts as absent.
func (r *Request) lookup(formField, path string) string {
	document := r.json(formField)
	if document == nil {
		return ""
	}
	return textOf(gjson.GetBytes(document, path))
}

// textOf returns a string as it is and a number as it is written, else "".
func textOf(found gjson.Result) string {
	switch found.Type {
	case gjson.String:
		return found.Str
	case gjson.Number:
		return found.Raw
	case gjson.Null, gjson.False, gjson.True, gjson.JSON:
	}
	return ""
}

// lookupString is lookup for what has to be a string.
func (r *Request) lookupString(formField, path string) string {
	document := r.json(formField)
	if document == nil {
		return ""
	}
	if found := gjson.GetBytes(document, path); found.Type == gjson.String {
		return found.Str
	}
	return ""
}

func isForm(contentType string) bool {
	mediaType, _, _ := strings.Cut(contentType, ";")
	return strings.EqualFold(strings.TrimSpace(mediaType), "application/x-www-form-urlencoded")
}
