package model

import (
	"github.com/hookgraph/hookgraph/internal/hub"
)

// APIKey is a credential as GraphQL shows it, without the key.
type APIKey struct {
	*hub.APIKey
}

// NewAPIKeys shows keys.
func NewAPIKeys(keys []*hub.APIKey) []*APIKey {
	out := make([]*APIKey, len(keys))
	for i, k := range keys {
		out[i] = &APIKey{k}
	}
	return out
}
