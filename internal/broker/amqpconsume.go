package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// amqpPrefetch bounds how many messages are on their way. The protocol knows no bound in
// bytes that brokers keep.
const amqpPrefetch = 100

// takeAMQP takes messages of a queue. Those that are not acknowledged when the connection
// ends are handed out again by the broker.
func takeAMQP(ctx context.Context, c *Consumer) error {
	conn, err := connectAMQP(ctx, c.Dial, c.Target, c.Login, connectTimeout)
	if err != nil {
		return err
	}
	part := func() { _ = conn.CloseDeadline(time.Now().Add(amqpParting)) } // without it messages come again
	defer part()
	leave := context.AfterFunc(ctx, part)
	defer leave()
	channel, err := conn.Channel()
	if err != nil {
		return amqpError(err)
	}
	closed := channel.NotifyClose(make(chan *amqp.Error, 1))
	if err := channel.Qos(amqpPrefetch, 0, false); err != nil {
		return amqpError(err)
	}
	deliveries, err := channel.Consume(c.Target.subject, c.Name, false, false, false, false, nil)
	if err != nil {
		return consumeAMQPError(err)
	}
	leave() // from here on what is under way is ended first
	if err := c.Opened(ctx); err != nil {
		return err
	}
	coming := make(chan Taken)
	ending, end := context.WithCancel(ctx)
	var forwarding sync.WaitGroup
	forwarding.Go(func() {
		defer close(coming)
		forwardAMQP(ending, deliveries, coming)
	})
	err = c.takeAll(ctx, coming)
	end()
	forwarding.Wait()
	var own *takerError
	switch {
	case errors.As(err, &own):
		return own.error
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil && !channel.IsClosed():
		return &Error{Message: "the broker ended the consumer: the queue was deleted, or it moved"}
	}
	part()
	if said := <-closed; said != nil && said.Server {
		return amqpError(said)
	}
	return &Error{Message: "the connection to the broker was lost", cause: err}
}

func forwardAMQP(ctx context.Context, deliveries <-chan amqp.Delivery, coming chan<- Taken) {
	for {
		select {
		case <-ctx.Done():
			return
		case delivery, open := <-deliveries:
			if !open {
				return
			}
			select {
			case <-ctx.Done():
				return
			case coming <- takenOfAMQP(&delivery):
			}
		}
	}
}

// takenOfAMQP describes a message of a queue, which the broker does not number.
func takenOfAMQP(d *amqp.Delivery) Taken {
	header := make(http.Header, len(d.Headers)+2)
	for name, value := range d.Headers {
		if hub.IsHeaderName(name) {
			header.Add(name, amqpText(value))
		}
	}
	about := []hub.Header{{Name: "Amqp-Exchange", Value: d.Exchange}, {Name: "Amqp-Routing-Key", Value: d.RoutingKey}}
	for _, property := range []hub.Header{
		{Name: "Content-Type", Value: d.ContentType}, {Name: "Content-Encoding", Value: d.ContentEncoding}, {Name: "Amqp-Type", Value: d.Type},
		{Name: "Amqp-App-Id", Value: d.AppId}, {Name: "Amqp-Correlation-Id", Value: d.CorrelationId}, {Name: "Amqp-Message-Id", Value: d.MessageId},
	} {
		if property.Value != "" {
			about = append(about, property)
		}
	}
	if d.Redelivered {
		about = append(about, hub.Header{Name: "Amqp-Redelivered", Value: "true"})
	}
	return Taken{ID: d.MessageId, Header: header, About: about, At: d.Timestamp, Body: d.Body, kept: keptAMQP{d}}
}

// amqpText writes the value of a header: text as it is, numbers in digits, the rest as JSON.
func amqpText(value any) string {
	switch v := value.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		return string(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339)
	case amqp.Table, []any:
		text, err := json.Marshal(v)
		if err != nil { // as of a number that JSON has not
			return fmt.Sprint(v)
		}
		return string(text)
	}
	return fmt.Sprint(value)
}

// keptAMQP is a message that the broker hands out again unless it is acknowledged.
type keptAMQP struct{ delivery *amqp.Delivery }

func (k keptAMQP) Ack() error { return k.delivery.Ack(false) }

// Nak leaves the message to the end of the connection, which follows: a broker that
// bounds how often a message is given back would count both.
func (k keptAMQP) Nak() error { return nil }

func (k keptAMQP) InProgress() error { return nil } // the broker waits for half an hour

// consumeAMQPError tells who is to make a queue that is missing.
func consumeAMQPError(err error) error {
	var said *amqp.Error
	if errors.As(err, &said) && said.Server && said.Code == amqp.NotFound {
		return &Error{Refused: true, Message: fmt.Sprintf("the broker refused: %.400s; make the queue there, since the hub makes none", said.Reason), cause: err}
	}
	return amqpError(err)
}
