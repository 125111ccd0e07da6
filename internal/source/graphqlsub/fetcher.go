package graphqlsub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/hookgraph/hookgraph/internal/credential"
	"github.com/hookgraph/hookgraph/internal/graphqlclient"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/fetch"
)

const (
	// How far a source has come is stored after so many items, or so long after the
	// first of them.
	saveItems = receive.MaxItems
	saveAfter = 250 * time.Millisecond
	saveBound = 5 * time.Second // at the end of a connection

	// lastingWait is how long a source waits whose trouble people have to mend.
	lastingWait = 5 * time.Minute

	maxWaiting = 256 // results that wait for the store, besides their bytes
	// Hubs hand over bodies of up to 16 MiB as base64, and finish a step at 4 MiB.
	maxHubMessage = 48 << 20
)

// Fetcher follows subscriptions of upstream servers.
type Fetcher struct {
	credentials *credential.Book
	clock       hub.Clock
	hubID       string
	bounds      Bounds
}

// Bounds are how long an upstream may take; zero stands for the defaults of package
// graphqlclient.
type Bounds struct {
	Answer, Silence time.Duration
}

// New makes a fetcher. The book's transports carry the connections; hubID is by what other
// hubs know this one.
func New(credentials *credential.Book, clock hub.Clock, hubID string, bounds Bounds) *Fetcher {
	return &Fetcher{credentials: credentials, clock: clock, hubID: hubID, bounds: bounds}
}

// Fetch follows the subscription of a source.
func (f *Fetcher) Fetch(ctx context.Context, feed *fetch.Feed) error {
	s, err := f.open(feed)
	if err != nil {
		return err
	}
	err = s.follow(ctx)
	if err != nil && s.problem != "" { // the last thing it said is perhaps why
		err = fmt.Errorf("%s; then %w", s.problem, err)
	}
	var why *graphqlclient.Error
	if errors.As(err, &why) && why.Lasting {
		return &fetch.Refused{Err: err, Wait: lastingWait}
	}
	return err
}

// session is one connection of a source.
type session struct {
	fetcher *Fetcher
	feed    *fetch.Feed
	reader  *reader
	at      state

	connected time.Time
	problem   string // what the upstream last said was wrong, since its last good result
	unsaved   int    // items that are durable behind the state that is stored
	changed   bool
}

func (f *Fetcher) open(feed *fetch.Feed) (*session, error) {
	reader, err := newReader(feed.Source, f.hubID)
	if err != nil {
		return nil, err
	}
	return &session{fetcher: f, feed: feed, reader: reader, at: restore(feed.Source.Upstream, feed.State().Progress)}, nil
}

func (s *session) progress() json.RawMessage { return s.at.encode() }

// follow works on one connection until it ends, and stores how far it has come.
func (s *session) follow(ctx context.Context) error {
	up := s.feed.Source.Upstream
	variables, err := s.at.resume(up)
	if err != nil {
		return err
	}
	pass, client, err := s.client(ctx)
	if err != nil {
		return err
	}
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	opened := make(chan struct{}, 1)
	results := make(chan graphqlclient.Result, maxWaiting)
	room := semaphore.NewWeighted(client.MaxMessage)
	ended := make(chan error, 1)
	go func() {
		ended <- client.Follow(inner, up.Document, variables, func() { opened <- struct{}{} }, func(r graphqlclient.Result) error {
			if err := room.Acquire(inner, min(int64(len(r.Raw)), client.MaxMessage)); err != nil {
				return err
			}
			results <- r // whoever takes them goes on until the end, and lets go of the rest
			return nil
		})
		close(results)
	}()
	err = s.work(ctx, opened, results, room)
	cancel()
	for range results { // lets a result go that waited for its place
	}
	if said := <-ended; err == nil {
		err = said
	}
	s.finish(ctx)
	var why *graphqlclient.Error
	if errors.As(err, &why) && why.Refused {
		if _, renewed := pass.Renew(ctx); renewed { // a token that has expired: the next one may be good
			again := *why
			again.Lasting = false
			err = &again
		}
	}
	return s.scrub(pass, err)
}

// work takes results until there are no more.
func (s *session) work(ctx context.Context, opened <-chan struct{}, results <-chan graphqlclient.Result, room *semaphore.Weighted) error {
	flush := time.NewTimer(time.Hour)
	flush.Stop()
	defer flush.Stop()
	for {
		select {
		case <-opened:
			s.connected = s.fetcher.clock.Now()
			s.feed.Opened()
			if err := s.save(ctx); err != nil {
				return err
			}
		case <-flush.C:
			if err := s.save(ctx); err != nil {
				return err
			}
		case result, more := <-results:
			if !more {
				return nil
			}
			idle := !s.changed
			if err := s.take(ctx, result, results, room); err != nil {
				return err
			}
			if s.unsaved >= saveItems {
				if err := s.save(ctx); err != nil {
					return err
				}
			} else if idle && s.changed {
				flush.Reset(saveAfter)
			}
		}
	}
}

// take makes events of a result and of those that wait behind it, in one transaction.
func (s *session) take(ctx context.Context, first graphqlclient.Result, results <-chan graphqlclient.Result, room *semaphore.Weighted) error {
	var items []receive.Item
	var bytes int
	var newest json.RawMessage
	for result, more := first, true; more; {
		size := min(int64(len(result.Raw)), s.maxMessage())
		found, resume, err := s.read(result)
		room.Release(size) // what is kept of it is in the batch, which is bounded
		if err != nil {
			return err
		}
		items = append(items, found...)
		for _, item := range found {
			bytes += len(item.Body)
		}
		if resume != nil {
			newest = resume
		}
		if len(items) >= receive.MaxItems || bytes >= receive.MaxItemBytes/4 {
			break
		}
		select {
		case result, more = <-results:
		default:
			more = false
		}
	}
	if len(items) > 0 {
		if _, err := s.feed.Receive(ctx, items); err != nil {
			return err
		}
		s.unsaved, s.changed = s.unsaved+len(items), true
	}
	if newest != nil {
		s.at.Value, s.changed = newest, true
	}
	return nil
}

// read takes a result apart. A result that is wrong is told on the source; it stops
// nothing, unless whatever it says would be wrong.
func (s *session) read(result graphqlclient.Result) (items []receive.Item, resume json.RawMessage, err error) {
	s.changed = s.changed || s.problem != "" || len(result.Errors) > 0
	s.problem = ""
	if err := graphqlclient.FirstError(upstreamName, result.Errors); err != nil {
		if result.Data == nil || s.feed.Source.Provider == providerHookgraph {
			var said *graphqlclient.Error
			if errors.As(err, &said) && (said.Lasting || result.Data != nil) {
				// A hub answers in part where the key may not see all of it.
				said.Lasting = true
				return nil, nil, err
			}
		}
		s.problem = err.Error()
	}
	if result.Data == nil {
		return nil, nil, nil
	}
	return s.reader.read(result)
}

const upstreamName = "the upstream"

// save stores how far the source has come. All of that is durable.
func (s *session) save(ctx context.Context) error {
	s.unsaved, s.changed = 0, false
	return s.feed.Save(ctx, s.progress(), s.connected, time.Time{}, s.problem)
}

// finish stores at the end what is not stored yet, also where the source is to end.
func (s *session) finish(ctx context.Context) {
	if !s.changed {
		return
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveBound)
	defer cancel()
	_ = s.save(bound) // then what came since comes again, and its keys are known
}

func (s *session) maxMessage() int64 {
	if s.feed.Source.Provider == providerHookgraph {
		return maxHubMessage
	}
	return graphqlclient.DefaultMessage
}

// client makes the client of a connection, with a credential for it.
func (s *session) client(ctx context.Context) (credential.Pass, *graphqlclient.Client, error) {
	src := s.feed.Source
	held := s.fetcher.credentials.Of(src.ID, src.Auth)
	pass, err := held.Issue(ctx)
	if err != nil {
		return pass, nil, err
	}
	header := http.Header{}
	if pass.Header != "" {
		header.Set(pass.Header, pass.Value)
	}
	return pass, &graphqlclient.Client{
		URL: src.Upstream.URL, Name: upstreamName, Header: header, ConnectionPayload: src.Upstream.ConnectionPayload, MaxMessage: s.maxMessage(),
		Answer: s.fetcher.bounds.Answer, Silence: s.fetcher.bounds.Silence,
		HTTP: &http.Client{
			Transport:     held.Transport,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}, nil
}

// scrub takes credentials out of what an upstream said, which may repeat them.
func (s *session) scrub(pass credential.Pass, err error) error {
	var why *graphqlclient.Error
	if !errors.As(err, &why) {
		return err
	}
	clean := *why
	for _, secret := range append(pass.Secrets(), texts(s.feed.Source.Upstream.ConnectionPayload)...) {
		clean.Message = strings.ReplaceAll(clean.Message, secret, "[redacted]")
	}
	return &clean
}

// minSecret is the length from which a text of the connection's payload is taken for a
// secret wherever it shows up.
const minSecret = 6

// texts returns the strings within a JSON document that may be secret.
func texts(raw json.RawMessage) []string {
	var value any
	if json.Unmarshal(raw, &value) != nil {
		return nil
	}
	var list []string
	var walk func(any)
	walk = func(value any) {
		switch value := value.(type) {
		case string:
			if len(value) >= minSecret {
				list = append(list, value)
				if _, token, found := strings.Cut(value, " "); found && len(token) >= minSecret { // "Bearer …"
					list = append(list, token)
				}
			}
		case map[string]any:
			for _, member := range value {
				walk(member)
			}
		case []any:
			for _, element := range value {
				walk(element)
			}
		}
	}
	walk(value)
	return list
}
