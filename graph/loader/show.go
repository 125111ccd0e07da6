package loader

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// ShowEvents shows events that were fetched together, and remembers them for
// edges that lead back.
func (l *Loaders) ShowEvents(events []*hub.Event) []*model.Event {
	nodes := model.NewEvents(l.snapshot(), events)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, node := range nodes {
		l.shown[node.ID] = node
	}
	return nodes
}

// ShowRejections shows rejections that were fetched together.
func (l *Loaders) ShowRejections(rejections []*hub.Rejection) []*model.Rejection {
	return model.NewRejections(l.snapshot(), rejections)
}

// ShowDeliveries shows deliveries that were fetched together.
func (l *Loaders) ShowDeliveries(deliveries []*hub.Delivery) []*model.Delivery {
	return model.NewDeliveries(l.snapshot(), deliveries)
}

// eventsByID fetches events, but for those the answer has seen.
func (l *Loaders) eventsByID(ctx context.Context, ids []string) (map[string]*model.Event, error) {
	out := make(map[string]*model.Event, len(ids))
	var missing []string
	l.mu.Lock()
	for _, id := range ids {
		if node := l.shown[id]; node != nil {
			out[id] = node
		} else {
			missing = append(missing, id)
		}
	}
	l.mu.Unlock()
	if len(missing) == 0 {
		return out, nil
	}
	found, err := l.store.EventsByID(ctx, missing)
	if err != nil {
		return nil, err
	}
	for id, node := range showMap(missing, found, l.ShowEvents) {
		out[id] = node
	}
	return out, nil
}
