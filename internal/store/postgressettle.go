package store

import (
	"cmp"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// queueSettlements stores results in rounds of at most one for each delivery, so
// that one statement never meets the same row twice. First it locks the deliveries, those
// of bodies that are kept later included, in one order: by how it finds them, and by which
// attempts are new, each result is told what became of it.
func queueSettlements(b *pgx.Batch, now time.Time, results []*settlement, bodies []*bodyRequest) {
	ids := columns(results, func(s *settlement) string { return s.Delivery.ID })
	for _, r := range bodies {
		ids = append(ids, r.deliveryID)
	}
	if len(ids) == 0 {
		return
	}
	found := make(map[string]*lockedDelivery, len(results))
	b.Queue("SELECT id, "+lockedColumns+" FROM deliveries WHERE id = ANY($1) ORDER BY id FOR UPDATE",
		ids).Query(func(rows pgx.Rows) error {
		for rows.Next() {
			var id string
			d := &lockedDelivery{}
			if err := rows.Scan(append([]any{&id}, d.columns()...)...); err != nil {
				return err
			}
			found[id] = d
		}
		return rows.Err()
	})
	rest := results
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
		queueAttempted(b, now, attempted, found)
		queueReturned(b, now, returned, found)
		rest = later
	}
}

// byDelivery sorts results so that two nodes lock rows in one order.
func byDelivery(a, b *settlement) int { return cmp.Compare(a.Delivery.ID, b.Delivery.ID) }

// queueAttempted stores attempts and what they make of their deliveries. An attempt
// that is stored already, because a commit succeeded whose answer was lost, counts
// for nothing; one whose lease is void is recorded and changes nothing.
func queueAttempted(b *pgx.Batch, now time.Time, rows []*settlement, found map[string]*lockedDelivery) {
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
			turn = CASE WHEN d.status = 'PENDING' AND d.lease_token = j.token AND j.token <> '' AND j.status <> 'PENDING' THEN '' ELSE d.turn END,
			lease_token = CASE WHEN d.status = 'PENDING' AND d.lease_token = j.token THEN '' ELSE d.lease_token END
		FROM judged AS j WHERE d.id = j.delivery_id RETURNING d.id`,
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
		columns(rows, func(s *settlement) int64 { return s.due(now) }),
		columns(rows, func(s *settlement) int64 { return micros(s.Delivery.CompletedAt) })).Query(func(updated pgx.Rows) error {
		for updated.Next() {
			var id string
			if err := updated.Scan(&id); err != nil {
				return err
			}
			at, _ := slices.BinarySearchFunc(rows, id, func(s *settlement, id string) int { return cmp.Compare(s.Delivery.ID, id) })
			rows[at].recorded = true
			found[id].judge(rows[at], now)
		}
		return updated.Err()
	})
}

// queueReturned gives leases back that were not used.
func queueReturned(b *pgx.Batch, now time.Time, rows []*settlement, found map[string]*lockedDelivery) {
	if len(rows) == 0 {
		return
	}
	slices.SortFunc(rows, byDelivery)
	b.Queue(`UPDATE deliveries AS d SET status = s.status, reason = s.reason, schedule_position = s.schedule_position,
			next_attempt_at = s.due_at, due_at = s.due_at, completed_at = s.completed_at, lease_token = '',
			turn = CASE WHEN s.status <> 'PENDING' THEN '' ELSE d.turn END
		FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
			AS s(id, token, status, reason, schedule_position, due_at, completed_at)
		WHERE d.id = s.id AND d.status = 'PENDING' AND d.lease_token = s.token AND s.token <> ''`,
		columns(rows, func(s *settlement) string { return s.Delivery.ID }),
		columns(rows, func(s *settlement) string { return s.LeaseToken }),
		columns(rows, func(s *settlement) string { return string(s.Delivery.Status) }),
		columns(rows, func(s *settlement) string { return s.Delivery.Reason }),
		columns(rows, func(s *settlement) int64 { return int64(s.Delivery.SchedulePosition) }),
		columns(rows, func(s *settlement) int64 { return s.due(now) }),
		columns(rows, func(s *settlement) int64 { return micros(s.Delivery.CompletedAt) })).Exec(func(pgconn.CommandTag) error {
		for _, s := range rows {
			if d := found[s.Delivery.ID]; d != nil {
				d.judge(s, now)
			}
		}
		return nil
	})
}
