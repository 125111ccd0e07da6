package webhook

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// Expressions evaluates the CEL expressions of sources.
type Expressions interface {
	EvalText(expr string, in *match.Inbound) (string, error)
	EvalTime(expr string, in *match.Inbound) (time.Time, error)
	EvalBytes(expr string, in *match.Inbound) ([]byte, error)
}

// customHMAC checks a keyed hash that a source has described by itself.
func (a *Adapter) customHMAC(h *hub.HMACVerification, src *hub.Source, r *Request) Verdict {
	header, verdict := signatureHeader(r, h.Header)
	if !verdict.Accepted() {
		return verdict
	}
	parsed, err := signature.Plain(h.Prefix, signature.Encoding(h.Encoding)).Parse(header)
	if err != nil {
		return malformed(h.Header, header, err)
	}
	content := r.Body
	if h.SignedContent != "" {
		if content, err = a.expressions.EvalBytes(h.SignedContent, r.inboundView()); err != nil {
			return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
				"What was signed cannot be told: the source's expression for the signed content fails on this request: %v.", err))
		}
	}
	algorithm := signature.Algorithm(h.Algorithm)
	keys := make([][]byte, len(src.Secrets))
	for i, secret := range src.Secrets {
		keys[i] = []byte(secret.Reveal())
	}
	if !algorithm.Verify(keys, parsed.Signatures, content) {
		// What an expression makes of another body is not worth its cost.
		covers := covered{body: h.SignedContent == ""}
		return explained(mismatch("the sender", "", h.Header, algorithm, parsed, src, r), r, src, covers, func(secrets [][]byte, changed *Request) bool {
			if secrets == nil {
				secrets = keys
			}
			signed := content
			if covers.body {
				signed = changed.Body
			}
			return algorithm.Verify(secrets, parsed.Signatures, signed)
		})
	}
	if h.Timestamp == "" {
		return Verdict{}
	}
	signed, err := a.expressions.EvalTime(h.Timestamp, r.inboundView())
	if err != nil {
		return refuse(hub.RejectedTimestamp, fmt.Sprintf(
			"The signature is right, but its time cannot be told: the source's expression for the timestamp fails on this request: %v.", err))
	}
	if signed.IsZero() {
		return refuse(hub.RejectedTimestamp,
			"The signature is right, but its time cannot be told: the source's expression for the timestamp finds none in this request.")
	}
	return checkTime(signed, r.ReceivedAt, cmp.Or(h.Tolerance, hub.DefaultTolerance))
}

// apiKey compares a header with the source's secrets.
func apiKey(k *hub.APIKeyVerification, src *hub.Source, r *Request) Verdict {
	given, verdict := credential(r, k.Header)
	if !verdict.Accepted() {
		return verdict
	}
	matched := matchesSecret(given, src.Secrets)
	if token, found := cutScheme(given, "Bearer"); found && strings.EqualFold(k.Header, "Authorization") {
		matched |= matchesSecret(token, src.Secrets)
	}
	if matched == 1 {
		return Verdict{}
	}
	return refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
		"The value of %s (%d bytes) is none of the source's %d secrets. Usually the key at the sender is an old one or was pasted with something around it.", k.Header, len(given), len(src.Secrets)))
}

// basic compares HTTP Basic credentials with the user name and the secrets.
func basic(b *hub.BasicVerification, src *hub.Source, r *Request) Verdict {
	given, verdict := credential(r, "Authorization")
	if !verdict.Accepted() {
		return verdict
	}
	encoded, found := cutScheme(given, "Basic")
	decoded, err := base64.StdEncoding.DecodeString(encoded)
	username, password, colon := strings.Cut(string(decoded), ":")
	if !found || err != nil || !colon {
		return refuse(hub.RejectedCredentialsInvalid,
			"The header Authorization does not hold HTTP Basic credentials: Basic and the base64 of user:password.")
	}
	if sameText(username, b.Username)&matchesSecret(password, src.Secrets) == 1 {
		return Verdict{}
	}
	return refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
		"The user name and password are not those of the source (user %q, %d secrets as passwords). Usually one of them has changed on one side alone.", b.Username, len(src.Secrets)))
}

// credential returns the one value of a header that holds a credential.
func credential(r *Request, name string) (string, Verdict) {
	values := r.Header.Values(name)
	switch {
	case len(values) > 1:
		return "", refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
			"The header %s came %d times; it holds the credentials and may come once.", name, len(values)))
	case len(values) == 0 || values[0] == "":
		return "", refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
			"The header %s is missing or empty; it should hold the credentials.", name))
	case len(values[0]) > signature.MaxHeaderBytes:
		return "", refuse(hub.RejectedCredentialsInvalid, fmt.Sprintf(
			"The header %s is %d bytes long; at most %d are read.", name, len(values[0]), signature.MaxHeaderBytes))
	}
	return values[0], Verdict{}
}

// cutScheme returns what follows an authentication scheme, whose case does not count.
func cutScheme(value, scheme string) (string, bool) {
	head, rest, found := strings.Cut(value, " ")
	if !found || !strings.EqualFold(head, scheme) {
		return "", false
	}
	return strings.TrimLeft(rest, " "), true
}

// matchesSecret returns 1 where a text is one of the secrets; all are tried.
func matchesSecret(given string, secrets []hub.Secret) int {
	matched := 0
	for _, secret := range secrets {
		if secret != "" {
			matched |= sameText(given, secret.Reveal())
		}
	}
	return matched
}

// sameText compares hashes, so that the time taken does not tell the length.
func sameText(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}

// checkNetwork compares the peer's address with the networks allowed.
func checkNetwork(networks []string, peer netip.Addr) Verdict {
	peer = peer.Unmap().WithZone("")
	for _, network := range networks {
		if prefix, err := parseNetwork(network); err == nil && prefix.Contains(peer) {
			return Verdict{}
		}
	}
	return refuse(hub.RejectedNetwork, fmt.Sprintf(
		"The request came from %s, which is in none of the networks allowed: %s. Behind a proxy that is the proxy's address, unless HOOKGRAPH_TRUSTED_PROXIES names it.", peer, strings.Join(networks, ", ")))
}

// parseNetwork reads a CIDR, or one address as the network of itself.
func parseNetwork(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("parse network: %w", err)
		}
		addr = addr.Unmap().WithZone("")
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("parse network: %w", err)
	}
	return prefix.Masked(), nil
}
