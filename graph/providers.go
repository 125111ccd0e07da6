package graph

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// providersOf shows the presets of a table.
func providersOf(table *webhook.Table) ([]*model.Provider, error) {
	var out []*model.Provider
	for _, p := range slices.Concat(table.Of(hub.SourceWebhook), table.Of(hub.SourcePoll), table.Of(hub.SourceGraphQL)) {
		keys := make(map[string]any, len(p.Config))
		for _, key := range p.Config {
			keys[key.Name] = map[string]any{"meaning": key.Meaning, "required": key.Required}
		}
		config, err := model.NewJSON(keys)
		if err != nil {
			return nil, fmt.Errorf("show provider %s: %w", p.Name, err)
		}
		challenges := make([]string, len(p.Handshakes))
		for i, handshake := range p.Handshakes {
			challenges[i] = handshake.Title
		}
		out = append(out, &model.Provider{
			Name: p.Name, Title: p.Title, DocsURL: p.DocsURL, SecretHint: p.SecretHint, Config: config, Challenges: challenges,
			Kind: cmp.Or(p.Kind, hub.SourceWebhook),
		})
	}
	return out, nil
}
