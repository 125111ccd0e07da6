// Package broker publishes messages to message brokers and takes messages from them. It
// knows their protocols, and nothing of deliveries and events: when to publish, how often
// and what a failure means is decided by package deliver, and what becomes of a message
// that was taken by package source/queue.
package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// DialFunc connects to a broker. It refuses addresses that the hub must not reach.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Message is one message to be published.
type Message struct {
	ID      string // the broker drops a second message of the same, where it can
	Key     string // messages of one key stay in order, where the broker knows keys; "": none
	Headers []hub.Header
	Body    []byte
}

// Error says why a broker did not take a message, in words for people.
type Error struct {
	// Refused says that the broker answered; otherwise it could not be reached.
	Refused bool
	// Insecure says that no secure connection could be made, and so that nothing was sent.
	Insecure bool
	Message  string
	cause    error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.cause }

// publisher is a connection to one broker.
type publisher interface {
	// publish returns once the broker has the message, with a word on what it
	// promised, or an *Error.
	publish(ctx context.Context, target *Target, m Message) (receipt string, err error)
	// closed reports whether it has ended for good.
	closed() bool
	close()
}

// driver is how brokers are spoken to whose URLs begin with one scheme.
type driver struct {
	port     string // where the URL has none
	secure   bool
	securely string // how URLs begin that are secure
	tokens   bool   // whether they are shown tokens, besides names, passwords and certificates
	several  bool   // whether a URL may name several hosts of one cluster
	// read takes from the URL what is behind the host: for a queue that messages are
	// taken from, or for one that they are published to.
	read func(t *Target, u *url.URL, taking bool) error
	// dial makes a connection to publish over.
	dial func(ctx context.Context, dial DialFunc, target *Target, login Login, timeout time.Duration) (publisher, error)
	// take does the work of Consumer.Run, and remove that of Consumer.Remove.
	take, remove func(ctx context.Context, c *Consumer) error
}

// drivers has the driver of each scheme.
var drivers = map[string]driver{
	"nats":     natsDriver(false),
	"tls+nats": natsDriver(true),
	"amqp":     amqpDriver("5672", false),
	"amqps":    amqpDriver("5671", true),

	"kafka":     kafkaDriver(false),
	"kafka+tls": kafkaDriver(true),
}

// Target is where messages go, or come from.
type Target struct {
	driver  driver
	scheme  string
	hosts   []string // with their ports; one, but where the driver knows several
	rest    string   // of the URL, behind the hosts
	subject string   // of NATS, or the topic of Kafka; with AMQP the routing key, which to the exchange "" is the name of a queue

	vhost, exchange string // of AMQP

	mechanism, group string // of Kafka; "": the best that the broker has, and one by the name of the consumer
}

// URL returns the address without credentials.
func (t *Target) URL() string { return t.scheme + "://" + strings.Join(t.hosts, ",") + t.rest }

// Hosts returns the hosts with their ports. The broker may name others later.
func (t *Target) Hosts() []string { return slices.Clone(t.hosts) }

// same tells whether one connection serves both targets.
func (t *Target) same(other *Target) bool {
	return t.scheme == other.scheme && slices.Equal(t.hosts, other.hosts) && t.vhost == other.vhost && t.mechanism == other.mechanism
}

const maxSubject = 255

// Parse reads the URL of a queue that messages are published to, such as
// nats://host:4222/orders.created, amqp://host/vhost?queue=orders,
// amqp://host/vhost?exchange=orders&routing_key=created or kafka://host,host2/orders. Its
// errors are sentences for the one who gave it.
func Parse(raw string) (*Target, error) { return parse(raw, false) }

// ParseSource is Parse for a queue that messages are taken from: a subject may have
// wildcards, as in nats://host:4222/orders.>, a topic a group, and there are no exchanges.
func ParseSource(raw string) (*Target, error) { return parse(raw, true) }

func parse(raw string, taking bool) (*Target, error) {
	first, others := hostsOf(raw)
	u, err := url.Parse(first)
	if err != nil {
		return nil, errors.New("the URL cannot be read; write it as nats://broker.example.com:4222/subject, amqp://broker.example.com:5672/vhost?queue=name or kafka://broker.example.com:9092/topic")
	}
	driver, known := drivers[u.Scheme]
	switch {
	case !known:
		return nil, errors.New("a queue's URL begins with nats:// or tls+nats://, such as nats://broker.example.com:4222/subject, with amqp:// or amqps://, such as amqp://broker.example.com:5672/vhost?queue=name, or with kafka:// or kafka+tls://, such as kafka://broker.example.com:9092/topic")
	case u.User != nil || slices.ContainsFunc(others, func(host string) bool { return strings.Contains(host, "@") }):
		return nil, errors.New("the URL must not contain a user name or password; give them as auth")
	case u.Opaque != "" || u.Hostname() == "":
		return nil, errors.New("the URL names no host")
	case len(others) > 0 && !driver.several:
		return nil, errors.New("the URL names several hosts, of which this broker has one")
	case len(others) >= maxHosts:
		return nil, fmt.Errorf("the URL names more than %d hosts", maxHosts)
	}
	t := &Target{driver: driver, scheme: u.Scheme, hosts: []string{withPort(u, driver.port)}}
	for _, other := range others {
		host, err := url.Parse("x://" + other)
		if err != nil || host.Hostname() == "" || host.Host != other {
			return nil, errors.New("a host of the URL cannot be read; write them as kafka://one.example.com:9092,two.example.com:9092/topic")
		}
		t.hosts = append(t.hosts, withPort(host, driver.port))
	}
	if err := driver.read(t, u, taking); err != nil {
		return nil, err
	}
	return t, nil
}

// maxHosts bounds the hosts of a URL: any of them tells the others.
const maxHosts = 16

// hostsOf takes from a URL all hosts but the first.
func hostsOf(raw string) (first string, others []string) {
	scheme, rest, _ := strings.Cut(raw, "://")
	end := strings.IndexAny(rest, "/?#")
	if end < 0 {
		end = len(rest)
	}
	hosts := strings.Split(rest[:end], ",")
	if len(hosts) == 1 {
		return raw, nil
	}
	return scheme + "://" + hosts[0] + rest[end:], hosts[1:]
}

func withPort(u *url.URL, port string) string {
	if u.Port() != "" {
		return u.Host
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// Book keeps one connection to each broker that is in use.
type Book struct {
	dial DialFunc

	mu     sync.Mutex
	open   map[string]*entry // by owner
	closed bool
}

// entry is the connection of one owner, an endpoint. It has its own turn, so that a
// broker that does not answer delays nobody else.
type entry struct {
	// turn is held by whoever reads or changes the rest: a channel of capacity 1, for
	// which one can wait no longer than a context lets one.
	turn   chan struct{}
	target Target
	login  Login
	conn   publisher
}

func newEntry() *entry { return &entry{turn: make(chan struct{}, 1)} }

// NewBook makes a book that connects by dial.
func NewBook(dial DialFunc) *Book { return &Book{dial: dial, open: make(map[string]*entry)} }

// Publish publishes a message on behalf of an owner, over the owner's connection, and
// returns once the broker has it. The error is an *Error, or that of the context.
func (b *Book) Publish(ctx context.Context, owner string, target *Target, login Login, m Message) (receipt string, err error) {
	b.mu.Lock()
	e := b.open[owner]
	if e == nil && !b.closed {
		e = newEntry()
		b.open[owner] = e
	}
	b.mu.Unlock()
	if e == nil {
		return "", &Error{Message: "the hub is stopping"}
	}
	conn, err := e.connect(ctx, b.dial, target, login)
	if err != nil {
		return "", err
	}
	return conn.publish(ctx, target, m)
}

// connect returns the connection, or makes it. It returns by the end of ctx, also where a
// broker does not heed it: a connection that comes later is the next caller's.
func (e *entry) connect(ctx context.Context, dial DialFunc, target *Target, login Login) (publisher, error) {
	select {
	case e.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, unreached(ctx)
	}
	if e.conn != nil && !e.conn.closed() && e.target.same(target) && e.login == login {
		defer e.pass()
		return e.conn, nil
	}
	type made struct {
		conn publisher
		err  error
	}
	result := make(chan made, 1)
	go func() { // end waits for it
		defer e.pass()
		conn, err := e.renew(ctx, dial, target, login)
		result <- made{conn, err}
	}()
	select {
	case m := <-result:
		return m.conn, m.err
	case <-ctx.Done():
		return nil, unreached(ctx)
	}
}

// unreached is the error of a caller whose time is over before there is a connection.
func unreached(ctx context.Context) error {
	return &Error{Message: "the broker could not be reached", cause: ctx.Err()}
}

// renew replaces the connection. The caller has the turn.
func (e *entry) renew(ctx context.Context, dial DialFunc, target *Target, login Login) (publisher, error) {
	if e.conn != nil {
		e.conn.close()
		e.conn = nil
	}
	timeout := connectTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if timeout <= 0 {
		return nil, context.DeadlineExceeded
	}
	conn, err := target.driver.dial(ctx, dial, target, login, timeout)
	if err != nil {
		return nil, err
	}
	e.target, e.login, e.conn = *target, login, conn
	return conn, nil
}

func (e *entry) pass() { <-e.turn }

// connectTimeout bounds how long a connection may take to be made.
const connectTimeout = 5 * time.Second

// Forget closes the connection of an owner.
func (b *Book) Forget(owner string) {
	b.mu.Lock()
	e := b.open[owner]
	delete(b.open, owner)
	b.mu.Unlock()
	if e != nil {
		e.end()
	}
}

func (e *entry) end() {
	e.turn <- struct{}{}
	defer e.pass()
	if e.conn != nil {
		e.conn.close()
		e.conn = nil
	}
}

// Close closes all connections. Nothing can be published afterwards.
func (b *Book) Close() {
	b.mu.Lock()
	open := b.open
	b.open, b.closed = nil, true
	b.mu.Unlock()
	for _, e := range open {
		e.end()
	}
}
