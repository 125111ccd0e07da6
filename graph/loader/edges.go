package loader

import (
	"context"
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
