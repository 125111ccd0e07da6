package outbound

import (
	"net/netip"
	"slices"

	"code.dny.dev/ssrf"
)

// metadata are the addresses under which clouds hand out credentials to the
// machines they run. All of IPv4 link-local counts: the services of most clouds
// lie somewhere in it, and nothing that wants a webhook does.
var metadata = []netip.Prefix{
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("100.100.100.200/32"),  // Alibaba
	netip.MustParsePrefix("168.63.129.16/32"),    // Azure; a public address that no registry lists
	netip.MustParsePrefix("192.0.0.192/32"),      // Oracle
	netip.MustParsePrefix("fd00:ec2::/32"),       // AWS
	netip.MustParsePrefix("fd20:ce::/32"),        // Google
	netip.MustParsePrefix("fd00:42::42/128"),     // Scaleway
	netip.MustParsePrefix("fe80::a9fe:a9fe/128"), // 169.254.169.254 as an interface identifier
}

func isMetadata(addr netip.Addr) bool {
	return slices.ContainsFunc(metadata, func(p netip.Prefix) bool { return p.Contains(addr) })
}

var (
	sixToFour = netip.MustParsePrefix("2002::/16")
	localNAT  = netip.MustParsePrefix("64:ff9b:1::/48") // RFC 8215
	v4Compat  = netip.MustParsePrefix("::/96")          // RFC 4291, deprecated
)

// embedded returns the IPv4 address that an IPv6 address carries in one of the
// transition forms. The last 32 bits are taken for the local NAT64 prefix too,
// whose operators may choose another place: there they must allow addresses one
// by one.
func embedded(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return netip.Addr{}, false
	}
	b := addr.As16()
	switch {
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	case ssrf.IPv6NAT64Prefix.Contains(addr), localNAT.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case v4Compat.Contains(addr) && b[12] != 0: // leaves :: and ::1 to be themselves
		return netip.AddrFrom4([4]byte(b[12:16])), true
	}
	return netip.Addr{}, false
}
