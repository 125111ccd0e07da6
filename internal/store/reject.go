package store

import (
	"context"
	"slices"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// rejectRequest is a rejection on its way through the writer.
type rejectRequest struct {
	ticket
	rejection hub.Rejection
	headers   []byte
	size      int  // what counts against the source's bound
	capture   bool // it is stored only as long as its source captures
	captured  bool // whether it was
}

// Reject stores a request that was refused and returns once that is durable. Each
// source keeps its newest hub.MaxRejections of at most hub.MaxRejectionBytes. Of one
// that is stored already, the detail is replaced.
func (s *Store) Reject(ctx context.Context, in *hub.Rejection) error {
	return s.reject(ctx, newRejectRequest(in))
}

// Capture stores a request as Reject does, if its source still has requests to capture,
// and counts that down. It reports whether it has: each order of captures is filled
// exactly, however many requests come at once and through whichever node.
func (s *Store) Capture(ctx context.Context, in *hub.Rejection) (bool, error) {
	r := newRejectRequest(in)
	r.capture = true
	err := s.reject(ctx, r)
	return err == nil && r.captured, err
}

func newRejectRequest(in *hub.Rejection) *rejectRequest {
	r := &rejectRequest{ticket: newTicket(), rejection: *in, headers: encodeHeaders(in.Headers)}
	kept := &r.rejection
	kept.Body = append([]byte{}, in.Body[:min(len(in.Body), hub.MaxRejectionBodyBytes)]...)
	kept.Detail, kept.Method = clean(in.Detail), clean(in.Method)
	r.size = len(kept.Body) + len(r.headers) + len(kept.Detail) + len(kept.Method)
	return r
}

func (s *Store) reject(ctx context.Context, r *rejectRequest) error {
	if !s.writing() {
		return unavailable(errStopping)
	}
	if err := s.queue.addRejection(r); err != nil {
		return unavailable(err)
	}
	if !r.wait(ctx.Done()) {
		return ctx.Err()
	}
	return r.err
}

// pruneRejections deletes what exceeds a source's bounds, oldest first. SQLite and
// PostgreSQL read it alike.
const pruneRejections = `DELETE FROM rejections WHERE source_id = $1 AND id IN (
	SELECT id FROM (
		SELECT id, row_number() OVER newest AS place, sum(size) OVER newest AS total
		FROM rejections WHERE source_id = $1 WINDOW newest AS (ORDER BY id DESC)
	) AS kept WHERE place > $2 OR total > $3)`

// rejectedAgain tells a rejection that is stored already anew.
const rejectedAgain = "ON CONFLICT (id) DO UPDATE SET detail = excluded.detail, size = excluded.size"

// rejectedSources lists each source that the plan stores rejections of.
func (p *plan) rejectedSources() []string {
	var sources []string
	for _, r := range p.rejections {
		if !slices.Contains(sources, r.rejection.SourceID) {
			sources = append(sources, r.rejection.SourceID)
		}
	}
	slices.Sort(sources) // two nodes lock rows in one order
	return sources
}

// revisions is by how much the plan raises the revision of the configuration.
func (p *plan) revisions() int64 {
	if p.reconfigure {
		return 1
	}
	return 0
}
