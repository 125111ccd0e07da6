package hub

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"
)

// Configuration is every source, endpoint, subscription, partner and registered
// document as they stood at one revision. It is shared by all readers and must not be
// changed.
type Configuration struct {
	Revision      int64
	Sources       map[string]*Source
	SourcesBySlug map[string]*Source
	Endpoints     map[string]*Endpoint
	Subscriptions map[string]*Subscription
	Partners      map[string]*Partner

	// Senders are the sources as they are met through what came from them, by ID.
	Senders map[string]*Source

	// Ordered holds the same subscriptions by ID, for stable iteration.
	Ordered []*Subscription

	// Documents are the registered ones by ID, documentsBy the same by name and by hash.
	Documents   map[string]*Document
	documentsBy map[string]*Document

	// Schemas are the given ones of event types, by the types.
	Schemas map[string]json.RawMessage

	seen sync.Map // what each partner sees of it, by the partner's ID
}

// NewConfiguration indexes the nouns of one revision.
func NewConfiguration(revision int64, sources []*Source, endpoints []*Endpoint, subscriptions []*Subscription, partners ...*Partner) *Configuration {
	c := &Configuration{
		Revision:      revision,
		Sources:       make(map[string]*Source, len(sources)),
		SourcesBySlug: make(map[string]*Source, len(sources)),
		Endpoints:     make(map[string]*Endpoint, len(endpoints)),
		Subscriptions: make(map[string]*Subscription, len(subscriptions)),
		Partners:      make(map[string]*Partner, len(partners)),
		Senders:       make(map[string]*Source, len(sources)),
		Ordered:       slices.Clone(subscriptions),
	}
	for _, s := range sources {
		c.Sources[s.ID] = s
		c.SourcesBySlug[s.Slug] = s
		c.Senders[s.ID] = s
	}
	for _, e := range endpoints {
		c.Endpoints[e.ID] = e
	}
	for _, s := range subscriptions {
		c.Subscriptions[s.ID] = s
	}
	for _, p := range partners {
		c.Partners[p.ID] = p
	}
	slices.SortFunc(c.Ordered, func(a, b *Subscription) int { return cmp.Compare(a.ID, b.ID) })
	return c
}

// WithDocuments adds the registered documents to a configuration that nobody reads yet.
func (c *Configuration) WithDocuments(documents []*Document) *Configuration {
	c.Documents = make(map[string]*Document, len(documents))
	c.documentsBy = make(map[string]*Document, 2*len(documents))
	for _, d := range documents {
		c.Documents[d.ID] = d
		c.documentsBy[d.Hash] = d // others of this hash have the same text
	}
	for _, d := range documents {
		c.documentsBy[d.Name] = d
	}
	return c
}

// WithSchemas adds the given schemas of event types to a configuration that nobody reads
// yet.
func (c *Configuration) WithSchemas(schemas map[string]json.RawMessage) *Configuration {
	c.Schemas = schemas
	return c
}

// Document returns the document that is registered under a name or a hash, nil if
// none is.
func (c *Configuration) Document(nameOrHash string) *Document { return c.documentsBy[nameOrHash] }

// With returns the configuration as it would be with these subscriptions alone.
func (c *Configuration) With(subscriptions []*Subscription) *Configuration {
	with := &Configuration{
		Revision: c.Revision, Sources: c.Sources, SourcesBySlug: c.SourcesBySlug, Endpoints: c.Endpoints,
		Subscriptions: make(map[string]*Subscription, len(subscriptions)), Partners: c.Partners, Senders: c.Senders,
		Ordered: subscriptions,
	}
	for _, sub := range subscriptions {
		with.Subscriptions[sub.ID] = sub
	}
	return with
}
