package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sort"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// How long to wait before something is tried again.
const (
	firstWait = 250 * time.Millisecond
	lastWait  = 10 * time.Second
	settled   = 10 * time.Second // a connection that held for so long begins anew with firstWait
)

// partingBound is how long forwards under way may outlast an interrupt. Telling the hub
// what came of them may take as long again.
const partingBound = 5 * time.Second

// Options say what to forward, from where and to where.
type Options struct {
	URL      string // of the hub
	Key      string
	Forwards []Forward
	// Durable pulls the deliveries of a STREAM endpoint for each forward, made at the
	// first time, instead of following the log.
	Durable bool
	// EndpointID is a STREAM endpoint to pull from. There is one forward then.
	EndpointID  string
	Name        string // that the endpoints made are recognised by
	MaxInFlight int    // requests to each URL at a time, where it is durable
	StatePath   string // file that remembers how far the log was forwarded
	Restart     bool   // forget what is remembered
	Earliest    bool   // begin with what is stored
	Timeout     time.Duration
	Secret      hub.Secret // that forwards are signed with; "" makes one
	Out         io.Writer
}

// listener is a run.
type listener struct {
	options  Options
	hub      *hubClient
	local    *http.Client
	state    *state
	printing sync.Mutex
}

func newListener(o Options) *listener {
	return &listener{
		options: o,
		hub:     &hubClient{url: strings.TrimSuffix(o.URL, "/"), key: o.Key, http: &http.Client{}},
		local: &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport:     &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: 30 * time.Second},
		},
	}
}

// Run forwards until ctx ends, and then returns nil once what is under way has ended. An
// error says what cannot be mended by trying again.
func Run(ctx context.Context, o Options) error {
	if o.Secret == "" {
		o.Secret = signature.GenerateSecret()
	}
	l := newListener(o)
	defer l.local.CloseIdleConnections()
	var sources map[string]string
	err := l.insist(ctx, "the hub", func(ctx context.Context) (err error) {
		sources, err = l.sources(ctx)
		return err
	})
	if err != nil {
		return ended(ctx, err)
	}
	for _, f := range o.Forwards {
		if f.Source != "" && sources[f.Source] == "" {
			return fmt.Errorf("the hub has no source %q; it has %s", f.Source, names(sources))
		}
	}
	if !o.Durable && o.EndpointID == "" {
		if l.state, err = openState(o.StatePath, o.Restart); err != nil {
			return err
		}
		defer l.state.close()
	}
	l.printf("forwards are signed as Standard Webhooks with %s\n", o.Secret.Reveal())
	l.printf("headers that carry credentials, signatures of the original sender among them, are not kept by the hub and not forwarded\n")
	group, ctx := errgroup.WithContext(ctx)
	for _, f := range o.Forwards {
		group.Go(func() error {
			if o.Durable || o.EndpointID != "" {
				return l.relayAll(ctx, f, sources[f.Source])
			}
			return l.follow(ctx, f, sources[f.Source])
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return nil
}

// ended is nil where a run was ended by whoever runs it.
func ended(ctx context.Context, err error) error {
	if errors.Is(err, errParted) || ctx.Err() != nil && !isFatal(err) {
		return nil
	}
	return err
}

// insist does something again and again until it succeeds, fails for good, or ctx ends.
func (l *listener) insist(ctx context.Context, with string, do func(context.Context) error) error {
	wait := firstWait
	for {
		began := time.Now()
		err := do(ctx)
		if err == nil || isFatal(err) || ctx.Err() != nil {
			return err
		}
		if time.Since(began) > settled {
			wait = firstWait
		}
		pause := time.Duration((0.75 + rand.Float64()/2) * float64(wait))
		l.printf("%s  %s: %v; again in %s\n", time.Now().Format("15:04:05"), with, err, pause.Round(10*time.Millisecond))
		if !sleep(ctx, pause) {
			return err
		}
		wait = min(2*wait, lastWait)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// sources returns the IDs of the hub's sources by their slugs.
func (l *listener) sources(ctx context.Context) (map[string]string, error) {
	found := make(map[string]string)
	var after *string
	for {
		var page struct {
			Sources struct {
				Nodes    []struct{ ID, Slug string }
				PageInfo struct {
					HasNextPage bool
					EndCursor   *string
				}
			}
		}
		err := l.hub.ask(ctx, `query ($after: String) { sources(first: 100, after: $after) { nodes { id slug } pageInfo { hasNextPage endCursor } } }`,
			map[string]any{"after": after}, &page)
		if err != nil {
			return nil, err
		}
		for _, s := range page.Sources.Nodes {
			found[s.Slug] = s.ID
		}
		if after = page.Sources.PageInfo.EndCursor; !page.Sources.PageInfo.HasNextPage {
			return found, nil
		}
	}
}

func names(sources map[string]string) string {
	if len(sources) == 0 {
		return "none"
	}
	var list []string
	for slug := range sources {
		list = append(list, slug)
	}
	sort.Strings(list)
	return strings.Join(list, ", ")
}

// errParted ends a stream because the run is ended.
var errParted = fatalError{errors.New("the run was ended")}
