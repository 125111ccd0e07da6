package webhook

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

const (
	plaidHeader    = "Plaid-Verification"
	plaidTolerance = 5 * time.Minute
	maxKeyIDBytes  = 128
)

var errJWK = errors.New("this is no JWK of a P-256 key: an object with kty EC, crv P-256, x and y")

// plaidHosts are the hosts that keys are fetched from, by the configured environment.
var plaidHosts = map[string]string{"production": "production.plaid.com", "sandbox": "sandbox.plaid.com"}

// webKey is a public key with its ID, which may be "".
type webKey struct {
	id  string
	key *ecdsa.PublicKey
}

// webKeys reads a JWK, a set of them, or the text of either.
func webKeys(value any) ([]webKey, error) {
	var document []byte
	if text, ok := value.(string); ok {
		document = []byte(text)
	} else {
		var err error
		if document, err = json.Marshal(value); err != nil {
			return nil, errJWK
		}
	}
	if !validJSON(document) {
		return nil, errJWK
	}
	list := []gjson.Result{gjson.ParseBytes(document)}
	if keys := list[0].Get("keys"); keys.IsArray() {
		list = keys.Array()
	} else if list[0].IsArray() {
		list = list[0].Array()
	}
	if len(list) == 0 || len(list) > hub.MaxSecrets {
		return nil, errJWK
	}
	keys := make([]webKey, 0, len(list))
	for _, item := range list {
		key, err := webKeyOf(item)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func webKeyOf(item gjson.Result) (webKey, error) {
	if alg := item.Get("alg"); item.Get("kty").Str != "EC" || item.Get("crv").Str != "P-256" || alg.Exists() && alg.Str != "ES256" {
		return webKey{}, errJWK
	}
	x, errX := base64.RawURLEncoding.Strict().DecodeString(item.Get("x").Str)
	y, errY := base64.RawURLEncoding.Strict().DecodeString(item.Get("y").Str)
	if errX != nil || errY != nil || len(x) != 32 || len(y) != 32 {
		return webKey{}, errJWK
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), concat([]byte{4}, x, y))
	if err != nil {
		return webKey{}, errJWK
	}
	return webKey{id: item.Get("kid").Str, key: key}, nil
}

var jwkSetting = ConfigKey{
	Name: "jwk", Meaning: "the key that signs, as a JWK, in place of fetching it", Verifies: true,
	Check: func(value any) string {
		if _, err := webKeys(value); err != nil {
			return err.Error()
		}
		return ""
	},
}

// plaidNeeds says what fetching a key takes: Plaid's API gives it to customers alone.
func plaidNeeds(src *hub.Source) ([]string, string) {
	switch {
	case src.ProviderConfig["jwk"] != nil:
	case setting(src, "clientId") == "":
		return []string{"providerConfig", "clientId"}, "Plaid gives its keys to customers alone: give clientId and the secret of the API, or pin the key as jwk"
	case len(src.Secrets) == 0:
		return []string{"secrets"}, "Plaid gives its keys to customers alone: give the secret of the API, or pin the key as jwk"
	}
	return nil, ""
}

// verifyPlaid checks a JWT that holds the hash of the body. The algorithm is looked
// at first and the key last, so that nothing is fetched for what is no token.
func verifyPlaid(ctx context.Context, c *Case) Verdict {
	text, verdict := signatureHeader(c.Request, plaidHeader)
	if !verdict.Accepted() {
		return verdict
	}
	parts := strings.Split(text, ".")
	var decoded [3][]byte
	for i := range decoded {
		var err error
		if len(parts) == len(decoded) {
			decoded[i], err = base64.RawURLEncoding.Strict().DecodeString(parts[i])
		}
		if err != nil || len(decoded[i]) == 0 || strings.ContainsAny(text, "\r\n") || i < 2 && !validJSON(decoded[i]) {
			return malformed(plaidHeader, text, errors.New("it is no signed JWT"))
		}
	}
	head, claims, given := gjson.ParseBytes(decoded[0]), gjson.ParseBytes(decoded[1]), decoded[2]
	if alg := head.Get("alg"); alg.Str != "ES256" || head.Get("crit").Exists() || len(given) != 64 {
		return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf("The token's algorithm is %.16q; only ES256 is accepted, without further conditions.", alg.String()))
	}
	if !uniqueNames(head) || !uniqueNames(claims) {
		return refuse(hub.RejectedSignatureInvalid, "The token names a member twice.")
	}
	hash, err := signature.Hex.Decode(claims.Get("request_body_sha256").Str)
	want := sha256.Sum256(c.Request.Body)
	if err != nil || subtle.ConstantTimeCompare(hash, want[:]) != 1 {
		return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
			"The token's request_body_sha256 is not the hash of the body, which has %d bytes. Usually something on the way has changed the body.", len(c.Request.Body)))
	}
	keys, verdict := plaidKeys(ctx, c, head.Get("kid").Str)
	if !verdict.Accepted() {
		return verdict
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	r, s := new(big.Int).SetBytes(given[:32]), new(big.Int).SetBytes(given[32:])
	matched := false
	for _, key := range keys {
		if ecdsa.Verify(key, digest[:], r, s) {
			matched = true
		}
	}
	if !matched {
		return notSigned(c, plaidHeader, "ES256")
	}
	return checkStamp(c.Request, claims.Get("iat").Raw, signature.UnixSeconds, plaidTolerance)
}

// plaidKeys returns the keys of an ID: the pinned ones, else what Plaid's API says.
func plaidKeys(ctx context.Context, c *Case, id string) ([]*ecdsa.PublicKey, Verdict) {
	if value := c.Source.ProviderConfig["jwk"]; value != nil {
		all, err := webKeys(value)
		var keys []*ecdsa.PublicKey
		for _, key := range all {
			if key.id == "" || key.id == id {
				keys = append(keys, key.key)
			}
		}
		if err != nil || len(keys) == 0 {
			return nil, refuse(hub.RejectedSignatureInvalid, fmt.Sprintf("The token's key is %.64q, and the pinned jwk is another one.", id))
		}
		return keys, Verdict{}
	}
	if problem := checkText(id, maxKeyIDBytes); id == "" || problem != "" {
		return nil, refuse(hub.RejectedSignatureInvalid, "The token names no key by kid, or one that cannot be one.")
	}
	environment := setting(c.Source, "environment")
	if environment == "" {
		environment = "production"
	}
	lastErr := errNoFetch
	for i, secret := range c.Source.Secrets {
		// The cache is in memory alone; the hash keeps the secret itself out of it.
		key := fmt.Sprintf("plaid %s %s %d %x %s", c.Source.ID, environment, i, sha256.Sum256([]byte(secret.Reveal())), id)
		text, err := c.remote.get(ctx, key, c.Request.ReceivedAt, plaidAsk(environment, setting(c.Source, "clientId"), secret, id))
		if err != nil {
			lastErr = err
			continue
		}
		found, err := plaidKey(text, id, c.Request.ReceivedAt)
		if err != nil {
			return nil, refuse(hub.RejectedSignatureInvalid, fmt.Sprintf("The key that Plaid gives for %.64q cannot be used: %v.", id, err))
		}
		return []*ecdsa.PublicKey{found}, Verdict{}
	}
	return nil, refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
		"The key %.64q that the token names cannot be had from Plaid: %v. Usually somebody else has made the token, or clientId, secret or environment are others.", id, lastErr))
}

// plaidKey reads the answer of Plaid's API.
func plaidKey(text []byte, id string, now time.Time) (*ecdsa.PublicKey, error) {
	if !validJSON(text) {
		return nil, errJWK
	}
	document := gjson.GetBytes(text, "key")
	if expired := document.Get("expired_at"); expired.Type == gjson.Number && now.Unix() >= expired.Int() {
		return nil, errors.New("it has expired")
	}
	key, err := webKeyOf(document)
	if err == nil && key.id != id {
		err = errors.New("it is another one")
	}
	return key.key, err
}

// plaidAsk makes the request for a key.
func plaidAsk(environment, clientID string, secret hub.Secret, id string) func(context.Context) (*http.Request, error) {
	return func(ctx context.Context) (*http.Request, error) {
		body, err := json.Marshal(map[string]string{"client_id": clientID, "secret": secret.Reveal(), "key_id": id})
		if err != nil {
			return nil, fmt.Errorf("write request: %w", err)
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+plaidHosts[environment]+"/webhook_verification_key/get", bytes.NewReader(body))
		if err != nil {
			return nil, fmt.Errorf("make request: %w", err)
		}
		r.Header.Set("Content-Type", jsonContent)
		return r, nil
	}
}

// plaidHash is the dedupe key of Plaid, whose events have none: the body at the time
// that was signed with it. Plaid says the same again whenever it is true again, so
// the body alone would swallow events.
func plaidHash(_ *Provider, r *Request) string {
	parts := strings.Split(r.Header.Get(plaidHeader), ".")
	if len(parts) != 3 {
		return ""
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || !validJSON(claims) {
		return ""
	}
	return hashed(r.Body, []byte(gjson.GetBytes(claims, "iat").Raw))
}
