package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"entgo.io/ent/dialect"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// bound leaves the context without an end: a statement on a local file needs none,
// and with one the driver starts a goroutine for each.
func (e *sqliteEngine) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithoutCancel(ctx), func() {}
}

// sqliteTx is one batch in SQLite: statements of fixed text, one for each row,
// which the connection keeps prepared. BEGIN IMMEDIATE has locked the database, so
// log_head needs no lock of its own.
type sqliteTx struct{ tx *sql.Tx }

func (t *sqliteTx) rollback(context.Context) { _ = t.tx.Rollback() } // the error that led here tells more

func (t *sqliteTx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	result, err := t.tx.ExecContext(ctx, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (t *sqliteTx) dialect() string { return dialect.SQLite }

func (t *sqliteTx) rows(ctx context.Context, query string, args []any, read func(scan func(...any) error) error) error {
	rows, err := t.tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		if err := read(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (t *sqliteTx) lock(ctx context.Context, now time.Time, results []*settlement, _ []*bodyRequest, keys, sources []string) (logHead, knowledge, error) {
	var head logHead
	known := newKnowledge()
	err := t.writeSettlements(ctx, now, results)
	if err == nil {
		err = t.tx.QueryRowContext(ctx, "SELECT sequence, change_sequence, config_revision FROM log_head WHERE id = 1").
			Scan(&head.sequence, &head.changes, &head.revision)
	}
	if err == nil && len(sources) > 0 {
		err = t.findNewest(ctx, sources, known.newest)
	}
	if err == nil && len(keys) > 0 {
		err = t.findKeys(ctx, keys, known.keys)
	}
	return head, known, err
}

func (t *sqliteTx) findKeys(ctx context.Context, keys []string, known map[string]keyRow) error {
	list, err := json.Marshal(keys)
	if err != nil {
		return err
	}
	rows, err := t.tx.QueryContext(ctx, `SELECT k.id, k.event_id, k.sequence, k.first_seen_at
		FROM json_each(?) AS wanted JOIN dedupe_keys AS k ON k.id = wanted.value`, string(list))
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var id string
		var row keyRow
		if err := rows.Scan(&id, &row.eventID, &row.sequence, &row.firstSeen); err != nil {
			return err
		}
		known[id] = row
	}
	return rows.Err()
}

// findNewest asks for one source at a time: nearly all batches have events of one.
func (t *sqliteTx) findNewest(ctx context.Context, sources []string, newest map[string]column.Time) error {
	for _, id := range sources {
		var at column.Time
		switch err := t.tx.QueryRowContext(ctx, "SELECT newest_at FROM source_clocks WHERE id = ?", id).Scan(&at); {
		case err == nil:
			newest[id] = at
		case !errors.Is(err, sql.ErrNoRows):
			return err
		}
	}
	return nil
}

func (t *sqliteTx) write(ctx context.Context, p *plan) error {
	for _, step := range []func(context.Context, *plan) error{
		t.writeAnnouncements, t.writeReleased, t.writeHealth, t.writeEvents, t.writeDeliveries, t.writeMarks, t.writeBodies, t.writeRejections, t.writeRollups, t.writeChanges, t.writeHead, t.writeClaims,
	} {
		if err := step(ctx, p); err != nil {
			return err
		}
	}
	return t.tx.Commit()
}

func (t *sqliteTx) writeEvents(ctx context.Context, p *plan) error {
	for _, row := range p.events {
		ev := row.event
		_, err := t.exec(ctx, `INSERT INTO events (id, sequence, source_id, partner_id, type, dedupe_key, ordering_key, occurred_at,
			received_at, content_type, duplicate_count, last_duplicate_at, recovered, out_of_order, headers, query, body)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			ev.ID, int64(row.sequence), ev.SourceID, ev.PartnerID, ev.Type, ev.DedupeKey, ev.OrderingKey, micros(ev.OccurredAt),
			micros(ev.ReceivedAt), ev.ContentType, row.duplicates.count, int64(row.duplicates.last), ev.Recovered, ev.OutOfOrder,
			row.headers, []byte(ev.Payload.Query), blob(ev.Payload.Body))
		if err != nil {
			return fmt.Errorf("insert event: %w", err)
		}
	}
	for id, key := range p.keys {
		_, err := t.exec(ctx, `INSERT INTO dedupe_keys (id, event_id, sequence, first_seen_at) VALUES (?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET event_id = excluded.event_id, sequence = excluded.sequence, first_seen_at = excluded.first_seen_at`,
			id, key.eventID, int64(key.sequence), int64(key.firstSeen))
		if err != nil {
			return fmt.Errorf("insert dedupe key: %w", err)
		}
	}
	for id, at := range p.newest {
		_, err := t.exec(ctx, `INSERT INTO source_clocks (id, newest_at) VALUES (?, ?)
			ON CONFLICT (id) DO UPDATE SET newest_at = excluded.newest_at`, id, int64(at))
		if err != nil {
			return fmt.Errorf("note the newest time: %w", err)
		}
	}
	for id, row := range p.fetched {
		_, err := t.exec(ctx, "UPDATE fetches SET fetched_count = fetched_count + ?, recovered_count = recovered_count + ? WHERE id = ?", row.all, row.recovered, id)
		if err != nil {
			return fmt.Errorf("count fetched events: %w", err)
		}
	}
	for id, row := range p.duplicates {
		_, err := t.exec(ctx, `UPDATE events SET duplicate_count = duplicate_count + ?, last_duplicate_at = max(last_duplicate_at, ?) WHERE id = ?`,
			row.count, int64(row.last), id)
		if err != nil {
			return fmt.Errorf("count duplicate: %w", err)
		}
	}
	return nil
}

func (t *sqliteTx) writeDeliveries(ctx context.Context, p *plan) error {
	for _, row := range p.deliveries {
		d := &row.delivery
		_, err := t.exec(ctx, `INSERT INTO deliveries (id, event_id, subscription_id, endpoint_id, partner_id, status, reason, attempt_count,
			schedule_position, next_attempt_at, due_at, lease_token, created_at, completed_at, body_form, line, mark, place, turn)
			VALUES (?, ?, ?, ?, ?, 'PENDING', ?, 0, 0, ?, ?, ?, ?, 0, ?, ?, ?, ?, ?)`,
			d.ID, d.EventID, d.SubscriptionID, d.EndpointID, d.PartnerID, row.position.problem, micros(d.NextAttemptAt), int64(row.due), row.token,
			micros(d.CreatedAt), string(d.BodyForm), row.position.line, row.position.mark, row.position.place, row.turn)
		if err != nil {
			return fmt.Errorf("insert delivery: %w", err)
		}
	}
	return nil
}

// writeMarks notes what was delivered, so that older deliveries are known to be stale.
func (t *sqliteTx) writeMarks(ctx context.Context, p *plan) error {
	if len(p.marked) == 0 {
		return nil
	}
	if _, err := t.exec(ctx, writeMarks[dialect.SQLite], jsonList(p.marked)); err != nil {
		return fmt.Errorf("note what was delivered: %w", err)
	}
	return nil
}

// writeReleased makes due what was held for a transform that is no more.
func (t *sqliteTx) writeReleased(ctx context.Context, p *plan) error {
	for _, s := range p.released {
		_, err := t.exec(ctx, `UPDATE deliveries SET reason = '', next_attempt_at = ?, due_at = ?
			WHERE id = ? AND status = 'PENDING' AND lease_token = '' AND reason <> ''`, micros(p.now), micros(p.now), s.Delivery.ID)
		if err != nil {
			return fmt.Errorf("release delivery: %w", err)
		}
	}
	return nil
}

// writeBodies keeps what transforms have made, for those who still hold the lease.
func (t *sqliteTx) writeBodies(ctx context.Context, p *plan) error {
	for _, r := range p.bodies {
		held, err := t.exec(ctx, `UPDATE deliveries SET body_form = 'SHAPED'
			WHERE id = ? AND lease_token = ? AND lease_token <> '' AND status = 'PENDING' AND body_form = 'UNSHAPED'`, r.deliveryID, r.token)
		if err == nil && held > 0 {
			_, err = t.exec(ctx, "INSERT INTO delivery_bodies (id, content_type, body) VALUES (?, ?, ?)",
				r.deliveryID, r.body.ContentType, blob(r.body.Bytes))
			r.kept = true
		}
		if err != nil {
			return fmt.Errorf("keep body: %w", err)
		}
	}
	return nil
}

// writeRollups stores rows as they stand in the book.
func (t *sqliteTx) writeRollups(ctx context.Context, p *plan) error {
	for _, row := range p.rollups {
		if _, err := t.exec(ctx, sqliteUpsertRollup, row.values()...); err != nil {
			return fmt.Errorf("count: %w", err)
		}
	}
	return nil
}

var sqliteUpsertRollup = "INSERT INTO rollups (" + join(rollupColumns) + ") VALUES (?" +
	strings.Repeat(", ?", len(rollupColumns)-1) + ") " + rollupUpdate

func (t *sqliteTx) writeChanges(ctx context.Context, p *plan) error {
	for i, c := range p.changes {
		_, err := t.exec(ctx, `INSERT INTO delivery_changes (sequence, delivery_id, status, reason, attempt_count, next_attempt_at, completed_at, changed_at)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
			int64(p.changeHead)+1+int64(i), c.deliveryID, string(c.status), c.reason, c.attemptCount, int64(c.next), int64(c.completed), micros(p.now))
		if err != nil {
			return fmt.Errorf("log change of delivery: %w", err)
		}
	}
	return nil
}

// found reads the deliveries of results. One statement for all costs far less than one
// that returns something for each.
func (t *sqliteTx) found(ctx context.Context, results []*settlement) (map[string]*lockedDelivery, error) {
	ids, err := json.Marshal(columns(results, func(s *settlement) string { return s.Delivery.ID }))
	if err != nil {
		return nil, err
	}
	rows, err := t.tx.QueryContext(ctx, "SELECT id, "+lockedColumns+" FROM deliveries WHERE id IN (SELECT value FROM json_each(?))", string(ids))
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	found := make(map[string]*lockedDelivery, len(results))
	for rows.Next() {
		var id string
		d := &lockedDelivery{}
		if err := rows.Scan(append([]any{&id}, d.columns()...)...); err != nil {
			return nil, err
		}
		found[id] = d
	}
	return found, rows.Err()
}

func (t *sqliteTx) writeSettlements(ctx context.Context, now time.Time, results []*settlement) error {
	if len(results) == 0 {
		return nil
	}
	found, err := t.found(ctx, results)
	if err != nil {
		return fmt.Errorf("read deliveries: %w", err)
	}
	for _, s := range results {
		d := found[s.Delivery.ID]
		if d == nil {
			continue // it is gone
		}
		if a := s.Attempt; a != nil {
			inserted, err := t.exec(ctx, `INSERT INTO attempts (id, delivery_id, number, started_at, duration, outcome, status_code,
				error, request_url, request_headers, response_headers, response_body)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
				a.ID, s.Delivery.ID, d.attemptCount+1, micros(a.StartedAt), int64(a.Duration), string(a.Outcome), a.StatusCode,
				a.Error, a.RequestURL, s.requestHeaders, s.responseHeaders, blob(a.ResponseBody))
			if err != nil {
				return fmt.Errorf("insert attempt: %w", err)
			}
			if inserted == 0 {
				continue // stored before
			}
			s.recorded = true
		}
		d.judge(s, now)
		switch {
		case s.applied:
			_, err = t.exec(ctx, `UPDATE deliveries SET status = ?, reason = ?, attempt_count = ?, schedule_position = ?,
				next_attempt_at = ?, due_at = ?, lease_token = '', completed_at = ?, turn = CASE WHEN ? THEN '' ELSE turn END WHERE id = ?`,
				string(d.status), d.reason, d.attemptCount, s.Delivery.SchedulePosition, int64(d.next), int64(d.next), int64(d.completed), d.status.Ended(), s.Delivery.ID)
		case s.recorded:
			_, err = t.exec(ctx, "UPDATE deliveries SET attempt_count = ? WHERE id = ?", d.attemptCount, s.Delivery.ID)
		}
		if err != nil {
			return fmt.Errorf("settle delivery: %w", err)
		}
	}
	return nil
}

// healthIsNewer keeps health that was learned later: a result that could not be stored
// at first comes after those that followed it.
const healthIsNewer = `CASE WHEN excluded.last_success_at > excluded.last_failure_at THEN excluded.last_success_at ELSE excluded.last_failure_at END
	>= CASE WHEN endpoint_health.last_success_at > endpoint_health.last_failure_at THEN endpoint_health.last_success_at ELSE endpoint_health.last_failure_at END`

// writeAnnouncements stores announcements, before the health that they are about.
func (t *sqliteTx) writeAnnouncements(ctx context.Context, p *plan) error {
	for _, a := range p.announcements {
		states, err := json.Marshal(a.states())
		if err == nil {
			_, err = t.exec(ctx, `INSERT INTO announcements (id, type, partner_id, occurred_at, body) SELECT ?1, ?2, ?3, ?4, ?5
				WHERE ?6 = '' OR EXISTS (SELECT 1 FROM endpoint_health WHERE id = ?6 AND breaker IN (SELECT value FROM json_each(?7))
					AND max(last_success_at, last_failure_at) <= ?8)
				OR ?9 AND NOT EXISTS (SELECT 1 FROM endpoint_health WHERE id = ?6)`,
				a.ID, a.Type, a.PartnerID, micros(a.OccurredAt), []byte(a.Body), a.endpointID, string(states), micros(a.learned), a.fromClosed())
		}
		if err != nil {
			return fmt.Errorf("announce: %w", err)
		}
	}
	return nil
}

func (t *sqliteTx) writeHealth(ctx context.Context, p *plan) error {
	for _, h := range p.health {
		_, err := t.exec(ctx, `INSERT INTO endpoint_health (id, breaker, breaker_until, probes, consecutive_failures, failing_since,
			last_success_at, last_failure_at, paced_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET breaker = excluded.breaker, breaker_until = excluded.breaker_until, probes = excluded.probes,
			consecutive_failures = excluded.consecutive_failures, failing_since = excluded.failing_since,
			last_success_at = excluded.last_success_at, last_failure_at = excluded.last_failure_at, paced_until = excluded.paced_until
			WHERE `+healthIsNewer,
			h.EndpointID, string(h.Breaker), micros(h.BreakerUntil), h.Probes, h.ConsecutiveFailures, micros(h.FailingSince),
			micros(h.LastSuccessAt), micros(h.LastFailureAt), micros(h.PacedUntil))
		if err != nil {
			return fmt.Errorf("store endpoint health: %w", err)
		}
	}
	for _, d := range p.disabled {
		_, err := t.exec(ctx, `UPDATE endpoints SET state = 'DISABLED', state_reason = ?, updated_at = ? WHERE id = ? AND state <> 'DISABLED'`,
			d.reason, micros(p.now), d.endpointID)
		if err != nil {
			return fmt.Errorf("disable endpoint: %w", err)
		}
	}
	return nil
}

func (t *sqliteTx) writeRejections(ctx context.Context, p *plan) error {
	for _, r := range p.rejections {
		rej := &r.rejection
		_, err := t.exec(ctx, `INSERT INTO rejections (id, source_id, reason, detail, method, received_at, size, headers, body)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) `+rejectedAgain,
			rej.ID, rej.SourceID, string(rej.Reason), rej.Detail, rej.Method, micros(rej.ReceivedAt), r.size, r.headers, blob(rej.Body))
		if err != nil {
			return fmt.Errorf("insert rejection: %w", err)
		}
	}
	for _, source := range p.rejectedSources() {
		if _, err := t.exec(ctx, pruneRejections, source, hub.MaxRejections, hub.MaxRejectionBytes); err != nil {
			return fmt.Errorf("prune rejections: %w", err)
		}
	}
	for source, n := range p.captured {
		if _, err := t.exec(ctx, "UPDATE sources SET capturing = capturing - ? WHERE id = ?", n, source); err != nil {
			return fmt.Errorf("count captures: %w", err)
		}
	}
	return nil
}

func (t *sqliteTx) writeHead(ctx context.Context, p *plan) error {
	if !p.movesHead() {
		return nil
	}
	_, err := t.exec(ctx, "UPDATE log_head SET sequence = ?, change_sequence = ?, config_revision = config_revision + ? WHERE id = 1",
		int64(p.head), int64(p.changeHead)+int64(len(p.changes)), p.revisions())
	if err != nil {
		return fmt.Errorf("move the head of the log: %w", err)
	}
	return nil
}

// sqliteClaim leases due rows of an endpoint. It steps from one waiting subscription
// to the next, so that it never walks what waits for a paused one, takes as many of
// each as are wanted in all, and keeps those due longest.
const sqliteClaim = `WITH RECURSIVE waiting (subscription_id) AS (
		SELECT * FROM (SELECT subscription_id FROM deliveries WHERE endpoint_id = ?3 AND status = 'PENDING'
			ORDER BY subscription_id, due_at LIMIT 1)
		UNION ALL
		SELECT (SELECT d.subscription_id FROM deliveries AS d WHERE d.endpoint_id = ?3 AND d.status = 'PENDING'
			AND d.subscription_id > waiting.subscription_id ORDER BY d.subscription_id, d.due_at LIMIT 1)
		FROM waiting WHERE waiting.subscription_id IS NOT NULL
	)
	UPDATE deliveries SET due_at = ?1, lease_token = ?2 WHERE rowid IN (
		SELECT d.rowid FROM waiting CROSS JOIN deliveries AS d
		WHERE waiting.subscription_id NOT IN (SELECT value FROM json_each(?5)) AND d.rowid IN (
			SELECT * FROM (SELECT due.rowid FROM deliveries AS due WHERE due.endpoint_id = ?3 AND due.subscription_id = waiting.subscription_id
			AND due.status = 'PENDING' AND due.due_at <= ?4 AND due.replay_id = '' ORDER BY due.due_at LIMIT ?6)
			UNION ALL
			SELECT * FROM (SELECT due.rowid FROM deliveries AS due WHERE due.endpoint_id = ?3 AND due.subscription_id = waiting.subscription_id
			AND due.status = 'PENDING' AND due.due_at <= ?4 AND due.replay_id <> '' ORDER BY due.due_at LIMIT ?6))
		ORDER BY d.replay_id <> '', d.due_at LIMIT ?6)
	RETURNING ` + claimedColumns

func (t *sqliteTx) writeClaims(ctx context.Context, p *plan) error {
	if len(p.claims) == 0 {
		return nil
	}
	paused, err := json.Marshal(p.claimable.paused)
	if err != nil {
		return fmt.Errorf("claim deliveries: %w", err)
	}
	for _, r := range p.claims {
		for _, w := range r.wants {
			if !p.claimable.endpoints[w.EndpointID] {
				continue
			}
			until := column.TimeOf(p.now.Add(w.Lease))
			rows, err := t.tx.QueryContext(ctx, sqliteClaim, int64(until), r.token, w.EndpointID, micros(p.now), string(paused), w.Limit)
			if err != nil {
				return fmt.Errorf("claim deliveries: %w", err)
			}
			if err := r.scan(rows, until); err != nil {
				return fmt.Errorf("claim deliveries: %w", err)
			}
		}
	}
	return nil
}

func (r *claimRequest) scan(rows *sql.Rows, until column.Time) error {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		claimed := claimedRow{until: until}
		if err := rows.Scan(claimed.columns()...); err != nil {
			return err
		}
		r.leases = append(r.leases, claimed.finished())
	}
	return rows.Err()
}

func micros(t time.Time) int64 { return int64(column.TimeOf(t)) }

// blob is never nil, which the driver would store as NULL.
func blob(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
