package broker

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hookgraph/hookgraph/internal/outbound"
)

const (
	maxShort = 255 // bytes of a name, and of a property, in AMQP
	// heartbeat is how often both sides say that they are there. A broker that has been
	// silent for three of them is gone.
	heartbeat = 10 * time.Second
	// amqpParting bounds the farewell to a broker.
	amqpParting = time.Second
)

// amqpDriver speaks AMQP 0-9-1, as RabbitMQ does.
func amqpDriver(port string, secure bool) driver {
	return driver{
		port: port, secure: secure, securely: "amqps://", read: readAMQP, dial: dialAMQP, take: takeAMQP,
		remove: func(context.Context, *Consumer) error { return nil }, // a consumer ends with its connection
	}
}

// readAMQP reads the virtual host, which is the path, and what is named in it.
func readAMQP(t *Target, u *url.URL, taking bool) error {
	name := strings.TrimPrefix(u.EscapedPath(), "/")
	query, err := url.ParseQuery(u.RawQuery)
	switch {
	case err != nil:
		return errors.New("the URL's query cannot be read; write it as amqp://broker.example.com:5672/vhost?queue=name")
	case u.Fragment != "":
		return errors.New("the URL of a queue has no fragment")
	case strings.Contains(name, "/"):
		return errors.New("the path of the URL is the name of the virtual host alone, in which / is written %2F; name the queue behind it, as in amqp://broker.example.com:5672/vhost?queue=name")
	}
	if t.vhost = strings.TrimPrefix(u.Path, "/"); t.vhost == "" {
		t.vhost = "/"
	}
	for key, values := range query {
		switch {
		case key != "queue" && (taking || key != "exchange" && key != "routing_key"):
			return fmt.Errorf("the URL's query has no %.64q here: %s", key, amqpForm(taking))
		case len(values) > 1:
			return fmt.Errorf("the URL gives %s twice", key)
		case !isAMQPName(values[0]):
			return fmt.Errorf("the %s has at most %d bytes of UTF-8 without control characters", strings.ReplaceAll(key, "_", " "), maxShort)
		}
	}
	queue, exchange := query.Get("queue"), query.Get("exchange")
	switch {
	case !isAMQPName(t.vhost):
		return fmt.Errorf("the name of the virtual host has at most %d bytes of UTF-8 without control characters", maxShort)
	case (queue == "") == (exchange == "") || queue != "" && query.Has("routing_key"):
		return errors.New(amqpForm(taking))
	}
	t.exchange, t.subject = exchange, query.Get("routing_key")
	if queue != "" {
		t.subject = queue // all queues are bound to the exchange "" by their names
	}
	t.rest = "/"
	if t.vhost != "/" {
		t.rest += url.PathEscape(t.vhost)
	}
	t.rest += "?" + query.Encode()
	return nil
}

func amqpForm(taking bool) string {
	if taking {
		return "name the queue to take from, as in amqp://broker.example.com:5672/vhost?queue=name"
	}
	return "name either a queue, as in amqp://broker.example.com:5672/vhost?queue=name, or an exchange and a routing key, as in amqp://broker.example.com:5672/vhost?exchange=name&routing_key=key"
}

func isAMQPName(name string) bool {
	return len(name) <= maxShort && utf8.ValidString(name) && !strings.ContainsFunc(name, unicode.IsControl)
}

// connectAMQP logs in to a broker.
func connectAMQP(ctx context.Context, dial DialFunc, target *Target, login Login, timeout time.Duration) (*amqp.Connection, error) {
	if login.Token != "" {
		return nil, &Error{Refused: true, Message: "the broker is shown a user name and a password (basic), and no token"}
	}
	var user amqp.Authentication = &amqp.PlainAuth{Username: "guest", Password: "guest"} // as every client of it does without a login
	switch {
	case login.Certificate != "":
		user = &amqp.ExternalAuth{}
	case login.Username != "":
		user = &amqp.PlainAuth{Username: login.Username, Password: login.Password.Reveal()}
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	conn, err := dial(ctx, "tcp", target.hosts[0])
	if err == nil && target.driver.secure {
		conn, err = login.handshake(ctx, conn, target.hosts[0])
	}
	if err != nil {
		return nil, amqpError(err)
	}
	properties := amqp.NewConnectionProperties()
	properties.SetClientConnectionName("hookgraph")
	leave := context.AfterFunc(ctx, func() { _ = conn.Close() })
	opened, err := amqp.Open(conn, amqp.Config{
		SASL: []amqp.Authentication{user}, Vhost: target.vhost, Heartbeat: heartbeat, Locale: "en_US", Properties: properties,
	})
	switch inTime := leave(); {
	case err == nil && inTime:
		return opened, nil
	case !inTime:
		err = ctx.Err() // the client would take it for a refusal
	}
	_ = conn.Close() // which ends the client's work on it
	return nil, amqpError(err)
}

// amqpConn publishes to one broker.
type amqpConn struct {
	conn    *amqp.Connection
	blocked atomic.Pointer[string] // why the broker takes nothing for now; nil: it does

	running sync.WaitGroup // what waits for the broker; it ends with the connection

	mu    sync.Mutex
	ended bool
	free  []*amqpChannel // no message is under way on them
}

// amqpChannel has one message under way at a time, so that what the broker says on it
// is about that message.
type amqpChannel struct {
	*amqp.Channel
	returned chan amqp.Return // a message that no queue took, before it is confirmed
	closed   chan *amqp.Error // why the broker closed the channel
}

func dialAMQP(ctx context.Context, dial DialFunc, target *Target, login Login, timeout time.Duration) (publisher, error) {
	conn, err := connectAMQP(ctx, dial, target, login, timeout)
	if err != nil {
		return nil, err
	}
	c := &amqpConn{conn: conn}
	blockings := conn.NotifyBlocked(make(chan amqp.Blocking, 1))
	c.running.Go(func() {
		for said := range blockings {
			if c.blocked.Store(nil); said.Active {
				c.blocked.Store(&said.Reason)
			}
		}
	})
	return c, nil
}

func (c *amqpConn) closed() bool { return c.conn.IsClosed() }

func (c *amqpConn) close() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	_ = c.conn.CloseDeadline(time.Now().Add(amqpParting)) // it is closed in any case
	c.running.Wait()
}

// publish waits until the broker has confirmed the message, for as long as ctx lets it.
func (c *amqpConn) publish(ctx context.Context, target *Target, m Message) (string, error) {
	if why := c.blocked.Load(); why != nil {
		return "", &Error{Refused: true, Message: fmt.Sprintf("the broker takes no messages for now: %.200s", *why)}
	}
	message, err := amqpMessage(m)
	if err != nil {
		return "", err
	}
	result := make(chan error, 1)
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return "", errNoConnection
	}
	c.running.Go(func() { result <- c.handOver(ctx, target, message) })
	c.mu.Unlock()
	select {
	case err := <-result:
		if err != nil {
			return "", err
		}
		return "confirmed by the broker", nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

var errNoConnection = &Error{Message: "there is no connection to the broker"}

// amqpMessage has the headers as strings, and the type of the body as a property too.
func amqpMessage(m Message) (*amqp.Publishing, error) {
	message := &amqp.Publishing{DeliveryMode: amqp.Persistent, MessageId: m.ID, Headers: make(amqp.Table, len(m.Headers)), Body: m.Body}
	for _, h := range m.Headers {
		if len(h.Name) > maxShort {
			return nil, &Error{Refused: true, Message: fmt.Sprintf("the name of a header is longer than the %d bytes that AMQP carries", maxShort)}
		}
		message.Headers[h.Name] = h.Value
		if strings.EqualFold(h.Name, "Content-Type") && len(h.Value) <= maxShort {
			message.ContentType = h.Value
		}
	}
	return message, nil
}

// handOver publishes a message, and returns when the broker has answered or is lost. When
// ctx ends it gives up the channel, or a broker that confirms nothing would be left more
// of them with each attempt.
func (c *amqpConn) handOver(ctx context.Context, target *Target, message *amqp.Publishing) error {
	channel, err := c.channel()
	if err != nil {
		return amqpError(err)
	}
	confirmation, err := channel.PublishWithDeferredConfirm(target.exchange, target.subject, true, false, *message)
	if err != nil {
		_ = channel.Close() // if it is not what failed
		return amqpError(err)
	}
	select {
	case <-confirmation.Done():
	case <-ctx.Done():
		_ = channel.Close() // whether the broker has the message is not known
		return ctx.Err()
	}
	if channel.IsClosed() && !confirmation.Acked() {
		if said := <-channel.closed; said != nil {
			return amqpError(said)
		}
		return errNoConnection
	}
	defer c.release(channel)
	select {
	case said := <-channel.returned:
		return &Error{Refused: true, Message: fmt.Sprintf("no queue takes the message: %.200s", said.ReplyText)}
	default:
	}
	if !confirmation.Acked() {
		return &Error{Refused: true, Message: "the broker did not keep the message, as when a queue is full"}
	}
	return nil
}

// channel returns one that is free, or opens one.
func (c *amqpConn) channel() (*amqpChannel, error) {
	c.mu.Lock()
	for n := len(c.free); n > 0; n = len(c.free) {
		channel := c.free[n-1]
		if c.free = c.free[:n-1]; !channel.IsClosed() {
			c.mu.Unlock()
			return channel, nil
		}
	}
	c.mu.Unlock()
	opened, err := c.conn.Channel()
	if err != nil {
		return nil, err
	}
	channel := &amqpChannel{
		Channel: opened, returned: opened.NotifyReturn(make(chan amqp.Return, 1)), closed: opened.NotifyClose(make(chan *amqp.Error, 1)),
	}
	if err := channel.Confirm(false); err != nil {
		_ = channel.Close() // the first error says more
		return nil, err
	}
	return channel, nil
}

func (c *amqpConn) release(channel *amqpChannel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.free = append(c.free, channel)
}

// amqpError says for people what a broker refused, or why it is out of reach.
func amqpError(err error) error {
	var known *Error
	var blocked *outbound.BlockedError
	var said *amqp.Error
	switch {
	case errors.As(err, &known), errors.As(err, &blocked), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, amqp.ErrCredentials):
		return &Error{Refused: true, Message: "the broker refused the credentials", cause: err}
	case errors.Is(err, amqp.ErrSASL):
		return &Error{Refused: true, Message: "the broker takes no credentials of this kind", cause: err}
	case errors.As(err, &said) && said.Server:
		switch said.Code {
		case amqp.ConnectionForced:
			return &Error{Message: fmt.Sprintf("the broker closed the connection: %.200s", said.Reason), cause: err}
		case amqp.InternalError, amqp.FrameError, amqp.UnexpectedFrame, amqp.ChannelError, amqp.CommandInvalid, amqp.SyntaxError:
			return &Error{Message: fmt.Sprintf("the broker failed: %.200s", said.Reason), cause: err}
		}
		return &Error{Refused: true, Message: fmt.Sprintf("the broker refused: %.200s", said.Reason), cause: err}
	}
	return &Error{Message: "the broker could not be reached", cause: err}
}
