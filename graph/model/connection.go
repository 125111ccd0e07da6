package model

import (
	"context"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// PageInfo tells where a page lies in its list.
type PageInfo struct {
	HasNextPage     bool
	HasPreviousPage bool
	StartCursor     *string
	EndCursor       *string
}

// Edge is an item of a list with its place in it.
type Edge[N any] struct {
	Cursor string
	Node   N
}

// Connection is one page of a list. Its total is counted only when asked for.
type Connection[N any] struct {
	items                []N
	hasNext, hasPrevious bool
	cursor               func(N) string
	count                func(context.Context) (*int, error)
}

// NewConnection wraps a page. cursor gives an item's opaque place in the list;
// count the length of the whole list, nil where that is not counted.
func NewConnection[N any](
	page hub.Slice[N], cursor func(N) string, count func(context.Context) (*int, error),
) *Connection[N] {
	return &Connection[N]{
		items: page.Items, hasNext: page.HasNext, hasPrevious: page.HasPrevious,
		cursor: cursor, count: count,
	}
}

// Nodes returns the items.
func (c *Connection[N]) Nodes() []N { return c.items }

// Edges returns the items with their cursors.
func (c *Connection[N]) Edges() []*Edge[N] {
	edges := make([]*Edge[N], len(c.items))
	for i, item := range c.items {
		edges[i] = &Edge[N]{Cursor: c.cursor(item), Node: item}
	}
	return edges
}

// PageInfo tells where the page lies in the list.
func (c *Connection[N]) PageInfo() *PageInfo {
	info := &PageInfo{HasNextPage: c.hasNext, HasPreviousPage: c.hasPrevious}
	if len(c.items) > 0 {
		first, last := c.cursor(c.items[0]), c.cursor(c.items[len(c.items)-1])
		info.StartCursor, info.EndCursor = &first, &last
	}
	return info
}

// TotalCount returns the length of the whole list.
func (c *Connection[N]) TotalCount(ctx context.Context) (*int, error) { return c.count(ctx) }

type (
	// ReplayConnection is one page of replays.
	ReplayConnection = Connection[*Replay]
	// ReplayEdge is a replay in a list.
	ReplayEdge = Edge[*Replay]
	// DocumentConnection is one page of trusted documents.
	DocumentConnection = Connection[*Document]
	// DocumentEdge is one of trusted documents with its place in the list.
	DocumentEdge = Edge[*Document]
	// EventTypeConnection is one page of event types.
	EventTypeConnection = Connection[*EventType]
	// EventTypeEdge is one of event types with its place in the list.
	EventTypeEdge = Edge[*EventType]
	// SourceConnection is one page of sources.
	SourceConnection = Connection[*Source]
	// SourceEdge is one of sources with its place in the list.
	SourceEdge = Edge[*Source]
	// EventConnection is one page of events.
	EventConnection = Connection[*Event]
	// EventEdge is one of events with its place in the list.
	EventEdge = Edge[*Event]
	// RejectionConnection is one page of rejections.
	RejectionConnection = Connection[*Rejection]
	// RejectionEdge is one of rejections with its place in the list.
	RejectionEdge = Edge[*Rejection]
	// EndpointConnection is one page of endpoints.
	EndpointConnection = Connection[*Endpoint]
	// EndpointEdge is one of endpoints with its place in the list.
	EndpointEdge = Edge[*Endpoint]
	// EventSubscriptionConnection is one page of subscriptions.
	EventSubscriptionConnection = Connection[*EventSubscription]
	// EventSubscriptionEdge is one of subscriptions with its place in the list.
	EventSubscriptionEdge = Edge[*EventSubscription]
	// DeliveryConnection is one page of deliveries.
	DeliveryConnection = Connection[*Delivery]
	// DeliveryEdge is one of deliveries with its place in the list.
	DeliveryEdge = Edge[*Delivery]
	// AttemptConnection is one page of attempts.
	AttemptConnection = Connection[*Attempt]
	// AttemptEdge is one of attempts with its place in the list.
	AttemptEdge = Edge[*Attempt]
	// PartnerConnection is one page of partners.
	PartnerConnection = Connection[*Partner]
	// PartnerEdge is one of partners with its place in the list.
	PartnerEdge = Edge[*Partner]
	// APIKeyConnection is one page of API keys.
	APIKeyConnection = Connection[*APIKey]
	// APIKeyEdge is one of API keys with its place in the list.
	APIKeyEdge = Edge[*APIKey]
)
