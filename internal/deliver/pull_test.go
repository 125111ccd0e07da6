package deliver_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// pulled returns the next delivery of a consumer.
func pulled(t *testing.T, c deliver.Pulling) hub.Pulled {
	t.Helper()
	step, err := c.Next(t.Context())
	if err != nil || len(step) != 1 {
		t.Fatalf("handed over: %v %v", step, err)
	}
	return step[0]
}

func settled(t *testing.T, d *deliver.Dispatcher, p hub.Pulled) hub.Code {
	t.Helper()
	problems, err := d.SettlePulled(t.Context(), []hub.Settling{{DeliveryID: p.Delivery.ID, Token: p.Token, Outcome: hub.SettleAcknowledge}})
	if err != nil {
		t.Fatal(err)
	}
	if problems[0] == nil {
		return ""
	}
	return hub.CodeOf(problems[0])
}

func TestALeaseThatEndsIsAFailedAttempt(t *testing.T) {
	t.Parallel()
	e := newEndpoint("end_1", "", func(e *hub.Endpoint) {
		e.Kind, e.Signing, e.Timeout = hub.EndpointStream, hub.SigningNone, time.Second // which is of no account
		e.RetryPolicy.Schedule = []time.Duration{0, time.Second, time.Second}
	})
	inBubble(t, e, func(t *testing.T, store *fakeStore, _ *script, d *deliver.Dispatcher) {
		c, err := d.Pull("end_1", 10)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		id := store.publishVia(nil, "end_1", `{}`)[0]
		d.Wake()
		first := pulled(t, c)
		if left := time.Until(first.ExpiresAt); left != 60*time.Second {
			t.Errorf("it is leased for %s", left)
		}
		pass(59 * time.Second)
		if n := len(store.attemptsOf(id)); n != 0 {
			t.Errorf("%d attempts have ended before the lease", n)
		}
		second := pulled(t, c)
		if second.Delivery.ID != id || second.Token == first.Token {
			t.Errorf("%+v came again as %+v", first, second)
		}
		if got := store.attemptsOf(id); len(got) != 1 || got[0].Outcome != hub.AttemptTimedOut {
			t.Errorf("the attempts are %+v", got)
		}
		if code := settled(t, d, first); code != hub.CodeConflict {
			t.Errorf("the token of a lease that has ended is %q", code)
		}
		pass(59 * time.Second)
		if code := settled(t, d, second); code != "" {
			t.Errorf("the token of a lease that holds is %q", code)
		}
		if got := store.delivery(id); got.Status != hub.DeliveryDelivered {
			t.Errorf("it is %+v", got)
		}
	})
}

// puller takes what a consumer is handed as it comes.
type puller struct {
	deliver.Pulling
	mu  sync.Mutex
	got []hub.Pulled
	err error
}

// pull begins to pull within a bubble.
func pull(t *testing.T, d *deliver.Dispatcher, most int) *puller {
	t.Helper()
	c, err := d.Pull("end_1", most)
	if err != nil {
		t.Fatal(err)
	}
	p := &puller{Pulling: c}
	t.Cleanup(c.Close)
	go func() {
		for {
			step, err := c.Next(context.Background())
			p.mu.Lock()
			p.got, p.err = append(p.got, step...), err
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	synctest.Wait()
	return p
}

// next returns what came since the last call, and how the stream has ended.
func (p *puller) next() ([]hub.Pulled, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	return got, p.err
}

// say settles all alike.
func say(t *testing.T, d *deliver.Dispatcher, list []hub.Pulled, outcome hub.SettleOutcome) {
	t.Helper()
	var settlings []hub.Settling
	for _, p := range list {
		settlings = append(settlings, hub.Settling{DeliveryID: p.Delivery.ID, Token: p.Token, Outcome: outcome})
	}
	problems, err := d.SettlePulled(t.Context(), settlings)
	if err != nil {
		t.Fatal(err)
	}
	for i, problem := range problems {
		if problem != nil {
			t.Errorf("%s was not settled: %v", list[i].Delivery.ID, problem)
		}
	}
}

func newStreamEndpoint(change func(*hub.Endpoint)) *hub.Endpoint {
	return newEndpoint("end_1", "", func(e *hub.Endpoint) {
		e.Kind, e.Signing = hub.EndpointStream, hub.SigningNone
		change(e)
	})
}

func TestWhatIsPulledKeepsTheRate(t *testing.T) {
	t.Parallel()
	e := newStreamEndpoint(func(e *hub.Endpoint) { e.RateLimit = &hub.RateLimit{Limit: 5, Period: time.Second} })
	inBubble(t, e, func(t *testing.T, store *fakeStore, _ *script, d *deliver.Dispatcher) {
		p := pull(t, d, 100)
		store.publish("end_1", many(30)...)
		d.Wake()
		total := 0
		for second := range 5 {
			pass(time.Duration(min(second, 1)) * time.Second)
			got, _ := p.next()
			total += len(got)
			if total > 5*(second+1) || total < 5*second {
				t.Errorf("%d after %d s", total, second)
			}
			say(t, d, got, hub.SettleAcknowledge)
		}
		pass(10 * time.Second)
		if got, _ := p.next(); total+len(got) != 30 {
			t.Errorf("%d in the end", total+len(got))
		}
	})
}

func TestTheRateOfWhatIsPulledIsEachNodesOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := newFakeStore(newStreamEndpoint(func(e *hub.Endpoint) {
			e.CreatedAt = time.Now().Add(-time.Minute)
			e.RateLimit = &hub.RateLimit{Limit: 10, Period: time.Hour}
		}))
		store.meet(&hub.Peers{Self: "this", Others: []hub.Peer{{ID: "other", Counts: true}}})
		d := newDispatcher(t, store, &script{status: 200})
		p := pull(t, d, 100)
		store.publish("end_1", many(30)...)
		d.Wake()
		pass(time.Second)
		if got, _ := p.next(); len(got) != 10 {
			t.Errorf("%d were handed over", len(got))
		}
	})
}

func TestAPausedEndpointHandsNothingOver(t *testing.T) {
	t.Parallel()
	state := func(s hub.EndpointState) *hub.Endpoint {
		return newStreamEndpoint(func(e *hub.Endpoint) { e.State = s })
	}
	inBubble(t, state(hub.EndpointActive), func(t *testing.T, store *fakeStore, _ *script, d *deliver.Dispatcher) {
		p := pull(t, d, 2)
		store.publish("end_1", many(5)...)
		d.Wake()
		pass(time.Second)
		held, _ := p.next()
		if len(held) != 2 {
			t.Fatalf("%d were handed over", len(held))
		}
		store.configure(state(hub.EndpointPaused))
		d.Wake()
		pass(time.Second)
		say(t, d, held, hub.SettleAcknowledge) // the consumer has them all the same
		pass(time.Minute)
		if got, err := p.next(); len(got) != 0 || err != nil {
			t.Errorf("while it is paused: %d, %v", len(got), err)
		}
		store.configure(state(hub.EndpointActive))
		d.Wake()
		pass(time.Second)
		if got, err := p.next(); len(got) != 2 || err != nil {
			t.Errorf("after it was resumed: %d, %v", len(got), err)
		}
	})
}

// Consumers take what they want when they want it: there is nothing to spare them, and
// what they give back is due by its schedule alone.
func TestWhatIsPulledKnowsNoBreaker(t *testing.T) {
	t.Parallel()
	e := newStreamEndpoint(func(e *hub.Endpoint) {
		e.RetryPolicy = hub.RetryPolicy{Schedule: []time.Duration{0, time.Minute, time.Minute}}
	})
	inBubble(t, e, func(t *testing.T, store *fakeStore, _ *script, d *deliver.Dispatcher) {
		p := pull(t, d, 10)
		store.publish("end_1", many(30)...)
		d.Wake()
		for range 3 {
			pass(time.Second)
			got, _ := p.next()
			if len(got) != 10 {
				t.Fatalf("%d were handed over", len(got))
			}
			say(t, d, got, hub.SettleRetry)
		}
		if h := store.Health("end_1"); h.Breaker != hub.BreakerClosed || h.ConsecutiveFailures != 30 {
			t.Fatalf("the health is %+v", h)
		}
		pass(50 * time.Second)
		if got, _ := p.next(); len(got) != 0 {
			t.Errorf("%d came before they were due", len(got))
		}
		total := 0
		for range 3 {
			pass(10 * time.Second)
			got, _ := p.next()
			total += len(got)
			say(t, d, got, hub.SettleAcknowledge)
		}
		if total != 30 {
			t.Errorf("%d came again", total)
		}
	})
}

func TestAStreamThatEndsFreesItsLeasesAtOnce(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(t *testing.T, p *puller, store *fakeStore, d *deliver.Dispatcher) error{
		"closed": func(_ *testing.T, p *puller, _ *fakeStore, _ *deliver.Dispatcher) error {
			p.Close()
			return context.Canceled
		},
		"the hub stops": func(t *testing.T, _ *puller, _ *fakeStore, d *deliver.Dispatcher) error {
			if err := d.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			return deliver.ErrDraining
		},
		"the endpoint is deleted": func(_ *testing.T, _ *puller, store *fakeStore, d *deliver.Dispatcher) error {
			store.configure()
			d.Wake()
			return hub.ErrNotFound
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inBubble(t, newStreamEndpoint(func(*hub.Endpoint) {}), func(t *testing.T, store *fakeStore, _ *script, d *deliver.Dispatcher) {
				p := pull(t, d, 4)
				ids := store.publish("end_1", many(9)...)
				d.Wake()
				pass(time.Second)
				got, _ := p.next()
				if len(got) != 4 {
					t.Fatalf("%d were handed over", len(got))
				}
				began := time.Now()
				want := end(t, p, store, d)
				pass(10 * time.Millisecond)
				if _, err := p.next(); !errors.Is(err, want) {
					t.Errorf("it ended with %v, not %v", err, want)
				}
				interrupted := 0
				for _, id := range ids {
					store.mu.Lock()
					token, due := store.rows[id].token, store.rows[id].due
					store.mu.Unlock()
					if token != "" || due.After(time.Now()) {
						t.Errorf("%s is leased by %q and due in %s", id, token, time.Until(due))
					}
					for _, a := range store.attemptsOf(id) {
						if a.Outcome != hub.AttemptInterrupted {
							t.Errorf("the attempt was %s", a.Outcome)
						}
						interrupted++
					}
					if d := store.delivery(id); d.Status != hub.DeliveryPending || d.SchedulePosition != 0 {
						t.Errorf("it is %+v", d)
					}
				}
				if interrupted != 4 || store.Health("end_1") != nil && store.Health("end_1").ConsecutiveFailures != 0 {
					t.Errorf("%d attempts were interrupted, the health is %+v", interrupted, store.Health("end_1"))
				}
				if took := time.Since(began); took > time.Second {
					t.Errorf("it took %s", took)
				}
			})
		})
	}
}
