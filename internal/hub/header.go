package hub

import (
	"bytes"
	"slices"
	"strings"
)

// Header is one HTTP header field, in the order and spelling it came in.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// sensitive are the words that mark a header as a credential wherever they
// stand in its name.
var sensitive = [][]byte{
	[]byte("secret"), []byte("token"), []byte("key"), []byte("auth"), []byte("password"), []byte("credential"), []byte("cookie"),
}

// notSensitive are well-known headers that contain one of those words and carry
// no credential.
var notSensitive = map[string]bool{
	"idempotency-key": true, "x-event-key": true, "ce-partitionkey": true,
	"kafka-key": true, "amqp-routing-key": true, // by which messages of queues are told apart
}

// Redact returns the headers with the values of credentials, cookies and
// everything named secret, token, key or auth replaced, as they may be stored.
// Further names are those that carry a credential by somebody's configuration.
func Redact(headers []Header, further ...string) []Header {
	out := make([]Header, len(headers))
	for i, h := range headers {
		out[i] = h
		named := func(name string) bool { return strings.EqualFold(name, h.Name) }
		if IsSensitiveHeader(h.Name) || slices.ContainsFunc(further, named) {
			out[i].Value = redacted
		}
	}
	return out
}

// IsSensitiveHeader reports whether a header of this name carries a credential.
func IsSensitiveHeader(name string) bool {
	var room [64]byte // enough for nearly every name, so that this allocates nothing
	lower := room[:0]
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		lower = append(lower, c)
	}
	if notSensitive[string(lower)] {
		return false
	}
	for _, word := range sensitive {
		if bytes.Contains(lower, word) {
			return true
		}
	}
	return false
}

// IsHeaderName reports whether a text is a header's name: a token of RFC 9110,
// section 5.6.2.
func IsHeaderName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		if !letter && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return name != ""
}

// ValidText returns a text with what is not UTF-8 in it replaced, since neither
// database nor GraphQL can hold it.
func ValidText(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// reserved are the headers of a request that belong to HTTP or to the hub.
var reserved = map[string]bool{
	"accept-encoding": true, "connection": true, "content-length": true, "expect": true, "host": true,
	"http2-settings": true, "keep-alive": true, "proxy-authenticate": true, "proxy-authorization": true,
	"proxy-connection": true, "te": true, "trailer": true, "transfer-encoding": true, "upgrade": true,
}

// IsReservedHeader reports whether an endpoint may not set the header of this
// name on its requests: those that carry the message or its signature, and those
// that HTTP needs for itself.
func IsReservedHeader(name string) bool {
	name = strings.ToLower(name)
	return reserved[name] || strings.HasPrefix(name, "webhook-")
}
