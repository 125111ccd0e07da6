package store

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/apikey"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreateAPIKey stores a key.
func (s *Store) CreateAPIKey(ctx context.Context, k *hub.APIKey) error {
	err := s.write.APIKey.Create().SetID(k.ID).
		SetName(k.Name).SetRole(k.Role).SetPartnerID(k.PartnerID).SetScopes(append([]hub.Scope{}, k.Scopes...)).
		SetPrefix(k.Prefix).SetHash(k.Hash).
		SetCreatedAt(column.TimeOf(cmp.Or(k.CreatedAt, s.clock.Now()))).SetExpiresAt(column.TimeOf(k.ExpiresAt)).
		SetRevokedAt(column.TimeOf(k.RevokedAt)).SetLastUsedAt(column.TimeOf(k.LastUsedAt)).Exec(ctx)
	return wrap("create API key", err)
}

// APIKey returns a key, revoked and expired ones included.
func (s *Store) APIKey(ctx context.Context, id string) (*hub.APIKey, error) {
	row, err := s.read.APIKey.Get(ctx, id)
	if err != nil {
		return nil, wrap("read API key", notFound(err))
	}
	return toAPIKey(row)
}

// APIKeys returns a page of the keys, newest first, revoked and expired ones
// included.
func (v *View) APIKeys(ctx context.Context, page hub.Page) (hub.Slice[*hub.APIKey], error) {
	p, err := newestID().pager(page)
	if err != nil {
		return hub.Slice[*hub.APIKey]{}, err
	}
	list, err := readAll(ctx, v.apiKeys().Where(p.single), toAPIKey)
	if err != nil {
		return hub.Slice[*hub.APIKey]{}, wrap("list API keys", err)
	}
	return slice(p, list), nil
}

// CountAPIKeys counts the keys, revoked and expired ones included.
func (v *View) CountAPIKeys(ctx context.Context) (int, error) {
	n, err := v.apiKeys().Count(ctx)
	return n, wrap("count API keys", err)
}

// APIKeysByID returns those of the keys that exist.
func (v *View) APIKeysByID(ctx context.Context, ids []string) (map[string]*hub.APIKey, error) {
	found := make(map[string]*hub.APIKey, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		list, err := readAll(ctx, v.apiKeys().Where(apikey.IDIn(part...)), toAPIKey)
		for _, k := range list {
			found[k.ID] = k
		}
		return err
	})
	return found, wrap("read API keys", err)
}

// RevokeAPIKey ends a key as of a moment. The first revocation stands.
func (s *Store) RevokeAPIKey(ctx context.Context, id string, at time.Time) error {
	n, err := s.write.APIKey.Update().Where(apikey.ID(id), apikey.RevokedAt(0)).SetRevokedAt(column.TimeOf(at)).Save(ctx)
	if err != nil {
		return wrap("revoke API key", err)
	}
	if n == 0 {
		_, err = s.APIKey(ctx, id)
	}
	return err
}

// TouchAPIKey notes that a key was used. It never moves backward.
func (s *Store) TouchAPIKey(ctx context.Context, id string, at time.Time) error {
	moment := column.TimeOf(at)
	_, err := s.write.APIKey.Update().Where(apikey.ID(id), apikey.LastUsedAtLT(moment)).SetLastUsedAt(moment).Save(ctx)
	return wrap("touch API key", err)
}

func toAPIKey(row *ent.APIKey) (*hub.APIKey, error) {
	return &hub.APIKey{
		ID: row.ID, Name: row.Name, Role: row.Role, PartnerID: row.PartnerID, Scopes: row.Scopes, Prefix: row.Prefix, Hash: row.Hash,
		CreatedAt: row.CreatedAt.Time(), ExpiresAt: row.ExpiresAt.Time(),
		RevokedAt: row.RevokedAt.Time(), LastUsedAt: row.LastUsedAt.Time(),
	}, nil
}

// wrap adds the operation to an error that is not nil.
func wrap(operation string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", operation, err)
}
