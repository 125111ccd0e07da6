package loader

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
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
	fetch  func(context.Context, []string, A) (map[string]V, error)
	loader func() *dataloader.Loader[edgeKey[A], map[string]V] // made when the edge is first asked

	mu     sync.RWMutex
	loaded map[edgeKey[A]]map[string]V
}

// newEdge makes an edge. fetch is called once for all keys of a batch that have
// the same arguments, with the distinct IDs of their objects.
func newEdge[A comparable, V any](fetch func(context.Context, []string, A) (map[string]V, error)) *edge[A, V] {
	e := &edge[A, V]{fetch: fetch}
	e.loader = sync.OnceValue(func() *dataloader.Loader[edgeKey[A], map[string]V] {
		return dataloader.NewBatchedLoader(e.batch,
			dataloader.WithWait[edgeKey[A], map[string]V](wait),
			dataloader.WithBatchCapacity[edgeKey[A], map[string]V](batchCapacity))
	})
	return e
}

func (e *edge[A, V]) batch(ctx context.Context, keys []edgeKey[A]) []*dataloader.Result[map[string]V] {
	return inKeyOrder(keys, func(k edgeKey[A]) A { return k.args }, func(args A, keys []edgeKey[A]) (map[string]V, error) {
		ids := keys[0].of.IDs()
		if len(keys) > 1 {
			var all []string
			for _, key := range keys {
				all = append(all, key.of.IDs()...)
			}
			ids = model.NewGroup(all, func(id string) string { return id }).IDs()
		}
		if len(ids) == 0 {
			return nil, nil
		}
		return guarded(ctx, ids, args, e.fetch)
	})
}

// guarded turns a panic into an error, which is presented and logged like any other.
// Dataloaders would print it besides.
func guarded[A any, V any](
	ctx context.Context, ids []string, args A, fetch func(context.Context, []string, A) (map[string]V, error),
) (_ map[string]V, err error) {
	defer func() {
		if reason := recover(); reason != nil {
			err = fmt.Errorf("panic in a loader: %v\n%s", reason, debug.Stack())
		}
	}()
	return fetch(ctx, ids, args)
}

// load returns what the edge yields for the object, and whether it yields anything.
func (e *edge[A, V]) load(ctx context.Context, of *model.Group, id string, args A) (V, bool, error) {
	key := edgeKey[A]{of, args}
	e.mu.RLock()
	all, ok := e.loaded[key]
	e.mu.RUnlock()
	if !ok {
		var err error
		if all, err = e.loader().Load(ctx, key)(); err != nil {
			var none V
			return none, false, err
		}
		e.mu.Lock()
		if e.loaded == nil {
			e.loaded = make(map[edgeKey[A]]map[string]V)
		}
		e.loaded[key] = all
		e.mu.Unlock()
	}
	value, found := all[id]
	return value, found, nil
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
