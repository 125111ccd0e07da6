package graph_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// A key that was revoked or has expired must not go on reading by what it opened
// while it was good.
func TestStreamsEndWithTheirKey(t *testing.T) {
	t.Parallel()
	var answer atomic.Pointer[hub.Error] // what keys are answered, if not nil
	answered := make(chan struct{})      // that they were
	b := setup(t, func(cfg *graph.Config) {
		cfg.KeyInterval = time.Millisecond
		authenticate := cfg.Authenticate
		cfg.Authenticate = func(ctx context.Context, token string) (*hub.Viewer, error) {
			if err := answer.Load(); err != nil {
				select {
				case answered <- struct{}{}:
				default:
				}
				return nil, err
			}
			return authenticate(ctx, token)
		}
	})
	socket := b.dial(t)
	socket.init()
	socket.send(`{"type":"subscribe","id":"1","payload":{"query":"subscription { eventStream { events { id } } }"}}`)
	socket.expect("next")
	_, next := b.events(t.Context(), t, streamQuery)
	_, err := next()
	must(t, err)

	answer.Store(hub.NewError(hub.CodeUnavailable, "the database is away"))
	for range 10 { // looks, none of which may end anything
		<-answered
	}
	answer.Store(nil)
	b.publish("a", "1")
	socket.expect("next")
	e, err := next()
	must(t, err)
	if !strings.Contains(e.data, "evt_") {
		t.Errorf("got %+v", e)
	}

	answer.Store(hub.NewError(hub.CodeUnauthenticated, "revoked"))
	socket.closed(4403)
	e, err = next()
	must(t, err)
	if e.name != "next" || !strings.Contains(e.data, string(hub.CodeUnauthenticated)) {
		t.Errorf("got %+v", e)
	}
	e, err = next()
	must(t, err)
	if _, after := next(); e.name != "complete" || !errors.Is(after, io.EOF) {
		t.Errorf("got %+v, %v", e, after)
	}
}

// The end of a credential that says when it ends is not left to the next look at it.
func TestStreamsEndWhenTheirCredentialExpires(t *testing.T) {
	t.Parallel()
	var expires sync.Map // by token: a second after it was shown first
	b := setup(t, func(cfg *graph.Config) {
		cfg.KeyInterval = time.Hour
		authenticate := cfg.Authenticate
		cfg.Authenticate = func(ctx context.Context, token string) (*hub.Viewer, error) {
			kept, _ := expires.LoadOrStore(token, time.Now().Add(time.Second))
			if !time.Now().Before(kept.(time.Time)) {
				return nil, hub.NewError(hub.CodeUnauthenticated, "the token has expired")
			}
			viewer, err := authenticate(ctx, operatorKey)
			if err != nil {
				return nil, err
			}
			short := *viewer
			short.ExpiresAt = kept.(time.Time)
			return &short, nil
		}
	})
	socket := b.dial(t)
	socket.send(`{"type":"connection_init","payload":{"authorization":"Bearer one"}}`)
	socket.closed(4403)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	_, next := b.events(ctx, t, streamQuery, "Authorization", "Bearer two")
	var told string
	for {
		e, err := next()
		if err != nil {
			break
		}
		told += e.name + " " + e.data + "\n"
	}
	if !strings.Contains(told, string(hub.CodeUnauthenticated)) || !strings.Contains(told, "complete") {
		t.Errorf("got %s", told)
	}
	for _, token := range []string{"one", "two"} {
		if end, _ := expires.Load(token); time.Now().Before(end.(time.Time)) {
			t.Errorf("%s ended before its time", token)
		}
	}
}
