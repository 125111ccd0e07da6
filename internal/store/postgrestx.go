package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"entgo.io/ent/dialect"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// batchTimeout bounds one batch, the wait for other nodes' batches included.
const batchTimeout = 15 * time.Second

func (e *postgresEngine) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, batchTimeout)
}

// postgresTx is one batch in PostgreSQL, in two round trips: BEGIN with results, the
// lock and the lookup, then all other writes with COMMIT. Rows travel as arrays, so each
// statement has one text however many there are, and stays prepared.
type postgresTx struct {
	conn  *pgxpool.Conn
	begun bool
}

func (t *postgresTx) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if _, err := t.conn.Exec(ctx, "ROLLBACK"); err != nil {
		_ = t.conn.Conn().Close(ctx) // the pool replaces it; the server rolls back
	}
	t.conn.Release()
}

func (t *postgresTx) dialect() string { return dialect.Postgres }

func (t *postgresTx) rows(ctx context.Context, query string, args []any, read func(scan func(...any) error) error) error {
	rows, err := t.conn.Query(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := read(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *postgresTx) lock(
	ctx context.Context, now time.Time, results []*settlement, bodies []*bodyRequest, keys, sources []string,
) (logHead, knowledge, error) {
	var head logHead
	known := newKnowledge()
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	queueSettlements(b, now, results, bodies)
	b.Queue("SELECT sequence, change_sequence, config_revision FROM log_head WHERE id = 1 FOR UPDATE").QueryRow(func(row pgx.Row) error {
		return row.Scan(&head.sequence, &head.changes, &head.revision)
	})
	if len(keys) > 0 {
		// A statement of its own, so that it sees what the last holder of the lock stored.
		b.Queue("SELECT id, event_id, sequence, first_seen_at FROM dedupe_keys WHERE id = ANY($1)", keys).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var id string
				var row keyRow
				if err := rows.Scan(&id, &row.eventID, &row.sequence, &row.firstSeen); err != nil {
					return err
				}
				known.keys[id] = row
			}
			return rows.Err()
		})
	}
	if len(sources) > 0 {
		b.Queue("SELECT id, newest_at FROM source_clocks WHERE id = ANY($1)", sources).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var id string
				var at column.Time
				if err := rows.Scan(&id, &at); err != nil {
					return err
				}
				known.newest[id] = at
			}
			return rows.Err()
		})
	}
	t.begun = true
	return head, known, t.conn.SendBatch(ctx, b).Close()
}

func (t *postgresTx) write(ctx context.Context, p *plan) error {
	b := &pgx.Batch{}
	if !t.begun {
		b.Queue("BEGIN")
	}
	queueAnnouncements(b, p)
	queueHealth(b, p)
	queueEvents(b, p)
	queueDeliveries(b, p)
	if len(p.marked) > 0 {
		b.Queue(writeMarks[dialect.Postgres], jsonList(p.marked))
	}
	queueReleased(b, p)
	queueBodies(b, p)
	queueRejections(b, p)
	queueRollups(b, p)
	queueChanges(b, p)
	if p.movesHead() {
		b.Queue("UPDATE log_head SET sequence = $1, change_sequence = $2, config_revision = config_revision + $3 WHERE id = 1",
			p.head, p.changeHead+hub.Sequence(len(p.changes)), p.revisions())
	}
	queueClaims(b, p)
	var ended string
	b.Queue("COMMIT").Exec(func(tag pgconn.CommandTag) error {
		ended = tag.String()
		return nil
	})
	if err := t.conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	if ended != "COMMIT" { // PostgreSQL answers ROLLBACK, without an error, where the transaction had failed
		return errors.New("the transaction was rolled back")
	}
	t.conn.Release()
	return nil
}

// columns gathers one column of rows as an array.
func columns[Row, Value any](rows []Row, of func(Row) Value) []Value {
	values := make([]Value, len(rows))
	for i, row := range rows {
		values[i] = of(row)
	}
	return values
}

func queueEvents(b *pgx.Batch, p *plan) {
	if rows := p.events; len(rows) > 0 {
		b.Queue(`INSERT INTO events (id, sequence, source_id, partner_id, type, dedupe_key, ordering_key, occurred_at, received_at,
			content_type, duplicate_count, last_duplicate_at, recovered, out_of_order, headers, query, body)
			SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[],
			$9::bigint[], $10::text[], $11::bigint[], $12::bigint[], $13::boolean[], $14::boolean[],
			$15::bytea[], $16::bytea[], $17::bytea[])`,
			columns(rows, func(r *eventRow) string { return r.event.ID }),
			columns(rows, func(r *eventRow) int64 { return int64(r.sequence) }),
			columns(rows, func(r *eventRow) string { return r.event.SourceID }),
			columns(rows, func(r *eventRow) string { return r.event.PartnerID }),
			columns(rows, func(r *eventRow) string { return r.event.Type }),
			columns(rows, func(r *eventRow) string { return r.event.DedupeKey }),
			columns(rows, func(r *eventRow) string { return r.event.OrderingKey }),
			columns(rows, func(r *eventRow) int64 { return micros(r.event.OccurredAt) }),
			columns(rows, func(r *eventRow) int64 { return micros(r.event.ReceivedAt) }),
			columns(rows, func(r *eventRow) string { return r.event.ContentType }),
			columns(rows, func(r *eventRow) int64 { return int64(r.duplicates.count) }),
			columns(rows, func(r *eventRow) int64 { return int64(r.duplicates.last) }),
			columns(rows, func(r *eventRow) bool { return r.event.Recovered }),
			columns(rows, func(r *eventRow) bool { return r.event.OutOfOrder }),
			columns(rows, func(r *eventRow) []byte { return r.headers }),
			columns(rows, func(r *eventRow) []byte { return []byte(r.event.Payload.Query) }),
			columns(rows, func(r *eventRow) []byte { return blob(r.event.Payload.Body) }))
	}
	if len(p.keys) > 0 {
		ids := slices.Sorted(maps.Keys(p.keys))
		b.Queue(`INSERT INTO dedupe_keys (id, event_id, sequence, first_seen_at)
			SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[])
			ON CONFLICT (id) DO UPDATE SET event_id = excluded.event_id, sequence = excluded.sequence, first_seen_at = excluded.first_seen_at`,
			ids,
			columns(ids, func(id string) string { return p.keys[id].eventID }),
			columns(ids, func(id string) int64 { return int64(p.keys[id].sequence) }),
			columns(ids, func(id string) int64 { return int64(p.keys[id].firstSeen) }))
	}
	if len(p.newest) > 0 {
		ids := slices.Sorted(maps.Keys(p.newest))
		b.Queue(`INSERT INTO source_clocks (id, newest_at) SELECT * FROM unnest($1::text[], $2::bigint[])
			ON CONFLICT (id) DO UPDATE SET newest_at = excluded.newest_at`,
			ids, columns(ids, func(id string) int64 { return int64(p.newest[id]) }))
	}
	if len(p.fetched) > 0 {
		ids := slices.Sorted(maps.Keys(p.fetched))
		b.Queue(`UPDATE fetches SET fetched_count = fetches.fetched_count + f.everything, recovered_count = fetches.recovered_count + f.recovered
			FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS f(id, everything, recovered) WHERE fetches.id = f.id`,
			ids,
			columns(ids, func(id string) int64 { return int64(p.fetched[id].all) }),
			columns(ids, func(id string) int64 { return int64(p.fetched[id].recovered) }))
	}
	if len(p.duplicates) > 0 {
		ids := slices.Sorted(maps.Keys(p.duplicates))
		b.Queue(`UPDATE events SET duplicate_count = events.duplicate_count + d.count, last_duplicate_at = greatest(events.last_duplicate_at, d.last)
			FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS d(id, count, last) WHERE events.id = d.id`,
			ids,
			columns(ids, func(id string) int64 { return int64(p.duplicates[id].count) }),
			columns(ids, func(id string) int64 { return int64(p.duplicates[id].last) }))
	}
}

func queueDeliveries(b *pgx.Batch, p *plan) {
	rows := p.deliveries
	if len(rows) == 0 {
		return
	}
	b.Queue(`INSERT INTO deliveries (id, event_id, subscription_id, endpoint_id, partner_id, status, reason, attempt_count, schedule_position,
		next_attempt_at, due_at, lease_token, created_at, completed_at, body_form, line, mark, place, turn)
		SELECT d.id, d.event_id, d.subscription_id, d.endpoint_id, d.partner_id, 'PENDING', d.reason, 0, 0, d.next_attempt_at, d.due_at, d.lease_token, d.created_at, 0,
			d.body_form, d.line, d.mark, d.place, d.turn
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::text[], $9::bigint[], $10::text[],
			$11::text[], $12::text[], $13::text[], $14::bigint[], $15::text[])
		AS d(id, event_id, subscription_id, endpoint_id, partner_id, next_attempt_at, due_at, lease_token, created_at, body_form, reason, line, mark, place, turn)`,
		columns(rows, func(r *deliveryRow) string { return r.delivery.ID }),
		columns(rows, func(r *deliveryRow) string { return r.delivery.EventID }),
		columns(rows, func(r *deliveryRow) string { return r.delivery.SubscriptionID }),
		columns(rows, func(r *deliveryRow) string { return r.delivery.EndpointID }),
		columns(rows, func(r *deliveryRow) string { return r.delivery.PartnerID }),
		columns(rows, func(r *deliveryRow) int64 { return micros(r.delivery.NextAttemptAt) }),
		columns(rows, func(r *deliveryRow) int64 { return int64(r.due) }),
		columns(rows, func(r *deliveryRow) string { return r.token }),
		columns(rows, func(r *deliveryRow) int64 { return micros(r.delivery.CreatedAt) }),
		columns(rows, func(r *deliveryRow) string { return string(r.delivery.BodyForm) }),
		columns(rows, func(r *deliveryRow) string { return r.position.problem }),
		columns(rows, func(r *deliveryRow) string { return r.position.line }),
		columns(rows, func(r *deliveryRow) string { return r.position.mark }),
		columns(rows, func(r *deliveryRow) int64 { return r.position.place }),
		columns(rows, func(r *deliveryRow) string { return r.turn }))
}

// queueReleased makes due what was held for a transform that is no more.
func queueReleased(b *pgx.Batch, p *plan) {
	if len(p.released) > 0 {
		b.Queue(`UPDATE deliveries SET reason = '', next_attempt_at = $1, due_at = $1
			WHERE id = ANY($2) AND status = 'PENDING' AND lease_token = '' AND reason <> ''`,
			micros(p.now), columns(p.released, func(s *settlement) string { return s.Delivery.ID }))
	}
}

// queueBodies keeps what transforms have made, for those who still hold the lease.
func queueBodies(b *pgx.Batch, p *plan) {
	if len(p.bodies) == 0 {
		return
	}
	rows := slices.SortedFunc(slices.Values(p.bodies), func(a, b *bodyRequest) int { return cmp.Compare(a.deliveryID, b.deliveryID) })
	byID := make(map[string]*bodyRequest, len(rows))
	for _, r := range rows {
		byID[r.deliveryID] = r
	}
	b.Queue(`WITH kept AS (
			UPDATE deliveries AS d SET body_form = 'SHAPED'
			FROM unnest($1::text[], $2::text[], $3::text[], $4::bytea[]) AS b(id, token, content_type, body)
			WHERE d.id = b.id AND d.status = 'PENDING' AND d.body_form = 'UNSHAPED' AND d.lease_token = b.token AND b.token <> ''
			RETURNING d.id, b.content_type, b.body
		)
		INSERT INTO delivery_bodies (id, content_type, body) SELECT id, content_type, body FROM kept RETURNING id`,
		columns(rows, func(r *bodyRequest) string { return r.deliveryID }),
		columns(rows, func(r *bodyRequest) string { return r.token }),
		columns(rows, func(r *bodyRequest) string { return r.body.ContentType }),
		columns(rows, func(r *bodyRequest) []byte { return blob(r.body.Bytes) })).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var id string
			if err := rows.Scan(&id); err != nil {
				return err
			}
			byID[id].kept = true
		}
		return rows.Err()
	})
}

// queueRollups stores rows as they stand in the book.
func queueRollups(b *pgx.Batch, p *plan) {
	for _, row := range p.rollups {
		b.Queue(postgresUpsertRollup, row.values()...)
	}
}

var postgresUpsertRollup = func() string {
	places := make([]string, len(rollupColumns))
	for i := range places {
		places[i] = fmt.Sprintf("$%d", i+1)
	}
	return "INSERT INTO rollups (" + join(rollupColumns) + ") VALUES (" + join(places) + ") " + rollupUpdate
}()

func queueChanges(b *pgx.Batch, p *plan) {
	rows := p.changes
	if len(rows) == 0 {
		return
	}
	b.Queue(`INSERT INTO delivery_changes (sequence, delivery_id, status, reason, attempt_count, next_attempt_at, completed_at, changed_at)
		SELECT $1 + c.place, c.delivery_id, c.status, c.reason, c.attempt_count, c.next_attempt_at, c.completed_at, $2
		FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bigint[])
			WITH ORDINALITY AS c(delivery_id, status, reason, attempt_count, next_attempt_at, completed_at, place)`,
		int64(p.changeHead), micros(p.now),
		columns(rows, func(c changeRow) string { return c.deliveryID }),
		columns(rows, func(c changeRow) string { return string(c.status) }),
		columns(rows, func(c changeRow) string { return c.reason }),
		columns(rows, func(c changeRow) int64 { return int64(c.attemptCount) }),
		columns(rows, func(c changeRow) int64 { return int64(c.next) }),
		columns(rows, func(c changeRow) int64 { return int64(c.completed) }))
}

// queueAnnouncements stores announcements, before the health that they are about.
func queueAnnouncements(b *pgx.Batch, p *plan) {
	for _, a := range p.announcements {
		b.Queue(`INSERT INTO announcements (id, type, partner_id, occurred_at, body) SELECT $1, $2, $3, $4::bigint, $5::bytea
			WHERE $6::text = '' OR EXISTS (SELECT 1 FROM endpoint_health WHERE id = $6 AND breaker = ANY ($7::text[])
				AND greatest(last_success_at, last_failure_at) <= $8::bigint)
			OR $9::boolean AND NOT EXISTS (SELECT 1 FROM endpoint_health WHERE id = $6)`,
			a.ID, a.Type, a.PartnerID, micros(a.OccurredAt), []byte(a.Body), a.endpointID, a.states(), micros(a.learned), a.fromClosed())
	}
}

func queueHealth(b *pgx.Batch, p *plan) {
	if len(p.health) > 0 {
		rows := slices.SortedFunc(slices.Values(p.health), func(a, b *hub.EndpointHealth) int { return cmp.Compare(a.EndpointID, b.EndpointID) })
		b.Queue(`INSERT INTO endpoint_health (id, breaker, breaker_until, probes, consecutive_failures, failing_since,
				last_success_at, last_failure_at, paced_until)
			SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[])
			ON CONFLICT (id) DO UPDATE SET breaker = excluded.breaker, breaker_until = excluded.breaker_until, probes = excluded.probes,
				consecutive_failures = excluded.consecutive_failures, failing_since = excluded.failing_since,
				last_success_at = excluded.last_success_at, last_failure_at = excluded.last_failure_at, paced_until = excluded.paced_until
			WHERE `+healthIsNewer,
			columns(rows, func(h *hub.EndpointHealth) string { return h.EndpointID }),
			columns(rows, func(h *hub.EndpointHealth) string { return string(h.Breaker) }),
			columns(rows, func(h *hub.EndpointHealth) int64 { return micros(h.BreakerUntil) }),
			columns(rows, func(h *hub.EndpointHealth) int64 { return int64(h.Probes) }),
			columns(rows, func(h *hub.EndpointHealth) int64 { return int64(h.ConsecutiveFailures) }),
			columns(rows, func(h *hub.EndpointHealth) int64 { return micros(h.FailingSince) }),
			columns(rows, func(h *hub.EndpointHealth) int64 { return micros(h.LastSuccessAt) }),
			columns(rows, func(h *hub.EndpointHealth) int64 { return micros(h.LastFailureAt) }),
			columns(rows, func(h *hub.EndpointHealth) int64 { return micros(h.PacedUntil) }))
	}
	for _, d := range p.disabled {
		b.Queue("UPDATE endpoints SET state = 'DISABLED', state_reason = $1, updated_at = $2 WHERE id = $3 AND state <> 'DISABLED'",
			d.reason, micros(p.now), d.endpointID)
	}
}

func queueRejections(b *pgx.Batch, p *plan) {
	rows := p.rejections
	if len(rows) == 0 {
		return
	}
	b.Queue(`INSERT INTO rejections (id, source_id, reason, detail, method, received_at, size, headers, body)
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bytea[]) `+rejectedAgain,
		columns(rows, func(r *rejectRequest) string { return r.rejection.ID }),
		columns(rows, func(r *rejectRequest) string { return r.rejection.SourceID }),
		columns(rows, func(r *rejectRequest) string { return string(r.rejection.Reason) }),
		columns(rows, func(r *rejectRequest) string { return r.rejection.Detail }),
		columns(rows, func(r *rejectRequest) string { return r.rejection.Method }),
		columns(rows, func(r *rejectRequest) int64 { return micros(r.rejection.ReceivedAt) }),
		columns(rows, func(r *rejectRequest) int64 { return int64(r.size) }),
		columns(rows, func(r *rejectRequest) []byte { return r.headers }),
		columns(rows, func(r *rejectRequest) []byte { return blob(r.rejection.Body) }))
	for _, source := range p.rejectedSources() {
		b.Queue(pruneRejections, source, hub.MaxRejections, hub.MaxRejectionBytes)
	}
	for source, n := range p.captured {
		b.Queue("UPDATE sources SET capturing = capturing - $1 WHERE id = $2", n, source)
	}
}

// postgresClaim leases due rows that no other transaction holds. As in SQLite it steps
// from one waiting subscription to the next. The rows are picked in a CTE, which
// PostgreSQL runs once, so that the limit is kept; of several subscriptions more rows
// may be locked than are picked, until the commit. They are handed on as an array: it
// cannot know how few a limit leaves, and would read the whole table for a join.
const postgresClaim = `WITH wanted AS (
		SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS w(endpoint_id, n, until)
	), picked AS (
		SELECT due.id FROM wanted AS w
		CROSS JOIN LATERAL (
			WITH RECURSIVE waiting AS (
				(SELECT subscription_id FROM deliveries WHERE endpoint_id = w.endpoint_id AND status = 'PENDING'
					ORDER BY subscription_id, due_at LIMIT 1)
				UNION ALL
				SELECT next.subscription_id FROM waiting CROSS JOIN LATERAL (
					SELECT d.subscription_id FROM deliveries AS d WHERE d.endpoint_id = w.endpoint_id AND d.status = 'PENDING'
					AND d.subscription_id > waiting.subscription_id ORDER BY d.subscription_id, d.due_at LIMIT 1
				) AS next
			)
			SELECT longest.id FROM waiting CROSS JOIN LATERAL (
				SELECT * FROM (SELECT d.id, false AS replayed, d.due_at FROM deliveries AS d WHERE d.endpoint_id = w.endpoint_id
				AND d.subscription_id = waiting.subscription_id AND d.status = 'PENDING' AND d.due_at <= $4 AND d.replay_id = ''
				ORDER BY d.due_at LIMIT w.n FOR UPDATE SKIP LOCKED) AS live
				UNION ALL
				SELECT * FROM (SELECT d.id, true AS replayed, d.due_at FROM deliveries AS d WHERE d.endpoint_id = w.endpoint_id
				AND d.subscription_id = waiting.subscription_id AND d.status = 'PENDING' AND d.due_at <= $4 AND d.replay_id <> ''
				ORDER BY d.due_at LIMIT w.n FOR UPDATE SKIP LOCKED) AS replayed
			) AS longest
			WHERE waiting.subscription_id <> ALL ($5::text[]) ORDER BY longest.replayed, longest.due_at LIMIT w.n
		) AS due
	)
	UPDATE deliveries AS d SET due_at = wanted.until, lease_token = $6 FROM wanted
	WHERE d.id = ANY (ARRAY(SELECT id FROM picked)) AND wanted.endpoint_id = d.endpoint_id
	RETURNING d.id, d.event_id, d.subscription_id, d.endpoint_id, d.partner_id, d.attempt_count, d.schedule_position, d.next_attempt_at, d.created_at, d.body_form, d.line, d.mark, d.due_at`

func queueClaims(b *pgx.Batch, p *plan) {
	for _, r := range p.claims {
		var endpoints []string
		var limits, until []int64
		for _, w := range r.wants {
			if p.claimable.endpoints[w.EndpointID] {
				endpoints = append(endpoints, w.EndpointID)
				limits = append(limits, int64(w.Limit))
				until = append(until, micros(p.now.Add(w.Lease)))
			}
		}
		if len(endpoints) == 0 {
			continue
		}
		b.Queue(postgresClaim, endpoints, limits, until, micros(p.now), p.claimable.paused, r.token).Query(func(rows pgx.Rows) error {
			for rows.Next() {
				var claimed claimedRow
				if err := rows.Scan(append(claimed.columns(), &claimed.until)...); err != nil {
					return err
				}
				r.leases = append(r.leases, claimed.finished())
			}
			return rows.Err()
		})
	}
}
