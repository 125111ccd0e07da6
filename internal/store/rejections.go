package store

import (
	"context"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/predicate"
	"github.com/hookgraph/hookgraph/ent/rejection"
	"github.com/hookgraph/hookgraph/internal/hub"
)

func toRejection(row *ent.Rejection) (*hub.Rejection, error) {
	headers, err := decodeHeaders(row.Headers)
	if err != nil {
		return nil, err
	}
	return &hub.Rejection{
		ID: row.ID, SourceID: row.SourceID, Reason: row.Reason, Detail: row.Detail, Method: row.Method,
		Headers: headers, Body: row.Body, ReceivedAt: row.ReceivedAt.Time(),
	}, nil
}

// Rejections returns a page of rejections, newest first.
func (v *View) Rejections(ctx context.Context, f hub.RejectionFilter, page hub.Page) (hub.Slice[*hub.Rejection], error) {
	p, err := newestID().pager(page)
	if err != nil {
		return hub.Slice[*hub.Rejection]{}, err
	}
	list, err := readAll(ctx, v.rejections().Where(all[predicate.Rejection](rejectionConditions(f), p.single)...), toRejection)
	if err != nil {
		return hub.Slice[*hub.Rejection]{}, wrap("list rejections", err)
	}
	return slice(p, list), nil
}

// CountRejections counts the rejections that a filter admits.
func (v *View) CountRejections(ctx context.Context, f hub.RejectionFilter) (int, error) {
	n, err := v.rejections().Where(all[predicate.Rejection](rejectionConditions(f))...).Count(ctx)
	return n, wrap("count rejections", err)
}

// RejectionsOfSources returns a page of the rejections of each source, newest
// first, in one statement for up to 200 sources.
func (v *View) RejectionsOfSources(ctx context.Context, sourceIDs []string, page hub.Page) (map[string]hub.Slice[*hub.Rejection], error) {
	p, err := newestID().pager(page)
	if err != nil {
		return nil, err
	}
	var list []*hub.Rejection
	err = inChunks(sourceIDs, maxArms, func(part []string) error {
		more, err := readAll(ctx, v.rejections().Where(p.each(rejection.FieldSourceID, part, v.ofOperator, nil)), toRejection)
		list = append(list, more...)
		return err
	})
	if err != nil {
		return nil, wrap("list rejections of sources", err)
	}
	return slicesOf(p, sourceIDs, list, func(r *hub.Rejection) string { return r.SourceID }), nil
}

// CountRejectionsOfSources counts the rejections of each source. One without any is
// left out.
func (v *View) CountRejectionsOfSources(ctx context.Context, sourceIDs []string) (map[string]int, error) {
	counts, err := countBy(ctx, v.rejections().Where(rejection.SourceIDIn(sourceIDs...)).
		GroupBy(rejection.FieldSourceID).Aggregate(countOf(rejection.FieldSourceID)))
	return counts, wrap("count rejections of sources", err)
}

// RejectionsByID returns those of the rejections that exist.
func (v *View) RejectionsByID(ctx context.Context, ids []string) (map[string]*hub.Rejection, error) {
	found := make(map[string]*hub.Rejection, len(ids))
	err := inChunks(ids, maxInList, func(part []string) error {
		list, err := readAll(ctx, v.rejections().Where(rejection.IDIn(part...)), toRejection)
		for _, r := range list {
			found[r.ID] = r
		}
		return err
	})
	return found, wrap("read rejections", err)
}
