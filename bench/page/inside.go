package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/debug"
	"runtime/pprof"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hookgraph/hookgraph/bench/harness"
	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/secret"
	"github.com/hookgraph/hookgraph/internal/store"
)

// inside is the hub's GraphQL handler in this process, for what cannot be seen from
// the outside.
type inside struct {
	handler    *graph.Handler
	store      *store.Store
	statements atomic.Int64
}

func openInside(ctx context.Context, url string) (*inside, error) {
	keys, err := secret.ParseKeys(harness.SecretKey)
	if err != nil {
		return nil, err
	}
	keyring, err := secret.NewKeyring(keys...)
	if err != nil {
		return nil, err
	}
	in := &inside{}
	in.store, err = store.Open(ctx, store.Config{URL: url, Keyring: keyring, Tool: true, Trace: func(context.Context, string) { in.statements.Add(1) }})
	if err != nil {
		return nil, err
	}
	if err := in.store.Start(ctx, nil); err != nil {
		return nil, errors.Join(err, in.store.Close())
	}
	in.handler, err = graph.NewHandler(graph.Config{
		View: func(sight hub.Sight) graph.View { return in.store.For(sight) }, Fingerprint: keyring.Fingerprint, PublicURL: "http://127.0.0.1",
		Authenticate: func(context.Context, string) (*hub.Viewer, error) {
			return &hub.Viewer{Role: hub.RoleOperator, Scopes: hub.RoleOperator.DefaultScopes()}, nil
		},
	})
	if err != nil {
		return nil, errors.Join(err, in.store.Close())
	}
	return in, nil
}

func (in *inside) ask(ctx context.Context, body []byte) error {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/graphql", bytes.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	in.handler.ServeHTTP(w, r)
	if w.Code != http.StatusOK || bytes.HasPrefix(w.Body.Bytes(), []byte(`{"errors"`)) {
		return fmt.Errorf("the handler answered %d %s", w.Code, w.Body)
	}
	return nil
}

// printStatements counts the SQL statements of pages of several lengths.
func printStatements(ctx context.Context, url string) error {
	in, err := openInside(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = in.store.Close() }()
	for _, first := range []int{1, 10, pageSize} {
		in.statements.Store(0)
		if err := in.ask(ctx, request(first, "")); err != nil {
			return err
		}
		fmt.Printf("%2d events: %d SQL statements\n", first, in.statements.Load())
	}
	return nil
}

// profile writes a processor profile of the handler at work.
func profile(ctx context.Context, o options) (err error) {
	debug.SetGCPercent(gcPercent)
	in, err := openInside(ctx, o.databaseURL)
	if err != nil {
		return err
	}
	defer func() { _ = in.store.Close() }()
	f, err := os.Create(o.profile)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := pprof.StartCPUProfile(f); err != nil {
		return err
	}
	defer pprof.StopCPUProfile()
	ctx, cancel := context.WithTimeout(ctx, o.duration)
	defer cancel()
	var asked atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if in.ask(context.WithoutCancel(ctx), request(pageSize, o.somewhere())) == nil {
					asked.Add(1)
				}
			}
		})
	}
	wg.Wait()
	fmt.Printf("%.0f requests/s without HTTP\n", float64(asked.Load())/time.Since(began).Seconds())
	return nil
}
