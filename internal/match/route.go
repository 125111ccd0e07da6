package match

import (
	"log/slog"
	"slices"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Route returns the IDs of the subscriptions that want an event, in the order of
// their IDs. A paused subscription wants its events too: its deliveries are made
// and held. One whose endpoint is gone wants none. A filter that fails over the
// event says no.
//
// The event needs its payload if a filter is to see it.
func (m *Matcher) Route(ev *hub.Event, cfg *hub.Configuration) []string {
	var (
		wanting []string
		seen    *facts
	)
	for _, sub := range cfg.Ordered {
		if !wantsKind(sub, ev) || cfg.Endpoints[sub.EndpointID] == nil {
			continue
		}
		if sub.Filter != "" {
			if seen == nil {
				seen = newFacts(ev, slugOf(ev.SourceID, cfg))
			}
			admitted, err := m.admits(sub.Filter, seen)
			if err != nil {
				m.logger.Debug("filter failed over event", slog.String("event_id", ev.ID),
					slog.String("subscription_id", sub.ID), slog.Any("error", err))
			}
			if !admitted {
				continue
			}
		}
		wanting = append(wanting, sub.ID)
	}
	return wanting
}

func wantsKind(sub *hub.Subscription, ev *hub.Event) bool {
	if len(sub.SourceIDs) > 0 && !slices.Contains(sub.SourceIDs, ev.SourceID) {
		return false
	}
	return slices.ContainsFunc(sub.EventTypes, func(pattern string) bool { return TypeMatches(pattern, ev.Type) })
}

func slugOf(sourceID string, cfg *hub.Configuration) string {
	if source := cfg.Sources[sourceID]; source != nil {
		return source.Slug
	}
	return ""
}
