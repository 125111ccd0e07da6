package broker

import (
	"context"
	"net/http"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	// ackWait is how long the broker waits before it hands a message over again. It is
	// told in time that work goes on.
	ackWait = 15 * time.Second
	// A batch has so many messages, and no more once it has so many bytes.
	batchMessages = 500
	batchBytes    = 4 << 20
	pulledBytes   = 64 << 20 // what is on its way; one message may be as large as that
	// lookAgain is how often it is asked whether a stream captures the subject by now.
	lookAgain  = 30 * time.Second
	pullExpiry = 5 * time.Second // which also is how soon a pull that broke off is noticed
	askBound   = 10 * time.Second
	idleAfter  = 250 * time.Millisecond
)

// Taken is a message that was taken from a queue.
type Taken struct {
	// Key tells the message from all others that the broker keeps; "" where it does not
	// number them.
	Key string
	// ID is what the sender told it by to the broker; "" for none.
	ID     string
	Header http.Header
	// About is what the broker's protocol says of the message beside its headers, under
	// names of headers.
	About []hub.Header
	At    time.Time // when the broker got it, or it was sent; zero: unknown
	Body  []byte

	kept kept // nil where the broker keeps none
}

// kept is a message that the broker keeps until it is acknowledged.
type kept interface {
	Ack() error
	Nak() error        // it is to come again
	InProgress() error // it is still being worked on
}

// Consumer takes the messages of one target.
type Consumer struct {
	Dial   DialFunc
	Target *Target
	Login  Login
	// Name is of the durable consumer in the stream that captures the subject, of the
	// group that shares the messages where none does, or of the consumer of a queue.
	Name string
	// Opened is called when messages are about to come.
	Opened func(ctx context.Context) error
	// Take handles messages, one call at a time. Those that the broker keeps are
	// acknowledged when it returns without an error, and come again otherwise. It is called without any once
	// nothing has come for a moment. Dropped is how many messages, kept by no stream, were
	// dropped so far since they came too fast.
	Take func(ctx context.Context, batch []Taken, dropped int) error
}

// Run takes messages until ctx ends, the connection is lost or Take fails. It never
// returns nil.
func (c *Consumer) Run(ctx context.Context) error { return c.Target.driver.take(ctx, c) }

// Remove removes what Run has left in the broker: the durable consumer of a stream, and
// the place in the stream with it.
func (c *Consumer) Remove(ctx context.Context) error { return c.Target.driver.remove(ctx, c) }

// takeAll handles what comes, as many at once as are there.
func (c *Consumer) takeAll(ctx context.Context, coming <-chan Taken) error {
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	for {
		var first Taken
		var open bool
		select {
		case first, open = <-coming:
		case <-idle.C:
			if err := c.Take(ctx, nil, 0); err != nil {
				return taken(err)
			}
			continue
		}
		if !open {
			return nil
		}
		batch, bytes := []Taken{first}, len(first.Body)
		for more := true; more && len(batch) < batchMessages && bytes < batchBytes; {
			select {
			case next, open := <-coming:
				if more = open; open {
					batch, bytes = append(batch, next), bytes+len(next.Body)
				}
			default:
				more = false
			}
		}
		if err := c.working(ctx, batch); err != nil {
			for _, taken := range batch {
				_ = taken.kept.Nak() // the broker hands it over again in any case
			}
			return err
		}
		for _, taken := range batch {
			if err := taken.kept.Ack(); err != nil {
				return err // it comes again, and its key is known
			}
		}
		idle.Reset(idleAfter)
	}
}

// working handles a batch, and tells the broker meanwhile that work goes on.
func (c *Consumer) working(ctx context.Context, batch []Taken) error {
	done := make(chan error, 1)
	go func() { done <- taken(c.Take(ctx, batch, 0)) }()
	tick := time.NewTicker(ackWait / 3)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			for _, taken := range batch {
				_ = taken.kept.InProgress() // a lost one makes the message come again
			}
		}
	}
}

// takerError is an error of those who take messages: it says nothing about the broker.
type takerError struct{ error }

func (e *takerError) Unwrap() error { return e.error }

func taken(err error) error {
	if err == nil {
		return nil
	}
	return &takerError{err}
}
