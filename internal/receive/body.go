package receive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

const (
	// firstBuffer is what a body gets at first, however much it announces, so that
	// announcing is not enough to take memory.
	firstBuffer = 64 << 10
	// chunkedBuffer is the same for a body that announces nothing.
	chunkedBuffer = 4 << 10
	// startTimeout bounds the wait for the start of a body that is refused anyway.
	startTimeout = 2 * time.Second
)

// readBody reads a request's body within the source's bound and the time allowed.
// Where that fails, what was read stays in the request for the rejection; code is
// "" unless the sender's answer differs from that for the reason.
func (d *Door) readBody(w http.ResponseWriter, r *http.Request, src *hub.Source, req *webhook.Request) (webhook.Verdict, hub.Code) {
	limit := maxBody(src)
	if r.ContentLength > int64(limit) {
		d.keepStart(w, r, req)
		return webhook.Verdict{Reason: hub.RejectedBodyTooLarge, Detail: fmt.Sprintf(
			"The request announced a body of %d bytes; the source accepts %d (maxBodyBytes).", r.ContentLength, limit)}, ""
	}
	if r.ContentLength == 0 {
		req.Body = []byte{}
		return webhook.Verdict{}, ""
	}
	var err error
	req.Body, err = read(r.Body, int(r.ContentLength), limit)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return webhook.Verdict{Reason: hub.RejectedBodyInvalid, Detail: fmt.Sprintf(
			"The body did not come in whole within %s: %s.", d.readTimeout, progress(req.Body, r.ContentLength))}, hub.CodeTimeout
	case err != nil:
		return webhook.Verdict{Reason: hub.RejectedBodyInvalid, Detail: fmt.Sprintf(
			"The body ended before it was whole: %s. Usually the sender gave up or the connection broke.", progress(req.Body, r.ContentLength))}, ""
	case len(req.Body) > limit:
		return tooLarge(src), ""
	}
	return webhook.Verdict{}, ""
}

// keepStart reads the start of a body that is refused without a look at it, for
// the rejection alone. A sender that waits to be told to go on is not told.
func (d *Door) keepStart(w http.ResponseWriter, r *http.Request, req *webhook.Request) {
	if r.ContentLength == 0 || r.Header.Get("Expect") != "" {
		return
	}
	bound(w, min(startTimeout, d.readTimeout))
	announced := min(r.ContentLength, hub.MaxRejectionBodyBytes)
	// What came before an error is kept; the error says nothing new.
	req.Body, _ = read(r.Body, int(announced), hub.MaxRejectionBodyBytes)
}

// bound limits the time that reading the body may take, ours as well as what
// net/http reads past before it answers. Real time is meant, whatever the hub's
// clock. It is not lifted again: net/http does so before the next request.
func bound(w http.ResponseWriter, timeout time.Duration) {
	// An error means that there is no connection, as in a test: nothing to bound.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout))
}

// read reads the announced number of bytes or, where it is negative, up to one
// more than the limit. Memory grows with what has come, not with what was announced.
func read(body io.Reader, announced, limit int) ([]byte, error) {
	want, first := announced, min(announced, firstBuffer)
	if announced < 0 {
		want = limit + 1
		first = min(want, chunkedBuffer)
	}
	buffer := make([]byte, 0, first)
	for len(buffer) < want {
		if len(buffer) == cap(buffer) {
			grown := make([]byte, len(buffer), min(2*cap(buffer), want))
			copy(grown, buffer)
			buffer = grown
		}
		n, err := body.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return buffer, err // as it is, for the caller to tell apart
		}
	}
	if cap(buffer) > len(buffer)+len(buffer)/4 {
		buffer = bytes.Clone(buffer) // events stay in memory for a while; their room should not
	}
	return buffer, nil
}

func progress(body []byte, announced int64) string {
	if announced < 0 {
		return fmt.Sprintf("%d bytes of a body of unknown length came", len(body))
	}
	return fmt.Sprintf("%d of %d bytes came", len(body), announced)
}

// tooLarge refuses a body that is longer than its source accepts.
func tooLarge(src *hub.Source) webhook.Verdict {
	return webhook.Verdict{Reason: hub.RejectedBodyTooLarge, Detail: fmt.Sprintf(
		"The body is longer than the %d bytes that the source accepts (maxBodyBytes).", maxBody(src))}
}
