package model

import (
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Rejection is a refused request as GraphQL shows it.
type Rejection struct {
	*hub.Rejection

	snapshot *Snapshot
	sources  *Group // the sources of all rejections fetched together with it
}

// NewRejections shows rejections that were fetched together.
func NewRejections(snapshot *Snapshot, rejections []*hub.Rejection) []*Rejection {
	sources := NewGroup(rejections, func(r *hub.Rejection) string { return r.SourceID })
	out := make([]*Rejection, len(rejections))
	for i, r := range rejections {
		out[i] = &Rejection{Rejection: r, snapshot: snapshot, sources: sources}
	}
	return out
}

// Source returns where the request was sent, nil once that is deleted.
func (r *Rejection) Source() *Source { return sourceOf(r.snapshot, r.SourceID, r.sources) }

// BodyText returns the stored part of the body as text.
func (r *Rejection) BodyText() string { return Text(r.Body) }

// Text shows bytes as text, with U+FFFD for what is not UTF-8.
func Text(b []byte) string { return hub.ValidText(string(b)) }
