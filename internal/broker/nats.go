package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// natsDriver speaks to NATS.
func natsDriver(secure bool) driver {
	return driver{port: "4222", secure: secure, securely: "tls+nats://", tokens: true, read: readNATS, dial: dialNATS, take: takeNATS, remove: removeNATS}
}

func readNATS(t *Target, u *url.URL, taking bool) error {
	if u.RawQuery != "" || u.Fragment != "" {
		return errors.New("the URL of a NATS subject has neither a query nor a fragment")
	}
	t.subject = strings.TrimPrefix(u.Path, "/")
	t.rest = "/" + t.subject
	if taking {
		return checkPattern(t.subject)
	}
	return checkSubject(t.subject)
}

func checkSubject(subject string) error {
	switch {
	case subject == "":
		return errors.New("the URL names no subject: put it behind the host, such as nats://broker.example.com:4222/orders.created")
	case len(subject) > maxSubject:
		return fmt.Errorf("the subject is longer than %d characters", maxSubject)
	case strings.ContainsFunc(subject, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '*' || r == '>' || r == '/' }):
		return errors.New("the subject must not contain blanks, slashes or wildcards")
	case strings.HasPrefix(subject, "."), strings.HasSuffix(subject, "."), strings.Contains(subject, ".."):
		return errors.New("the parts of the subject between its dots must not be empty")
	case strings.HasPrefix(subject, "$"), strings.HasPrefix(subject, "_INBOX."):
		return errors.New("the subject belongs to the broker itself")
	}
	return nil
}

// checkPattern is checkSubject with * for one part and > for all that follow.
func checkPattern(subject string) error {
	parts := strings.Split(subject, ".")
	for i, part := range parts {
		switch {
		case part == "*", part == ">" && i == len(parts)-1:
			parts[i] = "x"
		case strings.ContainsAny(part, "*>"):
			return errors.New("* stands for one part of the subject, and > for all that follow, at its end")
		}
	}
	if parts[0] == "x" && subject[0] != 'x' && len(parts) == 1 {
		return errors.New("the subject would be all that the broker has, its own messages included; begin with a name")
	}
	return checkSubject(strings.Join(parts, "."))
}

// streamKnownFor is how long it is remembered whether a JetStream stream captures a
// subject.
const streamKnownFor = 30 * time.Second

// acknowledgedIn is how long a stream may take to acknowledge a message where nobody may
// ask whether there is one.
const acknowledgedIn = 2 * time.Second

// natsConn publishes to one NATS server.
type natsConn struct {
	conn      *nats.Conn
	jetstream jetstream.JetStream

	// What is under way ends with lost when the connection breaks, with refused when the
	// credentials do not permit its subject, and questions about streams with denied when
	// they do not permit those: no answer would come.
	lost, refused, denied alarm

	mu      sync.Mutex
	streams map[string]knownStream // by subject

	heardMu sync.Mutex
	last    error         // what was heard last
	hearing chan struct{} // closed with the next that is heard
}

type knownStream struct {
	captured bool
	unasked  bool // nobody may ask: whether a stream acknowledges the next message will tell
	until    time.Time
}

// alarm ends the contexts that heed it at the moment, of those about one subject.
type alarm struct {
	mu      sync.Mutex
	waiting map[*context.CancelCauseFunc]string
}

func (a *alarm) heed(ctx context.Context, about string) (heeding context.Context, done func()) {
	heeding, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.waiting == nil {
		a.waiting = make(map[*context.CancelCauseFunc]string)
	}
	a.waiting[&cancel] = about
	return heeding, func() {
		a.mu.Lock()
		delete(a.waiting, &cancel)
		a.mu.Unlock()
		cancel(nil)
	}
}

// ring reports whether anybody heeded it.
func (a *alarm) ring(why error, about string) (heeded bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for cancel, of := range a.waiting {
		if of == about {
			(*cancel)(why)
			heeded = true
		}
	}
	return heeded
}

var (
	errLost    = &Error{Message: "the connection to the broker was lost before it had confirmed the message"}
	errDenied  = &Error{Refused: true, Message: "the credentials do not permit to ask for streams"}
	errRefused = &Error{Refused: true, Message: "the credentials do not permit to publish to the subject"}
	errInbox   = &Error{Refused: true, Message: "the credentials do not permit to subscribe to _INBOX.>, where the broker answers"}
)

// heard is told what the server says aside from answers, in its order.
func (c *natsConn) heard(err error) {
	if errors.Is(err, nats.ErrPermissionViolation) {
		_, publish, published := strings.Cut(err.Error(), "Publish to ")
		subject, _ := strconv.Unquote(publish) // "" is no subject
		switch {
		case published && strings.HasPrefix(subject, "$JS.API."):
			c.denied.ring(errDenied, "")
		case published:
			c.refused.ring(errRefused, subject)
		case strings.Contains(err.Error(), `Subscription to "_INBOX.`):
			if c.lost.ring(errInbox, "") {
				c.conn.Close() // the next one is told afresh
			}
		}
	}
	c.heardMu.Lock()
	defer c.heardMu.Unlock()
	close(c.hearing)
	c.last, c.hearing = err, make(chan struct{})
}

// hear waits until everything was heard that the server has said before its last answer.
// The client hands that over behind the back of those who read answers, one after the
// other, so that the newest that it has got tells how far it is.
func (c *natsConn) hear(ctx context.Context) error {
	for {
		c.heardMu.Lock()
		last, hearing := c.last, c.hearing
		c.heardMu.Unlock()
		said := c.conn.LastError()
		if !errors.Is(said, nats.ErrPermissionViolation) || said == last { //nolint:errorlint // this very one
			return ctx.Err()
		}
		select {
		case <-hearing:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// natsDialer has the bound that the client gives no context for.
type natsDialer struct {
	guardedDialer
	timeout time.Duration
}

func (d *natsDialer) Dial(network, address string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d.timeout)
	defer cancel()
	return d.connect(ctx, network, address)
}

func dialNATS(_ context.Context, dial DialFunc, target *Target, login Login, timeout time.Duration) (publisher, error) {
	conn, err := connectNATS(dial, target, login, timeout)
	if err != nil {
		return nil, err // and no publisher that is a nil connection
	}
	return conn, nil
}

func connectNATS(dial DialFunc, target *Target, login Login, timeout time.Duration) (*natsConn, error) {
	c := &natsConn{streams: make(map[string]knownStream), hearing: make(chan struct{})}
	config, err := login.tls()
	if err != nil {
		return nil, err
	}
	dialer := &natsDialer{guardedDialer: guardedDialer{dial: dial}, timeout: timeout}
	options := []nats.Option{
		nats.Name("hookgraph"), nats.Timeout(timeout), nats.SetCustomDialer(dialer),
		// Servers that the first one names are not where the endpoint's owner pointed.
		nats.IgnoreDiscoveredServers(),
		// A broker that does not read keeps whoever writes to it, attempts past their deadlines.
		nats.FlusherTimeout(connectTimeout),
		nats.MaxReconnects(-1), nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectBufSize(-1), // what cannot be sent now has failed now
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { c.heard(err) }),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { c.lost.ring(errLost, "") }),
	}
	switch {
	case login.Token != "":
		options = append(options, nats.Token(login.Token.Reveal()))
	case login.Username != "":
		options = append(options, nats.UserInfo(login.Username, login.Password.Reveal()))
	}
	// A server may demand TLS also where the URL does not.
	options = append(options, func(o *nats.Options) error {
		o.Secure, o.TLSConfig = target.driver.secure, config
		return nil
	})
	conn, err := nats.Connect("nats://"+target.hosts[0], options...)
	if err != nil {
		if failure := dialer.failure(); failure != nil {
			return nil, failure
		}
		return nil, natsError(err)
	}
	c.conn = conn
	js, err := jetstream.New(conn)
	if err != nil {
		conn.Close()
		return nil, natsError(err)
	}
	c.jetstream = js
	return c, nil
}

func (c *natsConn) close() { c.conn.Close() }

func (c *natsConn) closed() bool { return c.conn.IsClosed() }

// publish lets the stream that captures the subject acknowledge the message. Where
// there is none, somebody must be listening, and the server has the message.
func (c *natsConn) publish(ctx context.Context, target *Target, m Message) (string, error) {
	ctx, done := c.lost.heed(ctx, "")
	defer done()
	ctx, published := c.refused.heed(ctx, target.subject)
	defer published()
	receipt, err := c.send(ctx, target, m)
	var said, why *Error
	refused := errors.As(err, &said) && said.Refused
	if err != nil && !refused && errors.As(context.Cause(ctx), &why) {
		return "", why
	}
	return receipt, err
}

func (c *natsConn) send(ctx context.Context, target *Target, m Message) (string, error) {
	if !c.conn.IsConnected() {
		return "", &Error{Message: "there is no connection to the broker"}
	}
	message := nats.NewMsg(target.subject)
	message.Data = m.Body
	for _, h := range m.Headers {
		message.Header[h.Name] = append(message.Header[h.Name], h.Value)
	}
	stream, err := c.captured(ctx, target.subject)
	if err != nil {
		return "", err
	}
	if stream.captured {
		ack, err := c.jetstream.PublishMsg(ctx, message, jetstream.WithMsgID(m.ID), jetstream.WithRetryAttempts(0))
		if err != nil {
			c.forget(target.subject)
			return "", natsError(err)
		}
		return stored(ack), nil
	}
	if stream.unasked {
		message.Header.Set(jetstream.MsgIDHeader, m.ID)
	}
	// The server says at once where nobody listens: before it answers the flush.
	message.Reply = c.conn.NewInbox()
	replies, err := c.conn.SubscribeSync(message.Reply)
	if err != nil {
		return "", natsError(err)
	}
	defer func() { _ = replies.Unsubscribe() }() // the connection may be gone, and it with it
	if err := c.conn.PublishMsg(message); err != nil {
		return "", natsError(err)
	}
	if err := c.conn.FlushWithContext(ctx); err != nil {
		return "", natsError(err)
	}
	if err := c.hear(ctx); err != nil {
		return "", err
	}
	if pending, _, _ := replies.Pending(); pending > 0 || stream.unasked {
		waiting, cancel := context.WithTimeout(ctx, acknowledgedIn)
		reply, err := replies.NextMsgWithContext(waiting)
		cancel()
		switch {
		case errors.Is(err, nats.ErrNoResponders), err == nil && reply.Header.Get("Status") == "503":
			return "", &Error{Refused: true, Message: "nobody listens on the subject, and no stream captures it"}
		case ctx.Err() != nil:
			return "", ctx.Err()
		case stream.unasked:
			return c.acknowledged(target.subject, reply)
		}
	}
	return "handed to whoever listens; no stream captures the subject", nil
}

// acknowledged learns from the reply to a message, nil if there was none, whether a stream
// captures the subject.
func (c *natsConn) acknowledged(subject string, reply *nats.Msg) (receipt string, err error) {
	var answer struct {
		jetstream.PubAck
		Error *jetstream.APIError `json:"error"`
	}
	if reply != nil && json.Unmarshal(reply.Data, &answer) == nil {
		if answer.Error != nil {
			return "", natsError(answer.Error)
		}
		if answer.Stream != "" {
			c.know(subject, knownStream{captured: true})
			return stored(&answer.PubAck), nil
		}
	}
	c.know(subject, knownStream{})
	return "handed to whoever listens; no stream has acknowledged it, and the credentials do not permit to ask for one", nil
}

func stored(ack *jetstream.PubAck) (receipt string) {
	receipt = "stored in the stream " + ack.Stream + " at " + strconv.FormatUint(ack.Sequence, 10)
	if ack.Duplicate {
		receipt += ", where it was already"
	}
	return receipt
}

// captured tells whether a stream captures a subject.
func (c *natsConn) captured(ctx context.Context, subject string) (knownStream, error) {
	c.mu.Lock()
	known := c.streams[subject]
	c.mu.Unlock()
	if known.until.After(time.Now()) {
		return known, nil
	}
	asking, done := c.denied.heed(ctx, "")
	defer done()
	_, err := c.jetstream.StreamNameBySubject(asking, subject)
	if err != nil && errors.Is(context.Cause(asking), errDenied) {
		return knownStream{unasked: true}, nil
	}
	if err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) && !errors.Is(err, jetstream.ErrJetStreamNotEnabled) &&
		!errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount) && !errors.Is(err, nats.ErrNoResponders) {
		return knownStream{}, natsError(err)
	}
	return c.know(subject, knownStream{captured: err == nil}), nil
}

func (c *natsConn) know(subject string, known knownStream) knownStream {
	known.until = time.Now().Add(streamKnownFor)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.streams[subject] = known
	return known
}

func (c *natsConn) forget(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.streams, subject)
}

// natsError says for people why a broker did not take a message.
func natsError(err error) error {
	e := &Error{cause: err}
	var api *jetstream.APIError
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &api):
		e.Refused, e.Message = true, "the broker refused the message: "+api.Description
	case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
		e.Refused, e.Message = true, "the broker refused the credentials"
	case errors.Is(err, nats.ErrPermissionViolation):
		e.Refused, e.Message = true, "the credentials do not permit to publish to the subject"
	case errors.Is(err, nats.ErrMaxPayload):
		e.Refused, e.Message = true, "the body is larger than the broker takes"
	case errors.Is(err, nats.ErrTLS):
		return insecure(err)
	case errors.Is(err, nats.ErrSecureConnWanted):
		e.Insecure, e.Message = true, "no secure connection could be made: the broker offers none"
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		e.Message = "the stream that captured the subject did not answer"
	default:
		e.Message = "the broker could not be reached"
	}
	return e
}
