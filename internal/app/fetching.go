package app

import (
	"context"
	"log/slog"
	"time"

	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/fetch"
	"github.com/hookgraph/hookgraph/internal/source/graphqlsub"
	"github.com/hookgraph/hookgraph/internal/source/poll"
	"github.com/hookgraph/hookgraph/internal/source/queue"
	"github.com/hookgraph/hookgraph/internal/store"
)

// brokerTimeout is how long a connection to a broker may take.
const brokerTimeout = 5 * time.Second

// startFetching starts what gets events from sources that send none.
func (h *Hub) startFetching(ctx context.Context, st *store.Store, door *receive.Door, guard *outbound.Guard, clock hub.Clock, logger *slog.Logger) {
	transport := outbound.NewTransport(guard, outbound.TransportOptions{})
	credentials := credential.NewBook(transport, guard, clock)
	h.started("credentials of sources", func(context.Context) error {
		credentials.Close()
		transport.CloseIdleConnections()
		return nil
	})
	fetchers := map[hub.SourceKind]fetch.Fetcher{
		hub.SourcePoll: poll.New(poll.Config{
			Credentials: credentials, CheckURL: guard.CheckURL, Describe: door.Describe, Known: st.KnownKeys, Configuration: st.Configuration,
			Clock: clock, Logger: logger, Version: Version(),
		}),
		hub.SourceGraphQL: graphqlsub.New(credentials, clock, st.HubID(), graphqlsub.Bounds{}),
		hub.SourceQueue:   queue.New(queue.Config{Dial: guard.Dialer(brokerTimeout), Configuration: st.Configuration, Clock: clock, Logger: logger}),
	}
	h.started("fetching", fetch.Start(ctx, fetch.Config{Store: st, Door: door, Fetchers: fetchers, Clock: clock, Logger: logger}).Stop)
}
