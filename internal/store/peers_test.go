package store_test

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// busy is a taker that may have more under way than its share.
type busy struct {
	taker
	over atomic.Bool
}

func (b *busy) Within() bool { return !b.over.Load() }

// joined starts a store with a taker, which is stopped when the test ends.
func joined(t *testing.T, url string, taker store.Taker) *store.Store {
	t.Helper()
	s, _ := open(t, url)
	must(t, s.Start(t.Context(), taker))
	return s
}

// counts tells whether a store knows of one other, and whether that counts it.
func counts(s *store.Store) (known, counted bool) {
	p := s.Peers()
	if p == nil {
		return false, false
	}
	for _, other := range p.Others {
		if !other.Gone(0) {
			known, counted = true, other.Counts
		}
	}
	return known, counted
}

func TestANodeIsCountedOnceTheOthersHaveMadeRoom(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	var first busy
	one := joined(t, url, &first)
	if p := one.Peers(); p == nil || len(p.Others) != 0 {
		t.Fatalf("the only node knows of %+v", p)
	}
	first.over.Store(true)
	two := joined(t, url, &taker{})
	if known, counted := counts(two); !known || counted {
		t.Fatalf("the second node: known %t, counted %t", known, counted)
	}
	testkit.Eventually(t, "the first node is counted by the second", func() bool { _, counted := counts(one); return counted })
	if _, counted := counts(two); counted {
		t.Error("the second node is counted while too much is under way on the first")
	}
	first.over.Store(false)
	testkit.Eventually(t, "the second node is counted", func() bool { _, counted := counts(two); return counted })
	must(t, two.Stop(t.Context()))
	testkit.Eventually(t, "the second node is gone", func() bool { p := one.Peers(); return p != nil && len(p.Others) == 0 })
}

func TestANodeThatLosesItsConnectionTakesANewPlace(t *testing.T) {
	t.Parallel()
	url := testkit.Postgres(t)
	one, two := joined(t, url, &taker{}), joined(t, url, &taker{})
	bothCounted := func() bool {
		_, first := counts(one)
		_, second := counts(two)
		return first && second
	}
	var before string
	testkit.Eventually(t, "the nodes count each other", func() bool {
		p := one.Peers()
		if p == nil || !bothCounted() {
			return false
		}
		before = p.Self
		return true
	})
	conn, err := pgx.Connect(t.Context(), url)
	must(t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(t.Context(), `SELECT pg_terminate_backend(l.pid) FROM pg_locks AS l JOIN peers AS p ON p.session = l.objid::bigint
		WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND p.id = $1`, before)
	must(t, err)
	testkit.Eventually(t, "it has a new place", func() bool { p := one.Peers(); return p != nil && p.Self != before })
	var known [2]int
	testkit.Eventually(t, "the nodes count each other again", func() bool {
		a, b := one.Peers(), two.Peers()
		known = [2]int{a.Count(), b.Count()}
		return a != nil && b != nil && bothCounted()
	})
	if known != [2]int{2, 2} {
		t.Errorf("the nodes know of %v", known)
	}
}

func TestOnSQLiteThereIsOneNode(t *testing.T) {
	t.Parallel()
	s, _ := start(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	if p := s.Peers(); p == nil || p.Count() != 1 {
		t.Errorf("it knows of %+v", p)
	}
	var none *hub.Peers
	if none.Count() != 0 {
		t.Error("who has lost touch counts itself")
	}
}
