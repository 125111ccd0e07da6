package broker

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	// joinedIn bounds how long a group may take to let the hub in.
	joinedIn = 2 * time.Minute
	// A batch that is not handled so soon goes to another member of the group, if there is
	// one, and what of it is durable by then is known by its keys.
	rebalanceIn = 5 * time.Minute
	commitBound = 5 * time.Second
)

// group is that in which the messages are taken. It keeps the place in the topic.
func (c *Consumer) group() string {
	if c.Target.group != "" {
		return c.Target.group
	}
	return c.Name
}

// kafkaTaking takes messages of a topic.
type kafkaTaking struct {
	*Consumer
	client *kafkaClient
	topic  string // its ID
	joined atomic.Bool
	opened bool
	busy   bool // something has come since the last call of Take without anything
	look   time.Time
	until  time.Time // for the group to let the hub in
}

// takeKafka takes messages as a member of a group, to which the offsets are committed once
// the events are durable. Nothing is given to other members before, and what is committed
// by one that was put out of the group counts for nothing.
func takeKafka(ctx context.Context, c *Consumer) error {
	t := &kafkaTaking{Consumer: c, until: time.Now().Add(joinedIn)}
	client, err := connectKafka(ctx, c.Dial, c.Target, c.Login, connectTimeout,
		kgo.ConsumeTopics(c.Target.subject), kgo.ConsumerGroup(c.group()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		// The one who comes after a process that was killed has its place at once.
		kgo.InstanceID(c.Name), kgo.RebalanceTimeout(rebalanceIn),
		kgo.ConsumeStartOffset(kgo.NewOffset().AtStart()), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxBytes(pulledBytes/4), kgo.FetchMaxWait(time.Second),
		kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { t.joined.Store(true) }),
	)
	if err != nil {
		return err
	}
	defer client.end()
	t.client = client
	if t.topic, err = client.describe(ctx, c.Target.subject); err != nil {
		return t.ended(ctx, err)
	}
	t.look = time.Now().Add(lookAgain)
	for {
		if err := t.round(ctx); err != nil {
			return t.ended(ctx, err)
		}
	}
}

func (t *kafkaTaking) ended(ctx context.Context, err error) error {
	var own *takerError
	switch {
	case errors.As(err, &own):
		return own.error
	case ctx.Err() != nil:
		return ctx.Err()
	}
	if why := t.client.why(err); !errors.Is(why, context.DeadlineExceeded) && !errors.Is(why, context.Canceled) {
		return why
	}
	return &Error{Message: "the broker did not answer in time", cause: err}
}

// round takes what comes within a moment.
func (t *kafkaTaking) round(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, idleAfter)
	fetches := t.client.PollRecords(waiting, batchMessages)
	cancel()
	defer t.client.AllowRebalance()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if t.joined.Load() && !t.opened {
		if err := t.Opened(ctx); err != nil {
			return taken(err)
		}
		t.opened = true
	}
	records := fetches.Records()
	if err := t.handle(ctx, records); err != nil {
		return err
	}
	for _, fetched := range fetches.Errors() {
		if !errors.Is(fetched.Err, context.DeadlineExceeded) {
			return fetched.Err
		}
	}
	if len(records) > 0 {
		return nil
	}
	if t.busy {
		t.busy = false
		if err := t.Take(ctx, nil, 0); err != nil {
			return taken(err)
		}
	}
	return t.check(ctx)
}

// check looks for what the client does not tell, but tries to get over for ever.
func (t *kafkaTaking) check(ctx context.Context) error {
	if t.client.dialer.broken() {
		asking, cancel := context.WithTimeout(ctx, connectTimeout)
		defer cancel()
		if err := t.client.Ping(asking); err != nil {
			return err
		}
		t.client.dialer.mend() // others answer
	}
	now := time.Now()
	if !t.opened && now.After(t.until) {
		return &Error{Message: "the broker does not let the consumer into its group"}
	}
	if now.After(t.look) {
		t.look = now.Add(lookAgain)
		switch id, err := t.client.describe(ctx, t.Target.subject); {
		case err != nil:
			return err
		case id != t.topic:
			return &Error{Message: "the topic is another one of the same name by now"}
		}
	}
	return nil
}

// handle has messages made events of, and commits how far it has come.
func (t *kafkaTaking) handle(ctx context.Context, records []*kgo.Record) error {
	for len(records) > 0 {
		n, bytes := 0, 0
		var batch []Taken
		for ; n < len(records) && bytes < batchBytes; n++ {
			batch, bytes = append(batch, takenOfKafka(records[n])), bytes+len(records[n].Value)
		}
		if err := t.Take(ctx, batch, 0); err != nil {
			return taken(err)
		}
		// What is durable is committed also where ctx has ended meanwhile.
		committing, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitBound)
		err := t.client.CommitRecords(committing, records[:n]...)
		cancel()
		if err != nil {
			return err // they come again, and their keys are known
		}
		t.busy, records = true, records[n:]
	}
	return nil
}

// takenOfKafka describes a message of a topic. A topic that was made anew counts from the
// beginning, so that the message's time is part of the key: it never changes.
func takenOfKafka(r *kgo.Record) Taken {
	header := make(http.Header, len(r.Headers))
	for _, h := range r.Headers {
		name := h.Key
		if rest, of := strings.CutPrefix(name, "ce_"); of { // as CloudEvents are written in Kafka
			name = "ce-" + rest
		}
		if hub.IsHeaderName(name) {
			header.Add(name, string(h.Value))
		}
	}
	partition, offset := strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.Offset, 10)
	about := []hub.Header{{Name: "Kafka-Topic", Value: r.Topic}, {Name: "Kafka-Partition", Value: partition}, {Name: "Kafka-Offset", Value: offset}}
	if len(r.Key) > 0 && utf8.Valid(r.Key) {
		about = append(about, hub.Header{Name: "Kafka-Key", Value: string(r.Key)})
	}
	at := r.Timestamp
	if at.UnixMilli() < 0 {
		at = time.Time{} // -1 is none, as of the clients of long ago
	}
	return Taken{
		Key:    r.Topic + ":" + partition + ":" + offset + ":" + strconv.FormatInt(r.Timestamp.UnixMilli(), 36),
		Header: header, About: about, At: at, Body: r.Value,
	}
}

// removeKafka removes the group, and the place in the topic with it; one that the URL
// names belongs to others.
func removeKafka(ctx context.Context, c *Consumer) error {
	client, err := connectKafka(ctx, c.Dial, c.Target, c.Login, connectTimeout)
	if err != nil {
		return err
	}
	defer client.end()
	leave := kmsg.NewPtrLeaveGroupRequest()
	member := kmsg.NewLeaveGroupRequestMember()
	member.InstanceID = kmsg.StringPtr(c.Name)
	leave.Group, leave.Members = c.group(), []kmsg.LeaveGroupRequestMember{member}
	if _, err := leave.RequestWith(ctx, client.Client); err != nil {
		return client.why(err)
	}
	if c.Target.group != "" {
		return nil
	}
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Groups = []string{c.Name}
	answer, err := remove.RequestWith(ctx, client.Client)
	if err != nil {
		return client.why(err)
	}
	for _, group := range answer.Groups {
		if err := kerr.ErrorForCode(group.ErrorCode); err != nil && !errors.Is(err, kerr.GroupIDNotFound) {
			return client.why(err)
		}
	}
	return nil
}
