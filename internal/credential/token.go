package credential

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
	"golang.org/x/sync/singleflight"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

const (
	tokenDeadline = 15 * time.Second // of one request for a token
	maxTokenBody  = 64 << 10
	// A token is not used any more when it has this long to live, or a fifth of its
	// life where that is less.
	expiryLeeway = 30 * time.Second
	// renewEvery is how often a token that endpoints refuse is replaced at most: one
	// that is refused fresh is not the token's fault.
	renewEvery = 10 * time.Second
	// After failures in a row the token server is left alone for a second, then for
	// twice that, up to a minute.
	firstRest = time.Second
	lastRest  = time.Minute
)

// tokens keeps the access token of one credential.
type tokens struct {
	base   context.Context // of requests, which outlive those who wait for them
	config clientcredentials.Config
	client *http.Client
	clock  hub.Clock
	flight singleflight.Group

	mu       sync.Mutex
	token    string
	expires  time.Time // zero: it does not
	refused  time.Time // when a token was last given up because an endpoint refused it
	failures int       // in a row
	rest     time.Time // no token is asked for before then
	failed   *Error    // the last failure
}

func newTokens(base context.Context, a *hub.EndpointAuth, transport http.RoundTripper, clock hub.Clock) *tokens {
	t := &tokens{
		base: base,
		config: clientcredentials.Config{
			ClientID: a.ClientID, ClientSecret: a.Secret.Reveal(), TokenURL: a.TokenURL, Scopes: slices.Clone(a.Scopes),
		},
		client: &http.Client{
			Transport: boundedBody{transport},
			// A redirect would carry the client's secret elsewhere.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		clock: clock,
	}
	if a.Audience != "" {
		t.config.EndpointParams = url.Values{"audience": {a.Audience}}
	}
	return t
}

// boundedBody bounds what is read of an answer.
type boundedBody struct{ transport http.RoundTripper }

func (b boundedBody) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := b.transport.RoundTrip(r)
	if err == nil {
		body := response.Body
		response.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(body, maxTokenBody), body}
	}
	return response, err
}

// get returns a token that holds. However many ask at once, one request is made, which
// outlives those who stop waiting for it.
func (t *tokens) get(ctx context.Context) (string, error) {
	if token, err, known := t.known(); known {
		return token, err
	}
	done := t.flight.DoChan("", func() (any, error) {
		if token, err, known := t.known(); known { // somebody was faster
			return token, err
		}
		return t.fetch(t.base)
	})
	select {
	case <-ctx.Done():
		e := tokenError("the token server did not answer in time")
		e.Timeout = true
		return "", e
	case result := <-done:
		token, _ := result.Val.(string)
		return token, result.Err
	}
}

// known returns the token or the failure that needs no request.
func (t *tokens) known() (string, error, bool) { //nolint:revive // the error is a result among others
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	switch {
	case t.token != "" && (t.expires.IsZero() || now.Before(t.expires)):
		return t.token, nil, true
	case t.failed != nil && now.Before(t.rest):
		return "", t.failed, true
	}
	return "", nil, false
}

// fetch asks the token server.
func (t *tokens) fetch(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, oauth2.HTTPClient, t.client), tokenDeadline)
	defer cancel()
	answered, err := t.config.Token(ctx)
	now := t.clock.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	var failed *Error
	switch {
	case err != nil:
		failed = explain(err)
	case !headerSafe(answered.AccessToken):
		failed = tokenError("what the token server gave cannot be sent in a header")
	case !strings.EqualFold(answered.Type(), "Bearer"):
		failed = tokenError("the token server gave a token of a type other than Bearer")
	}
	if failed != nil {
		t.rest = now.Add(min(firstRest<<min(t.failures, 6), lastRest))
		t.failures++
		t.token, t.failed = "", failed
		return "", failed
	}
	t.token, t.failures, t.failed = answered.AccessToken, 0, nil
	t.expires = time.Time{}
	if !answered.Expiry.IsZero() { // by the machine's clock, which the library reads
		life := time.Until(answered.Expiry)
		t.expires = now.Add(life - min(expiryLeeway, life/5))
	}
	return t.token, nil
}

// refuse gives up a token that an endpoint has refused, and reports whether there is
// another to be had. Of all who were refused with one token, the first gives it up.
func (t *tokens) refuse(token string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	if token != t.token { // it has been replaced meanwhile
		return true
	}
	if !t.refused.IsZero() && now.Sub(t.refused) < renewEvery {
		return false
	}
	t.refused, t.token = now, ""
	return true
}

// codes are the errors of RFC 6749, section 5.2. Anything else that a token server
// says is not repeated: it may be the secret.
var codes = []string{
	"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope",
}

func explain(err error) *Error {
	var (
		answered *oauth2.RetrieveError
		blocked  *outbound.BlockedError
		timed    interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &answered) && answered.Response != nil && slices.Contains(codes, answered.ErrorCode):
		return tokenError("the token server answered %d, %s", answered.Response.StatusCode, answered.ErrorCode)
	case errors.As(err, &answered) && answered.Response != nil:
		return tokenError("the token server answered %d", answered.Response.StatusCode)
	case errors.As(err, &blocked):
		e := tokenError("the token server: %s", blocked.Error())
		e.Blocked = true
		return e
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timed) && timed.Timeout():
		e := tokenError("the token server did not answer in time")
		e.Timeout = true
		return e
	}
	var network *url.Error
	if errors.As(err, &network) {
		return tokenError("the token server could not be reached")
	}
	return tokenError("the token server's answer is not one of OAuth 2.0")
}

func headerSafe(token string) bool {
	return token != "" && len(token) <= 16<<10 && !strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' })
}
