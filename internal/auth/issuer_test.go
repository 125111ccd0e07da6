package auth_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"

	jose "github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// provider is an OpenID Connect issuer over HTTP that behaves as it is told.
type provider struct {
	*httptest.Server
	mu        sync.Mutex
	keys      []jose.JSONWebKey
	broken    func(w http.ResponseWriter, r *http.Request) bool // answers in place of it, if not nil
	discovers atomic.Int32
	loads     atomic.Int32
}

func newProvider(t testing.TB, keys ...jose.JSONWebKey) *provider {
	t.Helper()
	i := &provider{keys: keys}
	i.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i.mu.Lock()
		keys, instead := i.keys, i.broken
		i.mu.Unlock()
		if instead != nil && instead(w, r) {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			i.discovers.Add(1)
			_ = json.NewEncoder(w).Encode(map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys", "id_token_signing_alg_values_supported": []string{"HS256"}})
		case "/keys":
			i.loads.Add(1)
			_ = json.NewEncoder(w).Encode(jose.JSONWebKeySet{Keys: public(keys)})
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	}))
	t.Cleanup(i.Close)
	return i
}

// set changes the issuer's keys and what it answers in place of them.
func (i *provider) set(broken func(http.ResponseWriter, *http.Request) bool, keys ...jose.JSONWebKey) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys, i.broken = keys, broken
}

func public(keys []jose.JSONWebKey) []jose.JSONWebKey {
	out := []jose.JSONWebKey{}
	for _, key := range keys {
		out = append(out, key.Public())
	}
	return out
}

func ec(id string) jose.JSONWebKey {
	return keyOf(id, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)))
}

func keyOf(id string, key any) jose.JSONWebKey {
	return jose.JSONWebKey{Key: key, KeyID: id, Use: "sig"}
}

// sign makes a token. Changes are claims and their values in turn; nil takes one away.
func sign(algorithm jose.SignatureAlgorithm, key jose.JSONWebKey, said map[string]any) string {
	signer := must(jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, nil))
	return must(jwt.Signed(signer).Claims(said).Serialize())
}

// endless sends more than is read before what would be a good answer.
func endless(w http.ResponseWriter) bool {
	part := bytes.Repeat([]byte(" "), 1<<16)
	for range 32 {
		if _, err := w.Write(part); err != nil {
			break
		}
	}
	return false
}
