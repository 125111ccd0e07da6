package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/json"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

const (
	// minTokenSecret is the least length in bytes of a secret that tokens are signed with
	// (RFC 7518, section 3.2).
	minTokenSecret = 32
	// macKeyBytes is the length that all keys of HMAC may be filled up to with zeros
	// without becoming others (RFC 2104), and enough for all algorithms here.
	macKeyBytes = 64
	// tokenLeeway is by how much the clocks of the sender and of this hub may differ.
	tokenLeeway = time.Minute
)

// The algorithms of tokens: with a key set none that works with a shared secret, since
// everybody has the key set, and with secrets no other.
var (
	publicAlgorithms = []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
	}
	secretAlgorithms = []jose.SignatureAlgorithm{jose.HS256, jose.HS384, jose.HS512}
)

// Keys has public keys by the URL of their set.
type Keys interface {
	// Keys returns those by which a token may be signed that names a key ID, or "", and
	// an algorithm.
	Keys(ctx context.Context, url, id, algorithm string) ([]jose.JSONWebKey, error)
}

// WithKeys lets an adapter verify tokens by the key sets that sources name.
func (a *Adapter) WithKeys(keys Keys) *Adapter {
	a.keys = keys
	return a
}

// tokenClaims are the claims that are looked at.
type tokenClaims struct {
	Issuer    string           `json:"iss"`
	Audience  jwt.Audience     `json:"aud"`
	Expiry    *jwt.NumericDate `json:"exp"`
	NotBefore *jwt.NumericDate `json:"nbf"`
}

// customJWT checks a JSON Web Token. It says who sends and not what: the body is not
// covered by it.
func (a *Adapter) customJWT(ctx context.Context, v *hub.JWTVerification, src *hub.Source, r *Request) Verdict {
	text, verdict := signedHeader(r, v.Header, "a JSON Web Token")
	if !verdict.Accepted() {
		return verdict
	}
	if token, found := cutScheme(text, "Bearer"); found {
		text = token
	}
	algorithms := secretAlgorithms
	if v.JWKSURL != "" {
		algorithms = publicAlgorithms
	}
	token, err := jose.ParseSignedCompact(text, algorithms)
	var other *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case errors.As(err, &other):
		return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
			"The token in %s is signed by %.16q; the source takes %s. Usually the sender signs with a secret and the source has a key set (jwksUrl), or the other way round.", v.Header, other.Got, names(algorithms)))
	case err != nil || len(token.Signatures) != 1 || !strictToken(text):
		return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
			"The header %s (%d bytes) holds no signed JSON Web Token that can be read: three parts in base64 with dots between them, after Bearer or alone.", v.Header, len(text)))
	}
	var claims tokenClaims
	if v.JWKSURL != "" {
		verdict = a.signedByKeySet(ctx, v, token, &claims)
	} else {
		verdict = signedBySecret(v, token, src, r, &claims)
	}
	if !verdict.Accepted() {
		return verdict
	}
	return checkClaims(v, &claims, r.ReceivedAt)
}

// strictToken reports whether a token is written in the one way that there is: the
// library reads past line breaks and stray bits.
func strictToken(text string) bool {
	for part := range strings.SplitSeq(text, ".") {
		if _, err := base64.RawURLEncoding.Strict().DecodeString(part); err != nil {
			return false
		}
	}
	return !strings.ContainsAny(text, "\r\n")
}

func (a *Adapter) signedByKeySet(ctx context.Context, v *hub.JWTVerification, token *jose.JSONWebSignature, claims *tokenClaims) Verdict {
	header := token.Signatures[0].Header
	if a.keys == nil {
		return refuse(hub.RejectedSignatureInvalid, "The token cannot be checked: this hub is not set up to fetch key sets.")
	}
	keys, err := a.keys.Keys(ctx, v.JWKSURL, header.KeyID, header.Algorithm)
	if err != nil {
		return refuse(hub.RejectedSignatureInvalid,
			"The token cannot be checked: the key set at "+v.JWKSURL+" cannot be had at the moment. The hub's log says why; usually the URL is wrong, its host is down, or it is in a network that HOOKGRAPH_ALLOW_NETWORKS does not name.")
	}
	for _, key := range keys {
		if done, verdict := opened(token, key.Key, claims); done {
			return verdict
		}
	}
	if len(keys) == 0 {
		return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
			"The token names the key %.64q for %s, which the key set at %s does not have. It is loaded again for such a key at most once in ten seconds. Usually the token is of another issuer.", header.KeyID, header.Algorithm, v.JWKSURL))
	}
	return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
		"The token's signature (%s, key %.64q) is none of the %d keys that the key set at %s has for it. Usually the token was changed or is of another issuer.", header.Algorithm, header.KeyID, len(keys), v.JWKSURL))
}

func signedBySecret(v *hub.JWTVerification, token *jose.JSONWebSignature, src *hub.Source, r *Request, claims *tokenClaims) Verdict {
	for _, secret := range src.Secrets {
		key := []byte(secret.Reveal())
		if len(key) < minTokenSecret {
			continue
		}
		if short := macKeyBytes - len(key); short > 0 {
			key = append(key, bytes.Repeat([]byte{0}, short)...)
		}
		if done, verdict := opened(token, key, claims); done {
			return verdict
		}
	}
	return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
		"The signature of the token in %s (%s) is not right under any of the source's %d secrets%s. Usually the secret at the sender is another one, or is meant as base64 there.",
		v.Header, token.Signatures[0].Header.Algorithm, len(src.Secrets), fingerprints(" (fingerprints ", src, r)))
}

// opened reads the claims of a token if the key is the one that it is signed with.
func opened(token *jose.JSONWebSignature, key any, claims *tokenClaims) (bool, Verdict) {
	payload, err := token.Verify(key)
	if err != nil {
		return false, Verdict{}
	}
	// This reader tells small letters from capitals and takes no name twice.
	if json.Unmarshal(payload, claims) != nil {
		return true, refuse(hub.RejectedSignatureInvalid,
			"The token's signature is right, but its claims cannot be read: an object whose iss is a text, whose aud is a text or a list, and whose exp and nbf are numbers of seconds.")
	}
	return true, Verdict{}
}

// checkClaims judges the claims of a token that is authentic.
func checkClaims(v *hub.JWTVerification, claims *tokenClaims, now time.Time) Verdict {
	if v.Issuer != "" && claims.Issuer != v.Issuer {
		return refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
			"The token's signature is right, but its issuer (iss) is %.128q; the source takes %q.", claims.Issuer, v.Issuer))
	}
	if v.Audience != "" && !slices.Contains(claims.Audience, v.Audience) {
		return refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
			"The token's signature is right, but it is for %.256q (aud); the source takes %q.", strings.Join(claims.Audience, ", "), v.Audience))
	}
	if claims.Expiry == nil {
		return refuse(hub.RejectedTimestamp, "The token's signature is right, but it has no expiry (exp), so it would be good for ever.")
	}
	const form = "The token's signature is right, but %s at %s, and the hub's clock says %s (%s); %s either way is accepted. Usually %s."
	clock := now.UTC().Format(time.RFC3339)
	if expiry := claims.Expiry.Time(); !now.Before(expiry.Add(tokenLeeway)) {
		return refuse(hub.RejectedTimestamp, fmt.Sprintf(form, "it expired (exp)", expiry.UTC().Format(time.RFC3339), clock,
			now.Sub(expiry).Round(time.Second).String()+" later", tokenLeeway, "the request was held up or is a repetition, or a clock is wrong"))
	}
	if claims.NotBefore != nil {
		if begin := claims.NotBefore.Time(); now.Add(tokenLeeway).Before(begin) {
			return refuse(hub.RejectedTimestamp, fmt.Sprintf(form, "it begins to count (nbf)", begin.UTC().Format(time.RFC3339), clock,
				begin.Sub(now).Round(time.Second).String()+" before that", tokenLeeway, "the clock of the sender or of this hub is wrong"))
		}
	}
	return Verdict{}
}

func names(algorithms []jose.SignatureAlgorithm) string {
	list := make([]string, len(algorithms))
	for i, one := range algorithms {
		list[i] = string(one)
	}
	return strings.Join(list, ", ")
}

// jwt checks how tokens are verified.
func (c *check) jwt(v *hub.JWTVerification) {
	c.header(v.Header, "verification", "jwt", "header")
	for name, text := range map[string]string{"issuer": v.Issuer, "audience": v.Audience} {
		if problem := checkText(text, signature.MaxHeaderBytes/8); text != "" && problem != "" {
			c.add(hub.InputInvalid, "the claim "+problem, "verification", "jwt", name)
		}
	}
	if v.JWKSURL != "" {
		return
	}
	for i, secret := range c.src.Secrets {
		if n := len(secret.Reveal()); n < minTokenSecret {
			c.add(hub.InputInvalid, fmt.Sprintf("a secret that tokens are signed with has at least %d bytes; this one has %d", minTokenSecret, n), "secrets", fmt.Sprint(i))
		}
	}
}
