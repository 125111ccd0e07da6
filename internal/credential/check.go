package credential

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Bounds of credentials.
const (
	MaxSecretBytes = 8 << 10
	maxPEMBytes    = 64 << 10
	maxClaimBytes  = 8 << 10
	maxScopes      = 64
	minLifetime    = 10 * time.Second
	maxLifetime    = time.Hour
	// DefaultLifetime is how long a signed JWT holds unless the endpoint says
	// otherwise.
	DefaultLifetime = 5 * time.Minute
	// DefaultHeader carries an API key unless the endpoint says otherwise.
	DefaultHeader = "X-API-Key"

	minHMACKeyBytes = 32 // RFC 7518, section 3.2, for HS256
)

// Problem says what is wrong with a field of a credential, by its path within the
// input of the credential.
type Problem struct {
	Code    hub.InputCode
	Message string
	Field   []string
}

// CheckURL says what is wrong with a URL that the hub is to call.
type CheckURL func(url string) (hub.InputCode, error)

// Check returns everything that is wrong with a credential.
func Check(a *hub.EndpointAuth, now time.Time, checkURL CheckURL) []Problem {
	c := &checker{now: now, checkURL: checkURL}
	switch a.Kind {
	case hub.AuthAPIKey:
		c.apiKey(a)
	case hub.AuthBasic:
		c.basic(a)
	case hub.AuthBearer:
		c.text(a.Secret.Reveal(), MaxSecretBytes, "bearer")
	case hub.AuthOAuth2:
		c.oauth2(a)
	case hub.AuthJWT:
		c.jwt(a)
	case hub.AuthMTLS:
		c.mtls(a)
	case hub.AuthNone:
	}
	return c.problems
}

type checker struct {
	now      time.Time
	checkURL CheckURL
	problems []Problem
}

func (c *checker) add(code hub.InputCode, message string, field ...string) {
	c.problems = append(c.problems, Problem{Code: code, Message: message, Field: field})
}

func (c *checker) invalid(message string, field ...string) {
	c.add(hub.InputInvalid, message, field...)
}

// text checks what is to be sent in a header, and never quotes it.
func (c *checker) text(value string, most int, field ...string) {
	switch {
	case value == "":
		c.add(hub.InputRequired, "this cannot be empty", field...)
	case len(value) > most:
		c.add(hub.InputLimitExceeded, fmt.Sprintf("this has at most %d bytes", most), field...)
	case strings.TrimSpace(value) != value || strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f }):
		c.invalid("this has no line breaks or other control characters and no blanks around it", field...)
	}
}

func (c *checker) apiKey(a *hub.EndpointAuth) {
	switch lower := strings.ToLower(a.Header); {
	case !hub.IsHeaderName(a.Header):
		c.invalid(fmt.Sprintf("%.64q is not the name of a header", a.Header), "apiKey", "header")
	case hub.IsReservedHeader(a.Header) || lower == "content-type" || lower == "user-agent":
		c.add(hub.InputForbidden, a.Header+" is set by the hub itself", "apiKey", "header")
	}
	c.text(a.Secret.Reveal(), MaxSecretBytes, "apiKey", "value")
}

func (c *checker) basic(a *hub.EndpointAuth) {
	c.text(a.Username, 1024, "basic", "username")
	if strings.Contains(a.Username, ":") {
		c.invalid("a user name of HTTP Basic has no colon", "basic", "username")
	}
	if len(a.Secret) > MaxSecretBytes {
		c.add(hub.InputLimitExceeded, fmt.Sprintf("this has at most %d bytes", MaxSecretBytes), "basic", "password")
	} else if strings.ContainsFunc(a.Secret.Reveal(), func(r rune) bool { return r < ' ' || r == 0x7f }) {
		c.invalid("a password of HTTP Basic has no control characters", "basic", "password")
	}
	if len(a.CACertificate) > maxPEMBytes {
		c.add(hub.InputLimitExceeded, fmt.Sprintf("certificates have at most %d bytes", maxPEMBytes), "basic", "caCertificate")
		return
	}
	c.authorities(a, "basic")
}

func (c *checker) oauth2(a *hub.EndpointAuth) {
	if code, err := c.checkURL(a.TokenURL); err != nil {
		c.add(code, err.Error(), "oauth2", "tokenUrl")
	}
	c.text(a.ClientID, 1024, "oauth2", "clientId")
	c.text(a.Secret.Reveal(), MaxSecretBytes, "oauth2", "clientSecret")
	if len(a.Scopes) > maxScopes {
		c.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d scopes can be asked for", maxScopes), "oauth2", "scopes")
	}
	for _, scope := range a.Scopes { // RFC 6749, section 3.3
		if scope == "" || len(scope) > 256 || strings.ContainsFunc(scope, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			c.invalid("a scope is 1 to 256 printable characters without blanks, quotes and backslashes", "oauth2", "scopes")
			break
		}
	}
	if len(a.Audience) > 2048 {
		c.add(hub.InputLimitExceeded, "this has at most 2048 characters", "oauth2", "audience")
	}
}

// algorithms are those that a JWT can be signed with.
var algorithms = []string{"HS256", "RS256", "ES256", "EdDSA"}

// ours are the claims that the hub itself sets.
var ours = []string{"iat", "exp", "nbf", "jti"}

func (c *checker) jwt(a *hub.EndpointAuth) {
	if !slices.Contains(algorithms, a.Algorithm) {
		c.invalid("the algorithm is one of "+strings.Join(algorithms, ", "), "jwt", "algorithm")
	} else if _, err := signingKey(a); err != nil {
		c.invalid(err.Error(), "jwt", "privateKey")
	}
	if a.KeyID != "" {
		c.text(a.KeyID, 256, "jwt", "keyId")
	}
	if len(a.Claims) > maxClaimBytes {
		c.add(hub.InputLimitExceeded, fmt.Sprintf("claims have at most %d bytes", maxClaimBytes), "jwt", "claims")
	} else if claims, err := claimsOf(a); err != nil {
		c.invalid(err.Error(), "jwt", "claims")
	} else {
		for _, name := range ours {
			if _, given := claims[name]; given {
				c.add(hub.InputForbidden, "the hub sets "+name+" itself, in every token anew", "jwt", "claims")
			}
		}
	}
	if a.Lifetime < minLifetime || a.Lifetime > maxLifetime {
		c.invalid("a token holds PT10S to PT1H", "jwt", "lifetime")
	}
}

// claimsOf returns the claims that were given.
func claimsOf(a *hub.EndpointAuth) (jwt.MapClaims, error) {
	claims := jwt.MapClaims{}
	if len(a.Claims) == 0 {
		return claims, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(a.Claims))
	decoder.UseNumber() // numbers are sent as they were given
	if err := decoder.Decode(&claims); err != nil || claims == nil {
		return nil, errors.New(`claims are a JSON object, such as {"iss": "hub", "aud": "shop"}`)
	}
	return claims, nil
}

// signingKey parses the key that a JWT is signed with. Its errors are sentences for
// people.
func signingKey(a *hub.EndpointAuth) (any, error) {
	text := []byte(a.Secret.Reveal())
	if len(text) > maxPEMBytes {
		return nil, fmt.Errorf("a key has at most %d bytes", maxPEMBytes)
	}
	switch a.Algorithm {
	case "HS256":
		if len(text) < minHMACKeyBytes {
			return nil, fmt.Errorf("a key for HS256 has at least %d bytes", minHMACKeyBytes)
		}
		return text, nil
	case "RS256":
		key, err := jwt.ParseRSAPrivateKeyFromPEM(text)
		if err != nil {
			return nil, errors.New("this is not an RSA private key in PEM: it begins with -----BEGIN PRIVATE KEY----- or -----BEGIN RSA PRIVATE KEY----- and is not encrypted")
		}
		if key.N.BitLen() < 2048 {
			return nil, errors.New("an RSA key for RS256 has at least 2048 bits")
		}
		return key, nil
	case "ES256":
		key, err := jwt.ParseECPrivateKeyFromPEM(text)
		if err != nil {
			return nil, errors.New("this is not an EC private key in PEM: it begins with -----BEGIN PRIVATE KEY----- or -----BEGIN EC PRIVATE KEY----- and is not encrypted")
		}
		if key.Curve.Params().BitSize != 256 {
			return nil, errors.New("a key for ES256 is on the curve P-256")
		}
		return key, nil
	case "EdDSA":
		key, err := jwt.ParseEdPrivateKeyFromPEM(text)
		if err != nil {
			return nil, errors.New("this is not an Ed25519 private key in PEM: it begins with -----BEGIN PRIVATE KEY----- and is not encrypted")
		}
		return key, nil
	}
	return nil, errors.New("the algorithm is not known")
}

func (c *checker) mtls(a *hub.EndpointAuth) {
	if len(a.Certificate)+len(a.Secret)+len(a.CACertificate) > maxPEMBytes {
		c.add(hub.InputLimitExceeded, fmt.Sprintf("certificates and key have at most %d bytes together", maxPEMBytes), "mtls")
		return
	}
	leaves, err := certificates(a.Certificate)
	switch {
	case err != nil:
		c.invalid(err.Error(), "mtls", "certificate")
	case c.now.After(leaves[0].NotAfter):
		c.invalid("the certificate expired on "+leaves[0].NotAfter.UTC().Format(time.RFC3339), "mtls", "certificate")
	}
	if err == nil {
		if _, err := tls.X509KeyPair([]byte(a.Certificate), []byte(a.Secret.Reveal())); err != nil {
			c.invalid("this is not the private key of the certificate, in PEM and not encrypted", "mtls", "privateKey")
		}
	} else if a.Secret == "" {
		c.add(hub.InputRequired, "this cannot be empty", "mtls", "privateKey")
	}
	c.authorities(a, "mtls")
}

// authorities checks those that may sign the other side's certificate.
func (c *checker) authorities(a *hub.EndpointAuth, field string) {
	if a.CACertificate == "" {
		return
	}
	if _, err := certificates(a.CACertificate); err != nil {
		c.invalid(err.Error(), field, "caCertificate")
	}
}

// errCertificate is a sentence for people.
var errCertificate = errors.New("this is not a certificate in PEM, which begins with -----BEGIN CERTIFICATE-----")

// certificates parses one or more certificates in PEM, and nothing else.
func certificates(text string) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for block, rest := pem.Decode([]byte(text)); ; block, rest = pem.Decode(rest) {
		if block == nil {
			if len(list) == 0 || len(bytes.TrimSpace(rest)) > 0 {
				return nil, errCertificate
			}
			return list, nil
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			return nil, errCertificate
		}
		list = append(list, certificate)
	}
}

// pool returns the authorities that may sign an endpoint's certificate, nil for the
// machine's own.
func pool(a *hub.EndpointAuth) (*x509.CertPool, error) {
	if a.CACertificate == "" {
		return nil, nil //nolint:nilnil // no pool is a pool: the machine's
	}
	list, err := certificates(a.CACertificate)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	for _, one := range list {
		roots.AddCert(one)
	}
	return roots, nil
}
