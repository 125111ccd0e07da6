package fetch_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/fetch"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// turns is a fetcher of which each call does what the test says then.
type turns struct {
	*world
	next chan fetcherFunc
}

func (w *world) turns() *turns {
	tu := &turns{w, make(chan fetcherFunc)}
	w.node(func(ctx context.Context, feed *fetch.Feed) error {
		select {
		case turn := <-tu.next:
			return turn(ctx, feed)
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	return tu
}

// turn waits for the next call, and has it do something.
func (tu *turns) turn(do fetcherFunc) {
	tu.Helper()
	select {
	case tu.next <- do:
	case <-time.After(2 * time.Minute):
		tu.Fatal("the fetcher was not called")
	}
}

// shows waits for an error, and then looks how often and since when the source failed.
func (tu *turns) shows(src *hub.Source, problem string, failures int, since time.Time) {
	tu.Helper()
	testkit.Eventually(tu, fmt.Sprintf("the error %q is shown", problem), func() bool { return tu.status(src).Error == problem })
	if s := tu.status(src); s.Failures != failures || !s.FailingSince.Equal(since) {
		tu.Errorf("with the error %q it has failed %d times since %v, not %d since %v", problem, s.Failures, s.FailingSince, failures, since)
	}
}

func TestTroubleIsShownAndTriedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	src, tu := w.source(), w.turns()
	began := w.clock.Now()
	tu.turn(func(context.Context, *fetch.Feed) error { return errors.New("the API answered 500") })
	tu.shows(src, "the API answered 500", 1, began)
	if next := w.status(src).NextAt; !next.After(began) {
		t.Errorf("it is tried again at %s", next)
	}
	w.clock.Advance(time.Second)
	must(t, w.store.AskFetch(t.Context(), src.ID)) // ends the wait
	tu.turn(func(context.Context, *fetch.Feed) error { panic("a mistake") })
	tu.shows(src, "the hub made a mistake; its log says which", 2, began)
	w.clock.Advance(time.Second)
	must(t, w.store.AskFetch(t.Context(), src.ID))
	tu.turn(func(context.Context, *fetch.Feed) error {
		return &fetch.Refused{Err: errors.New("the key is not known"), Wait: time.Hour}
	})
	tu.shows(src, "the key is not known", 3, began)
	if next := w.status(src).NextAt; !next.Equal(w.clock.Now().Add(time.Hour)) {
		t.Errorf("it is tried again at %s", next)
	}
	w.clock.Advance(time.Second)
	must(t, w.store.AskFetch(t.Context(), src.ID))
	tu.turn(func(ctx context.Context, feed *fetch.Feed) error {
		feed.Works()
		err := feed.Save(ctx, nil, w.clock.Now(), time.Time{}, "")
		<-ctx.Done()
		return err
	})
	tu.shows(src, "", 0, time.Time{})
}

func TestAConnectionWorksOnceItHasHeld(t *testing.T) {
	t.Parallel()
	testkit.EachDatabase(t, func(t *testing.T, url string) {
		w := newWorld(t, url)
		src, tu := w.source(), w.turns()
		began := w.clock.Now()
		cut := func(n int) fetcherFunc {
			return func(ctx context.Context, feed *fetch.Feed) error {
				feed.Opened()
				return errors.Join(feed.Save(ctx, nil, w.clock.Now(), time.Time{}, ""), fmt.Errorf("cut %d", n))
			}
		}
		for n := 1; n <= 3; n++ {
			tu.turn(cut(n))
			tu.shows(src, fmt.Sprintf("cut %d", n), n, began)
			w.clock.Advance(time.Second)
			must(t, w.store.AskFetch(t.Context(), src.ID))
		}
		ends := make(chan struct{})
		tu.turn(func(ctx context.Context, feed *fetch.Feed) error {
			feed.Opened()
			if err := feed.Save(ctx, nil, w.clock.Now(), time.Time{}, ""); err != nil {
				return err
			}
			select { // nothing comes, and so the fetcher has nothing to save
			case <-ends:
				return errors.New("cut at last")
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		tu.shows(src, "", 3, began)
		w.clock.Advance(time.Minute)
		testkit.Eventually(t, "it works", func() bool { s := w.status(src); return s.Failures == 0 && s.FailingSince.IsZero() })
		close(ends)
		tu.shows(src, "cut at last", 1, w.clock.Now())
	})
}

func TestConnectionsThatBringEventsAreMadeAgainSoon(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "hub.db"))
	src, tu := w.source(), w.turns()
	for i, step := range []struct {
		id, failures int
		least, most  time.Duration
	}{
		{1, 1, 800 * time.Millisecond, 1200 * time.Millisecond},
		{2, 1, 800 * time.Millisecond, 1200 * time.Millisecond},
		{3, 1, 800 * time.Millisecond, 1200 * time.Millisecond},
		{3, 2, 1600 * time.Millisecond, 2400 * time.Millisecond}, // said again, which is nothing new
		{4, 1, 800 * time.Millisecond, 1200 * time.Millisecond},
	} {
		tu.turn(func(ctx context.Context, feed *fetch.Feed) error {
			_, err := feed.Receive(ctx, []receive.Item{item(step.id)})
			return cmp.Or(err, fmt.Errorf("cut %d", i))
		})
		tu.shows(src, fmt.Sprintf("cut %d", i), step.failures, w.clock.Now())
		if wait := w.status(src).NextAt.Sub(w.clock.Now()); wait < step.least || wait > step.most {
			t.Errorf("after item %d it waits for %v", step.id, wait)
		}
	}
}
