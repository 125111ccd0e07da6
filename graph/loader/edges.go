package loader

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// Event returns an event by ID, nil where it is not stored any more. of are the
// events that all objects refer to which were fetched together.
func (l *Loaders) Event(ctx context.Context, of *model.Group, id string) (*model.Event, error) {
	event, _, err := l.event.load(ctx, of, id, none{})
	return event, err
}

// Payload returns what an event carries, nil where it is not stored any more.
func (l *Loaders) Payload(ctx context.Context, of *model.Group, eventID string) (*hub.Payload, error) {
	payload, _, err := l.payload.load(ctx, of, eventID, none{})
	return payload, err
}

// EventsOfSource returns a page of a source's events.
func (l *Loaders) EventsOfSource(
	ctx context.Context, of *model.Group, sourceID string, filter *hub.EventFilter, page hub.Page,
) (hub.Slice[*model.Event], error) {
	events, _, err := l.eventsOfSource.load(ctx, of, sourceID, eventArgs{shared(l, filter), page})
	return events, err
}

// CountEventsOfSource counts a source's events.
func (l *Loaders) CountEventsOfSource(
	ctx context.Context, of *model.Group, sourceID string, filter *hub.EventFilter,
) (int, error) {
	count, _, err := l.countOfSource.load(ctx, of, sourceID, eventArgs{filter: shared(l, filter)})
	return count, err
}

// LastEventAt returns when a source's newest event came in, zero if none is stored.
func (l *Loaders) LastEventAt(ctx context.Context, of *model.Group, sourceID string) (time.Time, error) {
	at, _, err := l.lastEventAt.load(ctx, of, sourceID, none{})
	return at, err
}

// Fetch returns how far a source has come, nil where it was never fetched from.
func (l *Loaders) Fetch(ctx context.Context, of *model.Group, sourceID string) (*hub.Fetch, error) {
	fetch, _, err := l.fetch.load(ctx, of, sourceID, none{})
	return fetch, err
}

// Rejections returns a page of what a source refused.
func (l *Loaders) Rejections(
	ctx context.Context, of *model.Group, sourceID string, page hub.Page,
) (hub.Slice[*model.Rejection], error) {
	rejections, _, err := l.rejections.load(ctx, of, sourceID, page)
	return rejections, err
}

// CountRejections counts what a source refused.
func (l *Loaders) CountRejections(ctx context.Context, of *model.Group, sourceID string) (int, error) {
	count, _, err := l.countRejections.load(ctx, of, sourceID, none{})
	return count, err
}

// Backlog returns how many deliveries of an endpoint are not settled.
func (l *Loaders) Backlog(ctx context.Context, of *model.Group, endpointID string) (int, error) {
	count, _, err := l.backlog.load(ctx, of, endpointID, none{})
	return count, err
}

// Delivery returns a delivery by ID, nil where it is not stored any more.
func (l *Loaders) Delivery(ctx context.Context, of *model.Group, id string) (*model.Delivery, error) {
	delivery, _, err := l.delivery.load(ctx, of, id, none{})
	return delivery, err
}

// Deliveries returns a page of the deliveries of an event, endpoint or subscription.
func (l *Loaders) Deliveries(
	ctx context.Context, parent store.Parent, of *model.Group, id string, filter *hub.DeliveryFilter, page hub.Page,
) (hub.Slice[*model.Delivery], error) {
	deliveries, _, err := l.deliveries.load(ctx, of, id, deliveryArgs{parent, shared(l, filter), page})
	return deliveries, err
}

// CountDeliveries counts the deliveries of an event, endpoint or subscription.
func (l *Loaders) CountDeliveries(
	ctx context.Context, parent store.Parent, of *model.Group, id string, filter *hub.DeliveryFilter,
) (int, error) {
	count, _, err := l.countDeliveries.load(ctx, of, id, deliveryArgs{parent: parent, filter: shared(l, filter)})
	return count, err
}

// Attempts returns a page of a delivery's attempts, oldest first.
func (l *Loaders) Attempts(
	ctx context.Context, of *model.Group, deliveryID string, page hub.Page,
) (hub.Slice[*model.Attempt], error) {
	attempts, _, err := l.attempts.load(ctx, of, deliveryID, page)
	return attempts, err
}

// CountAttempts counts a delivery's attempts.
func (l *Loaders) CountAttempts(ctx context.Context, of *model.Group, deliveryID string) (int, error) {
	count, _, err := l.countAttempts.load(ctx, of, deliveryID, none{})
	return count, err
}

// ShapedBody returns the body that a transform made for a delivery, nil where there is
// none.
func (l *Loaders) ShapedBody(ctx context.Context, of *model.Group, deliveryID string) (*hub.Body, error) {
	body, _, err := l.shapedBody.load(ctx, of, deliveryID, none{})
	return body, err
}

// Stats returns what happened to a source or endpoint over a span.
func (l *Loaders) Stats(
	ctx context.Context, parent store.StatsParent, of *model.Group, id string, since, until time.Time,
) (*hub.StatsBucket, error) {
	bucket, _, err := l.stats.load(ctx, of, id, statsArgs{parent, since, until})
	return bucket, err
}

// EventType returns what the catalogue says of a type, nil where it says nothing. of are
// the types of all events that were fetched together.
func (l *Loaders) EventType(ctx context.Context, of *model.Group, name string) (*model.EventType, error) {
	found, _, err := l.eventType.load(ctx, of, name, none{})
	return found, err
}

// EventTypesOfSource returns a page of the types of a source's events.
func (l *Loaders) EventTypesOfSource(
	ctx context.Context, of *model.Group, sourceID string, page hub.Page,
) (hub.Slice[*model.EventType], error) {
	types, _, err := l.typesOfSource.load(ctx, of, sourceID, page)
	return types, err
}

// CountEventTypesOfSource counts the types of a source's events.
func (l *Loaders) CountEventTypesOfSource(ctx context.Context, of *model.Group, sourceID string) (int, error) {
	count, _, err := l.countTypes.load(ctx, of, sourceID, none{})
	return count, err
}

// Sightings returns what was seen of an event type.
func (l *Loaders) Sightings(ctx context.Context, of *model.Group, typeID string) (hub.Sightings, error) {
	seen, _, err := l.sightings.load(ctx, of, typeID, none{})
	if seen == nil {
		seen = &hub.Sightings{}
	}
	return *seen, err
}

// Shapes returns what was learned of an event type at each source.
func (l *Loaders) Shapes(ctx context.Context, of *model.Group, typeID string) ([]json.RawMessage, error) {
	shapes, _, err := l.shapes.load(ctx, of, typeID, none{})
	return shapes, err
}

// Watch returns what is known of the rhythm of a source.
func (l *Loaders) Watch(ctx context.Context, of *model.Group, sourceID string) (hub.Watch, error) {
	watch, _, err := l.watch.load(ctx, of, sourceID, none{})
	if watch == nil {
		watch = &hub.Watch{SourceID: sourceID}
	}
	return *watch, err
}
