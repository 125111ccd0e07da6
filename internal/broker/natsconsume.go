package broker

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// takeNATS takes messages of a stream where one captures the subject, and otherwise
// those that come meanwhile.
func takeNATS(ctx context.Context, c *Consumer) error {
	conn, err := connectNATS(c.Dial, c.Target, c.Login, connectTimeout)
	if err != nil {
		return consumeError(err)
	}
	defer conn.part()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lost := conn.conn.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	defer conn.conn.RemoveStatusListener(lost)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		select {
		case <-lost:
			conn.close() // what waits for it ends
			cancel(&Error{Message: "the connection to the broker was lost"})
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(nil); <-stopped }()
	stream, err := c.stream(ctx, conn)
	if err == nil {
		if stream != nil {
			err = c.fromStream(ctx, stream)
		} else {
			err = c.fromSubject(ctx, conn)
		}
	}
	var why *Error
	if errors.As(context.Cause(ctx), &why) {
		return why
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return consumeError(err)
}

// part closes the connection once the broker has what was said last.
func (c *natsConn) part() {
	if c.conn.IsConnected() {
		_ = c.conn.FlushTimeout(time.Second) // acknowledgements; without them messages come again
	}
	c.conn.Close()
}

// removeNATS removes the durable consumer from the stream.
func removeNATS(ctx context.Context, c *Consumer) error {
	conn, err := connectNATS(c.Dial, c.Target, c.Login, connectTimeout)
	if err != nil {
		return consumeError(err)
	}
	defer conn.part()
	stream, err := c.stream(ctx, conn)
	if err != nil || stream == nil {
		return err
	}
	if err := stream.DeleteConsumer(ctx, c.Name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return consumeError(err)
	}
	return nil
}

// stream returns the stream that captures the subject, nil for none.
func (c *Consumer) stream(ctx context.Context, conn *natsConn) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	list := conn.jetstream.StreamNames(ctx, jetstream.WithStreamListSubject(c.Target.subject))
	var names []string
	for name := range list.Name() {
		names = append(names, name)
	}
	switch err := list.Err(); {
	case noJetStream(err):
		return nil, nil
	case err != nil:
		return nil, consumeError(err)
	case len(names) == 0:
		return nil, nil
	case len(names) > 1:
		return nil, &Error{Refused: true, Message: "several streams capture messages of the subject (" + strings.Join(names, ", ") + "): make a source with a narrower subject for each"}
	}
	stream, err := conn.jetstream.Stream(ctx, names[0])
	if err != nil {
		return nil, consumeError(err)
	}
	return stream, nil
}

func noJetStream(err error) bool {
	return errors.Is(err, jetstream.ErrStreamNotFound) || errors.Is(err, jetstream.ErrJetStreamNotEnabled) ||
		errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) || errors.Is(err, nats.ErrNoResponders)
}

// fromStream takes messages of a stream by a durable consumer.
func (c *Consumer) fromStream(ctx context.Context, stream jetstream.Stream) error {
	asking, asked := context.WithTimeout(ctx, askBound)
	defer asked()
	consumer, err := stream.CreateOrUpdateConsumer(asking, jetstream.ConsumerConfig{
		Durable: c.Name, Description: "a source of Hookgraph", FilterSubject: c.Target.subject,
		DeliverPolicy: jetstream.DeliverAllPolicy, AckPolicy: jetstream.AckExplicitPolicy,
		AckWait: ackWait, MaxDeliver: -1, MaxAckPending: 2 * batchMessages,
	})
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessagesWithBytesLimit(batchMessages, pulledBytes), jetstream.PullExpiry(pullExpiry))
	if err != nil {
		return err
	}
	if err := c.Opened(ctx); err != nil {
		messages.Stop()
		return taken(err)
	}
	created := strconv.FormatInt(stream.CachedInfo().Created.Unix(), 36)
	coming := make(chan Taken)
	ended := make(chan error, 1)
	go func() {
		defer close(coming)
		for {
			message, err := messages.Next()
			if errors.Is(err, jetstream.ErrNoHeartbeat) {
				continue // the next pull tells whether the connection lives
			}
			if err != nil {
				ended <- err
				return
			}
			one, err := takenOf(message, created)
			if err != nil {
				ended <- err
				return
			}
			coming <- one
		}
	}()
	leave := context.AfterFunc(ctx, messages.Drain)
	defer leave()
	err = c.takeAll(ctx, coming)
	messages.Drain()
	for taken := range coming {
		_ = taken.kept.Nak() // it comes again at once instead of after a wait
	}
	if said := <-ended; err == nil {
		err = said
	}
	return err
}

// takenOf describes a message of a stream. A stream that was made anew counts from the
// beginning, so that its age is part of the key.
func takenOf(message jetstream.Msg, created string) (Taken, error) {
	about, err := message.Metadata()
	if err != nil {
		return Taken{}, err
	}
	return Taken{
		Key: about.Stream + ":" + created + ":" + strconv.FormatUint(about.Sequence.Stream, 10),
		ID:  message.Headers().Get(nats.MsgIdHdr), Header: http.Header(message.Headers()), About: aboutNATS(message.Subject()),
		At: about.Timestamp, Body: message.Data(), kept: message,
	}, nil
}

// fromSubject takes messages that no stream keeps. All who share the name share them.
func (c *Consumer) fromSubject(ctx context.Context, conn *natsConn) error {
	messages, err := conn.conn.QueueSubscribeSync(c.Target.subject, c.Name)
	if err != nil {
		return err
	}
	defer func() { _ = messages.Unsubscribe() }() // the connection is closed in any case
	if err := messages.SetPendingLimits(nats.DefaultSubPendingMsgsLimit, pulledBytes); err != nil {
		return err
	}
	if err := conn.conn.FlushWithContext(ctxWithin(ctx)); err != nil {
		return err
	}
	if err := c.Opened(ctx); err != nil {
		return taken(err)
	}
	look, busy := time.Now().Add(lookAgain), false
	for {
		until := look
		if busy {
			until = time.Now().Add(idleAfter)
		}
		waiting, cancel := context.WithDeadline(ctx, until)
		message, err := messages.NextMsgWithContext(waiting)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, context.DeadlineExceeded) && busy:
			busy = false
			if err := c.Take(ctx, nil, c.dropped(messages)); err != nil {
				return taken(err)
			}
			continue
		case errors.Is(err, context.DeadlineExceeded):
			if stream, err := c.stream(ctx, conn); err != nil || stream != nil {
				return &Error{Message: "a stream captures the subject by now", cause: err}
			}
			look = time.Now().Add(lookAgain)
			continue
		case errors.Is(err, nats.ErrSlowConsumer): // said once; the count has it
			continue
		case err != nil:
			return err
		}
		batch, bytes := []Taken{loose(message)}, len(message.Data)
		for len(batch) < batchMessages && bytes < batchBytes {
			if pending, _, err := messages.Pending(); err != nil || pending == 0 {
				break
			}
			message, err := messages.NextMsgWithContext(ctx)
			if err != nil {
				break
			}
			batch, bytes = append(batch, loose(message)), bytes+len(message.Data)
		}
		if err := c.Take(ctx, batch, c.dropped(messages)); err != nil {
			return taken(err)
		}
		busy = true
	}
}

func (c *Consumer) dropped(messages *nats.Subscription) int {
	n, _ := messages.Dropped() // it fails with the connection, as what follows does
	return n
}

// ctxWithin is a context with the bound of a question; it ends by itself.
func ctxWithin(ctx context.Context) context.Context {
	bounded, cancel := context.WithTimeout(ctx, askBound)
	context.AfterFunc(bounded, cancel)
	return bounded
}

func loose(message *nats.Msg) Taken {
	return Taken{
		ID: message.Header.Get(nats.MsgIdHdr), Header: http.Header(message.Header), About: aboutNATS(message.Subject), Body: message.Data,
	}
}

func aboutNATS(subject string) []hub.Header {
	return []hub.Header{{Name: "Nats-Subject", Value: subject}}
}

// consumeError says for people why messages cannot be taken.
func consumeError(err error) error {
	var known *Error
	var own *takerError
	var blocked *outbound.BlockedError
	var api *jetstream.APIError
	switch {
	case errors.As(err, &own):
		return own.error
	case err == nil, errors.As(err, &known), errors.As(err, &blocked):
		return err
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		return &Error{Refused: true, Message: "the broker refused the credentials", cause: err}
	case errors.Is(err, nats.ErrPermissionViolation):
		return &Error{Refused: true, Message: "the credentials do not permit to take messages of the subject", cause: err}
	case errors.Is(err, jetstream.ErrConsumerDeleted):
		return &Error{Message: "the consumer was removed from the stream", cause: err}
	case errors.As(err, &api):
		return &Error{Refused: true, Message: fmt.Sprintf("the broker refused: %.200s", api.Description), cause: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &Error{Message: "the broker did not answer in time", cause: err}
	}
	return &Error{Message: "the broker could not be reached", cause: err}
}
