package receive

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// MaxItems and MaxItemBytes bound what one call of Fetched stores in one transaction.
const (
	MaxItems     = 500
	MaxItemBytes = 16 << 20
)

// Found is what describes an event besides the rules of its source.
type Found = webhook.Extracted

// Item is one thing that a source which fetches has found.
type Item struct {
	Body        []byte
	ContentType string
	Header      http.Header // as a webhook would have them; stored redacted
	// Found is what describes it where neither an expression of the source nor the rule
	// of its provider does. Its Type counts for nothing: there is always one.
	Found Found
	// Given is what a preset of its fetcher says of it, before every rule: only an
	// expression of the source says otherwise.
	Given Found
	// Original is the event of this hub that the item was before it went by way of other
	// hubs: it counts as a duplicate of that. "": it was never here.
	Original string
}

// Fetched is what became of items.
type Fetched struct {
	Receipts []hub.Receipt // of each item, in order; without an EventID where it was refused
	Stored   int           // those that are new
	Refused  int           // those that were recorded as rejections
}

// Fetched receives what a source has fetched, as events of another source where it
// stands behind that one: then each new one counts as recovered. It returns once all of
// it is durable. An item that no event can be made of is recorded as a rejection of the
// source that fetched it, and is no error; after an error some of the items may be
// stored, and all of them are to be handed over again.
func (d *Door) Fetched(ctx context.Context, src, of *hub.Source, items []Item) (Fetched, error) {
	out := Fetched{Receipts: make([]hub.Receipt, len(items))}
	rules := rulesOf(src, of)
	now := d.clock.Now()
	for first := 0; first < len(items); {
		var events []*hub.Event
		var places []int // of each event among the items
		size, next := 0, first
		for ; next < len(items) && len(events) < MaxItems && (len(events) == 0 || size+len(items[next].Body) <= MaxItemBytes); next++ {
			item := &items[next]
			request := item.request(src, now)
			event, verdict := d.given(rules, request, item.Given, item.Found)
			if !verdict.Accepted() {
				if err := d.record(ctx, src, request, verdict); err != nil {
					return out, fmt.Errorf("record what was refused: %w", err)
				}
				out.Refused++
				continue
			}
			event.Recovered, event.FetchedBy = of.ID != src.ID, src.ID
			event.Original = item.Original
			events, places = append(events, event), append(places, next)
			size += len(item.Body)
		}
		if len(events) > 0 {
			receipts, err := d.Receive(ctx, events)
			if err != nil {
				return out, fmt.Errorf("receive what was fetched: %w", err)
			}
			for i, receipt := range receipts {
				out.Receipts[places[i]] = receipt
				if !receipt.Duplicate {
					out.Stored++
				}
			}
		}
		first = next
	}
	return out, nil
}

// Describe finds what describes the event that an item would become, without receiving it;
// false where no event can be made of it.
func (d *Door) Describe(src, of *hub.Source, item Item) (webhook.Extracted, bool) {
	event, verdict := d.given(rulesOf(src, of), item.request(src, d.clock.Now()), item.Given, item.Found)
	if !verdict.Accepted() {
		return webhook.Extracted{}, false
	}
	return webhook.Extracted{Type: event.Type, DedupeKey: event.DedupeKey, OrderingKey: event.OrderingKey, OccurredAt: event.OccurredAt}, true
}

// request is an item as a request of a webhook.
func (i *Item) request(src *hub.Source, now time.Time) *webhook.Request {
	request := &webhook.Request{Method: string(src.Kind), Header: i.Header, Body: i.Body, ReceivedAt: now}
	if request.Header == nil {
		request.Header = http.Header{}
	}
	if i.ContentType != "" {
		request.Header.Set("Content-Type", i.ContentType)
	}
	return request
}

// rulesOf is a source as one that fetches for another one makes its events: by the rules
// of that one, apart from expressions of its own.
func rulesOf(src, of *hub.Source) *hub.Source {
	if src.ID == of.ID {
		return src
	}
	rules := *of
	rules.EventType = cmp.Or(src.EventType, of.EventType)
	rules.DedupeKey = cmp.Or(src.DedupeKey, of.DedupeKey)
	rules.OccurredAt = cmp.Or(src.OccurredAt, of.OccurredAt)
	rules.OrderingKey = cmp.Or(src.OrderingKey, of.OrderingKey)
	rules.MaxBodyBytes = src.MaxBodyBytes
	return &rules
}

// event makes the event that a request carries, by the rules of a source.
func (d *Door) event(src *hub.Source, req *webhook.Request, found Found) (*hub.Event, webhook.Verdict) {
	return d.given(src, req, Found{}, found)
}

// given is event with what comes before all rules but the source's own expressions.
func (d *Door) given(src *hub.Source, req *webhook.Request, given, found Found) (*hub.Event, webhook.Verdict) {
	if len(req.Body) > maxBody(src) {
		return nil, tooLarge(src)
	}
	if src.EventType != "" {
		given.Type = ""
	}
	if src.DedupeKey != "" {
		given.DedupeKey = ""
	}
	if src.OrderingKey != "" {
		given.OrderingKey = ""
	}
	if src.OccurredAt != "" {
		given.OccurredAt = time.Time{}
	}
	extracted, verdict := d.adapter.Extract(src, req, given)
	if verdict.Accepted() && found != (Found{}) { // what the rules leave open is as it was found
		extracted, verdict = d.adapter.Extract(src, req, webhook.Extracted{
			Type: extracted.Type, DedupeKey: cmp.Or(extracted.DedupeKey, found.DedupeKey), DedupeWindow: extracted.DedupeWindow,
			OrderingKey: cmp.Or(extracted.OrderingKey, found.OrderingKey), OccurredAt: cmp.Or(extracted.OccurredAt, found.OccurredAt),
		})
	}
	if !verdict.Accepted() {
		return nil, verdict
	}
	if verdict := d.schemas.check(d.store.Configuration(), src, extracted.Type, req.Body); !verdict.Accepted() {
		return nil, verdict
	}
	event := newEvent(src, extracted, req.ReceivedAt)
	event.ContentType = hub.ValidText(req.Header.Get("Content-Type"))
	event.Payload = &hub.Payload{Body: req.Body, Headers: redact(src, req), Query: validQuery(webhook.RedactQuery(src, req.RawQuery))}
	return event, webhook.Verdict{}
}
