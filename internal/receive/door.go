package receive

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// Prefix is the path under which sources are reached: /in/{slug}, with further
// segments allowed.
const Prefix = "/in/"

// Bounds of a request's time, unless the configuration says otherwise.
const (
	DefaultReadTimeout   = 30 * time.Second
	DefaultCommitTimeout = 4 * time.Second
)

// What senders are told to wait.
const (
	pausedRetryAfter      = time.Minute
	unavailableRetryAfter = 5 * time.Second
)

// Store is what the door needs of the store.
type Store interface {
	// Configuration is the current snapshot of sources.
	Configuration() *hub.Configuration
	// Append returns after the events, all in one transaction, are durable.
	Append(ctx context.Context, events []*hub.Event) ([]hub.Receipt, error)
	// Reject records a refused request.
	Reject(ctx context.Context, rejection *hub.Rejection) error
	// EventsByID loads events without their payloads.
	EventsByID(ctx context.Context, ids []string) (map[string]*hub.Event, error)
}

// Config is what a door is made of. Store and Expressions are required.
type Config struct {
	Store       Store
	Expressions webhook.Expressions
	Providers   *webhook.Table // default: the presets
	Clock       hub.Clock      // default: the system's
	Logger      *slog.Logger   // default: none
	// PublicURL is how the outside reaches the hub, for providers that sign it.
	PublicURL string
	// Fingerprint tells a source's secrets apart in the details of rejections, in a way
	// that nobody can try guesses against. Without it they are left unnamed.
	Fingerprint func(hub.Secret) string
	// ReadTimeout bounds how long a body may take to come in.
	ReadTimeout time.Duration
	// CommitTimeout bounds how long a sender waits for the store. An event whose
	// commit takes longer may still be stored: the sender is told to try again, and
	// its dedupe key makes one event of the two.
	CommitTimeout time.Duration
	// Observe, if set, is told of each request: what became of it (ACCEPTED,
	// DUPLICATE, HANDSHAKE, or why not) and how long that took. It must not block.
	Observe func(result string, took time.Duration)
}

// Door receives events. It is safe for concurrent use and has no goroutines.
type Door struct {
	store         Store
	adapter       *webhook.Adapter
	clock         hub.Clock
	logger        *slog.Logger
	publicURL     string
	fingerprint   func(hub.Secret) string
	readTimeout   time.Duration
	commitTimeout time.Duration
	observe       func(result string, took time.Duration)
}

// New makes a door.
func New(c Config) *Door {
	if c.Providers == nil {
		c.Providers = webhook.Presets()
	}
	if c.Clock == nil {
		c.Clock = hub.SystemClock{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Door{
		store:         c.Store,
		adapter:       webhook.New(c.Providers, c.Expressions),
		clock:         c.Clock,
		logger:        c.Logger,
		fingerprint:   c.Fingerprint,
		publicURL:     strings.TrimRight(c.PublicURL, "/"),
		readTimeout:   cmp.Or(c.ReadTimeout, DefaultReadTimeout),
		commitTimeout: cmp.Or(c.CommitTimeout, DefaultCommitTimeout),
		observe:       c.Observe,
	}
}

// ServeHTTP answers the requests of webhook sources. The handler must see paths
// as they were sent: a mux that cleans them would redirect senders, who do not follow.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		bound(w, d.readTimeout)
	}
	src := d.source(r.URL.Path)
	if src == nil {
		problemOf(hub.CodeNotFound).write(w)
		return
	}
	began := time.Now()
	req := &webhook.Request{
		Method:     r.Method,
		Target:     r.RequestURI,
		PublicURL:  d.publicURL,
		RawQuery:   r.URL.RawQuery,
		Host:       r.Host,
		Header:     r.Header,
		Peer:       peer(r.RemoteAddr),
		ReceivedAt: d.clock.Now(),

		Fingerprint: d.fingerprint,
	}
	// The work outlives a sender who hangs up: a request that came in whole is
	// stored, or recorded as refused, whether or not anybody waits for the answer.
	ctx := context.WithoutCancel(r.Context())
	a := d.answer(ctx, w, r, src, req)
	a.write(w)
	if d.observe != nil {
		d.observe(a.result, time.Since(began))
	}
}

// source finds the webhook source that a path leads to, or nil.
func (d *Door) source(path string) *hub.Source {
	rest, found := strings.CutPrefix(path, Prefix)
	if !found {
		return nil
	}
	slug, _, _ := strings.Cut(rest, "/")
	if src := d.store.Configuration().SourcesBySlug[slug]; src != nil && src.Kind == hub.SourceWebhook {
		return src
	}
	return nil
}

// answer is the path of one request, from its first byte to what is answered.
func (d *Door) answer(ctx context.Context, w http.ResponseWriter, r *http.Request, src *hub.Source, req *webhook.Request) answer {
	if verdict := d.adapter.Admit(src, req); !verdict.Accepted() {
		return d.refuse(ctx, src, req, verdict)
	}
	if !carriesEvent(r.Method) {
		if asks(r.Method) {
			if handshake, asked := d.adapter.Handshake(ctx, src, req, false); asked {
				return d.shake(ctx, src, req, handshake)
			}
		}
		return d.refuse(ctx, src, req, webhook.Verdict{Reason: hub.RejectedMethod, Detail: "The method was " + methodText(r.Method) + "; events come by POST, PUT or PATCH."})
	}
	if src.State == hub.SourcePaused {
		d.keepStart(w, r, req)
		return d.refuse(ctx, src, req, webhook.Verdict{Reason: hub.RejectedSourcePaused, Detail: "The source is paused. The sender was told to try again later; resume the source to accept its requests."})
	}
	if verdict, code := d.readBody(w, r, src, req); !verdict.Accepted() {
		refused := d.refuse(ctx, src, req, verdict)
		if code != "" {
			return problemOf(code)
		}
		return refused
	}
	if handshake, asked := d.adapter.Handshake(ctx, src, req, false); asked {
		return d.shake(ctx, src, req, handshake)
	}
	if verdict := d.adapter.Verify(ctx, src, req); !verdict.Accepted() {
		return d.refuse(ctx, src, req, verdict)
	}
	if handshake, asked := d.adapter.Handshake(ctx, src, req, true); asked {
		return d.shake(ctx, src, req, handshake)
	}
	extracted, verdict := d.adapter.Extract(src, req, webhook.Extracted{})
	if !verdict.Accepted() {
		return d.refuse(ctx, src, req, verdict)
	}
	event := newEvent(src, extracted, req.ReceivedAt)
	event.ContentType = hub.ValidText(req.Header.Get("Content-Type"))
	event.Payload = &hub.Payload{Body: req.Body, Headers: redact(src, req), Query: validQuery(webhook.RedactQuery(src, req.RawQuery))}
	receipts, err := d.Receive(ctx, []*hub.Event{event})
	if err != nil {
		return d.unavailable(ctx, src, err)
	}
	return acknowledge(src, receipts[0])
}

// Receive hands normalised events to the store, all in one transaction and in
// order, and returns once they are durable. Every way in ends here. Cancelling the
// context does not take back what the store has begun to commit.
func (d *Door) Receive(ctx context.Context, events []*hub.Event) ([]hub.Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, d.commitTimeout)
	defer cancel()
	return d.store.Append(ctx, events)
}

func newEvent(src *hub.Source, e webhook.Extracted, receivedAt time.Time) *hub.Event {
	return &hub.Event{
		ID:          hub.NewID(hub.EventPrefix, receivedAt),
		SourceID:    src.ID,
		Type:        e.Type,
		DedupeKey:   e.DedupeKey,
		OrderingKey: e.OrderingKey,
		OccurredAt:  e.OccurredAt,
		ReceivedAt:  receivedAt,
	}
}

// shake answers a handshake, and keeps what it asks of the operator.
func (d *Door) shake(ctx context.Context, src *hub.Source, req *webhook.Request, h webhook.Answer) answer {
	if !h.Refusal.Accepted() {
		return d.refuse(ctx, src, req, h.Refusal)
	}
	if !h.Note.Accepted() {
		d.refuse(ctx, src, req, h.Note)
	}
	return answerHandshake(h)
}

// refuse records why a request is refused and returns what its sender is told.
func (d *Door) refuse(ctx context.Context, src *hub.Source, req *webhook.Request, verdict webhook.Verdict) answer {
	rejection := &hub.Rejection{
		ID:         hub.NewID(hub.RejectionPrefix, req.ReceivedAt),
		SourceID:   src.ID,
		Reason:     verdict.Reason,
		Detail:     verdict.Detail,
		Method:     methodText(req.Method),
		Headers:    redact(src, req),
		Body:       req.Body[:min(len(req.Body), hub.MaxRejectionBodyBytes)],
		ReceivedAt: req.ReceivedAt,
	}
	d.logger.DebugContext(ctx, "request refused",
		slog.String("source_id", src.ID), slog.String("rejection_id", rejection.ID), slog.String("reason", string(verdict.Reason)))
	ctx, cancel := context.WithTimeout(ctx, d.commitTimeout)
	defer cancel()
	if err := d.store.Reject(ctx, rejection); err != nil && !errors.Is(err, hub.ErrNotFound) {
		d.logger.ErrorContext(ctx, "rejection not stored",
			slog.String("source_id", src.ID), slog.String("reason", string(verdict.Reason)), slog.Any("error", err))
	}
	return refused(src, verdict.Reason)
}

// unavailable turns what the store could not do into an answer.
func (d *Door) unavailable(ctx context.Context, src *hub.Source, err error) answer {
	if errors.Is(err, hub.ErrNotFound) { // deleted while the request came in
		return problemOf(hub.CodeNotFound)
	}
	level := slog.LevelError
	if hub.CodeOf(err) == hub.CodeUnavailable { // the store is busy, and has said so
		level = slog.LevelWarn
	}
	d.logger.LogAttrs(ctx, level, "event not stored", slog.String("source_id", src.ID), slog.Any("error", err))
	wait := unavailableRetryAfter
	var told *hub.Error
	if errors.As(err, &told) && told.RetryAfter > 0 {
		wait = told.RetryAfter
	}
	return problemOf(hub.CodeUnavailable).after(wait)
}

// redact lists a request's headers as they may be stored.
func redact(src *hub.Source, req *webhook.Request) []hub.Header {
	return hub.Redact(req.Headers(), webhook.CredentialHeaders(src)...)
}

// carriesEvent reports whether a method is one by which providers send events.
func carriesEvent(method string) bool {
	return method == http.MethodPost || method == http.MethodPut || method == http.MethodPatch
}

// asks reports whether a method is one by which providers ask without a body.
func asks(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

const maxMethodLength = 32

// methodText bounds what is kept of a method, which may be any token.
func methodText(method string) string { return method[:min(len(method), maxMethodLength)] }

// peer reads the address of a connection's other end; the zero address, which is
// in no network, where there is none.
func peer(remote string) netip.Addr {
	addrPort, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return addrPort.Addr().Unmap()
}

// validQuery writes bytes that are not UTF-8, which no database keeps as text,
// in the percent form that stands for them.
func validQuery(query string) string {
	if utf8.ValidString(query) {
		return query
	}
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(query) {
		if c := query[i]; c >= utf8.RuneSelf {
			b.WriteByte('%')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
