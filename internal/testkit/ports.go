package testkit

import (
	"math/rand/v2"
	"net"
	"strconv"
	"testing"
)

// The ports that tests are given. They lie below those that the system gives to whoever
// connects or listens without asking for one.
const (
	firstPort = 20_000
	lastPort  = 32_000
)

// FreeAddr returns a loopback address that nothing listens on, and that no other test is
// given until this one ends: a hub can restart at it, and nobody answers where none is.
func FreeAddr(t testing.TB) string {
	t.Helper()
	for range 1000 {
		addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.IntN(lastPort-firstPort)))
		given, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp", addr) // which tells other processes
		if err != nil {
			continue
		}
		l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", addr)
		if err != nil {
			_ = given.Close()
			continue
		}
		_ = l.Close()
		t.Cleanup(func() { _ = given.Close() })
		return addr
	}
	t.Fatal("no port is free")
	return ""
}
