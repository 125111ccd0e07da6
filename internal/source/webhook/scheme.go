package webhook

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// verify checks a request against a declared scheme. The signature comes first
// and the time second, so that the operator can tell a clock that is wrong from
// a secret that is.
func (s *Scheme) verify(p *Provider, src *hub.Source, r *Request) Verdict {
	// The ID of an event is then read where the signature covers it, and nowhere else.
	if s.Unbranded != nil && !s.named(r) && s.Unbranded.named(r) {
		return s.Unbranded.verify(p, src, r)
	}
	name := s.Header
	if s.Newer != "" && len(r.Header.Values(s.Newer)) > 0 {
		name = s.Newer
	}
	header, verdict := signatureHeader(r, name)
	if !verdict.Accepted() {
		return verdict
	}
	parsed, err := s.Format.Parse(header)
	if err != nil {
		return malformed(name, header, err)
	}
	var id string
	if s.IDHeader != "" {
		if id, verdict = signedHeader(r, s.IDHeader, "the message's ID, which is signed with the body"); !verdict.Accepted() {
			return verdict
		}
	}
	stamp := parsed.Timestamp
	if s.Timestamp != nil && s.Timestamp.Header != "" {
		if stamp, verdict = signedHeader(r, s.Timestamp.Header, "the time of sending, which is signed with the body"); !verdict.Accepted() {
			return verdict
		}
	}
	if !s.Algorithm.Verify(s.keys(src), parsed.Signatures, s.content(r, id, stamp)...) {
		return explained(mismatch(p.Title, p.SecretHint, name, s.Algorithm, parsed, src, r), r, src, s.covers(), func(secrets [][]byte, changed *Request) bool {
			if secrets == nil {
				secrets = s.keys(src)
			}
			return s.Algorithm.Verify(secrets, parsed.Signatures, s.content(changed, id, stamp)...)
		})
	}
	if s.Timestamp == nil {
		return Verdict{}
	}
	if s.Timestamp.Path != "" {
		if stamp = r.lookup("", s.Timestamp.Path); stamp == "" {
			return Verdict{}
		}
	}
	signed, err := s.Timestamp.Form.Parse(stamp)
	if err != nil {
		return refuse(hub.RejectedTimestamp, fmt.Sprintf(
			"The signature is right, but the time it covers, %.40q, cannot be read.", stamp))
	}
	return checkTime(signed, r.ReceivedAt, s.Timestamp.Tolerance)
}

// named reports whether a request has one of the headers that the scheme reads.
func (s *Scheme) named(r *Request) bool {
	names := []string{s.Header, s.IDHeader}
	if s.Timestamp != nil {
		names = append(names, s.Timestamp.Header)
	}
	return slices.ContainsFunc(names, func(name string) bool { return name != "" && len(r.Header.Values(name)) > 0 })
}

// keys turns the source's secrets into keys, in their order. One that cannot be
// read matches nothing; saving refuses such a secret.
func (s *Scheme) keys(src *hub.Source) [][]byte {
	keys := make([][]byte, 0, len(src.Secrets))
	for _, secret := range src.Secrets {
		if key, err := s.Key(secret); err == nil {
			keys = append(keys, key)
		}
	}
	return keys
}

// covers says what of a request is signed.
func (s *Scheme) covers() covered {
	has := func(kind partKind) bool {
		return slices.ContainsFunc(s.Content, func(p Part) bool { return p.kind == kind })
	}
	return covered{body: has(partBody), url: has(partURL)}
}

func (s *Scheme) content(r *Request, id, stamp string) [][]byte {
	content := make([][]byte, len(s.Content))
	for i, part := range s.Content {
		switch part.kind {
		case partLiteral:
			content[i] = part.text
		case partBody:
			content[i] = r.Body
		case partID:
			content[i] = []byte(id)
		case partTimestamp:
			content[i] = []byte(stamp)
		case partMethod:
			content[i] = []byte(r.Method)
		case partURL:
			content[i] = []byte(r.publicURL())
		}
	}
	return content
}

// signatureHeader returns the one value of a header that holds signatures.
func signatureHeader(r *Request, name string) (string, Verdict) {
	return signedHeader(r, name, "the signature")
}

// signedHeader returns the one value of a header that the verification needs.
// Of two values nobody can say which one the sender meant, or which one another
// program on the way has looked at.
func signedHeader(r *Request, name, meaning string) (string, Verdict) {
	values := r.Header.Values(name)
	switch {
	case len(values) > 1:
		return "", refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
			"The header %s came %d times; it holds %s and may come once. Usually a proxy adds it a second time.", name, len(values), meaning))
	case len(values) == 0 || values[0] == "":
		return "", refuse(hub.RejectedSignatureMissing, fmt.Sprintf(
			"The header %s is missing or empty; it should hold %s. Usually no secret is set at the sender, a proxy drops the header, or the request comes from somebody else.", name, meaning))
	case len(values[0]) > signature.MaxHeaderBytes:
		return "", refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
			"The header %s is %d bytes long; at most %d are read.", name, len(values[0]), signature.MaxHeaderBytes))
	}
	return values[0], Verdict{}
}

func malformed(name, value string, err error) Verdict {
	return refuse(hub.RejectedSignatureInvalid, fmt.Sprintf(
		"The header %s cannot be used: %v. It starts with %.24q.", name, err, value))
}

// mismatch explains a signature that is well-formed and wrong. It names secrets
// by fingerprint and quotes the start of what came, never what would be right. Hint is
// what the sender calls the secret, "" where that is not known.
func mismatch(sender, hint, header string, algorithm signature.Algorithm, parsed signature.Parsed, src *hub.Source, r *Request) Verdict {
	var b strings.Builder
	fmt.Fprintf(&b, "The signature in %s is not the HMAC-%s under ", header, algorithm)
	switch len(src.Secrets) {
	case 0:
		b.WriteString("any secret: the source has none")
	case 1:
		b.WriteString("the source's secret" + fingerprints(" (fingerprint ", src, r))
	default:
		fmt.Fprintf(&b, "any of the source's %d secrets%s", len(src.Secrets), fingerprints(" (fingerprints ", src, r))
	}
	received := parsed.Signatures[0]
	fmt.Fprintf(&b, "; the body has %d bytes, the signature %d of %d bytes and starts with %x.", len(r.Body), len(received), algorithm.Size(), received[:min(4, len(received))])
	fmt.Fprintf(&b, " Usually the secret at %s is another one, or something on the way has changed the body.", sender)
	if hint != "" {
		fmt.Fprintf(&b, " The secret that belongs here: %s.", strings.TrimSuffix(hint, "."))
	}
	return refuse(hub.RejectedSignatureInvalid, b.String())
}

// fingerprints lists those of the source's secrets in parentheses, "" where the
// request has no way to make them.
func fingerprints(opening string, src *hub.Source, r *Request) string {
	if r.Fingerprint == nil {
		return ""
	}
	list := make([]string, len(src.Secrets))
	for i, secret := range src.Secrets {
		list[i] = r.Fingerprint(secret)
	}
	return opening + strings.Join(list, ", ") + ")"
}

// checkTime judges a signed time on both sides of now.
func checkTime(signed, now time.Time, tolerance time.Duration) Verdict {
	if signature.Within(signed, now, tolerance) {
		return Verdict{}
	}
	const form = "The signature is right, but it was made at %s, %s %s the hub's clock (%s); at most %s either way is accepted. %s"
	offset, side, cause := now.Sub(signed), "before", "Usually the request is a repetition of an old one, or was held up on its way."
	if offset < 0 {
		offset, side, cause = -offset, "after", "Usually the clock of the sender or of this hub is wrong."
	}
	return refuse(hub.RejectedTimestamp, fmt.Sprintf(form,
		signed.UTC().Format(time.RFC3339), offset.Round(time.Second), side, now.UTC().Format(time.RFC3339), tolerance, cause))
}
