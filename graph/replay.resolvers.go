package graph

import (
	"context"

	"github.com/hookgraph/hookgraph/graph/loader"
	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/replay"
)

// StartReplay is the resolver for the startReplay field.
func (r *mutationResolver) StartReplay(ctx context.Context, input model.StartReplayInput) (*model.ReplayPayload, error) {
	wanted := replayInput(input)
	if wanted.Events != nil && wanted.Events.Expression != "" && !hub.ViewerFromContext(ctx).Can(hub.ScopePayloadsRead) {
		return nil, forbidden(hub.ScopePayloadsRead)
	}
	started, count, err := replay.Start(ctx, r.store(ctx), r.matcher, wanted)
	return r.replayPayload(ctx, started, &count, err, "input")
}

// CancelReplay is the resolver for the cancelReplay field.
func (r *mutationResolver) CancelReplay(ctx context.Context, id string) (*model.ReplayPayload, error) {
	canceled, err := r.store(ctx).CancelReplay(ctx, id)
	return r.replayPayload(ctx, canceled, nil, err, "id")
}

// Replay is the resolver for the replay field.
func (r *queryResolver) Replay(ctx context.Context, id string) (*model.Replay, error) {
	found, err := loader.FromContext(ctx).Nodes(ctx, []string{id})
	replay, _ := found[id].(*model.Replay)
	return replay, err
}

// Replays is the resolver for the replays field.
func (r *queryResolver) Replays(ctx context.Context, first *int, after *string, last *int, before *string, filter *hub.ReplayFilter) (*model.Connection[*model.Replay], error) {
	f := valueOf(filter)
	p, err := page.Replays.Page(page.Arguments{First: first, After: after, Last: last, Before: before})
	if err != nil {
		return nil, err
	}
	found, err := r.store(ctx).Replays(ctx, f, p)
	if err != nil {
		return nil, err
	}
	snapshot := loader.FromContext(ctx).Snapshot()
	return model.NewConnection(shown(found, func(rows []*hub.Replay) []*model.Replay { return model.NewReplays(snapshot, rows) }),
		func(r *model.Replay) string { return page.Replays.Cursor(r.ID) }, counter(func(ctx context.Context) (int, error) { return r.store(ctx).CountReplays(ctx, f) })), nil
}
