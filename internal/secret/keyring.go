// Package secret seals credentials so that they can rest in a database:
// AES-256-GCM with a random nonce, under keys that can be rotated.
//
// It also tells secrets apart for people, by fingerprints that say nothing of them
// to whoever lacks the key.
//
// It knows bytes and keys. Where keys come from is the configuration's business,
// and what is sealed and bound to what is the store's.
package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// KeySize is the length of a key in bytes.
const KeySize = 32

// A sealed value is
//
//	version (1) | key id (4) | nonce (12) | ciphertext | tag (16)
//
// where everything before the nonce is authenticated as well.
const (
	version    = 1
	keyIDSize  = 4
	headerSize = 1 + keyIDSize
)

// fingerprintSize is the length of a fingerprint in bytes, before it is written in
// hexadecimal.
const fingerprintSize = 6

var (
	// ErrMalformed is returned for bytes that no Keyring has sealed.
	ErrMalformed = errors.New("this is not a sealed secret")
	// ErrUnknownKey is returned where the key that sealed a secret is not in the
	// ring. The old key has to stay in it until everything has been sealed anew.
	ErrUnknownKey = errors.New("the secret was sealed with a key that is not given any more: add the old key after the new one")
	// ErrTampered is returned where a secret was changed, moved to another row, or
	// sealed with another key of the same id.
	ErrTampered = errors.New("the sealed secret does not match its key or its place")
)

type keyID [keyIDSize]byte

// Keyring seals with its first key and opens with any. It is safe for
// concurrent use.
type Keyring struct {
	first        keyID
	keys         map[keyID]cipher.AEAD
	fingerprints []byte // the key of fingerprints, derived from the first
}

// NewKeyring makes a ring of keys of KeySize bytes each.
func NewKeyring(keys ...[]byte) (*Keyring, error) {
	if len(keys) == 0 {
		return nil, errors.New("no secret key was given")
	}
	ring := &Keyring{keys: make(map[keyID]cipher.AEAD, len(keys))}
	for i, key := range keys {
		if len(key) != KeySize {
			return nil, fmt.Errorf("secret key %d has %d bytes and needs %d", i+1, len(key), KeySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("secret key %d: %w", i+1, err)
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, fmt.Errorf("secret key %d: %w", i+1, err)
		}
		id := idOf(key)
		if i == 0 {
			ring.first = id
			if ring.fingerprints, err = hkdf.Key(sha256.New, key, nil, "hookgraph secret fingerprint", sha256.Size); err != nil {
				return nil, fmt.Errorf("derive the key of fingerprints: %w", err)
			}
		}
		if _, given := ring.keys[id]; !given {
			ring.keys[id] = aead
		}
	}
	return ring, nil
}

// idOf names a key without giving it away: four bytes of a hash over it that is
// used for nothing else.
func idOf(key []byte) keyID {
	sum := sha256.Sum256(append([]byte("hookgraph secret key id\x00"), key...))
	return keyID(sum[:keyIDSize])
}

// Seal encrypts plain. What it is bound to, such as the table and ID of its row,
// is not stored in the result and must be given again to open it: a sealed
// secret that is copied to another row opens nothing.
func (r *Keyring) Seal(plain, bound []byte) ([]byte, error) {
	aead := r.keys[r.first]
	out := make([]byte, 0, headerSize+len(plain)+aead.Overhead())
	out = append(out, version)
	out = append(out, r.first[:]...)
	return aead.Seal(out, nil, plain, authenticated(out, bound)), nil
}

// Open decrypts what Seal made. The error is ErrMalformed, ErrUnknownKey or
// ErrTampered.
func (r *Keyring) Open(sealed, bound []byte) ([]byte, error) {
	if len(sealed) < headerSize || sealed[0] != version {
		return nil, ErrMalformed
	}
	header := sealed[:headerSize]
	aead, known := r.keys[keyID(header[1:])]
	if !known {
		return nil, ErrUnknownKey
	}
	plain, err := aead.Open(nil, nil, sealed[headerSize:], authenticated(header, bound))
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}

// Fingerprint returns twelve hexadecimal characters by which people can tell
// secrets apart. They are the start of an HMAC under a key derived from the one that
// seals, so that nobody can try guesses against them, and they change with that key.
func (r *Keyring) Fingerprint(s hub.Secret) string {
	mac := hmac.New(sha256.New, r.fingerprints)
	_, _ = mac.Write([]byte(s.Reveal())) // documented never to fail
	return hex.EncodeToString(mac.Sum(nil)[:fingerprintSize])
}

func authenticated(header, bound []byte) []byte {
	data := make([]byte, 0, len(header)+len(bound))
	return append(append(data, header...), bound...)
}
