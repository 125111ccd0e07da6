package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
)

// Fetcher gets the events of one kind of source.
type Fetcher interface {
	// Fetch works on a source until ctx ends, and then returns soon. Where it returns
	// before, for trouble that its source has, that is a failure, and it is called again after
	// a wait that grows from a second to a minute while that happens again and again and brings
	// no events; its error, a sentence for people without secrets, is shown on the source.
	Fetch(ctx context.Context, feed *Feed) error
}

// Refused is the error of a Fetcher that is to be called again after a wait of its own,
// since asking soon would only be refused again.
type Refused struct {
	Err  error
	Wait time.Duration
}

func (r *Refused) Error() string { return r.Err.Error() }

// Unwrap returns Err.
func (r *Refused) Unwrap() error { return r.Err }

// Feed is one source in the hands of its fetcher. It is for one goroutine.
type Feed struct {
	// Source is the source as it was configured when its fetcher was called. When that
	// changes, the fetcher's ctx ends and it is called anew.
	Source *hub.Source
	// Asked gets something when somebody wants the source to be fetched from now.
	Asked <-chan struct{}

	runner  *runner
	state   hub.Fetch
	brought bool // events have come since the fetcher was called
}

// errGone ends a fetcher whose source stands behind another one that is no more.
var errGone = errors.New("the webhook source whose gaps this one fills does not exist any more; give another one, or none")

// State is how far the source has come.
func (f *Feed) State() hub.Fetch { return f.state }

// Receive hands items to the door and returns once they are durable: as events of the
// source, or of the one behind which it stands. It waits where the store is busy. An
// item of which no event can be made is recorded as a rejection, and is no error.
func (f *Feed) Receive(ctx context.Context, items []receive.Item) (receive.Fetched, error) {
	of := f.Source
	if p := f.Source.Poll; p != nil && p.Reconciles != "" {
		if of = f.runner.store.Configuration().Sources[p.Reconciles]; of == nil {
			return receive.Fetched{}, errGone
		}
	}
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		got, err := f.runner.door.Fetched(ctx, f.Source, of, items)
		if err == nil {
			if slices.ContainsFunc(got.Receipts, func(r hub.Receipt) bool { return r.EventID != "" && !r.Duplicate }) {
				f.brought = true
				f.Works()
			}
			if of != f.Source {
				f.recovered(got.Receipts)
			}
			return got, nil
		}
		if hub.CodeOf(err) != hub.CodeUnavailable || !sleep(ctx, wait) {
			return got, err
		}
	}
}

// recovered remembers the newest events that were recovered, until they are told.
func (f *Feed) recovered(receipts []hub.Receipt) {
	for _, receipt := range receipts {
		if receipt.EventID != "" && !receipt.Duplicate {
			f.state.Recovered = append(f.state.Recovered, receipt.EventID)
		}
	}
	if over := len(f.state.Recovered) - hub.MaxRecoveredIDs; over > 0 {
		f.state.Recovered = f.state.Recovered[over:]
	}
}

// Tell has the next Save tell what was recovered since that was told last, by whichever
// process: the end of one run of many steps.
func (f *Feed) Tell() { f.state.Tell = true }

// Opened says that there is a connection now, which the fetcher follows until it returns.
// It is taken to work once it has brought events, or held for a minute: until then the
// source may only have let the hub in to throw it out again.
func (f *Feed) Opened() {
	now := f.runner.clock.Now()
	f.runner.opened.Store(&now)
}

// Works says that the source can be fetched from, which ends its failures.
func (f *Feed) Works() { f.state.FailingSince, f.state.Failures = time.Time{}, 0 }

// Fails counts a failure after which the fetcher goes on by itself.
func (f *Feed) Fails() {
	if f.state.Failures++; f.state.FailingSince.IsZero() {
		f.state.FailingSince = f.runner.clock.Now()
	}
}

// Save stores how far the source has come. Next is zero where it is followed all the time.
// Problem is a sentence to show, also where events come all the same; it counts no failure.
// An error of hub.CodeConflict says that another node has the source now: its fetcher then
// ends.
func (f *Feed) Save(ctx context.Context, progress json.RawMessage, last, next time.Time, problem string) error {
	if f.runner.held() {
		f.Works()
	}
	f.state.Progress, f.state.LastAt, f.state.NextAt, f.state.Error = progress, last, next, problem
	if err := f.runner.store.SaveFetch(ctx, &f.state, f.runner.token, f.runner.clock.Now().Add(lease)); err != nil {
		return fmt.Errorf("save how far the source has come: %w", err)
	}
	if f.state.Tell {
		f.state.Tell, f.state.Recovered = false, nil
	}
	return nil
}
