package secret

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// howTo ends every complaint about a key, so that whoever reads it can act.
const howTo = "make one with: openssl rand -base64 32"

// GenerateKey makes a new key in the form that ParseKeys reads.
func GenerateKey() string {
	key := make([]byte, KeySize)
	_, _ = rand.Read(key) // documented never to fail
	return base64.StdEncoding.EncodeToString(key)
}

// ParseKeys reads keys of 32 bytes in base64 (standard or URL alphabet, padded or
// not) or hexadecimal, separated by commas or line breaks. The first is the one
// that seals. An error says what to do and never shows a key.
func ParseKeys(text string) ([][]byte, error) {
	var fields []string
	for _, field := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if field = strings.TrimSpace(field); field != "" {
			fields = append(fields, field)
		}
	}
	if len(fields) == 0 {
		return nil, errors.New("the secret key is empty: " + howTo)
	}
	keys := make([][]byte, len(fields))
	for i, field := range fields {
		key, ok := decode(field)
		switch {
		case !ok:
			return nil, fmt.Errorf("secret key %d of %d is neither base64 nor hexadecimal: %s", i+1, len(fields), howTo)
		case len(key) != KeySize:
			return nil, fmt.Errorf("secret key %d of %d has %d bytes and needs %d: %s", i+1, len(fields), len(key), KeySize, howTo)
		}
		keys[i] = key
	}
	return keys, nil
}

func decode(field string) ([]byte, bool) {
	// Only the hexadecimal form of the right length is taken for one: shorter
	// texts of hexadecimal digits may well be base64.
	if len(field) == hex.EncodedLen(KeySize) {
		if key, err := hex.DecodeString(field); err == nil {
			return key, true
		}
	}
	field = strings.TrimRight(field, "=")
	field = strings.NewReplacer("-", "+", "_", "/").Replace(field)
	key, err := base64.RawStdEncoding.DecodeString(field)
	return key, err == nil
}
