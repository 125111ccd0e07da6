package registry

import (
	"errors"
	"fmt"
	"strings"

	"github.com/hookgraph/hookgraph/internal/broker"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/outbound"
)

// checkStream notes what an endpoint cannot have to which nothing is sent.
func checkStream(in UpdateEndpointInput, p *problems) {
	const why = "nothing is sent to a STREAM endpoint: its consumers pull, with keys of their own"
	if in.URL.given() && in.URL.Value != "" {
		p.add(hub.InputInvalid, why, "url")
	}
	if in.Headers.given() && len(in.Headers.Value) > 0 {
		p.add(hub.InputInvalid, why, "headers")
	}
	if in.Auth.given() {
		p.add(hub.InputInvalid, why, "auth")
	}
}

// checkLogin notes a credential that a broker does not know.
func checkLogin(target *broker.Target, auth *hub.EndpointAuth, p *problems, field ...string) {
	if err := target.CheckLogin(auth); err != nil {
		p.add(hub.InputInvalid, err.Error(), field...)
	}
}

// checkQueue notes what is wrong with the broker of an endpoint.
func (r *Registry) checkQueue(e *hub.Endpoint, in UpdateEndpointInput, p *problems) {
	if in.URL.Set {
		e.URL = in.URL.Value
		target, err := broker.Parse(e.URL)
		code := hub.InputInvalid
		if err == nil {
			code, err = r.checkBroker(target)
		}
		if err != nil {
			p.add(code, err.Error(), "url")
		}
	}
	if in.Auth.given() && !in.Auth.Value.forBrokers() {
		p.add(hub.InputInvalid, wrongForBrokers, "auth")
	}
}

// checkBroker says whether the hub may call a broker, which is asked as of any other
// address. What the broker names later is asked of when it is dialled.
func (r *Registry) checkBroker(target *broker.Target) (hub.InputCode, error) {
	for _, host := range target.Hosts() {
		if code, err := r.checkOutbound("https://" + host); err != nil {
			return code, err
		}
	}
	return hub.InputInvalid, nil
}

const wrongForBrokers = "a broker is shown a user name and a password (basic), a token (bearer) or a certificate (mtls)"

// forBrokers reports whether a credential is of a kind that some broker knows.
func (in *EndpointAuthInput) forBrokers() bool {
	return in.Basic != nil || in.Bearer != nil || in.MTLS != nil
}

// checkOutbound says what is wrong with a URL that the hub is to call.
func (r *Registry) checkOutbound(url string) (hub.InputCode, error) {
	err := r.checkURL(url)
	if blocked := (*outbound.BlockedError)(nil); errors.As(err, &blocked) {
		return hub.InputForbidden, err
	}
	return hub.InputInvalid, err
}

// checkHeaders notes headers that cannot be added to a request.
func checkHeaders(headers []hub.Header, p *problems) {
	if len(headers) > maxHeaders {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d headers can be added", maxHeaders), "headers")
		return
	}
	size := 0
	seen := make(map[string]bool, len(headers))
	for i, h := range headers {
		size += len(h.Name) + len(h.Value)
		lower := strings.ToLower(h.Name)
		switch {
		case !hub.IsHeaderName(h.Name):
			p.add(hub.InputInvalid, fmt.Sprintf("%.64q is not the name of a header", h.Name), "headers", index(i), "name")
		case hub.IsReservedHeader(h.Name):
			p.add(hub.InputForbidden, h.Name+" is set by the hub itself", "headers", index(i), "name")
		case seen[lower]:
			p.add(hub.InputConflict, h.Name+" is given twice", "headers", index(i), "name")
		}
		seen[lower] = true
		if !isFieldValue(h.Value) {
			p.add(hub.InputInvalid, "a value has no line breaks or other control characters and no blanks around it", "headers", index(i), "value")
		}
	}
	if size > MaxHeaderBytes {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("headers have at most %d bytes together", MaxHeaderBytes), "headers")
	}
}

// isFieldValue reports whether a text is a field value of RFC 9110, section 5.5.
func isFieldValue(s string) bool {
	if strings.Trim(s, " \t") != s {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}
