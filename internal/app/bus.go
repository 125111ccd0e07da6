package app

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/wake"
)

// lookAgainEvery is how often wake-ups of other nodes make this one look at the
// database for changed configuration and due deliveries, at most: fresh deliveries
// need no such look, so more often would only cost.
const lookAgainEvery = 50 * time.Millisecond

// lateBus is the bus that the store notifies. NATS needs the name of the database
// for its topic, so the bus is there only once the store has started; what happens
// before has nobody to wake.
type lateBus struct{ bus atomic.Pointer[wake.Bus] }

// Notify wakes everyone who looks at the log.
func (l *lateBus) Notify() {
	if bus := l.bus.Load(); bus != nil {
		bus.Notify()
	}
}

// Bus returns the bus, nil before connectBus.
func (l *lateBus) Bus() *wake.Bus { return l.bus.Load() }

// connectBus makes the bus. Where it reaches other nodes, over NATS, their wake-ups
// also make this node look for what they changed; without, the store and the
// dispatcher look by themselves every second.
func (h *Hub) connectBus(ctx context.Context, late *lateBus, natsURL string, st *store.Store, dispatcher *deliver.Dispatcher, logger *slog.Logger) error {
	if natsURL == "" {
		bus := wake.NewLocal()
		late.bus.Store(bus)
		h.started("wake-ups", func(context.Context) error { bus.Close(); return nil })
		return nil
	}
	bus, err := wake.ConnectNATS(ctx, natsURL, st.Epoch(), logger)
	if err != nil {
		return fmt.Errorf("--nats-url (HOOKGRAPH_NATS_URL): %w", err)
	}
	late.bus.Store(bus)
	woken, unwatch := bus.Watch()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var following sync.WaitGroup
	following.Go(func() {
		pause := time.NewTicker(lookAgainEvery)
		defer pause.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-woken:
			}
			if err := st.Refresh(ctx); err != nil && ctx.Err() == nil {
				logger.WarnContext(ctx, "the configuration could not be refreshed", slog.Any("error", err))
			}
			dispatcher.Wake()
			select {
			case <-ctx.Done():
				return
			case <-pause.C:
			}
		}
	})
	h.started("wake-ups", func(context.Context) error {
		cancel()
		unwatch()
		following.Wait()
		bus.Close()
		return nil
	})
	return nil
}
