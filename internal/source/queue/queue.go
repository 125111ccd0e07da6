// Package queue gets events from message brokers. A message that the broker keeps is
// acknowledged once its event is durable; when it comes again, its key is known.
package queue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/fetch"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

const (
	// saveAfter is how often the counts of a busy source are stored.
	saveAfter  = 250 * time.Millisecond
	partBound  = 5 * time.Second // for what is left to do at the end
	namePrefix = "hookgraph-"
)

// Config is what a Fetcher is made of. All of it is needed.
type Config struct {
	Dial          broker.DialFunc
	Configuration func() *hub.Configuration
	Clock         hub.Clock
	Logger        *slog.Logger
}

// Fetcher takes the messages of queues.
type Fetcher struct{ Config }

// New makes a fetcher.
func New(c Config) *Fetcher { return &Fetcher{c} }

var errGone = errors.New("the source was deleted")

// Fetch takes messages until ctx ends.
func (f *Fetcher) Fetch(ctx context.Context, feed *fetch.Feed) error {
	src := feed.Source
	if f.Configuration().Sources[src.ID] == nil {
		return errGone // a consumer that is made now would stay in the broker
	}
	target, err := broker.ParseSource(src.Queue.URL)
	if err != nil {
		return err
	}
	t := &taker{fetcher: f, feed: feed}
	consumer := &broker.Consumer{
		Dial: f.Dial, Target: target, Login: broker.LoginOf(src.Auth), Name: namePrefix + src.ID,
		Opened: t.open, Take: t.take,
	}
	err = consumer.Run(ctx)
	t.finish(ctx)
	f.part(ctx, src, consumer)
	return err
}

// part removes the consumer from the broker where the source is no more, or takes its
// messages elsewhere by now. The broker would keep messages for it for ever.
func (f *Fetcher) part(ctx context.Context, src *hub.Source, consumer *broker.Consumer) {
	if now := f.Configuration().Sources[src.ID]; now != nil && now.Queue != nil && now.Queue.URL == src.Queue.URL {
		return
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), partBound)
	defer cancel()
	if err := consumer.Remove(bound); err != nil {
		f.Logger.WarnContext(bound, "the consumer of a queue that is not taken from any more could not be removed from the broker",
			slog.String("source_id", src.ID), slog.String("consumer", consumer.Name), slog.Any("error", err))
	}
}

// taker makes events of messages.
type taker struct {
	fetcher *Fetcher
	feed    *fetch.Feed

	connected, saved time.Time
	dropped          int
	unsaved          bool
}

func (t *taker) open(ctx context.Context) error {
	t.connected = t.fetcher.Clock.Now()
	t.feed.Opened()
	return t.save(ctx)
}

func (t *taker) take(ctx context.Context, batch []broker.Taken, dropped int) error {
	if len(batch) == 0 {
		if t.unsaved {
			return t.save(ctx)
		}
		return nil
	}
	// Before the batch, not after it: its messages are to be acknowledged once their events
	// are durable, whatever else fails then.
	if now := t.fetcher.Clock.Now(); t.unsaved && now.Sub(t.saved) >= saveAfter {
		if err := t.save(ctx); err != nil {
			return err
		}
	}
	items := make([]receive.Item, len(batch))
	for i := range batch {
		items[i] = item(&batch[i])
	}
	if _, err := t.feed.Receive(ctx, items); err != nil {
		return err
	}
	t.dropped, t.unsaved = dropped, true
	return nil
}

func (t *taker) save(ctx context.Context) error {
	problem := ""
	if t.dropped > 0 {
		problem = fmt.Sprintf("%d messages were lost: they came faster than they could be stored, and no stream keeps them", t.dropped)
	}
	t.saved, t.unsaved = t.fetcher.Clock.Now(), false
	return t.feed.Save(ctx, nil, t.connected, time.Time{}, problem)
}

// finish stores what is counted and not stored yet, also where the source is to end.
func (t *taker) finish(ctx context.Context) {
	if !t.unsaved {
		return
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), partBound)
	defer cancel()
	_ = t.save(bound) // the events themselves are stored
}

// item makes an event of a message: its body as it is, its headers with what the broker
// says of it among them.
func item(m *broker.Taken) receive.Item {
	header := make(http.Header, len(m.Header)+len(m.About))
	for name, values := range m.Header {
		for _, value := range values {
			header.Add(name, value)
		}
	}
	for _, h := range m.About {
		header.Set(h.Name, h.Value)
	}
	media := header.Get("Content-Type")
	if media == "" {
		if media = "application/octet-stream"; json.Valid(m.Body) {
			media = "application/json"
		}
	}
	key, at := m.ID, m.At
	if webhook.CheckKey(key) != "" {
		key = "" // it could not be stored; the place in the stream can
	}
	if webhook.CheckTime(at) != "" {
		at = time.Time{}
	}
	return receive.Item{
		Body: m.Body, ContentType: media, Header: header,
		Found: webhook.Extracted{DedupeKey: cmp.Or(key, m.Key), OccurredAt: at},
	}
}
