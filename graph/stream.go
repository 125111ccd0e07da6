package graph

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/transport"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/stream"
)

// requestOf is the request of a reader who gave these arguments.
func requestOf[T any](
	ctx context.Context, after *string, from *model.StreamStart, batchSize *int, admit func(T) (bool, error),
) (stream.Request[T], error) {
	if batchSize != nil && (*batchSize < 1 || *batchSize > stream.MaxBatch) {
		return stream.Request[T]{}, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("batchSize is 1 to %d", stream.MaxBatch))
	}
	if after != nil && *after == "" { // it would start anew, past what came in meanwhile
		return stream.Request[T]{}, hub.NewError(hub.CodeBadUserInput, "after is empty; leave it out to start without a cursor")
	}
	return stream.Request[T]{
		After:        cmp.Or(transport.StreamFromContext(ctx).LastEventID(), valueOf(after)),
		FromEarliest: valueOf(from) == model.StreamStartEarliest,
		Admit:        admit,
		Batch:        valueOf(batchSize),
	}, nil
}

// relay has the transport draw a stream of a log, step by step. sequence tells the place
// of an item, payload makes of items what the executor sees.
func relay[T, P any](
	ctx context.Context, r *Resolver, tail Tail[T], request stream.Request[T], sequence func(T) hub.Sequence,
	payload func(ctx context.Context, cursor string, items []T) P,
) (<-chan P, error) {
	batches, err := tail.Read(ctx, hub.SightOf(hub.ViewerFromContext(ctx)), request)
	if errors.Is(err, stream.ErrDraining) {
		return nil, &hub.Error{
			Code: hub.CodeUnavailable, Message: "the hub is shutting down; try again", RetryAfter: time.Second,
		}
	}
	if err != nil {
		return nil, err
	}
	return transport.Feed(ctx, func(ctx context.Context) (message transport.Message[P], err error) {
		select {
		case <-ctx.Done():
			return message, io.EOF
		case batch, open := <-batches:
			switch {
			case !open:
				return message, io.EOF
			case errors.Is(batch.Err, stream.ErrDraining):
				return message, transport.ErrInterrupted
			case batch.Err != nil:
				return message, batch.Err
			}
			message.Position, message.Content = batch.Cursor, contentOf(batch, r.store(ctx).Configuration().Revision, sequence)
			message.Payload = func() P { return payload(ctx, batch.Cursor, batch.Items) }
			return message, nil
		}
	}), nil
}

// contentOf names what a batch shows: its cursor, its items, and the revision of
// the configuration that what they refer to is read from.
func contentOf[T any](batch stream.Batch[T], revision int64, sequence func(T) hub.Sequence) string {
	content := make([]byte, 0, len(batch.Cursor)+(len(batch.Items)+1)*binary.MaxVarintLen64)
	content = append(content, batch.Cursor...)
	content = append(content, ' ')
	content = binary.AppendVarint(content, revision)
	for _, item := range batch.Items {
		content = binary.AppendVarint(content, int64(sequence(item)))
	}
	return string(content)
}

// eventStep shows one step of eventStream.
func (r *Resolver) eventStep(ctx context.Context, cursor string, events []*hub.Event) *model.EventStreamPayload {
	return &model.EventStreamPayload{Cursor: cursor, Events: model.NewEvents(r.snapshot(ctx), events)}
}

// deliveryStep shows one step of deliveryUpdates.
func (r *Resolver) deliveryStep(ctx context.Context, cursor string, changes []*hub.DeliveryChange) *model.DeliveryUpdatesPayload {
	deliveries := make([]*hub.Delivery, len(changes))
	for i, change := range changes {
		deliveries[i] = &change.Delivery
	}
	return &model.DeliveryUpdatesPayload{Cursor: cursor, Deliveries: model.NewDeliveries(r.snapshot(ctx), deliveries)}
}
