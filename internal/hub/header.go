package hub

import "strings"

// Header is one HTTP header field, in the order and spelling it came in.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// sensitive are the words that mark a header as a credential wherever they
// stand in its name.
var sensitive = []string{"secret", "token", "key", "auth", "password", "credential", "cookie"}

// notSensitive are well-known headers that contain one of those words and carry
// no credential.
var notSensitive = map[string]bool{"idempotency-key": true, "x-event-key": true}

// Redact returns the headers with the values of credentials, cookies and
// everything named secret, token, key or auth replaced, as they may be stored.
func Redact(headers []Header) []Header {
	out := make([]Header, len(headers))
	for i, h := range headers {
		out[i] = h
		if IsSensitiveHeader(h.Name) {
			out[i].Value = redacted
		}
	}
	return out
}

// IsSensitiveHeader reports whether a header of this name carries a credential.
func IsSensitiveHeader(name string) bool {
	name = strings.ToLower(name)
	if notSensitive[name] {
		return false
	}
	for _, word := range sensitive {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

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
