package signature

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// The wire names of Standard Webhooks 1.0.
const (
	HeaderID        = "webhook-id"
	HeaderTimestamp = "webhook-timestamp"
	HeaderSignature = "webhook-signature"

	// SecretPrefix marks the base64 form of a symmetric secret.
	SecretPrefix = "whsec_"
	// StandardV1 is the version that marks symmetric signatures.
	StandardV1 = "v1"
	// StandardTolerance is how far a signed time may be from now.
	StandardTolerance = 5 * time.Minute
)

// The length in bytes that the specification asks of a symmetric secret.
const (
	MinSecretBytes = 24
	MaxSecretBytes = 64
)

const generatedSecretBytes = 32

// What ParseSecret finds wrong with a secret. The messages are sentences for
// people and never contain the secret.
var (
	ErrSecretPrefix = errors.New("the secret must start with " + SecretPrefix)
	ErrSecretBase64 = errors.New("the secret must be base64 after " + SecretPrefix)
	ErrSecretLength = fmt.Errorf("the secret must be %d to %d bytes long before it is written in base64", MinSecretBytes, MaxSecretBytes)
)

// GenerateSecret makes a new secret of 32 random bytes in the whsec_ form.
func GenerateSecret() hub.Secret {
	var raw [generatedSecretBytes]byte
	_, _ = rand.Read(raw[:]) // documented never to fail
	return hub.Secret(SecretPrefix + base64.StdEncoding.EncodeToString(raw[:]))
}

// ParseSecret returns the key that a secret in the whsec_ form stands for. The
// error is ErrSecretPrefix, ErrSecretBase64 or ErrSecretLength.
func ParseSecret(secret hub.Secret) ([]byte, error) {
	if !strings.HasPrefix(secret.Reveal(), SecretPrefix) {
		return nil, ErrSecretPrefix
	}
	key, err := ParseForeignSecret(secret)
	if err != nil {
		return nil, err
	}
	if len(key) < MinSecretBytes || len(key) > MaxSecretBytes {
		return nil, ErrSecretLength
	}
	return key, nil
}

// ParseForeignSecret is ParseSecret for a secret that another hub made: its
// prefix may be missing, as it is in the consoles of some senders, and its length is
// the sender's affair, as it is for the libraries of senders. It is never empty.
func ParseForeignSecret(secret hub.Secret) ([]byte, error) {
	key, err := Base64.Decode(strings.TrimPrefix(secret.Reveal(), SecretPrefix))
	if err != nil || len(key) == 0 {
		return nil, ErrSecretBase64
	}
	return key, nil
}

// SignStandard returns the signature of a message, as one item of the header
// webhook-signature: v1 with a whsec_ secret, v1a with a whsk_ key. The bytes of the
// body are signed as they are.
func SignStandard(secret hub.Secret, id string, at time.Time, body []byte) (string, error) {
	if IsPrivateKey(secret) {
		return signAsymmetric(secret, id, at, body)
	}
	key, err := ParseSecret(secret)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", id, err)
	}
	return StandardV1 + "," + Base64.Encode(SHA256.Sign(key, standardHead(id, at, 0), body)), nil
}

// standardHead is what stands before the body in the signed content, with room for
// so many more bytes.
func standardHead(id string, at time.Time, room int) []byte {
	head := make([]byte, 0, len(id)+24+room)
	head = append(head, id...)
	head = append(head, '.')
	head = strconv.AppendInt(head, at.Unix(), 10)
	return append(head, '.')
}

// Standard is the format of the header webhook-signature for v1.
func Standard() Format { return Versions(StandardV1, Base64) }
