package app

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/store"
)

// lookTimeout bounds a look for a source that this node does not know.
const lookTimeout = 5 * time.Second

// newcomers lets the door know a source that another node has made a moment ago:
// whoever made it may have it called at once, through any node, and a provider that
// is told of no such source gives up.
type newcomers struct {
	door  http.Handler
	store *store.Store

	// mu lets one request look at a time, however many unknown paths are knocked at.
	mu     sync.Mutex
	looked time.Time // when the last look began
}

func (n *newcomers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	slug, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, receive.Prefix), "/")
	if !n.known(slug) {
		n.look(r.Context(), time.Now())
	}
	n.door.ServeHTTP(w, r)
}

func (n *newcomers) known(slug string) bool {
	return n.store.Configuration().SourcesBySlug[slug] != nil
}

// look brings the configuration up to date for a request that came at the given
// time, unless a look that began later has done so.
func (n *newcomers) look(ctx context.Context, came time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.looked.After(came) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	began := time.Now()
	if n.store.Refresh(ctx) == nil { // else the source stays unknown; the store reports a database that is away
		n.looked = began
	}
}
