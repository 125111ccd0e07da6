package graph

import (
	"context"
	"errors"
	"time"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/transport"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/stream"
)

// relay hands a stream of the log over to the transport. The channel is not
// buffered, so that a slow reader lags in the log and not in memory. The
// goroutine ends with the stream or with ctx.
func (r *Resolver) relay(ctx context.Context, request stream.Request) (<-chan *model.EventStreamPayload, error) {
	batches, err := r.tail.Events(ctx, request)
	if errors.Is(err, stream.ErrDraining) {
		return nil, &hub.Error{
			Code: hub.CodeUnavailable, Message: "the hub is shutting down; try again", RetryAfter: time.Second,
		}
	}
	if err != nil {
		return nil, err
	}
	reader := transport.StreamFromContext(ctx)
	payloads := make(chan *model.EventStreamPayload)
	go func() {
		defer close(payloads)
		for batch := range batches {
			switch {
			case errors.Is(batch.Err, stream.ErrDraining):
				reader.Interrupt()
				return
			case batch.Err != nil:
				reader.Fail(batch.Err)
				return
			}
			reader.Advance(batch.Cursor)
			select {
			case payloads <- &model.EventStreamPayload{
				Cursor: batch.Cursor, Events: model.NewEvents(r.snapshot(), batch.Events),
			}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return payloads, nil
}
