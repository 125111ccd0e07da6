package app_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/hookgraph/hookgraph/internal/config"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// inProcess makes the test's binary a hub, so that a test can kill one.
const inProcess = "HOOKGRAPH_TEST_IN_PROCESS"

// killable is a hub in a process of its own, so that it can be killed.
type killable struct {
	*client
	o config.Server

	mu  sync.Mutex
	cmd *exec.Cmd // nil while it is dead
}

// launch starts a hub in a process of its own. Of the options it takes the environment,
// the database and NATS.
func launch(t *testing.T, o config.Server) *killable {
	t.Helper()
	o.Addr = testkit.FreeAddr(t)
	p := &killable{client: &client{t: t, url: "http://" + o.Addr, key: operatorKey}, o: o}
	t.Cleanup(p.kill)
	p.start()
	return p
}

func (p *killable) start() {
	p.t.Helper()
	program, err := os.Executable()
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", "--env", string(p.o.Environment), "--database-url", p.o.DatabaseURL, "--nats-url", p.o.NATSURL, "--addr", p.o.Addr,
		"--operator-key", operatorKey, "--secret-key", secretKey, "--allow-networks", "127.0.0.0/8")
	cmd.Env = append(os.Environ(), inProcess+"=1")
	var log testkit.Output
	cmd.Stderr = &log
	p.t.Cleanup(func() {
		if p.t.Failed() {
			p.t.Logf("the hub said: %s", log.String())
		}
	})
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.cmd = cmd
	p.mu.Unlock()
	testkit.Eventually(p.t, "the hub serves", func() bool { return strings.Contains(log.String(), "serving") })
}

// kill ends the hub as a power failure would. A second call does nothing.
func (p *killable) kill() {
	p.mu.Lock()
	cmd := p.cmd
	p.cmd = nil
	p.mu.Unlock()
	if cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
