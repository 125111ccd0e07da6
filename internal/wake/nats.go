package wake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// subjectPrefix begins every subject of Hookgraph's wake-ups, so that a NATS
// account can be allowed just these.
const subjectPrefix = "hookgraph.wake."

const (
	connectTimeout = 2 * time.Second
	reconnectWait  = 250 * time.Millisecond
	// publishPause is the least time between two wake-ups of one node; what comes
	// in between is one wake-up.
	publishPause = time.Millisecond
)

// network takes wake-ups to other nodes and brings theirs.
type network struct {
	conn     *nats.Conn
	subject  string
	due      chan struct{} // capacity 1: there is something to tell
	closing  chan struct{}
	closed   chan struct{} // closed when the connection has ended for good
	finished chan struct{} // closed when the publishing goroutine has ended
	once     sync.Once
}

// ConnectNATS makes a Bus that also reaches the other nodes of the same topic,
// which names the database. The address is one or more NATS URLs, separated by
// commas.
//
// A NATS that cannot be reached is no error: the Bus works within this process
// meanwhile and tries again for ever. An error means that the address can never
// work.
func ConnectNATS(ctx context.Context, address, topic string, logger *slog.Logger) (*Bus, error) {
	if err := checkAddress(address); err != nil {
		return nil, err
	}
	timeout := connectTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, max(time.Until(deadline), time.Millisecond))
	}
	sum := sha256.Sum256([]byte(topic)) // a topic may hold what a subject may not
	n := &network{
		subject:  subjectPrefix + hex.EncodeToString(sum[:8]),
		due:      make(chan struct{}, 1),
		closing:  make(chan struct{}),
		closed:   make(chan struct{}),
		finished: make(chan struct{}),
	}
	b := NewLocal()
	b.network = n

	// Whatever happened while the connection was away may have been missed, on
	// either side.
	caughtUp := func(*nats.Conn) {
		b.notifyLocal()
		n.publish()
	}
	conn, err := nats.Connect(address,
		nats.Name("hookgraph"),
		nats.Timeout(timeout),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait, reconnectWait),
		nats.ReconnectBufSize(-1), // an old wake-up is worth nothing
		nats.NoEcho(),
		nats.ConnectHandler(caughtUp),
		nats.ReconnectHandler(func(c *nats.Conn) {
			logger.Info("wake-ups by NATS are back", slog.String("server", c.ConnectedUrlRedacted()))
			caughtUp(c)
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil when it was closed
				logger.Warn("wake-ups by NATS are away; nodes poll until they are back", slog.Any("error", err))
			}
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			logger.Warn("wake-ups by NATS fail", slog.Any("error", err))
		}),
		nats.ClosedHandler(func(*nats.Conn) { close(n.closed) }),
	)
	if err != nil {
		return nil, errors.New("the NATS URL cannot be used: " + withoutAddress(err, address))
	}
	n.conn = conn
	if _, err := conn.Subscribe(n.subject, func(*nats.Msg) { b.notifyLocal() }); err != nil {
		conn.Close()
		<-n.closed
		return nil, fmt.Errorf("subscribe to wake-ups: %w", err)
	}
	if !conn.IsConnected() {
		logger.Warn("NATS cannot be reached yet; nodes poll until it can")
	}
	go n.run()
	return b, nil
}

// publish has the other nodes woken soon.
func (n *network) publish() {
	select {
	case n.due <- struct{}{}:
	default: // one is due already
	}
}

// run publishes in a goroutine of its own, as a connection that hangs may block
// it and must not block those who notify.
func (n *network) run() {
	defer close(n.finished)
	for {
		select {
		case <-n.due:
		case <-n.closing:
			return
		}
		// It fails while the connection is away. When it is back, caughtUp tells.
		if n.conn.Publish(n.subject, nil) == nil {
			_ = n.conn.FlushTimeout(connectTimeout)
		}
		pause := time.NewTimer(publishPause)
		select {
		case <-pause.C:
		case <-n.closing:
			pause.Stop()
			return
		}
	}
}

func (n *network) close() {
	n.once.Do(func() {
		close(n.closing)
		n.conn.Close() // ends a publish that hangs as well
	})
	<-n.finished
	<-n.closed
}

// checkAddress refuses what would be retried for ever without a chance, with a
// message that does not show the credentials which a NATS URL may hold.
func checkAddress(address string) error {
	for one := range strings.SplitSeq(address, ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one // as nats.go reads it
		}
		u, err := url.Parse(one)
		if err != nil || u.Hostname() == "" {
			return errors.New("the NATS URL cannot be read: it looks like nats://host:4222")
		}
		switch u.Scheme {
		case "nats", "tls", "ws", "wss":
		default:
			return fmt.Errorf("the NATS URL has the scheme %q: it begins with nats://, tls://, ws:// or wss://", u.Scheme)
		}
	}
	return nil
}

func withoutAddress(err error, address string) string {
	return strings.ReplaceAll(err.Error(), address, "[address]")
}
