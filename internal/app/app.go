// Package app wires the rooms into a hub, step by step, and runs it: it opens the
// database, starts the pipeline, serves HTTP, and stops all of it in the order
// that loses nothing.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/hookgraph/hookgraph/graph"
	"github.com/hookgraph/hookgraph/graph/document"
	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/graph/graphiql"
	"github.com/hookgraph/hookgraph/internal/auth"
	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/deliver"
	"github.com/hookgraph/hookgraph/internal/httpapi"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/keyset"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/observe"
	"github.com/hookgraph/hookgraph/internal/outbound"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/registry"
	"github.com/hookgraph/hookgraph/internal/secret"
	"github.com/hookgraph/hookgraph/internal/signature"
	"github.com/hookgraph/hookgraph/internal/source/own"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/stream"
	"github.com/hookgraph/hookgraph/internal/wake"
)

// writeDown is how long a stop has, after it has cut off what was under way, to
// write down what became of it.
const writeDown = 10 * time.Second

// Hub is a running hub.
type Hub struct {
	url    string
	logger *slog.Logger
	failed chan error // gets what ended serving before anybody asked for it

	// patience is how long a stop waits for what is under way before it cuts it off.
	// What was cut off is written down afterwards, so the whole stop takes longer.
	patience time.Duration
	// unready turns readiness off, and drainDelay is how long requests are still taken
	// after that.
	unready    func()
	drainDelay time.Duration

	// stops end what was started, in the order of starting: they run in reverse.
	stops []stop
	once  sync.Once
	err   error // of stopping
}

// stop ends one thing. Patient ends before ctx does: by then, what is under way is
// to be cut off.
type stop struct {
	name string
	run  func(ctx, patient context.Context) error
}

// serve runs a hub until the context is done. Welcome, where given, is called with
// the hub's URL once it serves.
func serve(ctx context.Context, cfg config.Server, secretText string, logger *slog.Logger, welcome func(url string) error) error {
	if os.Getenv("GOGC") == "" {
		tuning, cancel := context.WithCancel(ctx)
		var tuner sync.WaitGroup
		tuner.Go(func() { tuneGC(tuning) })
		defer tuner.Wait()
		defer cancel()
	}
	h, err := Start(ctx, cfg, secretText, logger)
	if err != nil {
		return err
	}
	logger.InfoContext(ctx, "serving", slog.String("url", h.url), slog.String("environment", string(cfg.Environment)), slog.String("version", Version()))
	if welcome != nil {
		if err := welcome(h.url); err != nil {
			logger.WarnContext(ctx, "the welcome could not be printed", slog.Any("error", err))
		}
	}
	select {
	case <-ctx.Done():
		logger.Info("stopping", slog.Duration("at_most", cfg.ShutdownTimeout))
	case err = <-h.failed:
		logger.Error("serving ended", slog.Any("error", err))
	}
	// The context that asked for the stop is done; stopping has its own bound, with
	// room to write down what had to be cut off.
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), cfg.DrainDelay+cfg.ShutdownTimeout+writeDown)
	defer cancel()
	return errors.Join(err, h.Stop(bound))
}

// Start starts a hub and returns when it serves. The context bounds the start
// alone; Stop ends what was started.
func Start(ctx context.Context, cfg config.Server, secretText string, logger *slog.Logger) (_ *Hub, err error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	h := &Hub{logger: logger, failed: make(chan error, 1), patience: cfg.ShutdownTimeout, drainDelay: cfg.DrainDelay, unready: func() {}}
	defer func() {
		if err != nil { // what has been started must not outlive a start that failed
			bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeDown)
			defer cancel()
			_ = h.Stop(bound)
		}
	}()
	clock := hub.SystemClock{}
	keyring, err := openKeyring(secretText)
	if err != nil {
		return nil, err
	}
	networks, err := cfg.AllowedNetworks()
	if err != nil {
		return nil, err
	}
	guard := outbound.NewGuard(networks...)
	listener, err := h.listen(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h.url = cfg.Public(listener.Addr())
	matcher, err := match.New(match.WithLogger(logger))
	if err != nil {
		return nil, err
	}
	metrics := observe.NewMetrics()

	bus, changed := &lateBus{}, wake.NewLocal()
	st, err := h.openStore(ctx, store.Config{
		URL: cfg.DatabaseURL, Keyring: keyring, Clock: clock, Logger: logger, Router: matcher, Admits: matcher.Admits, OrderingKey: matcher.OrderingKey, Notify: bus.Notify, NotifyChanges: changed.Notify,
		Verification: hub.VerificationDemand(cfg.EndpointVerification),
	})
	if err != nil {
		return nil, err
	}
	development := cfg.Environment == config.Development
	shaper, err := graph.NewShaper(graph.ShaperConfig{
		View: func(sight hub.Sight) graph.View { return st.For(sight) }, Matcher: matcher, Fingerprint: keyring.Fingerprint, Logger: logger, PublicURL: h.url, Development: development,
	})
	if err != nil {
		return nil, err
	}
	dispatcher, err := h.startPipeline(ctx, st, deliver.Config{
		Store: st, Shaper: shaper, Transport: outbound.NewTransport(guard, outbound.TransportOptions{}), Guard: guard, Sign: signature.SignStandard,
		Logger: logger, Clock: clock, Version: Version(), MaxInFlight: cfg.MaxInFlight, Observe: attempted(metrics),
	})
	if err != nil {
		return nil, err
	}
	metrics.Gauge("hookgraph_in_flight_attempts", "Delivery attempts under way on this node.", func() float64 { return float64(dispatcher.InFlight()) })
	metrics.Gauge("hookgraph_nodes", "Nodes of the hub that this one knows of, itself included; 0 while it has lost touch with them and attempts nothing.", func() float64 { return float64(st.Peers().Count()) })
	if err := h.connectBus(ctx, bus, cfg.NATSURL, st, dispatcher, logger); err != nil {
		return nil, err
	}
	tail, err := startTail(ctx, h, stream.Events, stream.Config[*hub.Event]{
		Log: stream.Log[*hub.Event]{Head: st.Head, Oldest: st.Oldest, After: st.EventsAfter, Epoch: st.Epoch, Configuration: st.Configuration}, Bus: bus.Bus(), Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	// Other nodes' changes of deliveries are looked for every second, without a wake-up.
	changes, err := startTail(ctx, h, stream.Changes, stream.Config[*hub.DeliveryChange]{
		Log: stream.Log[*hub.DeliveryChange]{Head: st.ChangeHead, Oldest: st.OldestChange, After: st.ChangesAfter, Epoch: st.Epoch, Configuration: st.Configuration}, Bus: changed, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	metrics.Gauge("hookgraph_stream_readers", "Live streams that this node serves.", func() float64 { return float64(tail.Readers() + changes.Readers()) })

	// Certificates and keys of vendors are fetched through the guard, like all else.
	providers := webhook.Presets().Fetching(outbound.NewTransport(guard, outbound.TransportOptions{}))
	proxies, err := cfg.Proxies()
	if err != nil {
		return nil, err
	}
	keys := keyset.NewPool(outbound.NewTransport(guard, outbound.TransportOptions{}), clock, logger)
	h.started("key sets", func(context.Context) error {
		keys.Close()
		return nil
	})
	door := receive.New(receive.Config{
		Store: st, Expressions: matcher, Providers: providers, Clock: clock, Logger: logger, PublicURL: h.url,
		Fingerprint: keyring.Fingerprint, Observe: metrics.Received, Keys: keys, Proxies: proxies,
		PerAddress: hub.RateLimit{Limit: cfg.InboundRate, Period: time.Second},
	})
	h.started("door", door.Close)
	catalogue := registry.New(registry.Config{
		Store: st, Providers: providers, Expressions: matcher, Transforms: shaper, CheckURL: guard.CheckURL, PublicURL: h.url, Clock: clock,
	})
	if err := catalogue.EnsureBuiltIn(ctx); err != nil {
		return nil, fmt.Errorf("make the built-in sources: %w", err)
	}
	h.started("hub events", own.Start(ctx, st, door, clock, logger).Stop)
	h.startFetching(ctx, st, door, guard, clock, logger)
	h.startCatalogue(ctx, st, door, clock, logger)
	authenticator, err := h.authenticator(st, cfg, clock, guard)
	if err != nil {
		return nil, err
	}
	documents, err := trusted(cfg)
	if err != nil {
		return nil, err
	}
	api, err := graph.NewHandler(graph.Config{
		View:     func(sight hub.Sight) graph.View { return st.For(sight) },
		Registry: catalogue, Prober: dispatcher, Puller: dispatcher, Publisher: door, Keys: auth.NewIssuer(st, clock, logger), Tail: tail, Changes: changes, Matcher: matcher, Shaper: shaper,
		Authenticate: authenticator.Authenticate, Fingerprint: keyring.Fingerprint, Logger: logger, PublicURL: h.url, Development: development,
		Clock: clock, Points: gate.PointsConfig{Maximum: cfg.PointsMaximum, RestoreRate: cfg.PointsRestoreRate},
		Documents:      documents,
		OriginPatterns: cfg.AllowOrigins, StreamsPerKey: cfg.StreamsPerKey,
	})
	if err != nil {
		return nil, err
	}
	routes := httpapi.Routes{GraphQL: api, Inbound: door, Metrics: metrics.Handler(), Ready: ready(st)}
	if development {
		if routes.GraphiQL, err = graphiql.New(); err != nil {
			return nil, err
		}
		routes.Receiver = receiver(logger)
	}
	h.serveHTTP(listener, httpapi.New(routes, logger), api)
	return h, nil
}

// authenticator checks keys, and where an issuer is configured its tokens. The issuer
// is asked when the first token comes: a hub starts without it.
func (h *Hub) authenticator(st *store.Store, cfg config.Server, clock hub.Clock, guard *outbound.Guard) (*auth.Authenticator, error) {
	if cfg.OIDCIssuer == "" {
		return auth.New(st, cfg.OperatorKey, clock, h.logger), nil
	}
	roles, err := cfg.Roles()
	if err != nil {
		return nil, err
	}
	transport := outbound.NewTransport(guard, outbound.TransportOptions{})
	tokens := auth.NewTokens(auth.TokenConfig{
		Issuer: cfg.OIDCIssuer, Audiences: cfg.OIDCAudience, KeysURL: cfg.OIDCJWKSURL, Algorithms: cfg.OIDCAlgorithms,
		RoleClaim: cfg.OIDCRoleClaim, PartnerClaim: cfg.OIDCPartnerClaim, ScopesClaim: cfg.OIDCScopesClaim,
		PartnerExists: func(id string) bool { return st.Configuration().Partners[id] != nil },
		Prefix:        cfg.OIDCPrefix, Roles: roles, Transport: transport, Clock: clock, Logger: h.logger,
	})
	h.started("tokens", func(context.Context) error {
		tokens.Close()
		transport.CloseIdleConnections()
		return nil
	})
	return auth.New(st, cfg.OperatorKey, clock, h.logger, tokens), nil
}

// trusted reads which documents GraphQL trusts.
func trusted(cfg config.Server) (document.Options, error) {
	options := document.Options{Mode: document.Mode(cfg.TrustedDocuments), PersistedQueries: cfg.PersistedQueries}
	if cfg.TrustedDocumentsDir == "" {
		return options, nil
	}
	var err error
	if options.Files, err = document.Load(cfg.TrustedDocumentsDir); err != nil {
		return options, fmt.Errorf("--trusted-documents-dir (HOOKGRAPH_TRUSTED_DOCUMENTS_DIR): %w", err)
	}
	return options, nil
}

// attempted reports finished attempts to the metrics.
func attempted(metrics *observe.Metrics) func(deliver.Observation) {
	return func(o deliver.Observation) {
		metrics.Attempted(string(o.Outcome), o.Duration)
		if o.Outcome == hub.AttemptSucceeded {
			metrics.Delivered(o.SinceReceived)
		}
	}
}

// ready says what keeps the hub from serving: a database that does not answer, or
// one that another version has migrated meanwhile.
func ready(st *store.Store) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := st.Ping(ctx); err != nil {
			return err
		}
		current, wanted, err := st.SchemaVersion(ctx)
		if err == nil && current != wanted {
			err = fmt.Errorf("the database is at version %d, this hub at %d", current, wanted)
		}
		return err
	}
}

// openStore connects to the database and migrates it.
func (h *Hub) openStore(ctx context.Context, cfg store.Config) (*store.Store, error) {
	st, err := store.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h.started("database", func(context.Context) error { return st.Close() })
	from, to, err := st.Migrate(ctx)
	if err != nil {
		return nil, err
	}
	if from != to {
		h.logger.InfoContext(ctx, "the database was migrated", slog.Int64("from", from), slog.Int64("to", to))
	}
	return st, nil
}

// startPipeline starts the writer and the dispatcher, which work hand in hand: the
// dispatcher is stopped first, so that the writer still takes its results.
func (h *Hub) startPipeline(ctx context.Context, st *store.Store, cfg deliver.Config) (*deliver.Dispatcher, error) {
	dispatcher, err := deliver.New(cfg)
	if err != nil {
		return nil, err
	}
	if err := st.Start(ctx, dispatcher); err != nil {
		return nil, err
	}
	h.started("store", st.Stop)
	if err := dispatcher.Start(ctx); err != nil {
		return nil, err
	}
	h.draining("deliveries", func(_, patient context.Context) error { return dispatcher.Stop(patient) })
	return dispatcher, nil
}

// startTail starts what live streams of a log read from.
func startTail[T any](ctx context.Context, h *Hub, kind *stream.Kind[T], cfg stream.Config[T]) (*stream.Tail[T], error) {
	tail := stream.New(kind, cfg)
	if err := tail.Start(ctx); err != nil {
		return nil, err
	}
	h.started("streams", tail.Stop)
	return tail, nil
}

// serveHTTP serves until it is stopped. Stopping turns readiness off, then takes no
// new connections, ends streams in a way that brings their clients back, and waits
// for the requests under way.
func (h *Hub) serveHTTP(l net.Listener, api *httpapi.API, streams interface{ Drain(context.Context) error }) {
	server := &http.Server{
		Handler: api, ReadHeaderTimeout: httpapi.ReadHeaderTimeout, IdleTimeout: httpapi.IdleTimeout,
		MaxHeaderBytes: httpapi.MaxHeaderBytes, ErrorLog: slog.NewLogLogger(h.logger.Handler(), slog.LevelDebug),
	}
	h.unready = api.Drain
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			h.failed <- fmt.Errorf("serve HTTP: %w", err)
		}
	}()
	h.draining("HTTP", func(_, ctx context.Context) error {
		drained := make(chan error, 1)
		go func() { drained <- streams.Drain(ctx) }()
		err := errors.Join(server.Shutdown(ctx), <-drained)
		if errors.Is(err, context.DeadlineExceeded) {
			// Requests that outlast the bound are cut off. Their senders have no answer and
			// send again.
			h.logger.Warn("requests were cut off by the stop", slog.Duration("after", h.patience))
			err = server.Close()
		}
		<-done
		return err
	})
}

// openKeyring makes the keyring of what HOOKGRAPH_SECRET_KEY or its file holds.
func openKeyring(text string) (*secret.Keyring, error) {
	keys, err := secret.ParseKeys(text)
	if err != nil {
		return nil, fmt.Errorf("--secret-key (HOOKGRAPH_SECRET_KEY) or its file: %w", err)
	}
	return secret.NewKeyring(keys...)
}

// listen takes the address first, so that a used port is found out before
// anything else is touched.
func (h *Hub) listen(ctx context.Context, cfg config.Server) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", cfg.Addr)
	if err != nil {
		advice := "give another address"
		if errors.Is(err, syscall.EADDRINUSE) {
			advice = "end what uses it, or give another address"
		}
		var of *net.OpError // which repeats the address
		if errors.As(err, &of) {
			err = of.Err
		}
		return nil, fmt.Errorf("cannot listen on %s (%w): %s with --addr (HOOKGRAPH_ADDR)", cfg.Addr, err, advice)
	}
	h.started("listener", func(context.Context) error {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return l, nil
}

// started notes how to end what was started last.
func (h *Hub) started(name string, run func(context.Context) error) {
	h.draining(name, func(ctx, _ context.Context) error { return run(ctx) })
}

// draining does so for what has work under way that a stop waits for.
func (h *Hub) draining(name string, run func(ctx, patient context.Context) error) {
	h.stops = append(h.stops, stop{name, run})
}

// URL returns how the outside reaches the hub.
func (h *Hub) URL() string { return h.url }

// Stop ends the hub: it takes nothing new, finishes what is under way within the
// bounds of the configuration and the context, and writes what is left. A second
// call waits for the first.
func (h *Hub) Stop(ctx context.Context) error {
	h.once.Do(func() {
		h.unready()
		wait(ctx, h.drainDelay)
		patient, cancel := context.WithTimeout(ctx, h.patience)
		defer cancel()
		var errs []error
		for i := len(h.stops) - 1; i >= 0; i-- {
			if err := h.stops[i].run(ctx, patient); err != nil {
				errs = append(errs, fmt.Errorf("stop %s: %w", h.stops[i].name, err))
			}
		}
		h.err = errors.Join(errs...)
	})
	return h.err
}

// wait waits, but not beyond the end of ctx.
func wait(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
