package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// maxInList keeps lists of IDs well under the 32,766 parameters of SQLite.
const maxInList = 10_000

// order is the order of a list: by one unique column.
type order struct {
	column    string
	ascending bool
	// parse turns a page's key into the column's value.
	parse func(string) (any, error)
}

// The orders of lists.
func newestID() order { return order{column: "id", parse: textKey} }

func bySequence(oldestFirst bool) order {
	return order{column: "sequence", ascending: oldestFirst, parse: sequenceKey}
}

func byNumber() order { return order{column: "number", ascending: true, parse: numberKey} }

func textKey(key string) (any, error) { return key, nil }

// sequenceKey reads hub.Sequence.String.
func sequenceKey(key string) (any, error) {
	n, err := strconv.ParseInt(key, 16, 64)
	if err != nil || hub.Sequence(n).String() != key {
		return nil, badKey(key)
	}
	return n, nil
}

// numberKey reads a decimal number, with or without leading zeros.
func numberKey(key string) (any, error) {
	n, err := strconv.ParseInt(key, 10, 64)
	if err != nil || n < 0 {
		return nil, badKey(key)
	}
	return n, nil
}

func badKey(key string) error {
	return hub.NewError(hub.CodeBadUserInput, fmt.Sprintf("%q is not a cursor of this list", key))
}

// pager is a page in the terms of one list.
type pager struct {
	order
	page          hub.Page
	after, before any // nil for an open end
}

func (o order) pager(p hub.Page) (*pager, error) {
	pg := &pager{order: o, page: p}
	var err error
	if p.After != "" {
		if pg.after, err = o.parse(p.After); err != nil {
			return nil, err
		}
	}
	if p.Before != "" {
		if pg.before, err = o.parse(p.Before); err != nil {
			return nil, err
		}
	}
	return pg, nil
}

// limit is one more than the page, to see whether the list goes on.
func (p *pager) limit() int { return max(p.page.Size, 0) + 1 }

// bound adds the conditions that the page's keys set.
func (p *pager) bound(s *entsql.Selector) {
	column := s.C(p.column)
	beyond, short := entsql.GT, entsql.LT
	if !p.ascending {
		beyond, short = short, beyond
	}
	if p.after != nil {
		s.Where(beyond(column, p.after))
	}
	if p.before != nil {
		s.Where(short(column, p.before))
	}
}

// descending reports how rows are read: page.Backward reads from the end.
func (p *pager) descending() bool { return p.ascending == p.page.Backward }

// direction returns it in the words of SQL.
func (p *pager) direction() func(column string) string {
	if p.descending() {
		return entsql.Desc
	}
	return entsql.Asc
}

func (p *pager) orderBy(s *entsql.Selector) { s.OrderBy(p.direction()(s.C(p.column))) }

// single restricts a query to the page.
func (p *pager) single(s *entsql.Selector) {
	p.bound(s)
	p.orderBy(s)
	s.Limit(p.limit())
}

// ranked restricts a query to the page of each parent, by a window function: the
// way where each parent has few children, since all of them are read.
func (p *pager) ranked(parent string) condition {
	return func(s *entsql.Selector) { p.rank(s, parent) }
}

func (p *pager) rank(s *entsql.Selector, parent string) {
	p.bound(s)
	d := entsql.Dialect(s.Dialect())
	place := entsql.RowNumber().PartitionBy(s.C(parent))
	place.OrderExpr(entsql.Expr(p.direction()(s.C(p.column))))
	columns := s.UnqualifiedColumns()
	inner := *s // not Clone, which loses the operators of its predicates
	t := entsql.Table("ranked")
	with := d.With("ranked").As(inner.AppendSelectExprAs(place, "place"))
	*s = *d.Select(columns...).From(t).Where(entsql.LTE(t.C("place"), p.limit())).OrderBy(p.direction()(t.C(p.column))).Prefix(with)
}

// maxArms keeps each under the 500 terms that SQLite allows in one statement.
const maxArms = 200

// each makes a query the page of each parent under the conditions and in sight, by one
// arm of a union for each: the way where a parent may have very many children, since each arm
// stops at its limit. It takes at most maxArms parents.
func (p *pager) each(parent string, ids []string, inSight condition, conditions []condition) condition {
	return func(s *entsql.Selector) {
		d := entsql.Dialect(s.Dialect())
		columns := s.UnqualifiedColumns()
		var all *entsql.Selector
		for i, id := range ids {
			part := d.Select(columns...).From(entsql.Table(s.TableName()))
			part.Where(entsql.EQ(part.C(parent), id))
			inSight(part)
			for _, restrict := range conditions {
				restrict(part)
			}
			p.single(part)
			arm := d.Select(columns...).From(part.As("arm" + strconv.Itoa(i)))
			if all == nil {
				all = arm
			} else {
				all.UnionAll(arm)
			}
		}
		*s = *all.OrderBy(p.direction()(p.column))
	}
}

// slice makes the answer of the rows that a query restricted to the page returned.
func slice[T any](p *pager, items []T) hub.Slice[T] {
	more := len(items) > p.page.Size
	if more {
		items = items[:max(p.page.Size, 0)]
	}
	if p.page.Backward {
		slices.Reverse(items)
		return hub.Slice[T]{Items: items, HasPrevious: more || p.after != nil, HasNext: p.before != nil}
	}
	return hub.Slice[T]{Items: items, HasNext: more || p.before != nil, HasPrevious: p.after != nil}
}

// slicesOf groups rows of several parents, sorted as the page reads them, and makes
// the answer of each parent. A parent without rows has an empty slice.
func slicesOf[T any](p *pager, parents []string, items []T, parentOf func(T) string) map[string]hub.Slice[T] {
	grouped := make(map[string][]T, len(parents))
	for _, item := range items {
		id := parentOf(item)
		grouped[id] = append(grouped[id], item)
	}
	answer := make(map[string]hub.Slice[T], len(parents))
	for _, id := range parents {
		answer[id] = slice(p, grouped[id])
	}
	return answer
}

// inChunks calls do with parts of a list of IDs that one statement can take.
func inChunks(ids []string, size int, do func([]string) error) error {
	for part := range slices.Chunk(ids, size) {
		if err := do(part); err != nil {
			return err
		}
	}
	return nil
}

// countOf counts rows by a column, for countBy.
func countOf(column string) func(*entsql.Selector) string {
	return func(s *entsql.Selector) string {
		s.Select(entsql.As(s.C(column), "parent"), entsql.As(entsql.Count("*"), "n"))
		return ""
	}
}

// countBy reads counts grouped by one column. What has no rows is left out.
func countBy(ctx context.Context, q interface {
	Scan(context.Context, any) error
},
) (map[string]int, error) {
	var rows []struct {
		Parent string `json:"parent"`
		N      int    `json:"n"`
	}
	if err := q.Scan(ctx, &rows); err != nil {
		return nil, err
	}
	counts := make(map[string]int, len(rows))
	for _, row := range rows {
		counts[row.Parent] = row.N
	}
	return counts, nil
}
