package model

import (
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Source is a source as GraphQL shows it.
type Source struct {
	*hub.Source
	Siblings *Group // the sources that were fetched together with it

	snapshot *Snapshot
}

// NewSources shows sources that were fetched together.
func NewSources(snapshot *Snapshot, sources []*hub.Source) []*Source {
	group := NewGroup(sources, func(s *hub.Source) string { return s.ID })
	out := make([]*Source, len(sources))
	for i, s := range sources {
		out[i] = &Source{Source: s, Siblings: group, snapshot: snapshot}
	}
	return out
}

// NewSource shows one source.
func NewSource(snapshot *Snapshot, source *hub.Source) *Source {
	return NewSources(snapshot, []*hub.Source{source})[0]
}

// sourceOf shows a configured source by ID, nil once it is deleted.
func sourceOf(snapshot *Snapshot, id string, siblings *Group) *Source {
	source := snapshot.Configuration.Sources[id]
	if source == nil {
		return nil
	}
	return &Source{Source: source, Siblings: siblings, snapshot: snapshot}
}

// Provider returns the preset's name, nil where there is none.
func (s *Source) Provider() *string { return optional(s.Source.Provider) }

// URL returns where the provider sends to.
func (s *Source) URL() *string {
	if s.Kind != hub.SourceWebhook {
		return nil
	}
	return optional(s.snapshot.InboundURL + "/" + s.Slug)
}

// SecretFingerprints returns what tells the secrets apart.
func (s *Source) SecretFingerprints() []string {
	out := make([]string, len(s.Secrets))
	for i, secret := range s.Secrets {
		out[i] = s.snapshot.Fingerprint(secret)
	}
	return out
}

// EventType returns the expression for the event type, nil for the preset's rule.
func (s *Source) EventType() *string { return optional(s.Source.EventType) }

// DedupeKey returns the expression for the dedupe key, nil for the preset's rule.
func (s *Source) DedupeKey() *string { return optional(s.Source.DedupeKey) }

// OccurredAt returns the expression for the time it happened, nil for the preset's rule.
func (s *Source) OccurredAt() *string { return optional(s.Source.OccurredAt) }

// OrderingKey returns the expression for the ordering key, nil for the preset's rule.
func (s *Source) OrderingKey() *string { return optional(s.Source.OrderingKey) }

// Response returns the answer on acceptance, nil for the hub's own.
func (s *Source) Response() *hub.SourceResponse { return optional(s.Source.Response) }

// DedupeWindow returns how long a dedupe key is remembered, nil for as long as
// events are kept.
func (s *Source) DedupeWindow() *time.Duration { return optional(s.Source.DedupeWindow) }
