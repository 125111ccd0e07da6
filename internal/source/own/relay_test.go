package own_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/own"
)

// fake is a store and a door in memory. The door is of a real one's kind: it makes one
// event of those that share a dedupe key.
type fake struct {
	mu         sync.Mutex // guards what follows
	waiting    []*hub.Announcement
	events     []*hub.Event
	receipts   int // calls of Receive
	failure    error
	forgetting bool
	announcing chan struct{}
}

// tell stores announcements, as any node may.
func (f *fake) tell(list ...*hub.Announcement) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiting = append(f.waiting, list...)
}

func (f *fake) Announcements(_ context.Context, limit int) ([]*hub.Announcement, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.waiting[:min(limit, len(f.waiting))]), nil
}

func (f *fake) Announced(_ context.Context, ids []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.forgetting {
		f.forgetting = false
		return errors.New("the node has died")
	}
	f.waiting = slices.DeleteFunc(f.waiting, func(a *hub.Announcement) bool { return slices.Contains(ids, a.ID) })
	return nil
}

func (f *fake) Announcing() <-chan struct{} { return f.announcing }

func (f *fake) Receive(_ context.Context, events []*hub.Event) ([]hub.Receipt, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.receipts++
	if f.failure != nil {
		return nil, f.failure
	}
	for _, e := range events {
		if !slices.ContainsFunc(f.events, func(known *hub.Event) bool { return known.DedupeKey == e.DedupeKey }) {
			f.events = append(f.events, e)
		}
	}
	return make([]hub.Receipt, len(events)), nil
}

// fail has the door answer an error from now on; nil ends that.
func (f *fake) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failure = err
}

// forget has what is handed over next not be noted, as if the node had died in between.
func (f *fake) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgetting = true
}

// state waits until nothing moves, and returns what was received and what waits.
func (f *fake) state() (events []*hub.Event, waiting, receipts int) {
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.events), len(f.waiting), f.receipts
}

func announcement(n int) *hub.Announcement {
	return &hub.Announcement{
		ID: fmt.Sprintf("evt_%03d", n), Type: "hookgraph.endpoint.disabled", PartnerID: "prt_a",
		OccurredAt: time.Unix(int64(n), 0).UTC(), Body: fmt.Appendf(nil, `{"n":%d}`, n),
	}
}

// beside runs a test beside a relay, in a time of its own.
func beside(t *testing.T, test func(t *testing.T, f *fake)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{announcing: make(chan struct{}, 1)}
		r := own.Start(t.Context(), f, f, hub.SystemClock{}, slog.New(slog.DiscardHandler))
		synctest.Wait() // it has looked, and there was nothing
		test(t, f)
		if err := r.Stop(t.Context()); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
}

func TestWhatIsToldBecomesAnEventOfTheBuiltInSource(t *testing.T) {
	beside(t, func(t *testing.T, f *fake) {
		f.tell(announcement(1))
		f.announcing <- struct{}{} // at once, without a look at the time
		events, waiting, _ := f.state()
		if len(events) != 1 || waiting != 0 {
			t.Fatalf("%d events, and %d wait", len(events), waiting)
		}
		e := events[0]
		if e.ID != "evt_001" || e.DedupeKey != e.ID || e.SourceID != hub.BuiltInHubID || e.PartnerID != "prt_a" ||
			e.Type != "hookgraph.endpoint.disabled" || string(e.Payload.Body) != `{"n":1}` || e.ContentType != "application/json" {
			t.Errorf("it is %+v", e)
		}
		if !e.OccurredAt.Equal(time.Unix(1, 0)) || !e.ReceivedAt.Equal(time.Now()) {
			t.Errorf("it occurred at %s and was received at %s", e.OccurredAt, e.ReceivedAt)
		}
	})
}

func TestWhatAnotherNodeHasStoredIsFoundWithinASecond(t *testing.T) {
	beside(t, func(t *testing.T, f *fake) {
		f.tell(announcement(1))
		time.Sleep(time.Second)
		if events, waiting, _ := f.state(); len(events) != 1 || waiting != 0 {
			t.Errorf("%d events, and %d wait", len(events), waiting)
		}
	})
}

func TestABacklogIsHandedOverInOneGo(t *testing.T) {
	beside(t, func(t *testing.T, f *fake) {
		for n := range 250 {
			f.tell(announcement(n))
		}
		f.announcing <- struct{}{}
		events, waiting, receipts := f.state()
		if len(events) != 250 || waiting != 0 || receipts != 3 {
			t.Fatalf("%d events in %d calls, and %d wait", len(events), receipts, waiting)
		}
		for n, e := range events {
			if want := announcement(n).ID; e.ID != want {
				t.Fatalf("at %d comes %s, not %s", n, e.ID, want)
			}
		}
	})
}

func TestWhatTheDoorRefusesIsTriedAgain(t *testing.T) {
	beside(t, func(t *testing.T, f *fake) {
		f.fail(errors.New("the database is away"))
		f.tell(announcement(1))
		time.Sleep(3 * time.Second)
		events, waiting, receipts := f.state()
		if len(events) != 0 || waiting != 1 || receipts != 3 {
			t.Fatalf("%d events, %d wait, the door was asked %d times in 3 seconds", len(events), waiting, receipts)
		}
		f.fail(nil)
		time.Sleep(time.Second)
		if events, waiting, _ := f.state(); len(events) != 1 || waiting != 0 {
			t.Errorf("then %d events, and %d wait", len(events), waiting)
		}
	})
}

func TestWhatIsHandedOverTwiceIsOneEvent(t *testing.T) {
	beside(t, func(t *testing.T, f *fake) {
		f.forget()
		f.tell(announcement(1))
		time.Sleep(2 * time.Second)
		if events, waiting, receipts := f.state(); len(events) != 1 || waiting != 0 || receipts != 2 {
			t.Errorf("%d events in %d calls, and %d wait", len(events), receipts, waiting)
		}
	})
}
