package wake_test

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/hookgraph/hookgraph/internal/wake"
)

const patience = 20 * time.Second

// runNATS starts a server.
func runNATS(t *testing.T) *server.Server {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	if !s.ReadyForConnections(patience) {
		t.Fatal("NATS does not start")
	}
	return s
}

// door is an address that leads to a server or to none. It stays the test's own meanwhile,
// while the port of a server that has stopped may be another's a moment later.
type door struct {
	listener net.Listener
	work     sync.WaitGroup

	mu sync.Mutex
	to *server.Server // nil: whoever comes is turned away
}

func newDoor(t *testing.T) *door {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{listener: listener}
	d.work.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			d.work.Go(func() { d.let(conn) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		d.work.Wait()
	})
	return d
}

func (d *door) url() string { return "nats://" + d.listener.Addr().String() }

func (d *door) leadTo(s *server.Server) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.to = s
}

// let carries a connection to its end, which comes with that of either side.
func (d *door) let(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	d.mu.Lock()
	to := d.to
	d.mu.Unlock()
	if to == nil {
		return
	}
	inside, err := net.Dial("tcp", to.Addr().String())
	if err != nil {
		return
	}
	defer func() { _ = inside.Close() }()
	d.work.Go(func() {
		_, _ = io.Copy(inside, conn)
		_ = inside.Close()
	})
	_, _ = io.Copy(conn, inside)
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
	s := runNATS(t)
	defer stopNATS(s)
	a, b, other := connect(t, s.ClientURL(), "epoch 1.*"), connect(t, s.ClientURL(), "epoch 1.*"), connect(t, s.ClientURL(), "epoch-2")
	defer a.Close()
	defer b.Close()
	defer other.Close()
	atA, _ := a.Watch()
	atB, _ := b.Watch()
	atOther, _ := other.Watch()

	// What came with being connected may come late, but what comes back would each time.
	deadline := time.Now().Add(patience)
	for quiet := 0; quiet < 3; {
		settle(t, atA, atB, atOther)
		a.Notify()
		if !woken(atA) {
			t.Fatal("the own watcher was not woken at once")
		}
		await(t, "the other node", atB)
		settle(t) // time enough for an echo
		echoed, strayed := woken(atA), woken(atOther)
		switch late := time.Now().After(deadline); {
		case !echoed && !strayed:
			quiet++
		case late && echoed:
			t.Fatal("the own notification came back")
		case late:
			t.Fatal("another database's node was woken")
		}
	}
}

func TestALostNATSBlocksNothingAndComesBack(t *testing.T) {
	t.Parallel()
	s, at := runNATS(t), newDoor(t)
	at.leadTo(s)
	a, b := connect(t, at.url(), "epoch"), connect(t, at.url(), "epoch")
	defer a.Close()
	defer b.Close()
	atA, _ := a.Watch()
	atB, _ := b.Watch()
	settle(t, atA, atB)

	at.leadTo(nil)
	stopNATS(s)
	told := make(chan struct{})
	go func() {
		for range 10_000 {
			a.Notify()
		}
		close(told)
	}()
	await(t, "whoever notifies without NATS", told)
	await(t, "the own watcher without NATS", atA)

	s = runNATS(t)
	defer stopNATS(s)
	at.leadTo(s)
	await(t, "a node whose connection is back, as it may have missed something", atB)
	await(t, "the other one too", atA)
	settle(t, atA, atB)
	b.Notify()
	await(t, "the other node after the return", atA)
}

func TestNATSMayComeUpLater(t *testing.T) {
	t.Parallel()
	at := newDoor(t)
	b := connect(t, at.url(), "epoch")
	defer b.Close()
	ch, _ := b.Watch()
	b.Notify()
	if !woken(ch) {
		t.Fatal("the own watcher was not woken")
	}
	s := runNATS(t)
	defer stopNATS(s)
	at.leadTo(s)
	await(t, "the node that is connected now", ch)
}

func TestClosingWithoutAServerDoesNotHang(t *testing.T) {
	t.Parallel()
	s := runNATS(t)
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
