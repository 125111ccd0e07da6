package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	entrollup "github.com/hookgraph/hookgraph/ent/rollup"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// MaxStatsBuckets is how many buckets one question may ask for.
const MaxStatsBuckets = 500

// grain is how finely rollups of a certain age are kept.
type grain struct {
	width time.Duration
	kept  time.Duration // how long, before they are merged into the next; 0: for good
}

// grains are such that a question with as many buckets as are admitted, up to now, can
// be answered by each of them: 500 buckets of 10 s are 83 minutes. Each width divides
// the next.
var grains = []grain{
	{10 * time.Second, 2 * time.Hour},
	{time.Minute, 24 * time.Hour},
	{5 * time.Minute, 8 * 24 * time.Hour},
	{time.Hour, 0},
}

// grainAt returns the width of the rollups that are sure to be had of a moment.
func grainAt(moment, now time.Time) time.Duration {
	for _, g := range grains {
		if g.kept == 0 || moment.After(now.Add(-g.kept)) {
			return g.width
		}
	}
	return grains[len(grains)-1].width
}

// StatsQuery asks for statistics over time.
type StatsQuery struct {
	Since  time.Time
	Until  time.Time // now if zero
	Bucket time.Duration
	Filter hub.StatsFilter
}

// Stats returns the buckets that cover a span, oldest first, empty ones included. They
// begin at multiples of their length in UTC, so the first begins at or before Since and
// the last ends at or after Until. A question that cannot be answered is a
// BAD_USER_INPUT.
func (v *View) Stats(ctx context.Context, q StatsQuery) ([]*hub.StatsBucket, error) {
	now := v.store.clock.Now()
	if q.Until.IsZero() {
		q.Until = now.Add(time.Microsecond) // what happens right now is in it
	}
	if err := checkStats(q, now); err != nil {
		return nil, err
	}
	from, to := q.Since.Truncate(q.Bucket), ceilTime(q.Until, q.Bucket)
	span := to.Sub(from)
	if span/q.Bucket > MaxStatsBuckets {
		return nil, hub.NewError(hub.CodeBadUserInput, fmt.Sprintf(
			"since to until is %d buckets and at most %d are answered: ask for longer buckets or a shorter span", span/q.Bucket, MaxStatsBuckets))
	}
	sums := make([]*sum, span/q.Bucket)
	for i := range sums {
		sums[i] = newSum(from.Add(time.Duration(i) * q.Bucket))
	}
	err := v.eachRollup(ctx, from, to, q.Filter, func(row *storedRollup) error {
		return sums[row.start.Time().Sub(from)/q.Bucket].add(row)
	})
	if err != nil {
		return nil, wrap("read statistics", err)
	}
	buckets := make([]*hub.StatsBucket, len(sums))
	for i, one := range sums {
		buckets[i] = one.bucket()
	}
	return buckets, nil
}

// NewestStats returns the bucket that now lies in, after the one before it where that
// one has ended since it was last asked for: since lies in it, or is zero.
func (v *View) NewestStats(ctx context.Context, bucket time.Duration, f hub.StatsFilter, since time.Time) ([]*hub.StatsBucket, error) {
	now := v.store.clock.Now()
	if since.IsZero() || since.After(now) {
		since = now
	}
	if before := now.Add(-bucket); since.Before(before) {
		since = before
	}
	return v.Stats(ctx, StatsQuery{Since: since, Bucket: bucket, Filter: f})
}

// checkStats refuses what has no answer.
func checkStats(q StatsQuery, now time.Time) error {
	refuse := func(format string, values ...any) error {
		return hub.NewError(hub.CodeBadUserInput, fmt.Sprintf(format, values...))
	}
	finest := grains[0].width
	switch {
	case !q.Since.Before(q.Until):
		return refuse("since must lie before until")
	case q.Bucket < finest || q.Bucket%finest != 0:
		return refuse("bucket must be a multiple of %s", isoDuration(finest))
	case q.Until.Sub(q.Since) > 100*365*24*time.Hour:
		return refuse("since to until is longer than a hundred years")
	}
	if needed := grainAt(q.Since.Truncate(q.Bucket), now); q.Bucket%needed != 0 {
		return refuse("statistics as old as since are kept by %s: bucket must be a multiple of that, or since later", isoDuration(needed))
	}
	return nil
}

// isoDuration writes the widths of grains.
func isoDuration(d time.Duration) string {
	switch {
	case d%time.Hour == 0:
		return fmt.Sprintf("PT%dH", d/time.Hour)
	case d%time.Minute == 0:
		return fmt.Sprintf("PT%dM", d/time.Minute)
	}
	return fmt.Sprintf("PT%dS", d/time.Second)
}

func ceilTime(t time.Time, width time.Duration) time.Time {
	if floor := t.Truncate(width); !floor.Equal(t) {
		return floor.Add(width)
	}
	return t
}

// StatsParent names whose statistics are asked for.
type StatsParent string

// Those who have statistics of their own.
const (
	StatsOfSources   StatsParent = entrollup.FieldSourceID
	StatsOfEndpoints StatsParent = entrollup.FieldEndpointID
)

// StatsOf returns one bucket for each parent over a span, in one statement. The span is
// widened to whole rollups: by up to 10 s at its ends, and more where it is old.
func (v *View) StatsOf(ctx context.Context, parent StatsParent, ids []string, since, until time.Time) (map[string]*hub.StatsBucket, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	now := v.store.clock.Now()
	if until.IsZero() {
		until = now.Add(time.Microsecond)
	}
	width := grainAt(since.Truncate(grains[len(grains)-1].width), now)
	if err := checkStats(StatsQuery{Since: since, Until: until, Bucket: width}, now); err != nil {
		return nil, err
	}
	from, to := since.Truncate(width), ceilTime(until, width)
	sums := make(map[string]*sum, len(ids))
	for _, id := range ids {
		sums[id] = newSum(from)
	}
	filter := hub.StatsFilter{SourceIDs: ids}
	if parent == StatsOfEndpoints {
		filter = hub.StatsFilter{EndpointIDs: ids}
	}
	err := v.eachRollup(ctx, from, to, filter, func(row *storedRollup) error {
		id := row.source
		if parent == StatsOfEndpoints {
			id = row.endpoint
		}
		return sums[id].add(row)
	})
	if err != nil {
		return nil, wrap("read statistics", err)
	}
	found := make(map[string]*hub.StatsBucket, len(sums))
	for id, one := range sums {
		found[id] = one.bucket()
	}
	return found, nil
}

// rollupConditions restrict rollups to those in sight that a filter admits.
func (v *View) rollupConditions(f hub.StatsFilter) []condition {
	return []condition{
		v.ofRollups,
		anyOf(entrollup.FieldSourceID, f.SourceIDs),
		anyOf(entrollup.FieldEndpointID, f.EndpointIDs),
		anyOf(entrollup.FieldSubscriptionID, f.SubscriptionIDs),
		anyOf(entrollup.FieldPartnerID, f.PartnerIDs),
	}
}

// storedRollup is a row as it is stored.
type storedRollup struct {
	rollupKey
	counters          counters
	latency, endToEnd []byte
}

var storedColumns = []string{
	entrollup.FieldStart, entrollup.FieldSourceID, entrollup.FieldEndpointID, entrollup.FieldSubscriptionID, entrollup.FieldPartnerID,
	entrollup.FieldReceived, entrollup.FieldDuplicates, entrollup.FieldRejected, entrollup.FieldDeliveriesCreated,
	entrollup.FieldDelivered, entrollup.FieldDead, entrollup.FieldAttempts, entrollup.FieldFailedAttempts,
	entrollup.FieldLatency, entrollup.FieldEndToEnd,
}

func (r *storedRollup) columns() []any {
	fields := append([]any{&r.start, &r.source, &r.endpoint, &r.subscription, &r.partner}, r.counters.fields()...)
	return append(fields, &r.latency, &r.endToEnd)
}

// eachRollup hands over the rows of a span that are in sight. They are reused from one
// to the next. Every question about statistics goes through it.
func (v *View) eachRollup(ctx context.Context, from, to time.Time, f hub.StatsFilter, visit func(*storedRollup) error) error {
	build := entsql.Dialect(v.store.reads.Dialect())
	table := build.Table(entrollup.Table)
	widths := make([]any, len(grains))
	for i, g := range grains {
		widths[i] = int64(g.width / time.Second)
	}
	sel := build.Select(table.Columns(storedColumns...)...).From(table).Where(entsql.And(
		entsql.In(table.C(entrollup.FieldWidth), widths...), // so that the index serves
		entsql.GTE(table.C(entrollup.FieldStart), micros(from)), entsql.LT(table.C(entrollup.FieldStart), micros(to))))
	for _, condition := range v.rollupConditions(f) {
		condition(sel)
	}
	query, args := sel.Query()
	return scanRollups(ctx, v.store.reads, query, args, visit)
}

func scanRollups(ctx context.Context, in dialect.ExecQuerier, query string, args []any, visit func(*storedRollup) error) error {
	rows := &entsql.Rows{}
	if err := in.Query(ctx, query, args, rows); err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	row := &storedRollup{}
	columns := row.columns()
	for rows.Next() {
		if err := rows.Scan(columns...); err != nil {
			return err
		}
		if err := visit(row); err != nil {
			return err
		}
	}
	return rows.Err()
}

// sum adds rollups up.
type sum struct {
	start             time.Time
	counters          counters
	latency, endToEnd *sketch
}

func newSum(start time.Time) *sum {
	return &sum{start: start, latency: newSketch(), endToEnd: newSketch()}
}

func (s *sum) add(row *storedRollup) error {
	s.counters.add(row.counters)
	if err := s.latency.merge(row.latency); err != nil {
		return err
	}
	return s.endToEnd.merge(row.endToEnd)
}

func (s *sum) bucket() *hub.StatsBucket {
	c := s.counters
	return &hub.StatsBucket{
		Start: s.start, Received: int(c.received), Duplicates: int(c.duplicates), Rejected: int(c.rejected),
		DeliveriesCreated: int(c.deliveriesCreated), Delivered: int(c.delivered), Dead: int(c.dead),
		Attempts: int(c.attempts), FailedAttempts: int(c.failedAttempts),
		LatencyP50: s.latency.quantile(0.5), LatencyP95: s.latency.quantile(0.95), LatencyP99: s.latency.quantile(0.99),
		EndToEndP50: s.endToEnd.quantile(0.5), EndToEndP95: s.endToEnd.quantile(0.95), EndToEndP99: s.endToEnd.quantile(0.99),
	}
}

// mergeRollups merges the oldest rows of one grain that are due, those of one row of the
// next, and reports whether there may be more. Rows are taken by deleting them, so of
// two nodes that merge at once each merges what it has taken.
func (s *Store) mergeRollups(ctx context.Context) (more bool, err error) {
	now := s.clock.Now()
	for i, g := range grains[:len(grains)-1] {
		next := grains[i+1].width
		due := now.Add(-g.kept).Truncate(next)
		width := int64(g.width / time.Second)
		first, err := s.read.Rollup.Query().Where(entrollup.Width(width), entrollup.StartLT(column.TimeOf(due))).
			Order(entrollup.ByStart()).Limit(1).All(ctx)
		if err != nil {
			return false, wrap("merge statistics", err)
		}
		if len(first) > 0 {
			from := first[0].Start.Time().Truncate(next)
			return true, wrap("merge statistics", s.mergeSpan(ctx, width, from, next))
		}
	}
	return false, nil
}

// mergeSpan makes one row for each combination of the rows of a width within a span.
func (s *Store) mergeSpan(ctx context.Context, width int64, from time.Time, next time.Duration) error {
	tx, err := s.writes.Tx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing once it is committed
	build := entsql.Dialect(s.writes.Dialect())
	taken := build.Select().From(build.Table(entrollup.Table)).Where(entsql.And(
		entsql.EQ(entrollup.FieldWidth, width),
		entsql.GTE(entrollup.FieldStart, micros(from)), entsql.LT(entrollup.FieldStart, micros(from.Add(next)))))
	query, args := build.Delete(entrollup.Table).FromSelect(taken).Query()
	query += " RETURNING " + join(storedColumns)
	sums := make(map[rollupKey]*sum)
	err = scanRollups(ctx, tx, query, args, func(row *storedRollup) error {
		key := row.rollupKey
		key.start = column.TimeOf(from)
		if sums[key] == nil {
			sums[key] = newSum(from)
		}
		return sums[key].add(row)
	})
	if err != nil {
		return err
	}
	name, n := rand.Text()[:16], 0
	for key, one := range sums {
		n++
		row := &rollup{
			rollupKey: key, id: fmt.Sprintf("%s%d", name, n), width: next,
			counters: one.counters, latency: one.latency, endToEnd: one.endToEnd,
		}
		query, args := build.Insert(entrollup.Table).Columns(rollupColumns...).Values(row.values()...).Query()
		if err := tx.Exec(ctx, query, args, nil); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// tidyInterval is how often Tidy is called.
const tidyInterval = 5 * time.Second

// Tidy merges statistics that have come of age and forgets the oldest changes of
// deliveries, in small steps. A store that runs does so by itself.
func (s *Store) Tidy(ctx context.Context) error {
	for _, step := range []func(context.Context) (bool, error){s.mergeRollups, s.trimChanges} {
		for more := true; more; {
			var err error
			if more, err = step(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// keepTidy calls it until ctx ends.
func (s *Store) keepTidy(ctx context.Context) {
	tick := time.NewTicker(tidyInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := s.Tidy(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "old statistics and changes could not be tidied up; tried again soon", "error", err)
		}
	}
}
