package webhook

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

// MaxKeyBytes is the longest dedupe or ordering key.
const MaxKeyBytes = 512

// Extracted is what describes the event that a request carries.
type Extracted struct {
	Type         string
	DedupeKey    string        // "": every request is an event
	DedupeWindow time.Duration // how long the key counts, unless the source says; 0: as long as events are kept
	OrderingKey  string        // "": none
	OccurredAt   time.Time     // zero: unknown
}

// dedupeHeaders are the headers that, without a preset or an expression, hold
// the dedupe key; the first that is present does.
var dedupeHeaders = Rule{{Header: "Webhook-Id"}, {Header: "Svix-Id"}, {Header: "Ce-Id"}, {Header: "Idempotency-Key"}}

// typeFields are where, without a preset or an expression, the type is: in the
// first of these fields of the body that is a string, be it JSON or a form. After
// them comes the slug.
var typeFields = [...]string{"type", "event"}

// plain is the row of a source without a provider.
var plain = Provider{DedupeKey: dedupeHeaders}

// Extract finds what describes the event of a verified request: what is given
// already stays, then an expression of the source, then the rule of its provider.
// An expression that fails refuses the request, since an event under a wrong type
// or key could not be undone.
func (a *Adapter) Extract(src *hub.Source, r *Request, given Extracted) (Extracted, Verdict) {
	p, found := a.table.Lookup(src.Provider)
	if !found {
		p = &plain
	}
	e := given
	var err error
	if e.Type == "" {
		if e.Type, err = a.text(src.EventType, r); err != nil {
			return Extracted{}, failed("eventType", src.EventType, r, err)
		}
		if src.EventType == "" {
			e.Type = eventType(p, src, r)
		}
	}
	if e.DedupeKey == "" {
		if e.DedupeKey, err = a.text(src.DedupeKey, r); err != nil {
			return Extracted{}, failed("dedupeKey", src.DedupeKey, r, err)
		}
		if src.DedupeKey == "" {
			var place Place
			e.DedupeKey, place = p.DedupeKey.first(p, r)
			e.DedupeWindow = place.Holds
		}
	}
	if e.OrderingKey == "" {
		if e.OrderingKey, err = a.text(src.OrderingKey, r); err != nil {
			return Extracted{}, failed("orderingKey", src.OrderingKey, r, err)
		}
		if src.OrderingKey == "" {
			e.OrderingKey = p.OrderingKey.find(p, r)
		}
	}
	if e.OccurredAt.IsZero() {
		if src.OccurredAt == "" {
			e.OccurredAt = p.OccurredAt.find(p, r)
		} else if e.OccurredAt, err = a.expressions.EvalTime(src.OccurredAt, r.inboundView()); err != nil {
			return Extracted{}, failed("occurredAt", src.OccurredAt, r, err)
		}
	}
	verdict := e.check()
	return e, verdict
}

// text evaluates an expression that yields a text; the empty one yields none.
func (a *Adapter) text(expression string, r *Request) (string, error) {
	if expression == "" {
		return "", nil
	}
	return a.expressions.EvalText(expression, r.inboundView())
}

func eventType(p *Provider, src *hub.Source, r *Request) string {
	if found := p.Type.find(p, r); found != "" {
		return found
	}
	for _, field := range typeFields {
		if found := r.lookupString(p.FormField, field); found != "" {
			return found
		}
	}
	if isForm(r.Header.Get("Content-Type")) {
		form, _ := r.inboundView().Value().(map[string]any)
		for _, field := range typeFields {
			if found, _ := form[field].(string); found != "" {
				return found
			}
		}
	}
	return src.Slug
}

// failed refuses a request on which an expression of the source fails. That a body is
// null to expressions is seldom what its sender meant.
func failed(field, expression string, r *Request, err error) Verdict {
	detail := fmt.Sprintf("The source's expression %s fails on this request: %v.", field, err)
	if strings.Contains(expression, "body") && r.inboundView().Value() == nil {
		switch text := string(bytes.TrimSpace(r.Body)); text {
		case "":
			detail += " The request has no body."
		case "null":
		default:
			detail += " Its body is neither JSON nor a form, so that body is null."
		}
	}
	return refuse(hub.RejectedExtraction, detail)
}

// check refuses what neither database nor people could work with.
func (e *Extracted) check() Verdict {
	if problem := CheckType(e.Type); problem != "" {
		return refuse(hub.RejectedExtraction, "The event type "+problem+".")
	}
	if problem := CheckKey(e.DedupeKey); problem != "" {
		return refuse(hub.RejectedExtraction, "The dedupe key "+problem+".")
	}
	if problem := CheckKey(e.OrderingKey); problem != "" {
		return refuse(hub.RejectedExtraction, "The ordering key "+problem+".")
	}
	if problem := CheckTime(e.OccurredAt); problem != "" {
		return refuse(hub.RejectedExtraction, "The time of occurrence "+problem+".")
	}
	e.OccurredAt = e.OccurredAt.UTC().Truncate(time.Microsecond)
	return Verdict{}
}

// CheckType says what is wrong with an event type, or "" where nothing is.
func CheckType(eventType string) string {
	if eventType == "" {
		return "is empty"
	}
	if hub.IsHubType(eventType) {
		return "begins with " + hub.HubTypePrefix + ", as the hub's own events alone do"
	}
	return checkText(eventType, match.MaxTypeBytes)
}

// CheckKey says what is wrong with a dedupe or ordering key, or "" where nothing is.
func CheckKey(key string) string { return checkText(key, MaxKeyBytes) }

// CheckTime says what is wrong with a time, or "" where nothing is.
func CheckTime(at time.Time) string {
	if year := at.UTC().Year(); year < 1 || year > 9999 {
		return "lies outside the years 1 to 9999"
	}
	return ""
}

func checkText(text string, limit int) string {
	if len(text) > limit {
		return fmt.Sprintf("is %d bytes long; at most %d are allowed", len(text), limit)
	}
	if !utf8.ValidString(text) {
		return "is not valid UTF-8"
	}
	for _, r := range text {
		if unicode.IsControl(r) {
			return "has a control character"
		}
	}
	return ""
}
