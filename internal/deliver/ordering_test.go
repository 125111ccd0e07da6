package deliver_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// What is stale is asked before each attempt, the first and the retries alike, and nothing
// is sent of it.
func TestWhatBecomesStaleIsNotAttempted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(newEndpoint("end_1", "http://127.0.0.1/", func(e *hub.Endpoint) {
			e.RetryPolicy.Schedule = []time.Duration{0, time.Second, time.Second}
		}))
		store.mark = "customer 1"
		sent := 0
		newDispatcher(t, store, roundTrip(func(*http.Request) (*http.Response, error) {
			sent++
			store.skip("dlv_newer was delivered before")
			return answer(500), nil
		}), func(*deliver.Config) {})
		id := store.publish("end_1", "one")[0]
		store.await(t, "it is canceled", func() bool { return store.delivery(id).Status == hub.DeliveryCanceled })
		d := store.delivery(id)
		if sent != 1 || d.Reason != "dlv_newer was delivered before" || d.CompletedAt.IsZero() || len(store.attemptsOf(id)) != 1 {
			t.Errorf("%d were sent of %+v", sent, d)
		}
	})
}
