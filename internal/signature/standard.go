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
	text, found := strings.CutPrefix(secret.Reveal(), SecretPrefix)
	if !found {
		return nil, ErrSecretPrefix
	}
	return parseKey(text)
}

// ParseForeignSecret is ParseSecret for a secret that another hub made: its
// prefix may be missing, as it is in the consoles of some senders.
func ParseForeignSecret(secret hub.Secret) ([]byte, error) {
	return parseKey(strings.TrimPrefix(secret.Reveal(), SecretPrefix))
}

func parseKey(text string) ([]byte, error) {
	key, err := Base64.Decode(text)
	if err != nil {
		return nil, ErrSecretBase64
	}
	if len(key) < MinSecretBytes || len(key) > MaxSecretBytes {
		return nil, ErrSecretLength
	}
	return key, nil
}

// SignStandard returns the v1 signature of a message, as one item of the header
// webhook-signature. The bytes of the body are signed as they are.
func SignStandard(secret hub.Secret, id string, at time.Time, body []byte) (string, error) {
	key, err := ParseSecret(secret)
	if err != nil {
		return "", fmt.Errorf("sign %s: %w", id, err)
	}
	head := make([]byte, 0, len(id)+24)
	head = append(head, id...)
	head = append(head, '.')
	head = strconv.AppendInt(head, at.Unix(), 10)
	head = append(head, '.')
	return StandardV1 + "," + Base64.Encode(SHA256.Sign(key, head, body)), nil
}

// Standard is the format of the header webhook-signature for v1.
func Standard() Format { return Versions(StandardV1, Base64) }
