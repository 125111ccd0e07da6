package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/hookgraph/hookgraph/internal/outbound"
)

const (
	maxTopic = 249 // characters
	maxGroup = 255
	// widest bounds a message that is published alone; what is less is the broker's to
	// refuse.
	widest = 64 << 20
	// kafkaTries is how often the client sends a message again before the attempt has
	// failed, where a partition moves or a connection breaks.
	kafkaTries = 3
)

// kafkaDriver speaks to Kafka and what else knows its protocol.
func kafkaDriver(secure bool) driver {
	return driver{
		port: "9092", secure: secure, securely: "kafka+tls://", several: true, read: readKafka, dial: dialKafka, take: takeKafka, remove: removeKafka,
	}
}

// kafkaMechanisms are how a name and a password are shown, the best first.
var kafkaMechanisms = []struct {
	name string
	of   func(Login) sasl.Mechanism
}{
	{"scram-sha-512", func(l Login) sasl.Mechanism {
		return scram.Auth{User: l.Username, Pass: l.Password.Reveal()}.AsSha512Mechanism()
	}},
	{"scram-sha-256", func(l Login) sasl.Mechanism {
		return scram.Auth{User: l.Username, Pass: l.Password.Reveal()}.AsSha256Mechanism()
	}},
	{"plain", func(l Login) sasl.Mechanism {
		return plain.Auth{User: l.Username, Pass: l.Password.Reveal()}.AsMechanism()
	}},
}

var (
	kafkaTopic = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)
	kafkaGroup = regexp.MustCompile(`^[!-~]+$`)
)

func readKafka(t *Target, u *url.URL, taking bool) error {
	query, err := url.ParseQuery(u.RawQuery)
	switch t.subject = strings.TrimPrefix(u.Path, "/"); {
	case err != nil:
		return errors.New("the URL's query cannot be read; write it as kafka://broker.example.com:9092/topic?sasl=plain")
	case u.Fragment != "":
		return errors.New("the URL of a topic has no fragment")
	case t.subject == "":
		return errors.New("the URL names no topic: put it behind the host, such as kafka://broker.example.com:9092/orders")
	case len(t.subject) > maxTopic, !kafkaTopic.MatchString(t.subject), t.subject == ".", t.subject == "..":
		return fmt.Errorf("the name of a topic has at most %d letters, digits, dots, hyphens and underscores", maxTopic)
	}
	for key, values := range query {
		switch {
		case key != "sasl" && (key != "group" || !taking):
			return fmt.Errorf("the URL's query has no %.64q here", key)
		case len(values) > 1:
			return fmt.Errorf("the URL gives %s twice", key)
		}
	}
	if query.Has("sasl") {
		t.mechanism = strings.ToLower(query.Get("sasl"))
		if !slices.ContainsFunc(mechanisms(""), func(name string) bool { return name == t.mechanism }) {
			return errors.New("sasl is plain, scram-sha-256 or scram-sha-512; without it, the best that the broker has is taken")
		}
		query.Set("sasl", t.mechanism)
	}
	if query.Has("group") {
		if t.group = query.Get("group"); len(t.group) > maxGroup || !kafkaGroup.MatchString(t.group) {
			return fmt.Errorf("the name of a group has at most %d visible characters of ASCII", maxGroup)
		}
	}
	t.rest = "/" + t.subject
	if len(query) > 0 {
		t.rest += "?" + query.Encode()
	}
	return nil
}

// mechanisms returns the names of those that serve: the given one, or all.
func mechanisms(only string) []string {
	var names []string
	for _, m := range kafkaMechanisms {
		if only == "" || only == m.name {
			names = append(names, m.name)
		}
	}
	return names
}

// kafkaClient is a client that has reached the cluster once.
type kafkaClient struct {
	*kgo.Client
	dialer *guardedDialer
	hangUp context.CancelFunc
}

// end fails what is under way, and does not wait for brokers that are silent.
func (c *kafkaClient) end() {
	c.hangUp()
	c.CloseAllowingRebalance()
}

// connectKafka logs in to a cluster. All its brokers are dialled by dial, also those that
// others name.
func connectKafka(ctx context.Context, dial DialFunc, target *Target, login Login, timeout time.Duration, more ...kgo.Opt) (*kafkaClient, error) {
	if login.Token != "" {
		return nil, &Error{Refused: true, Message: "the broker is shown a user name and a password (basic), and no token"}
	}
	until, hangUp := context.WithCancel(context.WithoutCancel(ctx))
	dialer := &guardedDialer{dial: dial, until: until}
	if target.driver.secure {
		dialer.secure = login.handshake
	}
	options := append([]kgo.Opt{
		kgo.ClientID("hookgraph"), kgo.SeedBrokers(target.hosts...), kgo.DisableClientMetrics(),
		kgo.RetryTimeout(askBound), kgo.MaxDecompressBatchBytes(pulledBytes),
		kgo.Dialer(func(ctx context.Context, network, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, connectTimeout)
			defer cancel()
			return dialer.connect(ctx, network, address)
		}),
	}, more...)
	if login.Username != "" {
		var shown []sasl.Mechanism
		for _, m := range kafkaMechanisms {
			if target.mechanism == "" || target.mechanism == m.name {
				shown = append(shown, m.of(login))
			}
		}
		options = append(options, kgo.SASL(shown...))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		hangUp()
		return nil, &Error{Message: "the broker cannot be called", cause: err}
	}
	c := &kafkaClient{Client: client, dialer: dialer, hangUp: hangUp}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	inTime := context.AfterFunc(ctx, hangUp) // the client waits longer for a broker that is silent
	err = c.Ping(ctx)
	if !inTime() {
		err = ctx.Err()
	}
	if err != nil {
		defer c.end()
		switch why := c.why(err); {
		case errors.Is(why, context.DeadlineExceeded):
			return nil, &Error{Message: "the broker could not be reached", cause: err}
		case login.Username != "" && errors.Is(err, io.EOF):
			return nil, &Error{Message: "the broker closed the connection when the hub logged in, as some do that refuse the credentials", cause: err}
		default:
			return nil, why
		}
	}
	return c, nil
}

// why says for people what a cluster refused, or why it is out of reach.
func (c *kafkaClient) why(err error) error {
	var known *Error
	var blocked *outbound.BlockedError
	var said *kerr.Error
	var silent *kgo.ErrFirstReadEOF
	var huge *kgo.ErrDecompressTooLarge
	var gone *kgo.ErrDataLoss
	switch {
	case err == nil, errors.As(err, &known), errors.As(err, &blocked):
		return err
	case errors.As(err, &said):
		return kafkaRefusal(said, err)
	case errors.As(err, &silent):
		return &Error{Message: "the broker closed the connection at once, as those do that want credentials or TLS, or have none", cause: err}
	case errors.As(err, &huge):
		return &Error{Refused: true, Message: fmt.Sprintf("the topic has a batch that unpacks to more than %d MiB", pulledBytes>>20), cause: err}
	case errors.As(err, &gone):
		return &Error{Refused: true, Message: fmt.Sprintf("the partition %d of the topic has lost messages: it had come to %d, and goes on at %d", gone.Partition, gone.ConsumedTo, gone.ResetTo), cause: err}
	case errors.Is(err, kgo.ErrClientClosed):
		return errNoConnection
	}
	if failure := c.dialer.failure(); failure != nil {
		return failure
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &Error{Message: "the broker could not be reached", cause: err}
}

// kafkaRefusal puts the usual refusals into words of our own.
func kafkaRefusal(said *kerr.Error, err error) *Error {
	e := &Error{Refused: true, cause: err}
	switch said {
	case kerr.SaslAuthenticationFailed:
		e.Message = "the broker refused the credentials"
	case kerr.UnsupportedSaslMechanism, kerr.IllegalSaslState:
		e.Message = "the broker takes no credentials of this kind; sasl in the URL's query names another"
	case kerr.UnknownTopicOrPartition, kerr.UnknownTopicID:
		e.Message = "the topic does not exist; make it there, since the hub makes none"
	case kerr.TopicAuthorizationFailed:
		e.Message = "the credentials do not permit this with the topic"
	case kerr.GroupAuthorizationFailed:
		e.Message = "the credentials do not permit to read as this group"
	case kerr.ClusterAuthorizationFailed:
		e.Message = "the credentials do not permit idempotent writes"
	case kerr.MessageTooLarge, kerr.RecordListTooLarge:
		e.Message = "the message is larger than the broker takes"
	case kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend:
		e.Message = "too few replicas of the partition are there to keep the message"
	case kerr.FencedInstanceID:
		e.Message = "another consumer has taken the place of this one"
	default:
		e.Message = fmt.Sprintf("the broker refused: %.200s", said.Description)
	}
	return e
}

// kafkaConn publishes to one cluster.
type kafkaConn struct {
	many *kafkaClient
	// What is refused as too large may have shared a batch that was: it goes again, alone.
	again func(ctx context.Context) (*kafkaClient, error)

	mu    sync.Mutex
	ended bool

	alone sync.Mutex   // held while a message is published alone
	wide  *kafkaClient // nil: not needed yet
}

func dialKafka(ctx context.Context, dial DialFunc, target *Target, login Login, timeout time.Duration) (publisher, error) {
	producing := []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()), kgo.ProducerLinger(0), kgo.RecordRetries(kafkaTries), kgo.UnknownTopicRetries(1),
		// An attempt ends by its deadline, though nobody knows then whether the broker has the
		// message: it is published again.
		kgo.AllowIdempotentProduceCancellation(),
	}
	many, err := connectKafka(ctx, dial, target, login, timeout, producing...)
	if err != nil {
		return nil, err
	}
	return &kafkaConn{many: many, again: func(ctx context.Context) (*kafkaClient, error) {
		return connectKafka(ctx, dial, target, login, connectTimeout, append(producing, kgo.ProducerBatchMaxBytes(widest))...)
	}}, nil
}

func (c *kafkaConn) closed() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// close fails what is under way.
func (c *kafkaConn) close() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	c.many.end()
	c.alone.Lock()
	defer c.alone.Unlock()
	if c.wide != nil {
		c.wide.end()
	}
}

// publish waits until all replicas in sync have the message, for as long as ctx lets it.
func (c *kafkaConn) publish(ctx context.Context, target *Target, m Message) (string, error) {
	receipt, err := c.many.produce(ctx, target, m)
	if !errors.Is(err, kerr.MessageTooLarge) && !errors.Is(err, kerr.RecordListTooLarge) {
		return receipt, err
	}
	c.alone.Lock()
	defer c.alone.Unlock()
	if c.closed() {
		return "", errNoConnection
	}
	if c.wide == nil {
		wide, err := c.again(ctx)
		if err != nil {
			return "", err
		}
		c.wide = wide
	}
	return c.wide.produce(ctx, target, m)
}

func (c *kafkaClient) produce(ctx context.Context, target *Target, m Message) (string, error) {
	record := &kgo.Record{Topic: target.subject, Value: m.Body}
	if m.Key != "" {
		record.Key = []byte(m.Key)
	}
	for _, h := range m.Headers {
		record.Headers = append(record.Headers, kgo.RecordHeader{Key: h.Name, Value: []byte(h.Value)})
	}
	result := make(chan error, 1)
	c.Produce(ctx, record, func(_ *kgo.Record, err error) { result <- err })
	err := <-result // it comes soon after ctx has ended
	switch {
	case err == nil:
		return "stored in the partition " + strconv.Itoa(int(record.Partition)) + " of the topic at " + strconv.FormatInt(record.Offset, 10), nil
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, kgo.ErrRecordRetries):
		// The one that failed is another of the same batch, or the connection broke.
		if failure := c.dialer.failure(); failure != nil {
			return "", failure
		}
		return "", errLost
	}
	return "", c.why(err)
}

// describe returns an error unless the topic is there and may be looked at, and tells it
// from others of its name by its ID, which old brokers do not know.
func (c *kafkaClient) describe(ctx context.Context, topic string) (id string, err error) {
	ctx, cancel := context.WithTimeout(ctx, askBound)
	defer cancel()
	ask := kmsg.NewPtrMetadataRequest()
	of := kmsg.NewMetadataRequestTopic()
	of.Topic = kmsg.StringPtr(topic)
	ask.Topics, ask.AllowAutoTopicCreation = []kmsg.MetadataRequestTopic{of}, false
	answer, err := ask.RequestWith(ctx, c.Client)
	switch {
	case err != nil:
		return "", c.why(err)
	case len(answer.Topics) != 1:
		return "", &Error{Message: "the broker did not say whether the topic exists"}
	}
	if err := kerr.ErrorForCode(answer.Topics[0].ErrorCode); err != nil && !errors.Is(err, kerr.LeaderNotAvailable) {
		return "", c.why(err)
	}
	return string(answer.Topics[0].TopicID[:]), nil
}
