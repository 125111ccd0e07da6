package transport

import (
	"context"
	"sync"
)

// Stream is what a subscription's resolver tells the transport beside its
// payloads: where each stands, and why there are no more.
type Stream struct {
	lastEventID string

	// mu guards the fields below.
	mu          sync.Mutex
	positions   []string // of payloads handed over and not yet written, in order
	err         error
	interrupted bool
}

type streamKey struct{}

func withStream(ctx context.Context, s *Stream) context.Context {
	return context.WithValue(ctx, streamKey{}, s)
}

// StreamFromContext returns the stream that a subscription feeds. Outside one it
// returns a stream that nobody reads.
func StreamFromContext(ctx context.Context) *Stream {
	if s, ok := ctx.Value(streamKey{}).(*Stream); ok {
		return s
	}
	return &Stream{}
}

// LastEventID is the position from which a reconnecting reader of server-sent
// events goes on, "" if it has none.
func (s *Stream) LastEventID() string { return s.lastEventID }

// Advance says where the next payload stands. It is called once before each
// payload is sent.
func (s *Stream) Advance(position string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.positions = append(s.positions, position)
}

// Fail says that the stream cannot go on. It is called before the channel of
// payloads is closed.
func (s *Stream) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// Interrupt says that the stream is cut although it has not ended, so that the
// reader reconnects. It is called before the channel of payloads is closed.
func (s *Stream) Interrupt() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.interrupted = true
}

// position returns where the payload stands that is written now.
func (s *Stream) position() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.positions) == 0 {
		return ""
	}
	first := s.positions[0]
	s.positions = s.positions[1:]
	return first
}

// ending returns why there are no more payloads: interrupted, an error, or
// neither where the stream has come to its end.
func (s *Stream) ending() (interrupted bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.interrupted, s.err
}
