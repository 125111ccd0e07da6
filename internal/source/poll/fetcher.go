package poll

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"time"

	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/deliver/policy"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/fetch"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// maxReading is how many answers a node takes apart at a time: each may be large.
const maxReading = 4

// Config is what a Fetcher is made of. All of it is needed.
type Config struct {
	// Credentials show the APIs who calls, and carry the requests through the guard.
	Credentials *credential.Book
	// CheckURL says what is wrong with a URL that the hub is to call.
	CheckURL func(url string) error
	// Describe finds what describes the event that an item of a source becomes, as an event
	// of another source where it stands behind that one.
	Describe func(src, of *hub.Source, item receive.Item) (webhook.Extracted, bool)
	// Known returns those of a source's dedupe keys by which a further event would be a
	// duplicate now.
	Known func(ctx context.Context, sourceID string, keys []string) (map[string]bool, error)
	// Configuration has the sources behind which others stand.
	Configuration func() *hub.Configuration
	Clock         hub.Clock
	Logger        *slog.Logger
	Version       string // of the hub, for those who are asked
}

// Fetcher polls sources. It is safe for concurrent use.
type Fetcher struct {
	Config
	reading chan struct{} // has one for each answer that is taken apart
}

// New makes a Fetcher.
func New(c Config) *Fetcher { return &Fetcher{Config: c, reading: make(chan struct{}, maxReading)} }

// work is one source in the hands of a Fetcher.
type work struct {
	feed     *fetch.Feed
	plan     *plan
	origin   *url.URL
	progress *progress
	quota    policy.Quota // as the last answer told it

	book     *credential.Book
	checkURL func(string) error
	describe func(item receive.Item) (webhook.Extracted, bool)
	known    func(ctx context.Context, keys []string) (map[string]bool, error)
	becomes  func() *hub.Source // whose events the items are; nil: it is no more
	clock    hub.Clock
	logger   *slog.Logger
	agent    string
	reading  chan struct{}
}

// Fetch polls a source until ctx ends.
func (f *Fetcher) Fetch(ctx context.Context, feed *fetch.Feed) error {
	src := feed.Source
	w := &work{
		feed: feed, book: f.Credentials, checkURL: f.CheckURL, clock: f.Clock, reading: f.reading, agent: "Hookgraph/" + f.Version,
		logger: f.Logger.With(slog.String("source_id", src.ID)),
	}
	w.becomes = func() *hub.Source {
		if src.Poll.Reconciles != "" {
			return f.Configuration().Sources[src.Poll.Reconciles]
		}
		return src
	}
	w.describe = func(item receive.Item) (webhook.Extracted, bool) {
		of := w.becomes()
		if of == nil {
			return webhook.Extracted{}, false
		}
		return f.Describe(src, of, item)
	}
	w.known = func(ctx context.Context, keys []string) (map[string]bool, error) {
		of := w.becomes()
		if of == nil {
			return nil, nil
		}
		return f.Known(ctx, of.ID, keys)
	}
	defer f.Credentials.Forget(src.ID)
	var err error
	if w.plan, err = planOf(src); err != nil {
		return err
	}
	first, err := w.plan.url(variables{since: f.Clock.Now(), page: 1})
	if err != nil {
		return errors.New("the URL template cannot be expanded")
	}
	if w.origin, err = url.Parse(first); err != nil {
		return errors.New("the URL template does not make a URL")
	}
	state := feed.State()
	w.progress = readProgress(src, state.Progress)
	due := state.NextAt
	if !w.progress.Under.Equal(src.UpdatedAt) {
		due = f.Clock.Now() // what has been changed is tried at once, even if the source was just asked as it was
	}
	w.progress.Under = src.UpdatedAt
	for {
		if !w.wait(ctx, due) {
			return ctx.Err()
		}
		if due, err = w.turn(ctx); err != nil {
			return err
		}
	}
}

// wait waits until the source is due, or until somebody asks for it. What the API itself
// wants to be spared is not asked for in any case.
func (w *work) wait(ctx context.Context, due time.Time) bool {
	for {
		now := w.clock.Now()
		if w.progress.NotBefore.After(due) {
			due = w.progress.NotBefore
		}
		if !due.After(now) {
			return ctx.Err() == nil
		}
		timer := time.NewTimer(due.Sub(now))
		select {
		case <-timer.C:
		case <-w.feed.Asked:
			due = w.clock.Now()
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return false
		}
	}
}
