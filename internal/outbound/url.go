package outbound

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxURLLength bounds the URLs that the hub calls.
const maxURLLength = 2048

// URLError says what is wrong with a URL, in a sentence for the one who gave it.
type URLError struct{ Message string }

func (e *URLError) Error() string { return e.Message }

// CheckURL tells whether a URL is one that the hub could call. It returns a
// *URLError where the URL itself is wrong and a *BlockedError where it names an
// address that the guard would refuse. Names are not resolved: what they lead to
// is judged whenever they are dialled.
func (g *Guard) CheckURL(raw string) error {
	switch {
	case raw == "":
		return &URLError{"a URL is required, such as https://example.com/hooks"}
	case len(raw) > maxURLLength:
		return &URLError{fmt.Sprintf("the URL is longer than %d characters", maxURLLength)}
	case strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return &URLError{"the URL contains blanks or control characters"}
	}
	u, err := url.Parse(raw)
	if err != nil {
		return &URLError{"the URL cannot be read; write it as https://example.com/hooks"}
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return &URLError{"the URL must start with https:// or http://"}
	case u.Opaque != "" || u.Hostname() == "":
		return &URLError{"the URL names no host"}
	case u.User != nil:
		return &URLError{"the URL must not contain a user name or password; send credentials in a header"}
	case u.Fragment != "" || strings.HasSuffix(raw, "#"):
		return &URLError{"the URL must not have a fragment (#…): it would never be sent"}
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return &URLError{"the port must be a number from 1 to 65535"}
		}
	} else if strings.HasSuffix(u.Host, ":") {
		return &URLError{"the URL has a colon but no port after its host"}
	}
	return g.checkHost(u.Hostname())
}

func (g *Guard) checkHost(host string) error {
	if addr, err := netip.ParseAddr(host); err == nil {
		if addr.Zone() != "" {
			return &URLError{"the address must not name a network interface"}
		}
		return g.CheckAddr(addr)
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	switch {
	case name == "" || len(name) > 253 || strings.Contains(name, "..") || strings.HasPrefix(name, "."):
		return &URLError{"the URL's host is not a host name"}
	case strings.ContainsAny(name, "%:[]<>^|\\`{}\"") || numeric(name[strings.LastIndexByte(name, '.')+1:]):
		// 127.1, 0x7f.1 and 2130706433 are addresses to some resolvers.
		return &URLError{"the URL's host is neither a host name nor an IP address in its usual form"}
	case name == "localhost" || strings.HasSuffix(name, ".localhost"): // RFC 6761: always loopback
		if g.CheckAddr(netip.MustParseAddr("127.0.0.1")) == nil {
			return nil
		}
		return g.CheckAddr(netip.IPv6Loopback())
	}
	return nil
}

// numeric reports whether the last label of a host is a number, as no top-level
// domain is.
func numeric(label string) bool {
	if _, err := strconv.ParseUint(label, 0, 64); err == nil {
		return true
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}
