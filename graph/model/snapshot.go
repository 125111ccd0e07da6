package model

import (
	"sync"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Snapshot is what one answer sees of everything that lies in memory. All
// objects of an answer share it, so that they agree with one another.
type Snapshot struct {
	Configuration *hub.Configuration
	Health        func(endpointID string) *hub.EndpointHealth // nil where nothing is known yet
	// InboundURL is where senders reach a source, up to the slash before its slug.
	InboundURL string
	// Fingerprint tells secrets apart without giving them away.
	Fingerprint func(hub.Secret) string
}

// Group is the IDs of objects that were fetched together. An edge of one of them
// is loaded for all, in one statement, so the number of statements does not
// depend on how long a list is or on how its items are scheduled.
type Group struct {
	// IDs returns the distinct IDs in order of appearance. Most groups are never asked,
	// because no edge of theirs is selected.
	IDs func() []string
}

// NewGroup makes the group of what items have as ID; an empty ID is none.
func NewGroup[T any](items []T, id func(T) string) *Group {
	return &Group{IDs: sync.OnceValue(func() []string {
		ids := make([]string, 0, len(items))
		seen := make(map[string]struct{}, len(items))
		for _, item := range items {
			key := id(item)
			if _, known := seen[key]; known || key == "" {
				continue
			}
			seen[key] = struct{}{}
			ids = append(ids, key)
		}
		return ids
	})}
}

// optional is nil for the zero value, which stands for absence in the vocabulary.
func optional[T comparable](value T) *T {
	var zero T
	if value == zero {
		return nil
	}
	return &value
}
