package loader

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/graph/model"
)

// Whatever order and however many of the keys, each gets the value of its own
// group, and each group is fetched once.
func TestABatchAnswersInKeyOrder(t *testing.T) {
	t.Parallel()
	failed := errors.New("failed")
	rapid.Check(t, func(rt *rapid.T) {
		keys := rapid.SliceOf(rapid.IntRange(0, 50)).Draw(rt, "keys")
		fetches := map[int]int{}
		group := func(key int) int { return key % 7 }
		results := inKeyOrder(keys, group, func(g int, members []int) (string, error) {
			fetches[g]++
			for _, member := range members {
				if group(member) != g {
					rt.Fatalf("%d is fetched with group %d", member, g)
				}
			}
			if g == 3 {
				return "", failed
			}
			return fmt.Sprint("group ", g), nil
		})
		if len(results) != len(keys) {
			rt.Fatalf("%d results for %d keys", len(results), len(keys))
		}
		for i, key := range keys {
			want := fmt.Sprint("group ", group(key))
			if group(key) == 3 {
				want = ""
			}
			if results[i].Data != want || (results[i].Error != nil) != (group(key) == 3) {
				rt.Fatalf("%d got %+v", key, results[i])
			}
		}
		for g, n := range fetches {
			if n != 1 {
				rt.Fatalf("group %d was fetched %d times", g, n)
			}
		}
	})
}

func TestAnEdgeIsLoadedOnceForAllSiblings(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var fetched [][]string
	e := newEdge(func(_ context.Context, ids []string, args string) (map[string]string, error) {
		mu.Lock()
		defer mu.Unlock()
		fetched = append(fetched, slices.Clone(ids))
		found := map[string]string{}
		for _, id := range ids {
			if id != "missing" { // the database answers in any order, and not for all
				found[id] = args + " of " + id
			}
		}
		return found, nil
	})
	group := model.NewGroup([]string{"c", "a", "missing", "a", "b"}, func(id string) string { return id })
	var wait sync.WaitGroup
	for _, id := range []string{"a", "b", "missing", "c", "a"} {
		wait.Go(func() {
			value, found, err := e.load(t.Context(), group, id, "x")
			if err != nil || found == (id == "missing") || found && value != "x of "+id {
				t.Errorf("%s got %q, %t, %v", id, value, found, err)
			}
		})
	}
	wait.Wait()
	if fmt.Sprint(fetched) != "[[c a missing b]]" {
		t.Errorf("fetched %v", fetched)
	}
	if _, _, err := e.load(t.Context(), group, "a", "y"); err != nil || len(fetched) != 2 {
		t.Errorf("other arguments are fetched apart: %v, %v", fetched, err)
	}
}

func TestAnEdgeThatFailsFailsForAll(t *testing.T) {
	t.Parallel()
	failed := errors.New("the database is away")
	e := newEdge(func(context.Context, []string, none) (map[string]int, error) { return nil, failed })
	group := model.NewGroup([]string{"a", "b"}, func(id string) string { return id })
	for _, id := range group.IDs() {
		if _, _, err := e.load(t.Context(), group, id, none{}); !errors.Is(err, failed) {
			t.Errorf("%s got %v", id, err)
		}
	}
}

func TestAnEmptyGroupIsNotFetched(t *testing.T) {
	t.Parallel()
	e := newEdge(func(context.Context, []string, none) (map[string]int, error) {
		t.Error("fetched")
		return nil, nil
	})
	if _, found, err := e.load(t.Context(), model.NewGroup(nil, func(id string) string { return id }), "", none{}); found || err != nil {
		t.Errorf("got %t, %v", found, err)
	}
}
