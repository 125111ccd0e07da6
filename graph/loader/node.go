package loader

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Nodes returns whatever the IDs name; what is not found is absent. Each kind
// among them is one statement, or none where it lies in memory. API keys and documents
// are found by those alone who may list them.
func (l *Loaders) Nodes(ctx context.Context, ids []string) (map[string]model.Node, error) {
	kinds := make(map[string][]string)
	for _, id := range model.NewGroup(ids, func(id string) string { return id }).IDs() {
		prefix := hub.IDPrefix(id)
		kinds[prefix] = append(kinds[prefix], id)
	}
	if !hub.ViewerFromContext(ctx).Can(hub.ScopeAdmin) {
		delete(kinds, hub.APIKeyPrefix)
		delete(kinds, hub.DocumentPrefix)
	}
	snapshot := l.snapshot()
	out := make(map[string]model.Node, len(ids))
	for _, err := range []error{
		resolve(ctx, out, kinds[hub.SourcePrefix], inMemory(snapshot.Configuration.Sources),
			func(rows []*hub.Source) []*model.Source { return model.NewSources(snapshot, rows) }),
		resolve(ctx, out, kinds[hub.EndpointPrefix], inMemory(snapshot.Configuration.Endpoints),
			func(rows []*hub.Endpoint) []*model.Endpoint { return model.NewEndpoints(snapshot, rows) }),
		resolve(ctx, out, kinds[hub.SubscriptionPrefix], inMemory(snapshot.Configuration.Subscriptions),
			func(rows []*hub.Subscription) []*model.EventSubscription {
				return model.NewSubscriptions(snapshot, rows)
			}),
		resolve(ctx, out, kinds[hub.PartnerPrefix], inMemory(snapshot.Configuration.Partners), model.NewPartners),
		resolve(ctx, out, kinds[hub.DocumentPrefix], inMemory(snapshot.Configuration.Documents), model.NewDocuments),
		resolve(ctx, out, kinds[hub.EventPrefix], l.eventsByID,
			func(shown []*model.Event) []*model.Event { return shown }),
		resolve(ctx, out, kinds[hub.RejectionPrefix], l.store.RejectionsByID, l.ShowRejections),
		resolve(ctx, out, kinds[hub.DeliveryPrefix], l.store.DeliveriesByID, l.ShowDeliveries),
		resolve(ctx, out, kinds[hub.AttemptPrefix], l.store.AttemptsByID, model.NewAttempts),
		resolve(ctx, out, kinds[hub.ReplayPrefix], l.store.ReplaysByID,
			func(rows []*hub.Replay) []*model.Replay { return model.NewReplays(snapshot, rows) }),
		resolve(ctx, out, kinds[hub.EventTypePrefix], l.store.EventTypesByID, model.NewEventTypes),
		resolve(ctx, out, kinds[hub.APIKeyPrefix], l.store.APIKeysByID, model.NewAPIKeys),
	} {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// resolve adds the objects of one kind.
func resolve[R any, N model.Node](
	ctx context.Context, out map[string]model.Node, ids []string,
	find func(context.Context, []string) (map[string]R, error), show func([]R) []N,
) error {
	if len(ids) == 0 {
		return nil
	}
	found, err := find(ctx, ids)
	if err != nil {
		return err
	}
	for id, node := range showMap(ids, found, show) {
		out[id] = node
	}
	return nil
}

// inMemory finds what is configured.
func inMemory[R any](all map[string]R) func(context.Context, []string) (map[string]R, error) {
	return func(context.Context, []string) (map[string]R, error) { return all, nil }
}
