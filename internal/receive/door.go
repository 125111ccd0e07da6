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
	// Capture records a request if its source still has some to capture, and says whether.
	Capture(ctx context.Context, rejection *hub.Rejection) (bool, error)
	// Refresh brings the snapshot up to what other nodes have changed.
	Refresh(ctx context.Context) error
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
	// PerAddress limits what one address may send, before anything is read of it; the
	// zero value does not.
	PerAddress hub.RateLimit
	// Proxies are the networks of proxies that are trusted to name whom they forward for.
	Proxies []netip.Prefix
	// Keys has the public keys that JSON Web Tokens are signed with. Without it there are none.
	Keys webhook.Keys
	// Observe, if set, is told of each request: what became of it (ACCEPTED,
	// DUPLICATE, HANDSHAKE, or why not) and how long that took. It must not block.
	Observe func(result string, took time.Duration)
}

// Door receives events. It is safe for concurrent use. Once nothing comes in any more,
// Close stores what it still has to tell.
type Door struct {
	store         Store
	adapter       *webhook.Adapter
	clock         hub.Clock
	logger        *slog.Logger
	publicURL     string
	fingerprint   func(hub.Secret) string
	readTimeout   time.Duration
	commitTimeout time.Duration
	proxies       []netip.Prefix
	limits        *limits
	floods        *floods
	fresh         *fresh
	observe       func(result string, took time.Duration)
	schemas       schemas
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
		adapter:       webhook.New(c.Providers, c.Expressions).WithKeys(c.Keys),
		clock:         c.Clock,
		logger:        c.Logger,
		fingerprint:   c.Fingerprint,
		publicURL:     strings.TrimRight(c.PublicURL, "/"),
		readTimeout:   cmp.Or(c.ReadTimeout, DefaultReadTimeout),
		commitTimeout: cmp.Or(c.CommitTimeout, DefaultCommitTimeout),
		proxies:       c.Proxies,
		limits:        newLimits(c.PerAddress),
		floods:        newFloods(c.Store, c.Logger),
		fresh:         newFresh(c.Store),
		observe:       c.Observe,
	}
}

// Close stores what the door has counted and not told yet. Nothing may come in any more.
func (d *Door) Close(ctx context.Context) error {
	d.floods.close(ctx)
	return nil
}

// ServeHTTP answers the requests of webhook sources. The handler must see paths
// as they were sent: a mux that cleans them would redirect senders, who do not follow.
func (d *Door) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 {
		bound(w, d.readTimeout)
	}
	began, now, from := time.Now(), d.clock.Now(), d.sender(r)
	tooMany := d.limits.address(from, now)
	src := d.source(r.Context(), r.URL.Path, tooMany == 0)
	if src == nil {
		if tooMany > 0 {
			d.done(limited(w, r, tooMany), w, began)
			return
		}
		problemOf(hub.CodeNotFound).write(w)
		return
	}
	req := &webhook.Request{
		Method:     r.Method,
		Target:     r.RequestURI,
		PublicURL:  d.publicURL,
		RawQuery:   r.URL.RawQuery,
		Host:       r.Host,
		Header:     r.Header,
		Peer:       from,
		ReceivedAt: now,

		Fingerprint: d.fingerprint,
	}
	// The work outlives a sender who hangs up: a request that came in whole is
	// stored, or recorded as refused, whether or not anybody waits for the answer.
	ctx := context.WithoutCancel(r.Context())
	if tooMany > 0 {
		d.flood(ctx, src, req, "address", d.addressLimited(from))
		d.done(limited(w, r, tooMany), w, began)
		return
	}
	d.done(d.answer(ctx, w, r, src, req), w, began)
}

// done sends an answer and tells the observer.
func (d *Door) done(a answer, w http.ResponseWriter, began time.Time) {
	a.write(w)
	if d.observe != nil {
		d.observe(a.result, time.Since(began))
	}
}

// source finds the webhook source that a path leads to, or nil. One that this node does
// not know is looked for if that is asked for.
func (d *Door) source(ctx context.Context, path string, look bool) *hub.Source {
	rest, found := strings.CutPrefix(path, Prefix)
	if !found {
		return nil
	}
	slug, _, _ := strings.Cut(rest, "/")
	src := d.store.Configuration().SourcesBySlug[slug]
	if src == nil && look {
		src = d.fresh.source(ctx, slug)
	}
	if src == nil || src.Kind != hub.SourceWebhook {
		return nil
	}
	return src
}

// answer is the path of one request, from its first byte to what is answered. What is
// captured is neither kept out by its network nor by a pause. Before anything is refused
// for what is configured, the source is looked at again.
func (d *Door) answer(ctx context.Context, w http.ResponseWriter, r *http.Request, src *hub.Source, req *webhook.Request) answer {
	capturing := func() bool { return src.Capturing > 0 && carriesEvent(r.Method) }
	admitted := d.adapter.Admit(src, req)
	if d.again(ctx, &src, !admitted.Accepted() && !capturing()) {
		admitted = d.adapter.Admit(src, req)
	}
	if !admitted.Accepted() && !capturing() {
		return d.refuse(ctx, src, req, admitted)
	}
	wait := d.limits.source(src, d.store.Configuration().Sources, req.ReceivedAt)
	if d.again(ctx, &src, wait > 0) {
		wait = d.limits.source(src, d.store.Configuration().Sources, req.ReceivedAt)
	}
	if wait > 0 {
		d.flood(ctx, src, req, "source", sourceLimited(src, req.Peer))
		return limited(w, r, wait)
	}
	if !carriesEvent(r.Method) {
		if asks(r.Method) {
			if handshake, asked := d.adapter.Handshake(ctx, src, req, false); asked {
				return d.shake(ctx, src, req, handshake)
			}
		}
		return d.refuse(ctx, src, req, webhook.Verdict{Reason: hub.RejectedMethod, Detail: "The method was " + methodText(r.Method) + "; events come by POST, PUT or PATCH."})
	}
	d.again(ctx, &src, src.State == hub.SourcePaused && !capturing())
	if src.State == hub.SourcePaused && !capturing() {
		d.keepStart(w, r, req)
		return d.refuse(ctx, src, req, paused)
	}
	d.again(ctx, &src, r.ContentLength > int64(maxBody(src)))
	wasCapturing := capturing()
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
	src, verdict := d.verify(ctx, src, req)
	if verdict.Accepted() {
		if handshake, asked := d.adapter.Handshake(ctx, src, req, true); asked {
			return d.shake(ctx, src, req, handshake)
		}
	}
	if src.Capturing > 0 {
		if a, captured := d.capture(ctx, src, req, verdict); captured {
			return a
		}
	}
	if wasCapturing && verdict.Accepted() { // what was to be captured is, and the rest is as always
		verdict = d.adapter.Admit(src, req)
		if verdict.Accepted() && src.State == hub.SourcePaused {
			verdict = paused
		}
	}
	if !verdict.Accepted() {
		a := d.refuse(ctx, src, req, verdict)
		if d.adapter.Bare(ctx, src, req) {
			a.contentType, a.body = "", nil
		}
		return a
	}
	event, verdict := d.event(src, req, webhook.Extracted{})
	if d.again(ctx, &src, !verdict.Accepted()) {
		if verdict = d.adapter.Verify(ctx, src, req); verdict.Accepted() {
			event, verdict = d.event(src, req, webhook.Extracted{})
		}
	}
	if !verdict.Accepted() {
		return d.refuse(ctx, src, req, verdict)
	}
	receipts, err := d.Receive(ctx, []*hub.Event{event})
	if err != nil {
		return d.unavailable(ctx, src, err)
	}
	return acknowledge(src, receipts[0])
}

// paused is why a paused source refuses.
var paused = webhook.Verdict{
	Reason: hub.RejectedSourcePaused,
	Detail: "The source is paused. The sender was told to try again later; resume the source to accept its requests.",
}

// again brings a source up to what another node may have made of it, if it would refuse,
// and reports whether anything is new.
func (d *Door) again(ctx context.Context, src **hub.Source, refuses bool) bool {
	if !refuses {
		return false
	}
	newer := d.fresh.newer(ctx, *src)
	if newer == nil {
		return false
	}
	*src = newer
	return true
}

// verify judges a request by its source. Before it is refused the source is looked at
// again, for what another node may have changed of it, such as its secrets.
func (d *Door) verify(ctx context.Context, src *hub.Source, req *webhook.Request) (*hub.Source, webhook.Verdict) {
	verdict := d.adapter.Verify(ctx, src, req)
	if d.again(ctx, &src, !verdict.Accepted()) {
		verdict = d.adapter.Verify(ctx, src, req)
	}
	return src, verdict
}

// capture keeps a request instead of receiving it, if its source still wants that.
func (d *Door) capture(ctx context.Context, src *hub.Source, req *webhook.Request, verdict webhook.Verdict) (answer, bool) {
	detail := "Captured by order of captureSource, so it became no event. Its verification would have succeeded."
	if !verdict.Accepted() {
		detail = "Captured by order of captureSource. Otherwise it would have been refused with " + string(verdict.Reason) + ": " + verdict.Detail
	}
	ctx, cancel := context.WithTimeout(ctx, d.commitTimeout)
	defer cancel()
	captured, err := d.store.Capture(ctx, d.rejection(src, req, webhook.Verdict{Reason: hub.RejectedCaptured, Detail: detail}))
	if err != nil {
		return d.unavailable(ctx, src, err), true
	}
	return acknowledgeCapture(src), captured
}

// flood keeps that a request was beyond a limit.
func (d *Door) flood(ctx context.Context, src *hub.Source, req *webhook.Request, which, detail string) {
	d.floods.add(ctx, which, func() *hub.Rejection {
		return d.rejection(src, req, webhook.Verdict{Reason: hub.RejectedRate, Detail: detail})
	}, src.ID, req.ReceivedAt)
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
		ID:           hub.NewID(hub.EventPrefix, receivedAt),
		SourceID:     src.ID,
		Type:         e.Type,
		DedupeKey:    e.DedupeKey,
		DedupeWindow: e.DedupeWindow,
		OrderingKey:  e.OrderingKey,
		OccurredAt:   e.OccurredAt,
		ReceivedAt:   receivedAt,
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
	if err := d.record(ctx, src, req, verdict); err != nil && !errors.Is(err, hub.ErrNotFound) {
		d.logger.ErrorContext(ctx, "rejection not stored",
			slog.String("source_id", src.ID), slog.String("reason", string(verdict.Reason)), slog.Any("error", err))
	}
	return refused(src, verdict.Reason)
}

// record stores why a request is refused, and returns once that is durable.
func (d *Door) record(ctx context.Context, src *hub.Source, req *webhook.Request, verdict webhook.Verdict) error {
	rejection := d.rejection(src, req, verdict)
	d.logger.DebugContext(ctx, "request refused",
		slog.String("source_id", src.ID), slog.String("rejection_id", rejection.ID), slog.String("reason", string(verdict.Reason)))
	ctx, cancel := context.WithTimeout(ctx, d.commitTimeout)
	defer cancel()
	return d.store.Reject(ctx, rejection)
}

// rejection is what is kept of a request.
func (d *Door) rejection(src *hub.Source, req *webhook.Request, verdict webhook.Verdict) *hub.Rejection {
	return &hub.Rejection{
		ID:         hub.NewID(hub.RejectionPrefix, req.ReceivedAt),
		SourceID:   src.ID,
		Reason:     verdict.Reason,
		Detail:     verdict.Detail,
		Method:     methodText(req.Method),
		Headers:    redact(src, req),
		Body:       req.Body[:min(len(req.Body), hub.MaxRejectionBodyBytes)],
		ReceivedAt: req.ReceivedAt,
	}
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
