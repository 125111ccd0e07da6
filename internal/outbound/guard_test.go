package outbound_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/outbound"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func prefixes(t *testing.T, text string) []netip.Prefix {
	t.Helper()
	out, err := outbound.ParseNetworks(text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// special are addresses that lead inside, one or more of every reserved range
// and of every way to write an IPv4 address in an IPv6 one.
var special = []string{
	"0.0.0.0", "0.1.2.3", "10.1.2.3", "100.64.0.1", "100.100.100.200", "127.0.0.1", "127.255.255.254",
	"168.63.129.16", "169.254.0.1", "169.254.169.254", "169.254.170.2", "172.16.0.1", "172.31.255.255",
	"192.0.0.192", "192.0.2.1", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.1.1", "192.175.48.1",
	"198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
	"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "::ffff:168.63.129.16",
	"64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::a9fe:a9fe", "100::1", "2001::1", "2001:db8::1",
	"2002:7f00:1::", "2002:a9fe:a9fe::", "3fff::1", "5f00::1", "fc00::1", "fd00:ec2::254", "fd20:ce::254",
	"fe80::1", "fe80::a9fe:a9fe", "fe80::1%eth0", "fec0::1", "ff02::1",
}

func TestPublicAddressesPass(t *testing.T) {
	t.Parallel()
	guard := outbound.NewGuard()
	for _, text := range []string{"1.1.1.1", "8.8.8.8", "93.184.216.34", "::ffff:8.8.8.8", "2606:4700::1111", "2a00:1450:4001::1"} {
		if err := guard.CheckAddr(netip.MustParseAddr(text)); err != nil {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestSpecialAddressesAreBlocked(t *testing.T) {
	t.Parallel()
	guard := outbound.NewGuard()
	for _, text := range special {
		err := guard.CheckAddr(netip.MustParseAddr(text))
		var blocked *outbound.BlockedError
		if !errors.As(err, &blocked) {
			t.Errorf("%s: got %v, want a BlockedError", text, err)
			continue
		}
		if strings.Contains(err.Error(), text) {
			t.Errorf("the public text gives the address away: %v", err)
		}
	}
	if guard.CheckAddr(netip.Addr{}) == nil {
		t.Error("the zero address passed")
	}
}

func TestAllowedNetworks(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, allow, addr string
		want              bool
	}{
		{"an allowed network passes", "10.0.0.0/8", "10.1.2.3", true},
		{"its mapped form passes as well", "10.0.0.0/8", "::ffff:10.1.2.3", true},
		{"a network written in the mapped form counts as IPv4", "::ffff:10.0.0.0/104", "10.1.2.3", true},
		{"others stay blocked", "10.0.0.0/8", "192.168.0.1", false},
		{"loopback does not bring private networks", "127.0.0.0/8,::1", "10.0.0.1", false},
		{"a network does not bring the metadata service inside it", "169.254.0.0/16", "169.254.169.254", false},
		{"nor does everything", "0.0.0.0/0", "169.254.169.254", false},
		{"nor the public one", "168.63.0.0/16", "168.63.129.16", false},
		{"nor the one of AWS in IPv6", "fd00::/8", "fd00:ec2::254", false},
		{"named exactly it passes", "169.254.169.254/32", "169.254.169.254", true},
		{"named exactly without a length too", "fd00:ec2::254", "fd00:ec2::254", true},
		{"an allowed NAT64 network reaches public hosts", "64:ff9b::/96", "64:ff9b::808:808", true},
		{"and not loopback through it", "64:ff9b::/96", "64:ff9b::7f00:1", false},
		{"and not metadata", "64:ff9b::/96", "64:ff9b::a9fe:a9fe", false},
		{"the same for 6to4", "2002::/16", "2002:a00:1::", false},
		{"and for a local NAT64 prefix", "64:ff9b:1::/48", "64:ff9b:1::a9fe:a9fe", false},
		{"an interface is never named", "fe80::/10", "fe80::1%eth0", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			err := outbound.NewGuard(prefixes(t, c.allow)...).CheckAddr(netip.MustParseAddr(c.addr))
			if (err == nil) != c.want {
				t.Errorf("%s with %s allowed: %v", c.addr, c.allow, err)
			}
		})
	}
}

// Whatever the form in which an IPv4 address is written, it passes only if the
// address itself does.
func TestNoIPv6FormReachesWhatIPv4MayNot(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		guard := outbound.NewGuard(netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("2002::/16"))
		v4 := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "v4")))
		b := v4.As4()
		mapped := netip.AddrFrom16(v4.As16())
		nat64 := netip.AddrFrom16([16]byte{0, 0x64, 0xff, 0x9b, 12: b[0], b[1], b[2], b[3]})
		sixToFour := netip.AddrFrom16([16]byte{0x20, 0x02, b[0], b[1], b[2], b[3]})
		for _, form := range []netip.Addr{mapped, nat64, sixToFour} {
			if guard.CheckAddr(form) == nil && guard.CheckAddr(v4) != nil {
				t.Fatalf("%v passes and %v does not", form, v4)
			}
		}
	})
}

func TestParseNetworks(t *testing.T) {
	t.Parallel()
	if got := prefixes(t, " 10.0.0.0/8, ::1 ,,192.168.1.5"); len(got) != 3 || got[1].String() != "::1/128" || got[2].String() != "192.168.1.5/32" {
		t.Errorf("got %v", got)
	}
	for _, bad := range []string{"10.0.0.0/33", "10.0.0.1/8", "localhost", "10.0.0.0/8;::1", "fe80::1%eth0"} {
		if _, err := outbound.ParseNetworks(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestCheckURL(t *testing.T) {
	t.Parallel()
	const fine, wrong, blocked = "fine", "wrong", "blocked"
	cases := []struct{ raw, want string }{
		{"https://example.com/hooks?a=b", fine},
		{"http://example.com:8080", fine},
		{"HTTPS://EXAMPLE.com./", fine},
		{"https://bücher.example/", fine},
		{"https://8.8.8.8/", fine},
		{"https://[2606:4700::1111]:443/", fine},
		{"", wrong},
		{"example.com/hooks", wrong},
		{"ftp://example.com", wrong},
		{"file:///etc/passwd", wrong},
		{"unix:///run/docker.sock", wrong},
		{"https:///hooks", wrong},
		{"https:example.com", wrong},
		{"https://user:pass@example.com/", wrong},
		{"https://example.com/#part", wrong},
		{"https://example.com/#", wrong},
		{"https://example.com:0/", wrong},
		{"https://example.com:65536/", wrong},
		{"https://example.com:/", wrong},
		{"https://exam ple.com/", wrong},
		{"https://example.com/\r\nx: y", wrong},
		{"https://a..example/", wrong},
		{"https://127.1/", wrong},
		{"https://0x7f.1/", wrong},
		{"https://2130706433/", wrong},
		{"https://0x7f000001/", wrong},
		{"https://[fe80::1%25eth0]/", wrong},
		{"https://" + strings.Repeat("a", 2048), wrong},
		{"http://127.0.0.1:8080/", blocked},
		{"http://[::1]/", blocked},
		{"http://[::ffff:169.254.169.254]/latest/meta-data", blocked},
		{"http://169.254.169.254/latest/meta-data", blocked},
		{"http://localhost:9000/", blocked},
		{"http://api.localhost/", blocked},
	}
	guard := outbound.NewGuard()
	for _, c := range cases {
		t.Run(c.raw, func(t *testing.T) {
			t.Parallel()
			err := guard.CheckURL(c.raw)
			var asURL *outbound.URLError
			var asBlocked *outbound.BlockedError
			got := fine
			switch {
			case errors.As(err, &asURL):
				got = wrong
			case errors.As(err, &asBlocked):
				got = blocked
			case err != nil:
				t.Fatalf("untyped error %v", err)
			}
			if got != c.want {
				t.Errorf("got %s (%v), want %s", got, err, c.want)
			}
		})
	}
	if err := outbound.NewGuard(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")).CheckURL("http://localhost:9000/"); err != nil {
		t.Errorf("with loopback allowed: %v", err)
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, seed := range []string{"https://example.com/", "http://127.0.0.1", "http://[::1]:80/x?y", "https://u@h/", "http://0x7f.1", "//h"} {
		f.Add(seed)
	}
	guard := outbound.NewGuard()
	f.Fuzz(func(t *testing.T, raw string) {
		if guard.CheckURL(raw) != nil {
			return
		}
		u, err := url.Parse(raw)
		if err != nil || u.User != nil || u.Fragment != "" || (u.Scheme != "http" && u.Scheme != "https") {
			t.Fatalf("accepted %q", raw)
		}
		if addr, err := netip.ParseAddr(u.Hostname()); err == nil && guard.CheckAddr(addr) != nil {
			t.Fatalf("accepted the blocked address in %q", raw)
		}
	})
}

func get(t *testing.T, transport *http.Transport, target string) error {
	t.Helper()
	t.Cleanup(transport.CloseIdleConnections)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err == nil {
		_ = response.Body.Close()
	}
	return err
}

func TestTransport(t *testing.T) {
	t.Parallel()
	open := outbound.NewGuard(netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128"))

	t.Run("a name that resolves to loopback is blocked when dialled", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it was reached") }))
		defer server.Close()
		_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
		err := get(t, outbound.NewTransport(outbound.NewGuard(), outbound.TransportOptions{}), "http://localhost:"+port)
		var blocked *outbound.BlockedError
		if !errors.As(err, &blocked) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("with loopback allowed it is reached", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Accept-Encoding") != "" {
				t.Error("compression was asked for")
			}
		}))
		defer server.Close()
		if err := get(t, outbound.NewTransport(open, outbound.TransportOptions{}), server.URL); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a permitted address that refuses is no blocked one", func(t *testing.T) {
		t.Parallel()
		// ::1 stays blocked, so localhost is one blocked and one refusing candidate
		// where the machine has both.
		guard := outbound.NewGuard(netip.MustParsePrefix("127.0.0.0/8"))
		// Nobody is given this port by chance, as a port that was free a moment ago may be.
		err := get(t, outbound.NewTransport(guard, outbound.TransportOptions{}), "http://localhost:1")
		var blocked *outbound.BlockedError
		if err == nil || errors.As(err, &blocked) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("no proxy is taken from the environment", func(t *testing.T) {
		t.Parallel()
		if outbound.NewTransport(open, outbound.TransportOptions{}).Proxy != nil {
			t.Error("a proxy function is set")
		}
	})
	t.Run("sockets other than TCP are refused", func(t *testing.T) {
		t.Parallel()
		for _, network := range []string{"unix", "udp", "ip"} {
			if _, err := open.Dialer(time.Second)(t.Context(), network, "127.0.0.1:80"); err == nil {
				t.Errorf("%s was dialled", network)
			}
			if open.Control(t.Context(), network, "127.0.0.1:80", nil) == nil {
				t.Errorf("%s passed", network)
			}
		}
	})
	t.Run("headers beyond the bound are not read", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Big", strings.Repeat("x", 2*outbound.MaxResponseHeaderBytes))
		}))
		defer server.Close()
		if err := get(t, outbound.NewTransport(open, outbound.TransportOptions{}), server.URL); err == nil {
			t.Error("the answer was accepted")
		}
	})
	t.Run("TLS is 1.2 or later, verified, and speaks HTTP/2", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor != 2 {
				t.Errorf("spoke %s", r.Proto)
			}
		}))
		server.EnableHTTP2 = true
		server.StartTLS()
		defer server.Close()
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		if err := get(t, outbound.NewTransport(open, outbound.TransportOptions{RootCAs: roots}), server.URL); err != nil {
			t.Error(err)
		}
		if err := get(t, outbound.NewTransport(open, outbound.TransportOptions{}), server.URL); err == nil {
			t.Error("an unknown authority was trusted")
		}

		old := httptest.NewUnstartedServer(http.NotFoundHandler())
		old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
		old.StartTLS()
		defer old.Close()
		roots.AddCert(old.Certificate())
		if err := get(t, outbound.NewTransport(open, outbound.TransportOptions{RootCAs: roots}), old.URL); err == nil {
			t.Error("TLS 1.1 was accepted")
		}
	})
}
