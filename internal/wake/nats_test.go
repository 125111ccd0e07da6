package wake_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hookgraph/hookgraph/internal/wake"
)

const patience = 20 * time.Second

// runNATS starts a server; port -1 takes a free one.
func runNATS(t *testing.T, port int) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	return s
}

func stopNATS(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

func connect(t *testing.T, address, topic string) *wake.Bus {
	t.Helper()
	b, err := wake.ConnectNATS(t.Context(), address, topic, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func await(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(patience):
		t.Fatalf("not woken: %s", what)
	}
}

// settle waits until the wake-ups are over that come with being connected: each
// node tells of itself once.
func settle(t *testing.T, channels ...<-chan struct{}) {
	t.Helper()
	quiet := time.NewTimer(300 * time.Millisecond)
	defer quiet.Stop()
	for {
		select {
		case <-quiet.C:
			return
		default:
		}
		for _, ch := range channels {
			if woken(ch) {
				quiet.Reset(300 * time.Millisecond)
			}
		}
		<-time.After(time.Millisecond)
	}
}

func TestNATSWakesTheOtherNodesOfTheDatabase(t *testing.T) {
	t.Parallel()
	s := runNATS(t, -1)
	defer stopNATS(s)
	a, b, other := connect(t, s.ClientURL(), "epoch 1.*"), connect(t, s.ClientURL(), "epoch 1.*"), connect(t, s.ClientURL(), "epoch-2")
	defer a.Close()
	defer b.Close()
	defer other.Close()
	atA, _ := a.Watch()
	atB, _ := b.Watch()
	atOther, _ := other.Watch()
	settle(t, atA, atB, atOther)

	a.Notify()
	if !woken(atA) {
		t.Fatal("the own watcher was not woken at once")
	}
	await(t, "the other node", atB)
	settle(t) // time enough for an echo
	if woken(atA) {
		t.Fatal("the own notification came back")
	}
	if woken(atOther) {
		t.Fatal("another database's node was woken")
	}
}

func TestALostNATSBlocksNothingAndComesBack(t *testing.T) {
	t.Parallel()
	s := runNATS(t, -1)
	port := s.Addr().(*net.TCPAddr).Port
	a, b := connect(t, s.ClientURL(), "epoch"), connect(t, s.ClientURL(), "epoch")
	defer a.Close()
	defer b.Close()
	atA, _ := a.Watch()
	atB, _ := b.Watch()
	settle(t, atA, atB)

	stopNATS(s)
	began := time.Now()
	for range 10_000 {
		a.Notify()
	}
	if took := time.Since(began); took > time.Second {
		t.Fatalf("took %v", took)
	}
	await(t, "the own watcher without NATS", atA)

	s = runNATS(t, port)
	defer stopNATS(s)
	await(t, "a node whose connection is back, as it may have missed something", atB)
	await(t, "the other one too", atA)
	settle(t, atA, atB)
	b.Notify()
	await(t, "the other node after the return", atA)
}

func TestNATSMayComeUpLater(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	_ = listener.Close()
	b := connect(t, fmt.Sprintf("nats://127.0.0.1:%d", port), "epoch")
	defer b.Close()
	ch, _ := b.Watch()
	b.Notify()
	if !woken(ch) {
		t.Fatal("the own watcher was not woken")
	}
	s := runNATS(t, port)
	defer stopNATS(s)
	await(t, "the node that is connected now", ch)
}

func TestClosingWithoutAServerDoesNotHang(t *testing.T) {
	t.Parallel()
	s := runNATS(t, -1)
	b := connect(t, s.ClientURL(), "epoch")
	stopNATS(s)
	done := make(chan struct{})
	go func() {
		b.Close()
		b.Close()
		b.Notify()
		close(done)
	}()
	await(t, "whoever waits for the close", done)
}

func TestAddressesThatCanNeverWork(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "nats://", "http://user:hunter2@host:4222", "nats://user:hunter2@ho st", "nats://a,,nats://b"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		b, err := wake.ConnectNATS(ctx, address, "epoch", slog.New(slog.DiscardHandler))
		cancel()
		if err == nil {
			b.Close()
			t.Errorf("%q was taken", address)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}
