package receive

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// maxPublications is how many events one call can publish.
const maxPublications = 500

// Publication is an event that somebody publishes.
type Publication struct {
	SourceID  string // "": the built-in API source
	PartnerID string // whom it is addressed to; "": nobody in particular
	Type      string
	Payload   json.RawMessage // becomes the body as it is
	// The rest may be empty; an expression of the source then stands in.
	DedupeKey   string
	OrderingKey string
	OccurredAt  time.Time
}

// Published is what became of a publication.
type Published struct {
	// Event is the event stored, or the first one where this is its duplicate: then
	// without its payload, and nil in case it cannot be had. Nil if there are errors.
	Event     *hub.Event
	Duplicate bool
	// Errors say what was wrong with the publication, with paths within it.
	Errors hub.UserErrors
}

// Publish receives events from within. Each publication answers for itself, in
// order; those without errors are stored in one transaction, and an error means
// that none of them was.
func (d *Door) Publish(ctx context.Context, publications []Publication) ([]Published, error) {
	if len(publications) > maxPublications {
		return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("at most %d events can be published at once", maxPublications))
	}
	now := d.clock.Now()
	configuration, err := d.knowing(ctx, publications)
	if err != nil {
		return nil, fmt.Errorf("publish events: %w", err)
	}
	published := make([]Published, len(publications))
	events := make([]*hub.Event, 0, len(publications))
	places := make([]int, 0, len(publications)) // of each event among the publications
	for i := range publications {
		event, problems := d.normalise(configuration, &publications[i], now)
		if len(problems) > 0 {
			published[i].Errors = problems
			continue
		}
		events, places = append(events, event), append(places, i)
	}
	if len(events) == 0 {
		return published, nil
	}
	// Whoever asked may go away; what was begun is finished, as over HTTP.
	receipts, err := d.Receive(context.WithoutCancel(ctx), events)
	if err != nil {
		return nil, fmt.Errorf("publish events: %w", err)
	}
	var duplicates []string
	for i, receipt := range receipts {
		p := &published[places[i]]
		if p.Duplicate = receipt.Duplicate; p.Duplicate {
			duplicates = append(duplicates, receipt.EventID)
			continue
		}
		p.Event = events[i]
		p.Event.Sequence, p.Event.OutOfOrder = receipt.Sequence, receipt.OutOfOrder
	}
	if len(duplicates) == 0 {
		return published, nil
	}
	firsts, err := d.store.EventsByID(ctx, duplicates)
	if err != nil { // the rest is stored, and an error would have it published again
		d.logger.ErrorContext(ctx, "events published before not loaded", slog.Any("error", err))
	}
	for i, receipt := range receipts {
		if receipt.Duplicate {
			published[places[i]].Event = firsts[receipt.EventID]
		}
	}
	return published, nil
}

// knowing returns the configuration, newly read where this node does not know what a
// publication names: another node may have made it a moment ago.
func (d *Door) knowing(ctx context.Context, publications []Publication) (*hub.Configuration, error) {
	c := d.store.Configuration()
	for _, p := range publications {
		if p.SourceID != "" && c.Sources[p.SourceID] == nil || p.PartnerID != "" && c.Partners[p.PartnerID] == nil {
			err := d.store.Refresh(ctx)
			return d.store.Configuration(), err
		}
	}
	return c, nil
}

// normalise makes an event of a publication, or says what is wrong with it.
func (d *Door) normalise(c *hub.Configuration, p *Publication, now time.Time) (*hub.Event, hub.UserErrors) {
	var problems hub.UserErrors
	src := publishTo(c, p.SourceID, &problems)
	if p.PartnerID != "" && c.Partners[p.PartnerID] == nil {
		problems.Add(hub.InputNotFound, "there is no such partner", "partnerId")
	}
	if p.Type == "" {
		problems.Add(hub.InputRequired, "an event has a type", "type")
	} else {
		addProblem(&problems, "the type ", webhook.CheckType(p.Type), "type")
	}
	addProblem(&problems, "the key ", webhook.CheckKey(p.DedupeKey), "dedupeKey")
	addProblem(&problems, "the key ", webhook.CheckKey(p.OrderingKey), "orderingKey")
	if !p.OccurredAt.IsZero() {
		addProblem(&problems, "the time ", webhook.CheckTime(p.OccurredAt), "occurredAt")
	}
	switch {
	case len(p.Payload) == 0:
		problems.Add(hub.InputRequired, "an event has a payload", "payload")
	case !json.Valid(p.Payload):
		problems.Add(hub.InputInvalid, "the payload is not JSON", "payload")
	case src != nil && len(p.Payload) > maxBody(src):
		problems.Add(hub.InputLimitExceeded, fmt.Sprintf("the payload has %d bytes; the source accepts %d", len(p.Payload), maxBody(src)), "payload")
	}
	if len(problems) > 0 {
		return nil, problems
	}
	request := &webhook.Request{
		Method: http.MethodPost, Header: http.Header{"Content-Type": {jsonType}}, Body: p.Payload, ReceivedAt: now,
	}
	extracted, verdict := d.adapter.Extract(src, request, webhook.Extracted{
		Type: p.Type, DedupeKey: p.DedupeKey, OrderingKey: p.OrderingKey, OccurredAt: p.OccurredAt,
	})
	if !verdict.Accepted() {
		problems.Add(hub.InputInvalid, verdict.Detail, "payload")
		return nil, problems
	}
	if verdict := d.schemas.check(c, src, extracted.Type, p.Payload); !verdict.Accepted() {
		problems.Add(hub.InputInvalid, verdict.Detail, "payload")
		return nil, problems
	}
	event := newEvent(src, extracted, now)
	event.PartnerID = p.PartnerID
	event.ContentType = jsonType
	event.Payload = &hub.Payload{Body: p.Payload}
	return event, nil
}

// publishTo finds the source of a publication, or nil beside what is wrong.
func publishTo(c *hub.Configuration, id string, problems *hub.UserErrors) *hub.Source {
	src := c.Sources[id]
	if id == "" {
		src = c.SourcesBySlug[hub.BuiltInAPISlug]
	}
	switch {
	case src == nil:
		problems.Add(hub.InputNotFound, "there is no such source", "sourceId")
		return nil
	case src.ID == hub.BuiltInHubID:
		problems.Add(hub.InputForbidden, "this source has the hub's own events; nobody else publishes to it", "sourceId")
		return nil
	case src.Kind != hub.SourceAPI:
		problems.Add(hub.InputInvalid, fmt.Sprintf("events are published to sources of kind API; this one is of kind %s", src.Kind), "sourceId")
		return nil
	case src.State == hub.SourcePaused:
		problems.Add(hub.InputConflict, "the source is paused", "sourceId")
		return nil
	}
	return src
}

func maxBody(src *hub.Source) int {
	if src.MaxBodyBytes > 0 {
		return src.MaxBodyBytes
	}
	return hub.DefaultMaxBodyBytes
}

func addProblem(problems *hub.UserErrors, subject, problem, field string) {
	if problem != "" {
		problems.Add(hub.InputInvalid, subject+problem, field)
	}
}
