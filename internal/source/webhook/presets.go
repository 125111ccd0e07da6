package webhook

import (
	"errors"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Presets returns the providers that a source can name. What has to be fetched to
// verify some of them has to be pinned, unless the table is made Fetching.
func Presets() *Table { return presets }

var presets = NewTable(slices.Concat(standardPresets, developmentPresets, paymentPresets, messagingPresets, businessPresets, platformPresets, fetchedPresets)...)

// bodyHMAC is the scheme of most vendors: a keyed hash of the body in a header.
func bodyHMAC(header, prefix string, algorithm signature.Algorithm, encoding signature.Encoding) *Scheme {
	return &Scheme{Header: header, Format: signature.Plain(prefix, encoding), Algorithm: algorithm, Key: textKey, Content: []Part{SignedBody}}
}

// timedHMAC is the scheme of a header with time and signatures over time and body.
func timedHMAC(header string, format signature.Format, between string, form signature.TimeForm, tolerance time.Duration) *Scheme {
	return &Scheme{
		Header: header, Format: format, Algorithm: signature.SHA256, Key: textKey,
		Content:   []Part{SignedTimestamp, Literal(between), SignedBody},
		Timestamp: &Timestamp{Form: form, Tolerance: tolerance},
	}
}

// standardScheme is Standard Webhooks under a vendor's names of the three headers.
func standardScheme(id, timestamp, list string) *Scheme {
	return &Scheme{
		Header: list, Format: signature.Standard(), Algorithm: signature.SHA256, Key: signature.ParseForeignSecret,
		Content:   []Part{SignedID, Literal("."), SignedTimestamp, Literal("."), SignedBody},
		IDHeader:  id,
		Timestamp: &Timestamp{Header: timestamp, Form: signature.UnixSeconds, Tolerance: signature.StandardTolerance},
	}
}

// svixScheme is Standard Webhooks as Svix sends it: under its own names, or for
// customers who want that under the standard's. Its libraries take both.
func svixScheme() *Scheme {
	s := standardScheme("svix-id", "svix-timestamp", "svix-signature")
	s.Unbranded = standardScheme(signature.HeaderID, signature.HeaderTimestamp, signature.HeaderSignature)
	return s
}

// svixID is the ID that svixScheme has found signed.
var svixID = Rule{{Header: "svix-id"}, {Header: signature.HeaderID}}

func header(name string) Rule { return Rule{{Header: name}} }
func path(paths ...string) (r Rule) {
	for _, p := range paths {
		r = append(r, Place{Path: p})
	}
	return r
}

// at is where a time is, written in any of the forms.
func at(rule Rule, forms ...signature.TimeForm) TimeRule { return TimeRule{rule, forms} }

var errEmptySecret = errors.New("the secret is empty")

// textKey takes the characters of a secret as they are.
func textKey(secret hub.Secret) ([]byte, error) {
	if secret == "" {
		return nil, errEmptySecret
	}
	return []byte(secret.Reveal()), nil
}

// hexKey reads a secret that the vendor shows in hexadecimal.
func hexKey(secret hub.Secret) ([]byte, error) {
	key, err := signature.Hex.Decode(secret.Reveal())
	if err != nil || len(key) == 0 {
		return nil, errHexSecret
	}
	return key, nil
}

var errHexSecret = errors.New("the secret is hexadecimal")
