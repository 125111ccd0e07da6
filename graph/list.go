package graph

import (
	"context"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

// one shows what is configured under a key, nil where nothing is.
func one[R, N any](
	ctx context.Context, key string, all func(*model.Snapshot) map[string]*R, show func(*model.Snapshot, *R) *N,
) (*N, error) {
	snapshot := loader.FromContext(ctx).Snapshot()
	row := all(snapshot)[key]
	if row == nil {
		return nil, nil
	}
	return show(snapshot, row), nil
}

// shown shows the items of a page.
func shown[R, N any](s hub.Slice[R], show func([]R) []N) hub.Slice[N] {
	return hub.Slice[N]{Items: show(s.Items), HasNext: s.HasNext, HasPrevious: s.HasPrevious}
}

func sources(ctx context.Context, f hub.SourceFilter, arguments page.Arguments) (*model.SourceConnection, error) {
	if err := checkLengths(len(f.Kinds), len(f.States), len(f.Providers)); err != nil {
		return nil, err
	}
	snapshot := loader.FromContext(ctx).Snapshot()
	return configured(snapshot.Configuration.Sources, func(s *hub.Source) bool {
		return among(f.Kinds, s.Kind) && among(f.States, s.State) && among(f.Providers, s.Provider) &&
			contains(s.Name, f.NameContains)
	}, sourceID, page.Sources, arguments, func(rows []*hub.Source) []*model.Source {
		return model.NewSources(snapshot, rows)
	}, func(s *model.Source) string { return s.ID })
}

func endpoints(ctx context.Context, f hub.EndpointFilter, arguments page.Arguments) (*model.EndpointConnection, error) {
	if err := checkLengths(len(f.Kinds), len(f.States), len(f.Breakers), len(f.PartnerIDs)); err != nil {
		return nil, err
	}
	snapshot := loader.FromContext(ctx).Snapshot()
	return configured(snapshot.Configuration.Endpoints, func(e *hub.Endpoint) bool {
		return among(f.Kinds, e.Kind) && among(f.States, e.State) && ofAny(f.PartnerIDs, e.PartnerID) &&
			among(f.Breakers, model.NewEndpoint(snapshot, e).Breaker()) && contains(e.Name, f.NameContains)
	}, endpointID, page.Endpoints, arguments, func(rows []*hub.Endpoint) []*model.Endpoint {
		return model.NewEndpoints(snapshot, rows)
	}, func(e *model.Endpoint) string { return e.ID })
}

func subscriptions(
	ctx context.Context, f hub.SubscriptionFilter, arguments page.Arguments,
) (*model.EventSubscriptionConnection, error) {
	if err := checkLengths(len(f.States), len(f.EndpointIDs), len(f.PartnerIDs)); err != nil {
		return nil, err
	}
	snapshot := loader.FromContext(ctx).Snapshot()
	return configured(snapshot.Configuration.Subscriptions, func(s *hub.Subscription) bool {
		return among(f.States, s.State) && among(f.EndpointIDs, s.EndpointID) && ofAny(f.PartnerIDs, partnerOf(snapshot, s)) && contains(s.Name, f.NameContains)
	}, subscriptionID, page.Subscriptions, arguments, func(rows []*hub.Subscription) []*model.EventSubscription {
		return model.NewSubscriptions(snapshot, rows)
	}, func(s *model.EventSubscription) string { return s.ID })
}

// partnerOf returns whose endpoint a subscription has, "" where that is the operator's.
func partnerOf(snapshot *model.Snapshot, s *hub.Subscription) string {
	if endpoint := snapshot.Configuration.Endpoints[s.EndpointID]; endpoint != nil {
		return endpoint.PartnerID
	}
	return ""
}

func partners(ctx context.Context, arguments page.Arguments) (*model.PartnerConnection, error) {
	return configured(loader.FromContext(ctx).Snapshot().Configuration.Partners, func(*hub.Partner) bool { return true },
		func(p *hub.Partner) string { return p.ID }, page.Partners, arguments, model.NewPartners,
		func(p *model.Partner) string { return p.ID })
}

// events is a page of the events that a query asks for.
func (r *Resolver) events(ctx context.Context, wanted store.EventQuery) (*model.EventConnection, error) {
	found, err := r.store(ctx).Events(store.WithParts(ctx, loader.FromContext(ctx).Parts()), wanted)
	if err != nil {
		return nil, err
	}
	return eventConnection(shown(found, loader.FromContext(ctx).ShowEvents), func(ctx context.Context) (int, error) {
		if wanted.Admit != nil {
			return r.store(ctx).CountAdmitted(ctx, wanted)
		}
		return r.store(ctx).CountEvents(ctx, wanted.Filter)
	}), nil
}

// searchSource is a page of those events of a source that an expression admits.
// It reads their bodies, up to store.MaxScanned of them, so it is for a source that
// is asked for by itself and not for each of a list, which may hold one many times.
func (r *Resolver) searchSource(
	ctx context.Context, source *model.Source, filter hub.EventFilter, p hub.Page,
) (*model.EventConnection, error) {
	for _, step := range graphql.GetPath(ctx) {
		if _, listed := step.(ast.PathIndex); listed {
			return nil, hub.NewError(hub.CodeBadUserInput,
				"filter.expression searches the events of a source that is asked for by itself, not within a list")
		}
	}
	wanted := []string{source.ID}
	if !among(filter.SourceIDs, source.ID) {
		wanted = []string{""} // no event has such a source
	}
	filter.SourceIDs = wanted
	return r.events(ctx, store.EventQuery{Filter: filter, Page: p, Admit: r.expressionOf(ctx, &filter)})
}

// deliveriesOf is a page of the deliveries of an event, endpoint or subscription.
func (r *Resolver) deliveriesOf(
	ctx context.Context, parent store.Parent, of *model.Group, id string, filter *hub.DeliveryFilter, arguments page.Arguments,
) (*model.DeliveryConnection, error) {
	p, err := page.Deliveries.Page(arguments)
	if err != nil {
		return nil, err
	}
	if err := checkDeliveryFilter(filter); err != nil {
		return nil, err
	}
	l := loader.FromContext(ctx)
	found, err := l.Deliveries(ctx, parent, of, id, filter, p)
	if err != nil {
		return nil, err
	}
	return deliveryConnection(found, func(ctx context.Context) (int, error) {
		return l.CountDeliveries(ctx, parent, of, id, filter)
	}), nil
}
