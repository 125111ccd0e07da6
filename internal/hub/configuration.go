package hub

import (
	"cmp"
	"slices"
)

// Configuration is every source, endpoint and subscription as they stood at one
// revision. It is shared by all readers and must not be changed.
type Configuration struct {
	Revision      int64
	Sources       map[string]*Source
	SourcesBySlug map[string]*Source
	Endpoints     map[string]*Endpoint
	Subscriptions map[string]*Subscription

	// Ordered holds the same subscriptions by ID, for stable iteration.
	Ordered []*Subscription
}

// NewConfiguration indexes the nouns of one revision.
func NewConfiguration(revision int64, sources []*Source, endpoints []*Endpoint, subscriptions []*Subscription) *Configuration {
	c := &Configuration{
		Revision:      revision,
		Sources:       make(map[string]*Source, len(sources)),
		SourcesBySlug: make(map[string]*Source, len(sources)),
		Endpoints:     make(map[string]*Endpoint, len(endpoints)),
		Subscriptions: make(map[string]*Subscription, len(subscriptions)),
		Ordered:       slices.Clone(subscriptions),
	}
	for _, s := range sources {
		c.Sources[s.ID] = s
		c.SourcesBySlug[s.Slug] = s
	}
	for _, e := range endpoints {
		c.Endpoints[e.ID] = e
	}
	for _, s := range subscriptions {
		c.Subscriptions[s.ID] = s
	}
	slices.SortFunc(c.Ordered, func(a, b *Subscription) int { return cmp.Compare(a.ID, b.ID) })
	return c
}
