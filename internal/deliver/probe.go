package deliver

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Bounds of requests that are of no delivery: tests and challenges.
const (
	maxProbes     = 16               // at a time
	maxChallenges = 8                // of these, by the hub's own accord
	probeEvery    = 2 * time.Second  // to one endpoint, by request
	probeBurst    = 5                //
	recordBound   = 10 * time.Second // for storing what came back
	maxLimiters   = 4096
)

// The types of what the hub itself sends.
const (
	challengeType = "hookgraph.endpoint.verification"
	testType      = "hookgraph.test"
)

// prober sends requests that are of no delivery. They are recorded and count neither
// for the endpoint's health nor for its rate.
type prober struct {
	slots    chan struct{}
	limiters *lru.Cache[string, *rate.Limiter]

	mu         sync.Mutex
	challenged map[string]string // the URL at which an endpoint was challenged by the hub's own accord
	waiting    []string          // endpoints to be challenged
	running    int
}

func newProber() prober {
	limiters, err := lru.New[string, *rate.Limiter](maxLimiters)
	if err != nil {
		panic(err) // the size is a constant above zero
	}
	return prober{slots: make(chan struct{}, maxProbes), limiters: limiters, challenged: make(map[string]string)}
}

// permit takes a token of what may be sent to an endpoint by request.
func (p *prober) permit(endpointID string, now time.Time) bool {
	limiter, found := p.limiters.Get(endpointID)
	if !found {
		limiter = rate.NewLimiter(rate.Every(probeEvery), probeBurst)
		if before, found, _ := p.limiters.PeekOrAdd(endpointID, limiter); found {
			limiter = before
		}
	}
	return limiter.AllowN(now, 1)
}

// probe sends one request of a type to an endpoint and records it.
func (d *Dispatcher) probe(ctx context.Context, e *hub.Endpoint, eventType string, body []byte) (*hub.Attempt, error) {
	select {
	case d.prober.slots <- struct{}{}:
		defer func() { <-d.prober.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	d.mu.RLock()
	open := d.started && !d.closed
	if open {
		d.workers.Add(1) // Stop waits for it
	}
	d.mu.RUnlock()
	if !open {
		return nil, hub.NewError(hub.CodeUnavailable, "the hub is stopping")
	}
	defer d.workers.Done()
	m := message{id: hub.NewID(hub.MessagePrefix, d.clock.Now()), number: 1, body: body, contentType: "application/json", eventType: eventType}
	// It ends by the endpoint's deadline, whoever still waits for it.
	attempt, _ := d.sender.send(d.base, newTemplate(e, d.userAgent, d.book), &m)
	attempt.EndpointID, attempt.RequestBody = e.ID, body
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordBound)
	defer cancel()
	if err := d.config.Store.RecordAttempt(bounded, attempt); err != nil {
		return nil, err
	}
	return attempt, nil
}

// probed looks an endpoint up that somebody wants a request sent to.
func (d *Dispatcher) probed(id string) (*hub.Endpoint, error) {
	e := d.config.Store.Configuration().Endpoints[id]
	if e == nil {
		return nil, hub.ErrNotFound
	}
	if e.Kind == hub.EndpointStream {
		return nil, hub.UserErrors{{Code: hub.InputInvalid, Message: "nothing is sent to an endpoint of this kind", Field: []string{"id"}}}
	}
	if !d.prober.permit(id, d.clock.Now()) {
		return nil, hub.UserErrors{{
			Code: hub.InputLimitExceeded, Message: "this endpoint was just sent several such requests; try again in some seconds", Field: []string{"id"},
		}}
	}
	return e, nil
}

// TestEndpoint sends one request to an endpoint as a delivery would be sent, and
// returns what came back. It is recorded, and changes neither the endpoint's health
// nor any delivery. Without a payload it carries a small one of the given event type.
func (d *Dispatcher) TestEndpoint(ctx context.Context, id, eventType string, payload []byte) (*hub.Attempt, error) {
	e, err := d.probed(id)
	if err != nil {
		return nil, err
	}
	if e.MustVerify && e.VerifiedAt.IsZero() {
		return nil, hub.UserErrors{{
			Code: hub.InputForbidden, Message: "the endpoint has not proved yet that it wants what the hub sends: call verifyEndpoint first", Field: []string{"id"},
		}}
	}
	if eventType == "" {
		eventType = testType
	}
	if payload == nil {
		payload, err = json.Marshal(map[string]any{
			"type": eventType, "timestamp": d.clock.Now().UTC().Format(time.RFC3339), "data": map[string]any{},
		})
		if err != nil {
			return nil, err
		}
	}
	return d.probe(ctx, e, eventType, payload)
}

// VerifyEndpoint asks an endpoint whether it wants what the hub sends, and notes when
// it does. Otherwise the error says what was wrong with its answer.
func (d *Dispatcher) VerifyEndpoint(ctx context.Context, id string) (*hub.Endpoint, error) {
	e, err := d.probed(id)
	if err != nil {
		return nil, err
	}
	return d.challenge(ctx, e)
}

// challenge sends a text that nobody can know beforehand, which the endpoint is to
// answer with.
func (d *Dispatcher) challenge(ctx context.Context, e *hub.Endpoint) (*hub.Endpoint, error) {
	text := rand.Text()
	body, err := json.Marshal(map[string]string{"type": challengeType, "challenge": text})
	if err != nil {
		return nil, err
	}
	attempt, err := d.probe(ctx, e, challengeType, body)
	if err != nil {
		return nil, err
	}
	problem := attempt.Error
	switch {
	case attempt.Outcome != hub.AttemptSucceeded:
	case !echoes(attempt.ResponseBody, text):
		problem = `it answered without the challenge: answer with its text, or with JSON such as {"challenge": "…"}`
	default:
		now := d.clock.Now()
		return d.config.Store.UpdateEndpoint(context.WithoutCancel(ctx), e.ID, func(current *hub.Endpoint) error {
			if current.URL != e.URL {
				return hub.UserErrors{{Code: hub.InputConflict, Message: "the URL was changed meanwhile; it is asked anew", Field: []string{"id"}}}
			}
			current.VerifiedAt = now
			return nil
		})
	}
	return nil, hub.UserErrors{{
		Code: hub.InputUnreachable, Message: "the endpoint is not verified (" + attempt.ID + "): " + problem, Field: []string{"id"},
	}}
}

// echoes tells whether an answer consists of the challenge: as text, as a JSON string
// or as the field challenge of a JSON object.
func echoes(answer []byte, challenge string) bool {
	answer = bytes.TrimSpace(answer)
	if string(answer) == challenge {
		return true
	}
	var text string
	if json.Unmarshal(answer, &text) == nil {
		return text == challenge
	}
	var object struct {
		Challenge string `json:"challenge"`
	}
	return json.Unmarshal(answer, &object) == nil && strings.TrimSpace(object.Challenge) == challenge
}

// challengeNew challenges, in the background, endpoints that get nothing before they
// are verified and have not been challenged at their URL by this process.
func (d *Dispatcher) challengeNew(configuration *hub.Configuration) {
	p := &d.prober
	p.mu.Lock()
	defer p.mu.Unlock()
	for id := range p.challenged {
		if configuration.Endpoints[id] == nil {
			delete(p.challenged, id)
		}
	}
	for id, e := range configuration.Endpoints {
		if !e.MustVerify || !e.VerifiedAt.IsZero() || e.Kind != hub.EndpointHTTP || p.challenged[id] == e.URL {
			continue
		}
		p.challenged[id] = e.URL
		p.waiting = append(p.waiting, id)
	}
	for ; p.running < min(len(p.waiting), maxChallenges); p.running++ {
		d.loops.Go(d.challengeAll)
	}
}

// challengeAll challenges what waits for it, until nothing does.
func (d *Dispatcher) challengeAll() {
	p := &d.prober
	for {
		p.mu.Lock()
		select {
		case <-d.quit:
			p.waiting = nil
		default:
		}
		if len(p.waiting) == 0 {
			p.running--
			p.mu.Unlock()
			return
		}
		id := p.waiting[0]
		p.waiting = p.waiting[1:]
		p.mu.Unlock()
		e := d.config.Store.Configuration().Endpoints[id]
		if e == nil || !e.VerifiedAt.IsZero() {
			continue
		}
		var problems hub.UserErrors
		switch _, err := d.challenge(d.base, e); {
		case err == nil:
			d.logger.InfoContext(d.base, "endpoint.verified", slog.String("endpoint_id", id))
		case errors.As(err, &problems):
			d.logger.WarnContext(d.base, "endpoint.unverified", slog.String("endpoint_id", id), slog.String("error", problems[0].Message))
		default:
			d.logger.WarnContext(d.base, "endpoint.unverified", slog.String("endpoint_id", id), slog.Any("error", err))
		}
	}
}
