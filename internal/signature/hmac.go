package signature

import (
	"crypto/hmac"
	"crypto/sha1" // some providers still sign with HMAC-SHA1, which is not broken as a keyed hash
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"strings"
)

// Algorithm names the hash of an HMAC.
type Algorithm string

// The algorithms of the public contract.
const (
	SHA1   Algorithm = "SHA1"
	SHA256 Algorithm = "SHA256"
	SHA512 Algorithm = "SHA512"
)

// new returns the hash's constructor, or nil for an unknown algorithm.
func (a Algorithm) new() func() hash.Hash {
	switch a {
	case SHA1:
		return sha1.New
	case SHA256:
		return sha256.New
	case SHA512:
		return sha512.New
	}
	return nil
}

// Valid reports whether the algorithm is known.
func (a Algorithm) Valid() bool { return a.new() != nil }

// Size returns the length in bytes of a signature, 0 for an unknown algorithm.
func (a Algorithm) Size() int {
	switch a {
	case SHA1:
		return sha1.Size
	case SHA256:
		return sha256.Size
	case SHA512:
		return sha512.Size
	}
	return 0
}

// Sign returns the HMAC of the parts, one after another, or nil for an unknown
// algorithm.
func (a Algorithm) Sign(key []byte, content ...[]byte) []byte {
	newHash := a.new()
	if newHash == nil {
		return nil
	}
	mac := hmac.New(newHash, key)
	for _, part := range content {
		_, _ = mac.Write(part) // documented never to fail
	}
	return mac.Sum(nil)
}

// Verify reports whether one of the signatures is the HMAC of the content under
// one of the keys. Every key is tried against every signature whatever matched
// before, and each comparison takes constant time, so that the time taken tells
// nothing but their number and the content's length. An empty key never matches.
func (a Algorithm) Verify(keys, signatures [][]byte, content ...[]byte) bool {
	matched := 0
	for _, key := range keys {
		want := a.Sign(key, content...)
		if len(key) == 0 || len(want) == 0 {
			continue
		}
		for _, got := range signatures {
			matched |= subtle.ConstantTimeCompare(want, got)
		}
	}
	return matched == 1
}

// Encoding names how a signature is written as text.
type Encoding string

// The encodings of the public contract.
const (
	Hex    Encoding = "HEX"
	Base64 Encoding = "BASE64"
)

// Valid reports whether the encoding is known.
func (e Encoding) Valid() bool { return e == Hex || e == Base64 }

// String names the encoding as people write it.
func (e Encoding) String() string { return strings.ToLower(string(e)) }

// The strict forms refuse the stray bits that others read past.
var (
	strictStd    = base64.StdEncoding.Strict()
	strictRawStd = base64.RawStdEncoding.Strict()
	strictURL    = base64.URLEncoding.Strict()
	strictRawURL = base64.RawURLEncoding.Strict()
)

// base64Alphabet picks the form of base64 that a text is written in.
func base64Alphabet(text string) *base64.Encoding {
	url, padded := strings.ContainsAny(text, "-_"), strings.HasSuffix(text, "=")
	switch {
	case url && padded:
		return strictURL
	case url:
		return strictRawURL
	case padded:
		return strictStd
	}
	return strictRawStd
}

// errEncoding is returned by Decode for text that is not of the encoding.
var errEncoding = errors.New("not in the encoding")

// Encode writes a signature as text: lower-case hexadecimal, or base64 with
// padding.
func (e Encoding) Encode(signature []byte) string {
	if e == Base64 {
		return base64.StdEncoding.EncodeToString(signature)
	}
	return hex.EncodeToString(signature)
}

// Decode reads a signature. Hexadecimal may be in either case; base64 may lack
// its padding and use the URL alphabet, but every text it accepts stands for the
// bytes in one way alone within its alphabet: stray bits are refused.
func (e Encoding) Decode(text string) ([]byte, error) {
	switch e {
	case Hex:
		raw, err := hex.DecodeString(text)
		if err != nil {
			return nil, errEncoding
		}
		return raw, nil
	case Base64:
		if strings.ContainsAny(text, "\r\n") { // the decoder would skip them
			return nil, errEncoding
		}
		raw, err := base64Alphabet(text).DecodeString(text)
		if err != nil {
			return nil, errEncoding
		}
		return raw, nil
	}
	return nil, errEncoding
}
