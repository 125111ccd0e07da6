package model

import (
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/poll"
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

// SourcesOf shows sources by their IDs, apart from those that are deleted.
func SourcesOf(snapshot *Snapshot, ids []string) []*Source {
	var found []*hub.Source
	for _, id := range ids {
		if source := snapshot.Configuration.Sources[id]; source != nil {
			found = append(found, source)
		}
	}
	return NewSources(snapshot, found)
}

// sourceOf shows the source that something came from, nil once it is deleted.
func sourceOf(snapshot *Snapshot, id string, siblings *Group) *Source {
	source := snapshot.Configuration.Senders[id]
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

// SilentAfter returns how long it may have nothing to say as it was set, nil where it
// was not.
func (s *Source) SilentAfter() *time.Duration { return optional(s.Source.SilentAfter) }

// Graphql returns what a source of kind GRAPHQL follows, nil for other kinds.
func (s *Source) Graphql() *UpstreamGraphql {
	if s.Upstream == nil {
		return nil
	}
	return &UpstreamGraphql{s.Upstream}
}

// Queue returns where a source of kind QUEUE takes its messages from, nil for other kinds.
func (s *Source) Queue() *UpstreamQueue {
	if s.Source.Queue == nil {
		return nil
	}
	return &UpstreamQueue{s.Source.Queue}
}

// UpstreamQueue is a queue as GraphQL shows it.
type UpstreamQueue struct{ *hub.Queue }

// UpstreamGraphql is an upstream subscription as GraphQL shows it.
type UpstreamGraphql struct{ *hub.Upstream }

// Variables returns the variables, nil for none.
func (u *UpstreamGraphql) Variables() JSON { return JSON(u.Upstream.Variables) }

// Items returns the path to the items, nil for the default.
func (u *UpstreamGraphql) Items() *string { return optional(u.Upstream.Items) }

// ResumeVariable returns the variable that resumes, nil for none.
func (u *UpstreamGraphql) ResumeVariable() *string { return optional(u.Upstream.ResumeVariable) }

// ResumePath returns where its values are, nil for none.
func (u *UpstreamGraphql) ResumePath() *string { return optional(u.Upstream.ResumePath) }

// AuthKind returns how the hub shows itself where it fetches.
func (s *Source) AuthKind() hub.EndpointAuthKind {
	if s.Auth == nil {
		return hub.AuthNone
	}
	return s.Auth.Kind
}

// Poll returns what is polled, nil for other kinds.
func (s *Source) Poll() *Poll {
	if s.Source.Poll == nil {
		return nil
	}
	return &Poll{Poll: s.Source.Poll, source: s}
}

// Poll is a REST API that is asked on a schedule.
type Poll struct {
	*hub.Poll
	source *Source
}

// URL returns the template, or the list of the preset.
func (p *Poll) URL() string { return poll.URLOf(p.source.Source) }

// Headers returns the headers of every request, without credentials.
func (p *Poll) Headers() []hub.Header { return hub.Redact(p.Poll.Headers) }

// Items returns the path to the items, nil where the preset knows.
func (p *Poll) Items() *string {
	if p.source.Source.Provider != "" {
		return nil
	}
	return &p.Poll.Items
}

// Since returns since when everything is loaded first, nil for what the API lists.
func (p *Poll) Since() *time.Time { return optional(p.Poll.Since) }

// Reconciles returns the webhook source whose gaps are filled, nil for none.
func (p *Poll) Reconciles() *Source {
	return sourceOf(p.source.snapshot, p.Poll.Reconciles, p.source.Siblings)
}

// Pagination returns how an answer leads to the next page, nil where there is one.
func (p *Poll) Pagination() *PollPagination {
	if p.Poll.Pagination == nil {
		return nil
	}
	return &PollPagination{p.Poll.Pagination}
}

// PollPagination is how an answer leads to the next page.
type PollPagination struct{ *hub.PollPagination }

// NextURL returns the path to the URL of the next page, nil for another way.
func (p *PollPagination) NextURL() *string { return optional(p.PollPagination.NextURL) }

// Cursor returns the path to the next cursor, nil for another way.
func (p *PollPagination) Cursor() *string { return optional(p.PollPagination.Cursor) }

// CaptureRemaining returns how many requests are still to be captured.
func (s *Source) CaptureRemaining() int { return s.Capturing }

// FetchStatus is how far a source that fetches has come.
type FetchStatus struct {
	*hub.Fetch
	Paused bool // whether the source is, and so is not asked
}

// LastAt returns when it was asked last, nil if never.
func (f *FetchStatus) LastAt() *time.Time { return optional(f.Fetch.LastAt) }

// NextAt returns when it is asked next, nil where that is not planned.
func (f *FetchStatus) NextAt() *time.Time {
	if f.Paused {
		return nil
	}
	return optional(f.Fetch.NextAt)
}

// Error returns why the last time failed, nil where it did not.
func (f *FetchStatus) Error() *string { return optional(f.Fetch.Error) }

// FailingSince returns since when each try has failed, nil where the last one did not.
func (f *FetchStatus) FailingSince() *time.Time { return optional(f.Fetch.FailingSince) }
