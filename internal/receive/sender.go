package receive

import (
	"net/http"
	"net/netip"
	"strings"
)

// maxHops bounds how many proxies are followed.
const maxHops = 32

// sender is the address a request comes from: the connection's other end or, where
// that is one of the proxies that are trusted, the one that it names.
func (d *Door) sender(r *http.Request) netip.Addr {
	direct := peer(r.RemoteAddr)
	if len(d.proxies) == 0 || !d.trusts(direct) {
		return direct
	}
	forwardedFor, forwarded := r.Header.Values("X-Forwarded-For"), r.Header.Values("Forwarded")
	switch {
	case len(forwardedFor) > 0 && len(forwarded) > 0:
		// A proxy writes one of the two and may let the other one through as its client
		// has sent it. Where they differ nobody can tell which one that is.
		one, other := d.behind(direct, listed(forwardedFor)), d.behind(direct, nodes(forwarded))
		if one != other {
			return direct
		}
		return one
	case len(forwardedFor) > 0:
		return d.behind(direct, listed(forwardedFor))
	case len(forwarded) > 0:
		return d.behind(direct, nodes(forwarded))
	}
	return direct
}

func (d *Door) trusts(addr netip.Addr) bool {
	for _, network := range d.proxies {
		if network.Contains(addr) {
			return true
		}
	}
	return false
}

// behind follows the hops back, from the last one on, as long as each is a proxy that is
// trusted: what stands before the first other address is what that has said of itself.
func (d *Door) behind(direct netip.Addr, hops []string) netip.Addr {
	last := direct
	for i := len(hops) - 1; i >= max(0, len(hops)-maxHops); i-- {
		addr, ok := hop(hops[i])
		if !ok {
			return last
		}
		if last = addr; !d.trusts(addr) {
			return addr
		}
	}
	return last
}

// listed splits the values of X-Forwarded-For.
func listed(values []string) []string { return strings.Split(strings.Join(values, ","), ",") }

// nodes lists the for parameters of the elements of Forwarded (RFC 7239), "" for an
// element without one.
func nodes(values []string) []string {
	var out []string
	for _, element := range splitUnquoted(strings.Join(values, ","), ',') {
		node := ""
		for _, pair := range splitUnquoted(element, ';') {
			if name, value, found := strings.Cut(pair, "="); found && strings.EqualFold(strings.TrimSpace(name), "for") {
				node = strings.Trim(strings.TrimSpace(value), `"`)
			}
		}
		out = append(out, node)
	}
	return out
}

// splitUnquoted splits a text at a separator that stands outside of quotes.
func splitUnquoted(text string, separator byte) []string {
	var out []string
	begin, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '"':
			quoted = !quoted
		case quoted && text[i] == '\\':
			i++
		case !quoted && text[i] == separator:
			out = append(out, text[begin:i])
			begin = i + 1
		}
	}
	return append(out, text[begin:])
}

// hop reads an address as proxies write it: with a port or without, IPv6 in brackets or
// bare.
func hop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if withPort, err := netip.ParseAddrPort(text); err == nil {
		return withPort.Addr().Unmap().WithZone(""), true
	}
	if inner, found := strings.CutPrefix(text, "["); found {
		if text, found = strings.CutSuffix(inner, "]"); !found {
			return netip.Addr{}, false
		}
	}
	addr, err := netip.ParseAddr(text)
	return addr.Unmap().WithZone(""), err == nil
}
