package signature

import (
	"errors"
	"fmt"
	"strings"
)

// Bounds of what a signature header may hold. Anything beyond is refused before
// a single hash is computed.
const (
	MaxSignatures  = 16
	MaxHeaderBytes = 8 << 10
)

// What Parse finds wrong with a header.
var (
	ErrHeaderTooLong     = fmt.Errorf("it is longer than %d bytes", MaxHeaderBytes)
	ErrTooManySignatures = fmt.Errorf("it carries more than %d signatures", MaxSignatures)
	ErrNoSignature       = errors.New("it carries no signature of the form")
	ErrMalformed         = errors.New("it does not have the form")
)

// Format says how a header carries its signatures. The zero value is of no use;
// Plain, Pairs and Versions make the three forms that exist.
type Format struct {
	kind      formatKind
	encoding  Encoding
	prefix    string // before the one signature
	separator string // between pairs
	timestamp string // key of the pair that holds the timestamp
	signature string // key of the pairs that hold signatures, or their version
}

type formatKind int

const (
	formatPlain formatKind = iota + 1
	formatPairs
	formatVersions
)

// Plain is one signature behind a prefix, which may be "", as in sha256=5257a8….
func Plain(prefix string, encoding Encoding) Format {
	return Format{kind: formatPlain, encoding: encoding, prefix: prefix}
}

// Pairs is a list of keys and values that holds the timestamp and any number of
// signatures, as in t=1492774577,v1=5257a8…,v0=6ffbb5…. Keys it does not know
// are passed over, so that a weaker scheme beside the wanted one is never tried.
func Pairs(separator, timestampKey, signatureKey string, encoding Encoding) Format {
	return Format{kind: formatPairs, encoding: encoding, separator: separator, timestamp: timestampKey, signature: signatureKey}
}

// Versions is the list of Standard Webhooks: signatures separated by blanks,
// each behind its version and a comma, as in v1,K5oZfz… v1a,hnO3f9…. Other
// versions are passed over.
func Versions(version string, encoding Encoding) Format {
	return Format{kind: formatVersions, encoding: encoding, signature: version}
}

// String shows the form by example.
func (f Format) String() string {
	value := "<" + f.encoding.String() + ">"
	switch f.kind {
	case formatPairs:
		return f.timestamp + "=<time>" + f.separator + f.signature + "=" + value
	case formatVersions:
		return f.signature + "," + value
	case formatPlain:
		return f.prefix + value
	}
	return value
}

// Encoding returns how the signatures are written.
func (f Format) Encoding() Encoding { return f.encoding }

// Parsed is what a signature header held.
type Parsed struct {
	Signatures [][]byte
	Timestamp  string // "" where the form has none
}

// Parse reads a header's value. It returns at least one signature, or an error
// that wraps ErrHeaderTooLong, ErrTooManySignatures, ErrNoSignature or
// ErrMalformed.
func (f Format) Parse(header string) (Parsed, error) {
	if len(header) > MaxHeaderBytes {
		return Parsed{}, ErrHeaderTooLong
	}
	switch f.kind {
	case formatPlain:
		return f.parsePlain(header)
	case formatPairs:
		return f.parsePairs(header)
	case formatVersions:
		return f.parseVersions(header)
	}
	return Parsed{}, ErrMalformed
}

func (f Format) parsePlain(header string) (Parsed, error) {
	text, found := strings.CutPrefix(header, f.prefix)
	if !found {
		return Parsed{}, fmt.Errorf("%w %s", ErrMalformed, f)
	}
	signature, err := f.encoding.Decode(text)
	if err != nil || len(signature) == 0 {
		return Parsed{}, fmt.Errorf("%w %s", ErrNoSignature, f)
	}
	return Parsed{Signatures: [][]byte{signature}}, nil
}

func (f Format) parsePairs(header string) (Parsed, error) {
	var p Parsed
	seen := 0
	for pair := range strings.SplitSeq(header, f.separator) {
		key, value, found := strings.Cut(strings.TrimSpace(pair), "=")
		if !found {
			return Parsed{}, fmt.Errorf("%w %s", ErrMalformed, f)
		}
		if key == f.timestamp {
			if p.Timestamp != "" || value == "" { // with two, which one was signed?
				return Parsed{}, fmt.Errorf("%w %s with one timestamp", ErrMalformed, f)
			}
			p.Timestamp = value
			continue
		}
		if seen++; seen > MaxSignatures {
			return Parsed{}, ErrTooManySignatures
		}
		if key == f.signature {
			p.add(f.encoding, value)
		}
	}
	if len(p.Signatures) == 0 {
		return Parsed{}, fmt.Errorf("%w %s=<%s>", ErrNoSignature, f.signature, f.encoding)
	}
	if p.Timestamp == "" {
		return Parsed{}, fmt.Errorf("%w %s: the timestamp is missing", ErrMalformed, f)
	}
	return p, nil
}

func (f Format) parseVersions(header string) (Parsed, error) {
	var p Parsed
	seen := 0
	for item := range strings.FieldsFuncSeq(header, isBlank) {
		if seen++; seen > MaxSignatures {
			return Parsed{}, ErrTooManySignatures
		}
		if version, value, found := strings.Cut(item, ","); found && version == f.signature {
			p.add(f.encoding, value)
		}
	}
	if len(p.Signatures) == 0 {
		return Parsed{}, fmt.Errorf("%w %s", ErrNoSignature, f)
	}
	return p, nil
}

func isBlank(r rune) bool { return r == ' ' }

// add appends a signature that can be read. One that cannot matches nothing and
// must not hide a good one beside it, as during the rotation of a secret.
func (p *Parsed) add(encoding Encoding, text string) {
	if signature, err := encoding.Decode(text); err == nil && len(signature) > 0 {
		p.Signatures = append(p.Signatures, signature)
	}
}
