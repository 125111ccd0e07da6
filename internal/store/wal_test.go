package store_test

import (
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
)

func TestReadersThatOverlapDoNotGrowTheWAL(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hookgraph.db")
	const limit = 1 << 20
	s, b := start(t, "sqlite:"+path, store.MaxWAL(limit))
	src := newSource(t, s, b)
	body := make([]byte, limit/16)
	large := func(ev *hub.Event) { ev.Payload.Body = body }
	for range 20 {
		add(t, s, newEvent(b, src, large))
	}
	var done atomic.Bool
	var reading sync.WaitGroup
	for range 4 { // each begins again before the others have ended
		reading.Go(func() {
			for !done.Load() {
				if _, err := s.EventsAfter(t.Context(), 0, 4); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var most int64
	for range 120 {
		add(t, s, newEvent(b, src, large))
		info, err := os.Stat(path + "-wal")
		if err != nil {
			t.Fatal(err)
		}
		most = max(most, info.Size())
	}
	done.Store(true)
	reading.Wait()
	if most > 4*limit {
		t.Errorf("the WAL grew to %d KiB", most>>10)
	}
}
