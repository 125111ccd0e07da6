package outbound

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// Guard decides which addresses the hub may connect to: public ones, and those
// that the operator allows by name. It never changes, so one guard serves all.
type Guard struct {
	rules *ssrf.Guardian
	allow []netip.Prefix
}

// NewGuard makes a guard that lets through public addresses and those inside
// one of the given networks. Cloud metadata services stay out of reach even
// inside an allowed network, unless the network is that very address (a /32 or
// /128).
func NewGuard(allow ...netip.Prefix) *Guard {
	g := &Guard{rules: ssrf.New(ssrf.WithAnyPort())}
	for _, p := range allow {
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		g.allow = append(g.allow, p.Masked())
	}
	return g
}

// ParseNetworks reads a comma-separated list of networks in CIDR notation. A
// bare address stands for itself alone.
func ParseNetworks(text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		if addr, err := netip.ParseAddr(part); err == nil && addr.Zone() == "" {
			out = append(out, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			return nil, fmt.Errorf("%q is not a network such as 10.0.0.0/8 or fd00::/8", part)
		}
		if prefix != prefix.Masked() {
			return nil, fmt.Errorf("%q has bits set beyond its length: write %s, or the address alone", part, prefix.Masked())
		}
		out = append(out, prefix)
	}
	return out, nil
}

// BlockedError is returned for an address that the guard does not let through.
// Its text says nothing about the address, because who may name a host need not
// learn what it resolves to here; the address itself is for the log.
type BlockedError struct {
	Addr netip.Addr
}

func (*BlockedError) Error() string {
	return "the address is private, local or reserved, and this hub's allowed networks do not include it"
}

// errNoCandidate replaces the refusal where a name leads to several addresses
// and at least one of them was let through: then the name is not blocked, its
// permitted addresses just did not answer.
var errNoCandidate = errors.New("none of the permitted addresses of the host could be connected to")

// CheckAddr returns a BlockedError unless the address may be connected to.
func (g *Guard) CheckAddr(addr netip.Addr) error {
	blocked := &BlockedError{Addr: addr}
	if !addr.IsValid() || addr.Zone() != "" { // zones are for link-local addresses alone
		return blocked
	}
	addr = addr.Unmap()
	if g.allowed(addr) {
		// An allowed NAT64 or 6to4 network reaches IPv4 hosts through it, and
		// what may be reached is judged by those.
		if inner, ok := embedded(addr); ok && g.CheckAddr(inner) != nil {
			return blocked
		}
		return nil
	}
	if isMetadata(addr) || g.rules.SafeAddr(addr) != nil {
		return blocked
	}
	return nil
}

// allowed reports whether the operator named the address or a network around
// it. A network does not speak for the metadata services inside it.
func (g *Guard) allowed(addr netip.Addr) bool {
	metadata := isMetadata(addr)
	return slices.ContainsFunc(g.allow, func(p netip.Prefix) bool {
		return p.Contains(addr) && (!metadata || p.IsSingleIP())
	})
}

// dial counts what the guard said about the candidates of one dial.
type dial struct{ permitted atomic.Int32 }

type dialKey struct{}

// Control judges an address just before the connection is made. It fits
// net.Dialer.ControlContext, which hands it each candidate after resolution.
func (g *Guard) Control(ctx context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return &BlockedError{}
	}
	target, err := netip.ParseAddrPort(address)
	if err != nil || target.Port() == 0 {
		return &BlockedError{}
	}
	if err := g.CheckAddr(target.Addr()); err != nil {
		return err
	}
	if d, ok := ctx.Value(dialKey{}).(*dial); ok {
		d.permitted.Add(1)
	}
	return nil
}

// Dialer returns a dial function that connects through the guard and gives up
// on a connection after the timeout. A BlockedError is in the chain of its error
// only if no address of the host may be connected to.
func (g *Guard) Dialer(timeout time.Duration) func(ctx context.Context, network, address string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: timeout, ControlContext: g.Control}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if !strings.HasPrefix(network, "tcp") {
			return nil, &BlockedError{}
		}
		seen := new(dial)
		conn, err := dialer.DialContext(context.WithValue(ctx, dialKey{}, seen), network, address)
		if err != nil && seen.permitted.Load() > 0 {
			var blocked *BlockedError
			if errors.As(err, &blocked) {
				return nil, errNoCandidate
			}
		}
		return conn, err
	}
}
