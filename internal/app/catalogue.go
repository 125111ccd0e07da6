package app

import (
	"context"
	"log/slog"

	"github.com/hookgraph/hookgraph/internal/catalogue"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/store"
)

// startCatalogue starts what learns event types from the log and watches over sources.
func (h *Hub) startCatalogue(ctx context.Context, st *store.Store, door *receive.Door, clock hub.Clock, logger *slog.Logger) {
	keeper := catalogue.Start(ctx, catalogue.Config{Store: st, TypeOf: door.TypeOf, Clock: clock, Logger: logger})
	h.started("catalogue of event types", keeper.Stop)
}
