package document

import (
	"fmt"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// What automatic persisted queries take at most, whatever their number.
const (
	maxSentBytes     = 8 << 20
	maxSentTextBytes = 64 << 10
)

// sent holds documents that clients have sent, by their hash. Those that were not
// asked for the longest are forgotten first.
type sent struct {
	// mu guards what follows.
	mu    sync.Mutex
	texts *simplelru.LRU[string, string]
	bytes int
}

func newSent(count int) (*sent, error) {
	s := &sent{}
	var err error
	s.texts, err = simplelru.NewLRU(count, func(_, text string) { s.bytes -= len(text) })
	if err != nil {
		return nil, fmt.Errorf("make cache of persisted queries: %w", err)
	}
	return s, nil
}

func (s *sent) get(hash string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.texts.Get(hash)
}

// keep keeps a text, unless it is too large for that.
func (s *sent) keep(text string) {
	if len(text) > maxSentTextBytes {
		return
	}
	hash := hub.HashDocument(text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, known := s.texts.Get(hash); known {
		return
	}
	s.texts.Add(hash, text)
	for s.bytes += len(text); s.bytes > maxSentBytes; {
		s.texts.RemoveOldest()
	}
}
