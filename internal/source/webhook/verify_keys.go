package webhook

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// sendgridTolerance is the hub's own rule: the vendor signs a time and leaves
// judging it to the receiver.
const sendgridTolerance = 10 * time.Minute

const publicKeyPrefix = "whpk_"

// publicKeys are the texts under publicKey and, for those who put them there, the
// secrets.
func publicKeys(src *hub.Source) []string {
	texts := settings(src, "publicKey")
	for _, secret := range src.Secrets {
		texts = append(texts, secret.Reveal())
	}
	return texts
}

var (
	errEd25519Hex    = errors.New("the public key is 64 hexadecimal characters")
	errEd25519Base64 = errors.New("the public key is " + publicKeyPrefix + " and the base64 of 32 bytes")
	errECDSA         = errors.New("the public key is the base64 of a P-256 key, as the vendor shows it, or its PEM")
)

func ed25519Hex(text string) (ed25519.PublicKey, error) {
	raw, err := signature.Hex.Decode(text)
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errEd25519Hex
	}
	return raw, nil
}

func ed25519Standard(text string) (ed25519.PublicKey, error) {
	raw, err := signature.Base64.Decode(strings.TrimPrefix(text, publicKeyPrefix))
	if err != nil || len(raw) != ed25519.PublicKeySize {
		return nil, errEd25519Base64
	}
	return raw, nil
}

// ecdsaKey reads a P-256 key in the form SPKI, as base64 or PEM.
func ecdsaKey(text string) (*ecdsa.PublicKey, error) {
	var der []byte
	if block, _ := pem.Decode([]byte(text)); block != nil {
		der = block.Bytes
	} else if raw, err := signature.Base64.Decode(strings.TrimSpace(text)); err == nil {
		der = raw
	}
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, errECDSA
	}
	key, ok := parsed.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errECDSA
	}
	return key, nil
}

// keySetting is the row of the configuration for a public key.
func keySetting[K any](meaning string, parse func(string) (K, error)) ConfigKey {
	return ConfigKey{Name: "publicKey", Meaning: meaning, Required: true, Verifies: true, Check: checkEach(func(text string) string {
		if _, err := parse(text); err != nil {
			return err.Error()
		}
		return ""
	})}
}

// asSecretKey checks a secret that is a public key.
func asSecretKey[K any](parse func(string) (K, error)) func(hub.Secret) ([]byte, error) {
	return func(secret hub.Secret) ([]byte, error) {
		_, err := parse(secret.Reveal())
		return nil, err
	}
}

// notSigned explains a signature that is of the right form and wrong.
func notSigned(c *Case, header, kind string) Verdict {
	return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
		"The signature in %s is no %s signature of this request under the source's public key; the body has %d bytes. Usually the public key of %s is another one, or something on the way has changed the body.",
		header, kind, len(c.Request.Body), c.Provider.Title))
}

func verifyEd25519(c *Case, parse func(string) (ed25519.PublicKey, error), signatures [][]byte, content []byte) bool {
	matched := false
	for _, text := range publicKeys(c.Source) {
		key, err := parse(text)
		if err != nil {
			continue
		}
		for _, given := range signatures {
			if len(given) == ed25519.SignatureSize && ed25519.Verify(key, content, given) {
				matched = true
			}
		}
	}
	return matched
}

// verifyDiscord checks Ed25519 over timestamp and body. Discord signs the time and
// gives no window for it.
func verifyDiscord(_ context.Context, c *Case) Verdict {
	const header = "X-Signature-Ed25519"
	text, verdict := signatureHeader(c.Request, header)
	if !verdict.Accepted() {
		return verdict
	}
	stamp, verdict := signedHeader(c.Request, "X-Signature-Timestamp", "the time of sending, which is signed with the body")
	if !verdict.Accepted() {
		return verdict
	}
	parsed, err := signature.Plain("", signature.Hex).Parse(text)
	if err != nil {
		return malformed(header, text, err)
	}
	if !verifyEd25519(c, ed25519Hex, parsed.Signatures, concat([]byte(stamp), c.Request.Body)) {
		return notSigned(c, header, "Ed25519")
	}
	return Verdict{}
}

// verifyStandardV1a checks the asymmetric signatures of Standard Webhooks.
func verifyStandardV1a(_ context.Context, c *Case) Verdict {
	text, verdict := signatureHeader(c.Request, signature.HeaderSignature)
	if !verdict.Accepted() {
		return verdict
	}
	id, verdict := signedHeader(c.Request, signature.HeaderID, "the message's ID, which is signed with the body")
	if !verdict.Accepted() {
		return verdict
	}
	stamp, verdict := signedHeader(c.Request, signature.HeaderTimestamp, "the time of sending, which is signed with the body")
	if !verdict.Accepted() {
		return verdict
	}
	parsed, err := signature.Versions("v1a", signature.Base64).Parse(text)
	if err != nil {
		return malformed(signature.HeaderSignature, text, err)
	}
	if !verifyEd25519(c, ed25519Standard, parsed.Signatures, concat([]byte(id+"."+stamp+"."), c.Request.Body)) {
		return notSigned(c, signature.HeaderSignature, "Ed25519")
	}
	return checkStamp(c.Request, stamp, signature.UnixSeconds, signature.StandardTolerance)
}

// verifySendGrid checks ECDSA over timestamp and body.
func verifySendGrid(_ context.Context, c *Case) Verdict {
	const header = "X-Twilio-Email-Event-Webhook-Signature"
	text, verdict := signatureHeader(c.Request, header)
	if !verdict.Accepted() {
		return verdict
	}
	stamp, verdict := signedHeader(c.Request, "X-Twilio-Email-Event-Webhook-Timestamp", "the time of sending, which is signed with the body")
	if !verdict.Accepted() {
		return verdict
	}
	parsed, err := signature.Plain("", signature.Base64).Parse(text)
	if err != nil {
		return malformed(header, text, err)
	}
	digest := sha256.Sum256(concat([]byte(stamp), c.Request.Body))
	matched := false
	for _, public := range publicKeys(c.Source) {
		if key, err := ecdsaKey(public); err == nil && ecdsa.VerifyASN1(key, digest[:], parsed.Signatures[0]) {
			matched = true
		}
	}
	if !matched {
		return notSigned(c, header, "ECDSA")
	}
	return checkStamp(c.Request, stamp, signature.UnixSeconds, sendgridTolerance)
}

// checkStamp judges a time that was signed.
func checkStamp(r *Request, stamp string, form signature.TimeForm, tolerance time.Duration) Verdict {
	signed, err := form.Parse(stamp)
	if err != nil {
		return refuse(hub.RejectedTimestamp, fmt.Sprintf(
			"The signature is right, but the time it covers, %.40q, cannot be read.", stamp))
	}
	return checkTime(signed, r.ReceivedAt, tolerance)
}

func concat(parts ...[]byte) []byte {
	size := 0
	for _, part := range parts {
		size += len(part)
	}
	out := make([]byte, 0, size)
	for _, part := range parts {
		out = append(out, part...)
	}
	return out
}
