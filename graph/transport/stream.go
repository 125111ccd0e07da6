package transport

import (
	"context"
	"errors"
	"io"
	"slices"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Message is one payload of a subscription before its selection is executed.
type Message[T any] struct {
	// Position is where the stream stands behind the payload.
	Position string
	// Content names everything that the payload holds, the position included:
	// messages of equal content are answered alike to whoever has sent the same
	// operation and may see the same. Arguments of the subscription's field need not
	// be told apart by anything else. A message with none is shared with nobody.
	Content string
	// Payload makes what is executed. It is not called where the answer is shared.
	Payload func() T
}

// ErrInterrupted says that a stream is cut although it has not ended, so that its
// reader reconnects.
var ErrInterrupted = errors.New("the stream is interrupted")

// Feed makes the channel that a subscription's resolver returns. The transport
// calls next, from one goroutine, whenever the reader has taken what came before,
// so that a slow reader lags in its source and not in memory. The stream ends with
// io.EOF, is cut with ErrInterrupted, and fails with any other error, which the
// reader is shown.
func Feed[T any](ctx context.Context, next func(context.Context) (Message[T], error)) <-chan T {
	payloads := make(chan T, 1) // it is filled right before it is emptied
	if s := StreamFromContext(ctx); s.advance == nil {
		s.advance = func(ctx context.Context) (drawn, error) {
			m, err := next(ctx)
			return drawn{m.Position, m.Content, func() { payloads <- m.Payload() }}, err
		}
	}
	return payloads
}

// Stream is what a subscription's resolver and the transport know of each other.
// It belongs to the goroutine that executes the operation.
type Stream struct {
	lastEventID string
	// advance waits for the next message; nil where the operation is no subscription.
	advance func(context.Context) (drawn, error)
}

// drawn is a message whose payload may be handed to the executor.
type drawn struct {
	position, content string
	deliver           func()
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

// execution is an operation that gives one answer after another.
type execution struct {
	ctx     context.Context
	respond graphql.ResponseHandler
	stream  *Stream
	share   *share
	crowd   crowd
	begun   bool // it has answered
}

// execute begins an operation. The caller calls end when it wants no more of it.
func (h *Handler) execute(ctx context.Context, operation *graphql.OperationContext, stream *Stream) *execution {
	x := &execution{stream: stream, share: &h.share}
	x.respond, x.ctx = h.cfg.Executor.DispatchOperation(ctx, operation)
	if stream.advance != nil {
		x.crowd = crowdOf(ctx, operation)
		x.share.join(x.crowd)
	}
	return x
}

// end lets go of what the execution shares.
func (x *execution) end() {
	if x.stream.advance != nil {
		x.share.leave(x.crowd)
	}
}

// next waits for the next answer. The error is io.EOF where there are no more,
// ErrInterrupted, or why the stream cannot go on.
func (x *execution) next() (*answer, string, error) {
	if x.stream.advance == nil {
		out := answerOf(x.respond(x.ctx))
		if out == nil {
			return nil, "", io.EOF
		}
		return out, "", nil
	}
	message, err := x.stream.advance(x.ctx)
	if err != nil {
		return nil, "", err
	}
	if !x.begun { // the first answer tells what the operation cost its own credential
		message.content, x.begun = "", true
	}
	out := x.share.answer(x.ctx, x.crowd, message.content, func() *answer {
		message.deliver()
		return answerOf(x.respond(x.ctx))
	})
	if out == nil {
		return nil, "", io.EOF
	}
	return out, message.position, nil
}

// answer is an answer as it is sent. Many streams may hold the same one.
type answer struct {
	body []byte
	// failed is the answer of an operation that could not start; it has no data.
	failed *graphql.Response
	// passing is what another attempt may answer better.
	passing bool
}

// answerOf encodes a response, nil for none.
func answerOf(response *graphql.Response) *answer {
	switch {
	case response == nil:
		return nil
	case len(response.Data) == 0:
		return &answer{body: encode(response), failed: response}
	}
	return &answer{body: encode(response), passing: slices.ContainsFunc(response.Errors, func(err *gqlerror.Error) bool {
		return err.Extensions["code"] != string(hub.CodeForbidden)
	})}
}
