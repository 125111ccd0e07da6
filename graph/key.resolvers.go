package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/generated"
	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Partner is the resolver for the partner field.
func (r *apiKeyResolver) Partner(ctx context.Context, obj *model.APIKey) (*model.Partner, error) {
	return model.PartnerOf(loader.FromContext(ctx).Snapshot(), obj.PartnerID), nil
}

// CreateAPIKey is the resolver for the createApiKey field.
func (r *mutationResolver) CreateAPIKey(ctx context.Context, input model.CreateAPIKeyInput) (*model.APIKeyPayload, error) {
	key, text, err := r.keys.Create(ctx, hub.ViewerFromContext(ctx), createAPIKey(input))
	return apiKeyPayload(key, text, err, "input")
}

// RevokeAPIKey is the resolver for the revokeApiKey field.
func (r *mutationResolver) RevokeAPIKey(ctx context.Context, id string) (*model.APIKeyPayload, error) {
	key, err := r.keys.Revoke(ctx, hub.ViewerFromContext(ctx), id)
	return apiKeyPayload(key, "", err, "id")
}

// APIKeys is the resolver for the apiKeys field.
func (r *queryResolver) APIKeys(ctx context.Context, first *int, after *string, last *int, before *string) (*model.Connection[*model.APIKey], error) {
	p, err := page.APIKeys.Page(page.Arguments{First: first, After: after, Last: last, Before: before})
	if err != nil {
		return nil, err
	}
	found, err := r.store(ctx).APIKeys(ctx, p)
	if err != nil {
		return nil, err
	}
	return apiKeyConnection(shown(found, model.NewAPIKeys), r.store(ctx).CountAPIKeys), nil
}

func (r *Resolver) ApiKey() generated.ApiKeyResolver { return &apiKeyResolver{r} }

type apiKeyResolver struct{ *Resolver }
