package deliver_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// shaping makes a store whose deliveries are shaped, and what notes each request.
func shaping(t *testing.T, answers func(n int) (*http.Response, error), s *shaper) (*fakeStore, *deliver.Dispatcher, func() []string) {
	t.Helper()
	store := newFakeStore()
	store.transform = &hub.Transform{Kind: hub.TransformCEL, Expression: "body"}
	store.configure(newEndpoint("end_1", "http://127.0.0.1/", func(e *hub.Endpoint) {
		e.RetryPolicy.Schedule = []time.Duration{0, time.Second, time.Second}
	}))
	var mu sync.Mutex
	var sent []string
	d := newDispatcher(t, store, roundTrip(func(r *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		sent = append(sent, r.Header.Get("Content-Type")+" "+string(body))
		return answers(len(sent))
	}), func(c *deliver.Config) { c.Shaper = s })
	return store, d, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string{}, sent...)
	}
}

func TestABodyIsShapedOnceForAllAttempts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shaper{}
		store, _, sent := shaping(t, func(n int) (*http.Response, error) {
			if n < 3 {
				return answer(500), nil
			}
			return answer(200), nil
		}, s)
		id := store.publish("end_1", "raw")[0]
		store.awaitAttempts(t, id, 3)
		for _, body := range sent() {
			if body != `application/json {"shaped":1}` {
				t.Errorf("sent %s", sent())
			}
		}
		if s.calls != 1 || store.delivery(id).Status != hub.DeliveryDelivered {
			t.Errorf("%d calls, %+v", s.calls, store.delivery(id))
		}
	})
}

func TestNothingIsSentWhileTheBodyCannotBeKept(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shaper{}
		store, _, sent := shaping(t, func(int) (*http.Response, error) { return answer(200), nil }, s)
		store.mu.Lock()
		store.keepErr = hub.NewError(hub.CodeUnavailable, "not now")
		store.mu.Unlock()
		id := store.publish("end_1", "raw")[0]
		pass(time.Minute)
		if len(sent()) != 0 || store.delivery(id).Status != hub.DeliveryPending || s.calls < 2 || s.calls > 20 {
			t.Fatalf("sent %s after %d calls, %+v", sent(), s.calls, store.delivery(id))
		}
		store.mu.Lock()
		store.keepErr = nil
		store.mu.Unlock()
		store.awaitAttempts(t, id, 1)
		if len(sent()) != 1 {
			t.Errorf("sent %s", sent())
		}
	})
}

func TestWhatCannotBeShapedIsHeld(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]func(int) error{
		"an error": func(int) error { return errors.New("no such key: a") },
		"a panic":  func(int) error { panic("no such key: a") },
		"too late": func(int) error { return hub.NewError(hub.CodeTimeout, "it took too long") },
		"unavailable": func(n int) error {
			if n < 3 {
				return hub.NewError(hub.CodeUnavailable, "not now")
			}
			return errors.New("no such key: a")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store, _, sent := shaping(t, func(int) (*http.Response, error) { return answer(200), nil }, &shaper{fail: failure})
				id := store.publish("end_1", "raw")[0]
				a := store.awaitAttempts(t, id, 1)
				if a.Outcome != hub.AttemptTransformFailed || a.Error == "" || a.RequestURL != "" || a.StatusCode != 0 {
					t.Errorf("recorded %+v", a)
				}
				if d := store.delivery(id); d.Status != hub.DeliveryHeld || !strings.Contains(d.Reason, a.Error) {
					t.Errorf("delivery %+v", d)
				}
				pass(time.Hour)
				if len(sent()) != 0 || len(store.attemptsOf(id)) != 1 || store.Health("end_1").ConsecutiveFailures != 0 {
					t.Errorf("sent %s, attempts %d", sent(), len(store.attemptsOf(id)))
				}
			})
		})
	}
}

func TestWithoutItsTransformTheEventsOwnBodyGoesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shaper{}
		store, _, sent := shaping(t, func(int) (*http.Response, error) { return answer(200), nil }, s)
		store.mu.Lock()
		store.configuration.Subscriptions["sub_end_1"].Transform = nil
		store.mu.Unlock()
		id := store.publish("end_1", "raw")[0]
		store.awaitAttempts(t, id, 1)
		if got := sent(); len(got) != 1 || got[0] != "application/json raw" || s.calls != 0 {
			t.Errorf("sent %s after %d calls", got, s.calls)
		}
	})
}

// A subscription that has been led elsewhere shapes with the rights of whoever still gets
// the delivery.
func TestABodyIsMadeWithTheRightsOfWhoeverGetsIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &shaper{}
		store, _, _ := shaping(t, func(int) (*http.Response, error) { return answer(200), nil }, s)
		store.mu.Lock()
		store.partnerID = "prt_a"
		store.configuration.Subscriptions["sub_end_1"].EndpointID = "end_of_the_operator"
		store.mu.Unlock()
		store.awaitAttempts(t, store.publish("end_1", "raw")[0], 1)
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.owner != "prt_a" {
			t.Errorf("it was made with the rights of %q", s.owner)
		}
	})
}
