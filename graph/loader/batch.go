package loader

import (
	"context"
	"time"

	"github.com/graph-gophers/dataloader/v7"

	"github.com/hookgraph/hookgraph/graph/model"
)

// wait is how long a batch waits for further lists that ask for the same edge.
// The objects of one list never have to wait for one another: their key is the
// list itself.
const wait = time.Millisecond

// batchCapacity bounds the lists of one batch.
const batchCapacity = 500

// edgeKey asks for one edge of all objects that were fetched together.
type edgeKey[A comparable] struct {
	of   *model.Group
	args A
}

// edge loads one edge: what it yields for each object, by the object's ID.
type edge[A comparable, V any] struct {
	loader *dataloader.Loader[edgeKey[A], map[string]V]
}

// newEdge makes an edge. fetch is called once for all keys of a batch that have
// the same arguments, with the distinct IDs of their objects.
func newEdge[A comparable, V any](fetch func(context.Context, []string, A) (map[string]V, error)) edge[A, V] {
	batch := func(ctx context.Context, keys []edgeKey[A]) []*dataloader.Result[map[string]V] {
		return inKeyOrder(keys, func(k edgeKey[A]) A { return k.args }, func(args A, keys []edgeKey[A]) (map[string]V, error) {
			var ids []string
			for _, key := range keys {
				ids = append(ids, key.of.IDs...)
			}
			ids = model.NewGroup(ids, func(id string) string { return id }).IDs
			if len(ids) == 0 {
				return nil, nil
			}
			return fetch(ctx, ids, args)
		})
	}
	return edge[A, V]{dataloader.NewBatchedLoader(batch,
		dataloader.WithWait[edgeKey[A], map[string]V](wait),
		dataloader.WithBatchCapacity[edgeKey[A], map[string]V](batchCapacity))}
}

// load returns what the edge yields for the object, and whether it yields anything.
func (e edge[A, V]) load(ctx context.Context, of *model.Group, id string, args A) (V, bool, error) {
	all, err := e.loader.Load(ctx, edgeKey[A]{of, args})()
	value, found := all[id]
	return value, found, err
}

// inKeyOrder answers a batch: keys of the same group are fetched together, and
// each key gets its group's value or error, in the order of the keys.
func inKeyOrder[K any, G comparable, V any](
	keys []K, group func(K) G, fetch func(G, []K) (V, error),
) []*dataloader.Result[V] {
	var order []G
	members := make(map[G][]K)
	for _, key := range keys {
		g := group(key)
		if _, known := members[g]; !known {
			order = append(order, g)
		}
		members[g] = append(members[g], key)
	}
	fetched := make(map[G]*dataloader.Result[V], len(order))
	for _, g := range order {
		value, err := fetch(g, members[g])
		fetched[g] = &dataloader.Result[V]{Data: value, Error: err}
	}
	results := make([]*dataloader.Result[V], len(keys))
	for i, key := range keys {
		results[i] = fetched[group(key)]
	}
	return results
}
