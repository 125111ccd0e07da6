package app_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestStoppingCutsHangingDeliveriesOffAndWritesThemDown(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, o config.Server) {
		o.ShutdownTimeout = 200 * time.Millisecond
		c := start(t, o)
		release := make(chan struct{})
		owner := listen(t, func(_ http.ResponseWriter, r *http.Request, _ int) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		})
		t.Cleanup(func() { close(release) })
		c.source("s")
		endpoint, _ := c.endpoint(owner.URL, `timeout: "PT30S"`)
		c.subscribe(endpoint, "")
		sent := c.post("s", nil, []byte(`{}`))
		testkit.Eventually(t, "the attempt is under way", func() bool { return len(owner.got()) == 1 })

		bound, cancel := context.WithTimeout(context.Background(), 28*time.Second)
		defer cancel()
		began := time.Now()
		if err := c.hub.Stop(bound); err != nil {
			t.Errorf("stop: %v", err)
		}
		if took := time.Since(began); took > 25*time.Second {
			t.Errorf("the stop took %s, with %s for what is under way", took, o.ShutdownTimeout)
		}

		again := start(t, o)
		d := again.only(sent.ID, "the attempt is recorded", func(d delivery) bool { return len(d.Attempts.Nodes) > 0 })
		if d.Attempts.Nodes[0].Outcome != "INTERRUPTED" {
			t.Errorf("it is recorded as %+v", d.Attempts.Nodes[0])
		}
		testkit.Eventually(t, "the attempt is repeated at once", func() bool { return len(owner.got()) == 2 })
	})
}

func TestAStopIsAnnouncedBeforeItBegins(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.DrainDelay = 8 * time.Second
	c := start(t, o)
	c.source("s")
	stopped := make(chan struct{})
	go func() { defer close(stopped); c.stop() }()
	testkit.Eventually(t, "readiness is off", func() bool {
		status, _ := c.send(http.MethodGet, "/readyz", nil, nil)
		return status == http.StatusServiceUnavailable
	})
	c.post("s", nil, []byte(`{}`)) // and what still comes is taken
	<-stopped
}
