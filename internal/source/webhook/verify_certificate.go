package webhook

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1" // version 1 of the signatures of SNS
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// snsTolerance is the hub's own rule: SNS signs the time of publishing, and its
// retries take less than this.
const snsTolerance = time.Hour

const (
	pinCertificate  = "signingCertPem"
	maxCertificates = 16
)

var errCertificate = errors.New("this is no PEM of certificates with RSA keys")

// certSetting is the row of the configuration for a pinned certificate.
var certSetting = ConfigKey{
	Name:    pinCertificate,
	Meaning: "PEM of the certificate that signs, in place of fetching it; several may follow one another",
	Check: checkEach(func(text string) string {
		if _, err := certificates([]byte(text)); err != nil {
			return err.Error()
		}
		return ""
	}),
}

// certificates reads the certificates of a PEM, all of which have RSA keys where
// they are to verify with.
func certificates(text []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for rest := text; len(list) < maxCertificates; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, errCertificate
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errCertificate
		}
		if _, ok := certificate.PublicKey.(*rsa.PublicKey); !ok && len(list) == 0 {
			return nil, errCertificate
		}
		list = append(list, certificate)
	}
	if len(list) == 0 {
		return nil, errCertificate
	}
	return list, nil
}

// pinned returns the keys of the pinned certificates.
func pinned(src *hub.Source) []*rsa.PublicKey {
	var keys []*rsa.PublicKey
	for _, text := range settings(src, pinCertificate) {
		list, err := certificates([]byte(text))
		if err != nil {
			continue
		}
		for _, certificate := range list {
			if key, ok := certificate.PublicKey.(*rsa.PublicKey); ok {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// signingKeys returns the keys that may have signed: the pinned ones, else that of
// the certificate at the address, which the caller has found to be the vendor's.
func signingKeys(ctx context.Context, c *Case, address string, trust func([]*x509.Certificate, time.Time) error) ([]*rsa.PublicKey, Verdict) {
	if keys := pinned(c.Source); len(keys) > 0 || c.Source.ProviderConfig[pinCertificate] != nil {
		return keys, Verdict{}
	}
	now := c.Request.ReceivedAt
	text, err := c.remote.get(ctx, address, now, getURL(address))
	if err != nil {
		return nil, refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
			"The certificate that %s signs with cannot be had: %v. The sender will try again; to do without fetching, pin it as %s.", c.Provider.Title, err, pinCertificate))
	}
	list, err := certificates(text)
	if err == nil {
		err = trust(list, now)
	}
	if err != nil {
		return nil, refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
			"The certificate at the address that the request names is not to be trusted: %v.", err))
	}
	key, _ := list[0].PublicKey.(*rsa.PublicKey) // as certificates has found
	return []*rsa.PublicKey{key}, Verdict{}
}

func rsaVerify(keys []*rsa.PublicKey, hash crypto.Hash, digest, given []byte) bool {
	matched := false
	for _, key := range keys {
		if rsa.VerifyPKCS1v15(key, hash, digest, given) == nil {
			matched = true
		}
	}
	return matched
}

// vendorURL reads an address that has to be one of a vendor's: https, the usual
// port, a host the pattern knows, and nothing that could mean another.
func vendorURL(address string, host *regexp.Regexp) (*url.URL, bool) {
	if len(address) > maxChallengeBytes {
		return nil, false
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Opaque != "" || u.Fragment != "" || !host.MatchString(u.Host) {
		return nil, false
	}
	return u, true
}

var (
	snsHost    = regexp.MustCompile(`^sns\.[a-z0-9-]{3,32}\.amazonaws\.com(\.cn)?$`)
	paypalHost = regexp.MustCompile(`^([a-z0-9-]{1,63}\.){1,4}paypal\.com$`)
)

// foreignHost explains an address that is not the vendor's.
func foreignHost(c *Case, where, address string) Verdict {
	return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
		"%s names a certificate at %.80q, which is no address of %s's. Somebody else has made this request.", where, address, c.Provider.Title))
}

// within reports whether a certificate is valid at a time.
func within(list []*x509.Certificate, now time.Time) error {
	if now.Before(list[0].NotBefore) || now.After(list[0].NotAfter) {
		return errors.New("it is not valid at this time")
	}
	return nil
}

// snsSigned are the members that SNS signs, in its order, by type of message.
var snsSigned = map[string][]string{
	"Notification":             {"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"},
	"SubscriptionConfirmation": {"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"},
	"UnsubscribeConfirmation":  {"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"},
}

// verifySNS checks a message of the one topic that the source is for: anybody can
// have a topic and send what Amazon signs.
func verifySNS(ctx context.Context, c *Case) Verdict {
	document := gjson.ParseBytes(c.Request.json(""))
	text, version := document.Get("Signature"), textOf(document.Get("SignatureVersion"))
	names, known := snsSigned[document.Get("Type").Str]
	if text.Type != gjson.String || text.Str == "" || !known {
		return refuse(hub.RejectedSignatureMissing, "The body is no signed message of SNS: Type and Signature are missing. Raw message delivery sends without signatures; turn it off for this subscription.")
	}
	given, err := signature.Base64.Decode(text.Str)
	if err != nil || len(text.Str) > signature.MaxHeaderBytes {
		return refuse(hub.RejectedSignatureInvalid, "The Signature of the message is not base64.")
	}
	if version != "1" && version != "2" {
		return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf("The message's SignatureVersion is %.16q; there are 1 and 2.", version))
	}
	if arn := document.Get("TopicArn").Str; sameText(arn, setting(c.Source, "topicArn")) != 1 {
		return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf("The message is of the topic %.128q, and the source is for another one.", arn))
	}
	address := document.Get("SigningCertURL").Str
	if u, ok := vendorURL(address, snsHost); !ok || !strings.HasSuffix(u.Path, ".pem") || u.RawQuery != "" {
		return foreignHost(c, "SigningCertURL", address)
	}
	keys, verdict := signingKeys(ctx, c, address, within)
	if !verdict.Accepted() {
		return verdict
	}
	content := snsContent(document, names)
	hash, digest := crypto.SHA1, sha1.Sum(content)
	sum := digest[:]
	if version == "2" {
		strong := sha256.Sum256(content)
		hash, sum = crypto.SHA256, strong[:]
	}
	if !rsaVerify(keys, hash, sum, given) {
		return notSigned(c, "Signature of the message", "RSA")
	}
	if !uniqueNames(document) {
		return namedTwice()
	}
	return checkStamp(c.Request, document.Get("Timestamp").Str, signature.RFC3339, snsTolerance)
}

func snsContent(document gjson.Result, names []string) []byte {
	var b bytes.Buffer
	for _, name := range names {
		if member := document.Get(name); member.Exists() && member.Type != gjson.Null {
			b.WriteString(name + "\n" + member.String() + "\n")
		}
	}
	return b.Bytes()
}

// snsConfirm confirms a subscription by asking for the address that the signed
// message names. Where that cannot be done it is left to the operator.
var snsConfirm = Handshake{Title: "SubscriptionConfirmation (POST)", Signed: true, Answer: func(ctx context.Context, c *Case) (Answer, bool) {
	document := gjson.ParseBytes(c.Request.json(""))
	if document.Get("Type").Str != "SubscriptionConfirmation" {
		return Answer{}, false
	}
	answer := Answer{Status: http.StatusOK}
	address := document.Get("SubscribeURL").Str
	u, ok := vendorURL(address, snsHost)
	if !ok || u.Query().Get("Action") != "ConfirmSubscription" || u.Query().Get("TopicArn") != setting(c.Source, "topicArn") {
		return badHandshake("SNS asks to confirm a subscription at an address that is no such one of SNS."), true
	}
	if _, err := c.remote.get(ctx, address, c.Request.ReceivedAt, getURL(address)); err != nil {
		answer.Note = refuse(hub.RejectedExtraction, fmt.Sprintf(
			"SNS asked to confirm the subscription, and its confirmation failed: %v. Open SubscribeURL of the body, or request the confirmation again at SNS.", err))
	}
	return answer, true
}}

// verifyPayPal checks ID, time, webhook and checksum of the body against the
// certificate that the request names.
func verifyPayPal(ctx context.Context, c *Case) Verdict {
	const header = "PAYPAL-TRANSMISSION-SIG"
	parsed, verdict := plainHeader(c.Request, header, signature.Base64)
	if !verdict.Accepted() {
		return verdict
	}
	var values [4]string
	for i, name := range [...]string{"PAYPAL-TRANSMISSION-ID", "PAYPAL-TRANSMISSION-TIME", "PAYPAL-CERT-URL", "PAYPAL-AUTH-ALGO"} {
		if values[i], verdict = signedHeader(c.Request, name, "what the signature is checked with"); !verdict.Accepted() {
			return verdict
		}
	}
	id, stamp, address, algorithm := values[0], values[1], values[2], values[3]
	if algorithm != "SHA256withRSA" {
		return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf("The header PAYPAL-AUTH-ALGO is %.40q; only SHA256withRSA is accepted.", algorithm))
	}
	if _, ok := vendorURL(address, paypalHost); !ok {
		return foreignHost(c, "PAYPAL-CERT-URL", address)
	}
	keys, verdict := signingKeys(ctx, c, address, paypalTrust)
	if !verdict.Accepted() {
		return verdict
	}
	sum := strconv.FormatUint(uint64(crc32.ChecksumIEEE(c.Request.Body)), 10)
	digest := sha256.Sum256([]byte(id + "|" + stamp + "|" + setting(c.Source, "webhookId") + "|" + sum))
	if !rsaVerify(keys, crypto.SHA256, digest[:], parsed.Signatures[0]) {
		return refuse(hub.RejectedSignatureInvalid, notSigned(c, header, "RSA").Detail+" Or the webhookId is another one.")
	}
	return Verdict{}
}

// paypalTrust checks that a certificate is PayPal's by the chain that came with it.
func paypalTrust(list []*x509.Certificate, now time.Time) error {
	intermediates := x509.NewCertPool()
	for _, certificate := range list[1:] {
		intermediates.AddCert(certificate)
	}
	if _, err := list[0].Verify(x509.VerifyOptions{
		Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}); err != nil {
		return errors.New("no authority vouches for it")
	}
	for _, name := range append(list[0].DNSNames, list[0].Subject.CommonName) {
		if paypalHost.MatchString(strings.ToLower(name)) {
			return nil
		}
	}
	return errors.New("it is not PayPal's")
}
