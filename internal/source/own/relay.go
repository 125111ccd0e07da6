// Package own is the source of what happens to the hub itself. What is to be told is
// stored with what it tells; the relay takes it from there to the door, like the events
// of any other source.
package own

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	lookEvery = time.Second // for what other nodes have stored and not handed over
	batch     = 100
)

// Store has what is to be told.
type Store interface {
	Announcements(ctx context.Context, limit int) ([]*hub.Announcement, error)
	Announced(ctx context.Context, ids []string) error
	Announcing() <-chan struct{}
}

// Door takes events in.
type Door interface {
	Receive(ctx context.Context, events []*hub.Event) ([]hub.Receipt, error)
}

// Relay hands announcements over as events.
type Relay struct {
	store  Store
	door   Door
	clock  hub.Clock
	logger *slog.Logger

	cancel context.CancelFunc
	done   chan struct{}
}

// Start starts a relay. It works until it is stopped.
func Start(ctx context.Context, store Store, door Door, clock hub.Clock, logger *slog.Logger) *Relay {
	r := &Relay{store: store, door: door, clock: clock, logger: logger, done: make(chan struct{})}
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go r.run(ctx)
	return r
}

// Stop ends the relay. What it has not handed over is handed over after the next start,
// or by another node.
func (r *Relay) Stop(context.Context) error {
	r.cancel()
	<-r.done
	return nil
}

func (r *Relay) run(ctx context.Context) {
	defer close(r.done)
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		more, err := r.hand(ctx)
		if err != nil && ctx.Err() == nil {
			r.logger.WarnContext(ctx, "hub events could not be received and are tried again", slog.Any("error", err))
		}
		if more && err == nil {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.store.Announcing():
		}
	}
}

// hand hands the oldest announcements over and reports whether there may be more. Two
// nodes may do so at once, or one again after a crash: the dedupe key makes one event.
func (r *Relay) hand(ctx context.Context) (more bool, err error) {
	list, err := r.store.Announcements(ctx, batch)
	if err != nil || len(list) == 0 {
		return false, err
	}
	events, ids := make([]*hub.Event, len(list)), make([]string, len(list))
	now := r.clock.Now()
	for i, a := range list {
		ids[i] = a.ID
		events[i] = &hub.Event{
			ID: a.ID, SourceID: hub.BuiltInHubID, PartnerID: a.PartnerID, Type: a.Type, DedupeKey: a.ID,
			OccurredAt: a.OccurredAt, ReceivedAt: now, ContentType: "application/json", Payload: &hub.Payload{Body: a.Body},
		}
	}
	if _, err := r.door.Receive(ctx, events); err != nil {
		return false, errors.Join(errors.New("hand hub events over"), err)
	}
	return len(list) == batch, r.store.Announced(ctx, ids)
}
