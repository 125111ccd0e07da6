package testkit

import (
	"context"
	"net"
	"sync"
)

// Pipe is a listener whose connections stay inside the process, so that a server and its
// clients can be in one bubble of testing/synctest. A connection holds nothing: what is
// written to it waits until it is read.
type Pipe struct {
	dialled chan net.Conn
	closed  chan struct{}
	once    sync.Once
}

// NewPipe makes a Pipe.
func NewPipe() *Pipe { return &Pipe{dialled: make(chan net.Conn), closed: make(chan struct{})} }

// Dial connects to whoever accepts, whatever the address.
func (p *Pipe) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	var err error
	select {
	case p.dialled <- theirs:
		return ours, nil
	case <-p.closed:
		err = net.ErrClosed
	case <-ctx.Done():
		err = ctx.Err()
	}
	_ = ours.Close()
	return nil, err
}

// Accept waits for a connection.
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.dialled:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept and Dial, and no connection.
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// Addr is no address that others could use.
func (*Pipe) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }
