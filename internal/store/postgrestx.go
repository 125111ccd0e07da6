package store

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// batchTimeout bounds one batch, the wait for other nodes' batches included.
const batchTimeout = 15 * time.Second

func (e *postgresEngine) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, batchTimeout)
}

// postgresTx is one batch in PostgreSQL, in two round trips: BEGIN with the lock
// and the lookup, then all writes with COMMIT. Rows travel as arrays, so each
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

func (t *postgresTx) lock(ctx context.Context, keys []string) (logHead, map[string]keyRow, error) {
	var head logHead
	known := make(map[string]keyRow)
	b := &pgx.Batch{}
	b.Queue("BEGIN")
	b.Queue("SELECT sequence, config_revision FROM log_head WHERE id = 1 FOR UPDATE").QueryRow(func(row pgx.Row) error {
		return row.Scan(&head.sequence, &head.revision)
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
				known[id] = row
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
	queueSettlements(b, p)
	queueHealth(b, p)
	queueEvents(b, p)
	queueDeliveries(b, p)
	queueRejections(b, p)
	if p.changesLog() {
		b.Queue("UPDATE log_head SET sequence = $1, config_revision = config_revision + $2 WHERE id = 1", p.head, p.revisions())
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
		b.Queue(`INSERT INTO events (id, sequence, source_id, type, dedupe_key, ordering_key, occurred_at, received_at,
			content_type, duplicate_count, last_duplicate_at, headers, query, body)
			SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::bigint[],
			$9::text[], $10::bigint[], $11::bigint[], $12::bytea[], $13::bytea[], $14::bytea[])`,
			columns(rows, func(r *eventRow) string { return r.event.ID }),
			columns(rows, func(r *eventRow) int64 { return int64(r.sequence) }),
			columns(rows, func(r *eventRow) string { return r.event.SourceID }),
			columns(rows, func(r *eventRow) string { return r.event.Type }),
			columns(rows, func(r *eventRow) string { return r.event.DedupeKey }),
			columns(rows, func(r *eventRow) string { return r.event.OrderingKey }),
			columns(rows, func(r *eventRow) int64 { return micros(r.event.OccurredAt) }),
			columns(rows, func(r *eventRow) int64 { return micros(r.event.ReceivedAt) }),
			columns(rows, func(r *eventRow) string { return r.event.ContentType }),
			columns(rows, func(r *eventRow) int64 { return int64(r.duplicates.count) }),
			columns(rows, func(r *eventRow) int64 { return int64(r.duplicates.last) }),
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
	b.Queue(`INSERT INTO deliveries (id, event_id, subscription_id, endpoint_id, status, reason, attempt_count, schedule_position,
		next_attempt_at, due_at, lease_token, created_at, completed_at)
		SELECT d.id, d.event_id, d.subscription_id, d.endpoint_id, 'PENDING', '', 0, 0, d.next_attempt_at, d.due_at, d.lease_token, d.created_at, 0
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::text[], $8::bigint[])
		AS d(id, event_id, subscription_id, endpoint_id, next_attempt_at, due_at, lease_token, created_at)`,
		columns(rows, func(r *deliveryRow) string { return r.delivery.ID }),
		columns(rows, func(r *deliveryRow) string { return r.delivery.EventID }),
		columns(rows, func(r *deliveryRow) string { return r.delivery.SubscriptionID }),
		columns(rows, func(r *deliveryRow) string { return r.delivery.EndpointID }),
		columns(rows, func(r *deliveryRow) int64 { return micros(r.delivery.NextAttemptAt) }),
		columns(rows, func(r *deliveryRow) int64 { return int64(r.due) }),
		columns(rows, func(r *deliveryRow) string { return r.token }),
		columns(rows, func(r *deliveryRow) int64 { return micros(r.delivery.CreatedAt) }))
}

// queueSettlements stores results in rounds of at most one for each delivery, so
// that one statement never meets the same row twice.
func queueSettlements(b *pgx.Batch, p *plan) {
	rest := p.settlements
	for len(rest) > 0 {
		seen := make(map[string]bool, len(rest))
		var attempted, returned, later []*settlement
		for _, s := range rest {
			switch {
			case seen[s.Delivery.ID]:
				later = append(later, s)
				continue
			case s.Attempt != nil:
				attempted = append(attempted, s)
			default:
				returned = append(returned, s)
			}
			seen[s.Delivery.ID] = true
		}
		queueAttempted(b, p, attempted)
		queueReturned(b, p, returned)
		rest = later
	}
}

// byDelivery sorts results so that two nodes lock rows in one order.
func byDelivery(a, b *settlement) int { return cmp.Compare(a.Delivery.ID, b.Delivery.ID) }

// queueAttempted stores attempts and what they make of their deliveries. An attempt
// that is stored already, because a commit succeeded whose answer was lost, counts
// for nothing; one whose lease is void is recorded and changes nothing.
func queueAttempted(b *pgx.Batch, p *plan, rows []*settlement) {
	if len(rows) == 0 {
		return
	}
	slices.SortFunc(rows, byDelivery)
	b.Queue(`WITH s AS (
			SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[], $6::bigint[], $7::text[], $8::text[],
				$9::bytea[], $10::bytea[], $11::bytea[], $12::text[], $13::text[], $14::text[], $15::bigint[], $16::bigint[], $17::bigint[])
			AS s(attempt_id, delivery_id, started_at, duration, outcome, status_code, error, request_url,
				request_headers, response_headers, response_body, token, status, reason, schedule_position, due_at, completed_at)
		), recorded AS (
			INSERT INTO attempts (id, delivery_id, number, started_at, duration, outcome, status_code, error, request_url,
				request_headers, response_headers, response_body)
			SELECT s.attempt_id, d.id, d.attempt_count + 1, s.started_at, s.duration, s.outcome, s.status_code, s.error, s.request_url,
				s.request_headers, s.response_headers, s.response_body
			FROM s JOIN deliveries AS d ON d.id = s.delivery_id
			ON CONFLICT (id) DO NOTHING RETURNING id
		), judged AS (
			SELECT s.* FROM s JOIN recorded ON recorded.id = s.attempt_id
		)
		UPDATE deliveries AS d SET
			attempt_count = d.attempt_count + 1,
			status = CASE WHEN d.status = 'PENDING' AND d.lease_token = j.token AND j.token <> '' THEN j.status ELSE d.status END,
			reason = CASE WHEN d.status = 'PENDING' AND d.lease_token = j.token AND j.token <> '' THEN j.reason ELSE d.reason END,
			schedule_position = CASE WHEN d.status = 'PENDING' AND d.lease_token = j.token AND j.token <> '' THEN j.schedule_position ELSE d.schedule_position END,
			next_attempt_at = CASE WHEN d.status = 'PENDING' AND d.lease_token = j.token AND j.token <> '' THEN j.due_at ELSE d.next_attempt_at END,
			due_at = CASE WHEN d.status = 'PENDING' AND d.lease_token = j.token AND j.token <> '' THEN j.due_at ELSE d.due_at END,
			completed_at = CASE WHEN d.status = 'PENDING' AND d.lease_token = j.token AND j.token <> '' THEN j.completed_at ELSE d.completed_at END,
			lease_token = CASE WHEN d.status = 'PENDING' AND d.lease_token = j.token THEN '' ELSE d.lease_token END
		FROM judged AS j WHERE d.id = j.delivery_id`,
		columns(rows, func(s *settlement) string { return s.Attempt.ID }),
		columns(rows, func(s *settlement) string { return s.Delivery.ID }),
		columns(rows, func(s *settlement) int64 { return micros(s.Attempt.StartedAt) }),
		columns(rows, func(s *settlement) int64 { return int64(s.Attempt.Duration) }),
		columns(rows, func(s *settlement) string { return string(s.Attempt.Outcome) }),
		columns(rows, func(s *settlement) int64 { return int64(s.Attempt.StatusCode) }),
		columns(rows, func(s *settlement) string { return s.Attempt.Error }),
		columns(rows, func(s *settlement) string { return s.Attempt.RequestURL }),
		columns(rows, func(s *settlement) []byte { return s.requestHeaders }),
		columns(rows, func(s *settlement) []byte { return s.responseHeaders }),
		columns(rows, func(s *settlement) []byte { return blob(s.Attempt.ResponseBody) }),
		columns(rows, func(s *settlement) string { return s.LeaseToken }),
		columns(rows, func(s *settlement) string { return string(s.Delivery.Status) }),
		columns(rows, func(s *settlement) string { return s.Delivery.Reason }),
		columns(rows, func(s *settlement) int64 { return int64(s.Delivery.SchedulePosition) }),
		columns(rows, func(s *settlement) int64 { return s.due(p.now) }),
		columns(rows, func(s *settlement) int64 { return micros(s.Delivery.CompletedAt) }))
}

// queueReturned gives leases back that were not used.
func queueReturned(b *pgx.Batch, p *plan, rows []*settlement) {
	if len(rows) == 0 {
		return
	}
	slices.SortFunc(rows, byDelivery)
	b.Queue(`UPDATE deliveries AS d SET status = s.status, reason = s.reason, schedule_position = s.schedule_position,
			next_attempt_at = s.due_at, due_at = s.due_at, completed_at = s.completed_at, lease_token = ''
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
			AS s(id, token, status, reason, schedule_position, due_at, completed_at)
		WHERE d.id = s.id AND d.status = 'PENDING' AND d.lease_token = s.token AND s.token <> ''`,
		columns(rows, func(s *settlement) string { return s.Delivery.ID }),
		columns(rows, func(s *settlement) string { return s.LeaseToken }),
		columns(rows, func(s *settlement) string { return string(s.Delivery.Status) }),
		columns(rows, func(s *settlement) string { return s.Delivery.Reason }),
		columns(rows, func(s *settlement) int64 { return int64(s.Delivery.SchedulePosition) }),
		columns(rows, func(s *settlement) int64 { return s.due(p.now) }),
		columns(rows, func(s *settlement) int64 { return micros(s.Delivery.CompletedAt) }))
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
		SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::bigint[], $8::bytea[], $9::bytea[])`,
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
}

// postgresClaim leases due rows that no other transaction holds. As in SQLite it steps
// from one waiting subscription to the next. The rows are picked in a CTE, which
// PostgreSQL runs once, so that the limit is kept; of several subscriptions more rows
// may be locked than are picked, until the commit.
const postgresClaim = `WITH picked AS (
		SELECT due.id, w.until FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS w(endpoint_id, n, until)
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
				SELECT d.id, d.due_at FROM deliveries AS d WHERE d.endpoint_id = w.endpoint_id
				AND d.subscription_id = waiting.subscription_id AND d.status = 'PENDING' AND d.due_at <= $4
				ORDER BY d.due_at LIMIT w.n FOR UPDATE SKIP LOCKED
			) AS longest
			WHERE waiting.subscription_id <> ALL ($5::text[]) ORDER BY longest.due_at LIMIT w.n
		) AS due
	)
	UPDATE deliveries AS d SET due_at = picked.until, lease_token = $6 FROM picked WHERE d.id = picked.id
	RETURNING d.id, d.event_id, d.subscription_id, d.endpoint_id, d.attempt_count, d.schedule_position, d.next_attempt_at, d.created_at, d.due_at`

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
