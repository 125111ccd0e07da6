package credential

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"sync"

	"github.com/golang-jwt/jwt/v5"
	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// maxKept bounds the credentials whose tokens and connections are kept.
const maxKept = 4096

// Book makes the credentials of endpoints usable. It is safe for concurrent use.
type Book struct {
	// plain carries requests that need no certificate, to token servers as well.
	plain http.RoundTripper
	guard *outbound.Guard
	clock hub.Clock
	// base ends with the Book, and with it every request to a token server.
	base context.Context
	end  context.CancelFunc

	mu   sync.Mutex
	kept *lru.Cache[string, *Credential]
}

// NewBook makes a Book. Transport carries all that needs no certificate of its own;
// with certificates, connections are dialled through the guard.
func NewBook(transport http.RoundTripper, guard *outbound.Guard, clock hub.Clock) *Book {
	kept, err := lru.NewWithEvict(maxKept, func(_ string, c *Credential) { c.close() })
	if err != nil {
		panic(err) // the size is a constant above zero
	}
	base, end := context.WithCancel(context.Background())
	return &Book{plain: transport, guard: guard, clock: clock, base: base, end: end, kept: kept}
}

// Of returns the credential of an endpoint, the one that was returned before as long
// as it has not changed.
func (b *Book) Of(endpointID string, a *hub.EndpointAuth) *Credential {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept, found := b.kept.Get(endpointID)
	if a == nil || a.Kind == hub.AuthNone {
		if found {
			b.kept.Remove(endpointID)
		}
		return &Credential{Transport: b.plain}
	}
	if found && reflect.DeepEqual(kept.auth, *a) {
		return kept
	}
	if found {
		b.kept.Remove(endpointID) // Add would not tell the one it replaces
	}
	c := b.make(a)
	b.kept.Add(endpointID, c)
	return c
}

// Forget lets go of what is kept for an endpoint.
func (b *Book) Forget(endpointID string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept.Remove(endpointID)
}

// Close lets go of everything. No access token can be had any more.
func (b *Book) Close() {
	b.end()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept.Purge()
}

// Credential is what an endpoint's requests carry.
type Credential struct {
	// Transport carries the requests.
	Transport http.RoundTripper

	auth   hub.EndpointAuth
	header string // "" where no header carries the credential
	value  string // that never changes; "" where each request has its own
	tokens *tokens
	sign   func() (string, error)
	clock  hub.Clock
	own    *http.Transport // with a certificate
	broken error           // what was saved cannot be used
}

func (b *Book) make(a *hub.EndpointAuth) *Credential {
	c := &Credential{Transport: b.plain, auth: *a, header: "Authorization", clock: b.clock}
	switch a.Kind {
	case hub.AuthAPIKey:
		c.header, c.value = a.Header, a.Secret.Reveal()
	case hub.AuthBasic:
		c.value = "Basic " + base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Secret.Reveal()))
		if a.CACertificate != "" {
			c.ownTransport(b.guard)
		}
	case hub.AuthBearer:
		c.value = "Bearer " + a.Secret.Reveal()
	case hub.AuthOAuth2:
		c.tokens = newTokens(b.base, a, b.plain, b.clock)
	case hub.AuthJWT:
		c.sign, c.broken = newSigner(a, b.clock)
	case hub.AuthMTLS:
		c.header = ""
		c.ownTransport(b.guard)
	case hub.AuthNone:
	}
	return c
}

// ownTransport has requests carried by a transport with certificates of their own.
func (c *Credential) ownTransport(guard *outbound.Guard) {
	c.own, c.broken = newTransport(&c.auth, guard)
	if c.own != nil {
		c.Transport = c.own
	}
}

func newTransport(a *hub.EndpointAuth, guard *outbound.Guard) (*http.Transport, error) {
	roots, err := pool(a)
	if err != nil {
		return nil, errors.New("the endpoint's CA certificate cannot be used")
	}
	if a.Certificate == "" {
		return outbound.NewTransport(guard, outbound.TransportOptions{RootCAs: roots}), nil
	}
	pair, err := tls.X509KeyPair([]byte(a.Certificate), []byte(a.Secret.Reveal()))
	if err != nil {
		return nil, errors.New("the endpoint's client certificate and its key cannot be used")
	}
	return outbound.NewTransport(guard, outbound.TransportOptions{RootCAs: roots, Certificate: &pair}), nil
}

func newSigner(a *hub.EndpointAuth, clock hub.Clock) (func() (string, error), error) {
	errUnusable := errors.New("the endpoint's key for tokens cannot be used")
	key, err := signingKey(a)
	if err != nil {
		return nil, errUnusable
	}
	method := jwt.GetSigningMethod(a.Algorithm)
	return func() (string, error) {
		claims, err := claimsOf(a)
		if err != nil {
			return "", err
		}
		now := clock.Now()
		claims["iat"], claims["exp"], claims["jti"] = now.Unix(), now.Add(a.Lifetime).Unix(), hub.NewID("jwt", now)
		token := jwt.NewWithClaims(method, claims)
		if a.KeyID != "" {
			token.Header["kid"] = a.KeyID
		}
		signed, err := token.SignedString(key)
		if err != nil {
			return "", errUnusable
		}
		return signed, nil
	}, nil
}

func (c *Credential) close() {
	if c.own != nil {
		c.own.CloseIdleConnections() // those in use close themselves when they have idled
	}
}

// Pass is a credential for one request.
type Pass struct {
	// Header and Value are to be added to the request; "" where there are none.
	Header, Value string

	credential *Credential
	token      string
}

// Issue returns the pass of a request. It may ask a token server first, for as long as
// ctx lasts; the error is an *Error then.
func (c *Credential) Issue(ctx context.Context) (Pass, error) {
	p := Pass{Header: c.header, Value: c.value, credential: c}
	switch {
	case c.broken != nil:
		return Pass{}, &Error{Message: c.broken.Error()}
	case c.tokens != nil:
		token, err := c.tokens.get(ctx)
		if err != nil {
			return Pass{}, err
		}
		p.token, p.Value = token, "Bearer "+token
	case c.sign != nil:
		token, err := c.sign()
		if err != nil {
			return Pass{}, &Error{Message: err.Error()}
		}
		p.token, p.Value = token, "Bearer "+token
	}
	return p, nil
}

// Renew returns another pass after a server has refused one, and false where there
// is no other to be had: the credential is not of a kind that expires, or has just
// been renewed.
func (p Pass) Renew(ctx context.Context) (Pass, bool) {
	c := p.credential
	if c == nil || c.tokens == nil || !c.tokens.refuse(p.token) {
		return p, false
	}
	next, err := c.Issue(ctx)
	return next, err == nil
}

// minScrubbed is the length from which a text is taken for a secret wherever it
// shows up. Shorter ones would be found in everything.
const minScrubbed = 6

// Secrets returns the texts that must not show up in what is kept of an exchange.
func (p Pass) Secrets() []string {
	var list []string
	add := func(text string) {
		if len(text) >= minScrubbed {
			list = append(list, text)
		}
	}
	if c := p.credential; c != nil && c.auth.Kind != "" && c.auth.Kind != hub.AuthMTLS {
		secret := c.auth.Secret.Reveal()
		add(secret)
		if escaped := url.QueryEscape(secret); escaped != secret {
			add(escaped)
		}
		if quoted, err := json.Marshal(secret); err == nil && string(quoted[1:len(quoted)-1]) != secret {
			add(string(quoted[1 : len(quoted)-1]))
		}
		if c.auth.Kind == hub.AuthBasic {
			add(c.value[len("Basic "):])
		}
	}
	add(p.token)
	return list
}

// Error says why there is no credential for a request, in a sentence for people.
type Error struct {
	Message string
	// Blocked says that the token server is one the hub may not reach.
	Blocked bool
	// Timeout says that it did not answer in time.
	Timeout bool
}

func (e *Error) Error() string { return e.Message }

func tokenError(format string, args ...any) *Error {
	return &Error{Message: "no access token could be had: " + fmt.Sprintf(format, args...)}
}
