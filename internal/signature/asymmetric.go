package signature

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// The asymmetric scheme of Standard Webhooks 1.0: Ed25519.
const (
	// PrivateKeyPrefix marks the base64 form of a private key: 64 bytes, of which the
	// last 32 are the public key, or its 32-byte seed alone.
	PrivateKeyPrefix = "whsk_"
	// PublicKeyPrefix marks the base64 form of a public key, 32 bytes.
	PublicKeyPrefix = "whpk_"
	// StandardV1A is the version that marks asymmetric signatures.
	StandardV1A = "v1a"
)

// What PublicKey finds wrong with a private key. The messages are sentences for
// people and never contain the key.
var (
	ErrPrivateKeyPrefix = errors.New("the private key must start with " + PrivateKeyPrefix)
	ErrPrivateKeyBase64 = errors.New("the private key must be base64 after " + PrivateKeyPrefix)
	ErrPrivateKeyLength = errors.New("the private key must be an Ed25519 key of 64 bytes, or its seed of 32, before it is written in base64")
	ErrPrivateKeyHalves = errors.New("the last 32 bytes of the private key are not the public key of the first 32")
)

// IsPrivateKey reports whether a secret is of the asymmetric form.
func IsPrivateKey(secret hub.Secret) bool {
	return strings.HasPrefix(secret.Reveal(), PrivateKeyPrefix)
}

// GeneratePrivateKey makes a new Ed25519 key in the whsk_ form.
func GeneratePrivateKey() hub.Secret {
	var seed [ed25519.SeedSize]byte
	_, _ = rand.Read(seed[:]) // documented never to fail
	return hub.Secret(PrivateKeyPrefix + Base64.Encode(ed25519.NewKeyFromSeed(seed[:])))
}

// PublicKey returns the public key of a private one, in the whpk_ form. The error is
// ErrPrivateKeyPrefix, ErrPrivateKeyBase64, ErrPrivateKeyLength or
// ErrPrivateKeyHalves.
func PublicKey(secret hub.Secret) (string, error) {
	key, err := parsePrivateKey(secret)
	if err != nil {
		return "", err
	}
	return PublicKeyPrefix + Base64.Encode(key[ed25519.SeedSize:]), nil
}

func parsePrivateKey(secret hub.Secret) (ed25519.PrivateKey, error) {
	text, found := strings.CutPrefix(secret.Reveal(), PrivateKeyPrefix)
	if !found {
		return nil, ErrPrivateKeyPrefix
	}
	raw, err := Base64.Decode(text)
	if err != nil {
		return nil, ErrPrivateKeyBase64
	}
	if len(raw) != ed25519.SeedSize && len(raw) != ed25519.PrivateKeySize {
		return nil, ErrPrivateKeyLength
	}
	key := ed25519.NewKeyFromSeed(raw[:ed25519.SeedSize])
	if len(raw) == ed25519.PrivateKeySize && !key.Equal(ed25519.PrivateKey(raw)) {
		return nil, ErrPrivateKeyHalves
	}
	return key, nil
}

func signAsymmetric(secret hub.Secret, id string, at time.Time, body []byte) (string, error) {
	key, err := parsePrivateKey(secret)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", id, err)
	}
	return StandardV1A + "," + Base64.Encode(ed25519.Sign(key, append(standardHead(id, at, len(body)), body...))), nil
}
