package main

import (
	"context"
	"database/sql"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgraph/hookgraph/bench/harness"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// What the database holds besides its events.
const (
	sources       = 20
	endpoints     = 20
	subscriptions = 40
	maxDeliveries = 3 // of one event; 1.5 on average
)

// route is a subscription with its endpoint.
type route struct{ subscription, endpoint string }

// fill makes a hub's database of so many events, unless it has them already.
func fill(ctx context.Context, hubServer *harness.Server, events int) error {
	if err := hubServer.Start(ctx); err != nil { // which makes the schema
		return err
	}
	var stored struct {
		Events struct{ Nodes []struct{ Sequence string } }
	}
	err := hubServer.GraphQL(ctx, `{ events(first: 1) { nodes { sequence } } }`, nil, &stored)
	if err != nil {
		return errors.Join(err, hubServer.Stop())
	}
	if len(stored.Events.Nodes) > 0 {
		last := stored.Events.Nodes[0].Sequence
		if last < hub.Sequence(events).String() {
			err = fmt.Errorf("the database ends at sequence %s: give an empty one, or one with %d events", last, events)
		}
		return errors.Join(err, hubServer.Stop())
	}
	began := time.Now()
	sourceIDs, routes, err := configure(ctx, hubServer)
	if err = errors.Join(err, hubServer.Stop()); err != nil {
		return err
	}
	if path, ok := strings.CutPrefix(hubServer.DatabaseURL, "sqlite:"); ok {
		err = fillSQLite(ctx, path, events, began, sourceIDs, routes)
	} else {
		err = fillPostgres(ctx, hubServer.DatabaseURL, events, began, sourceIDs, routes)
	}
	fmt.Printf("%d events stored in %.0f s\n", events, time.Since(began).Seconds())
	return err
}

// configure makes the sources, endpoints and subscriptions, and lets one event be
// delivered: its rows are the pattern of all others.
func configure(ctx context.Context, hubServer *harness.Server) (sourceIDs []string, routes []route, err error) {
	arrived := make(chan struct{}, 1)
	sink, err := harness.NewSink(func(string, []byte) {
		select {
		case arrived <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return nil, nil, err
	}
	defer sink.Close()
	for i := range sources {
		var made struct {
			CreateSource struct{ Source struct{ ID string } }
		}
		err := hubServer.GraphQL(ctx, `mutation ($name: String!) {
			createSource(input: {name: $name, kind: API}) { source { id } userErrors { field message } } }`,
			map[string]any{"name": fmt.Sprintf("Shop %02d", i)}, &made)
		if err != nil {
			return nil, nil, fmt.Errorf("create a source: %w", err)
		}
		sourceIDs = append(sourceIDs, made.CreateSource.Source.ID)
	}
	var endpointIDs []string
	for i := range endpoints {
		var made struct {
			CreateEndpoint struct{ Endpoint struct{ ID string } }
		}
		err := hubServer.GraphQL(ctx, `mutation ($name: String!, $url: String!) {
			createEndpoint(input: {name: $name, url: $url}) { endpoint { id } userErrors { field message } } }`,
			map[string]any{"name": fmt.Sprintf("Warehouse %02d", i), "url": sink.URL()}, &made)
		if err != nil {
			return nil, nil, fmt.Errorf("create an endpoint: %w", err)
		}
		endpointIDs = append(endpointIDs, made.CreateEndpoint.Endpoint.ID)
	}
	for i := range subscriptions {
		endpoint := endpointIDs[i%endpoints]
		var made struct {
			CreateSubscription struct{ Subscription struct{ ID string } }
		}
		err := hubServer.GraphQL(ctx, `mutation ($name: String!, $endpoint: ID!, $source: ID!) {
			createSubscription(input: {name: $name, endpointId: $endpoint, sourceIds: [$source]}) { subscription { id } userErrors { field message } } }`,
			map[string]any{"name": fmt.Sprintf("Orders %02d to the \"warehouse\"", i), "endpoint": endpoint, "source": sourceIDs[i%sources]}, &made)
		if err != nil {
			return nil, nil, fmt.Errorf("create a subscription: %w", err)
		}
		routes = append(routes, route{made.CreateSubscription.Subscription.ID, endpoint})
	}
	err = hubServer.GraphQL(ctx, `mutation ($source: ID!) {
		publishEvent(input: {sourceId: $source, type: "pattern", payload: {}}) { event { id } userErrors { field message } } }`,
		map[string]any{"source": sourceIDs[0]}, &struct{}{})
	if err != nil {
		return nil, nil, fmt.Errorf("publish an event: %w", err)
	}
	select {
	case <-arrived:
	case <-time.After(10 * time.Second):
		return nil, nil, errors.New("the first event did not arrive")
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
	return sourceIDs, routes, nil
}

// pattern is a stored row: its columns, and the values of those that new rows share.
type pattern struct {
	table   string
	columns []string
	values  []any
}

// with returns the values of a new row.
func (p pattern) with(changed map[string]any) []any {
	row := make([]any, len(p.values))
	for i, column := range p.columns {
		if value, ok := changed[column]; ok {
			row[i] = value
		} else {
			row[i] = p.values[i]
		}
	}
	return row
}

var types = []string{
	"order.created", "order.paid", "order.shipped", "order.returned", "customer.created", "customer.updated",
	"invoice.created", "invoice.paid", "invoice.overdue", "shipment.delivered",
}

// stored is one event with its deliveries.
type stored struct {
	event      map[string]any
	deliveries []map[string]any
}

// step is the time from one event to the next.
const step = 500 * time.Millisecond

// rows makes the events, the same each time.
func rows(events int, began time.Time, sourceIDs []string, routes []route) iter.Seq[stored] {
	return func(yield func(stored) bool) {
		random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // nothing is to be guessed here
		at := began.Add(-time.Duration(events) * step).Truncate(time.Second)
		for n := 1; n <= events; n++ {
			at = at.Add(step - time.Duration(random.IntN(1000))*time.Microsecond)
			one := stored{event: map[string]any{
				"id": newID(hub.EventPrefix, at, random), "sequence": int64(n), "source_id": sourceIDs[random.IntN(len(sourceIDs))],
				"type": types[random.IntN(len(types))], "dedupe_key": "", "received_at": at.UnixMicro(), "occurred_at": at.Add(-time.Second).UnixMicro(),
				"body": fmt.Appendf(nil, `{"order":{"id":"ord_%08d","currency":"EUR","total":%d,"lines":[{"sku":"A-%04d","quantity":%d,"price":%d},{"sku":"B-%04d","quantity":1,"price":990}]},"customer":{"id":"cus_%06d","email":"customer%06d@example.com"},"note":"as ordered by telephone, to be left with the neighbours"}`,
					n, random.IntN(90000), random.IntN(9999), 1+random.IntN(5), random.IntN(9000), random.IntN(9999), random.IntN(999999), random.IntN(999999)),
			}}
			first := random.IntN(len(routes))
			for i := range random.IntN(maxDeliveries + 1) {
				to, status, reason := routes[(first+i)%len(routes)], hub.DeliveryDelivered, ""
				if random.IntN(50) == 0 {
					status, reason = hub.DeliveryDead, "all attempts failed"
				}
				one.deliveries = append(one.deliveries, map[string]any{
					"id": newID(hub.DeliveryPrefix, at, random), "event_id": one.event["id"], "subscription_id": to.subscription, "endpoint_id": to.endpoint,
					"status": string(status), "reason": reason, "created_at": at.UnixMicro(), "completed_at": at.Add(80 * time.Millisecond).UnixMicro(),
				})
			}
			if !yield(one) {
				return
			}
		}
	}
}

// newID is hub.NewID with chance from elsewhere.
func newID(prefix string, at time.Time, random *rand.Rand) string {
	var raw [16]byte
	binary.BigEndian.PutUint64(raw[:8], uint64(at.UnixMilli())<<16)
	binary.BigEndian.PutUint32(raw[6:], random.Uint32())
	binary.BigEndian.PutUint64(raw[8:], random.Uint64())
	return prefix + "_" + idEncoding.EncodeToString(raw[:])
}

var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// fillSQLite writes the rows past the hub, which is not running, and the indexes
// after them.
func fillSQLite(ctx context.Context, path string, events int, began time.Time, sourceIDs []string, routes []route) error {
	db, err := sql.Open("sqlite3", "file:"+filepath.ToSlash(path)+"?_journal_mode=DELETE&_synchronous=OFF&_cache_size=-200000")
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	db.SetMaxOpenConns(1)
	event, err := patternOf(ctx, db, "events")
	if err != nil {
		return err
	}
	delivery, err := patternOf(ctx, db, "deliveries")
	if err != nil {
		return err
	}
	indexes, err := list(ctx, db, "SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ('events', 'deliveries')")
	if err != nil {
		return err
	}
	names, err := list(ctx, db, "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ('events', 'deliveries')")
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // of no effect after the commit
	for _, statement := range append(cleared(), dropped(names)...) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	intoEvents, err := tx.PrepareContext(ctx, event.insert())
	if err != nil {
		return err
	}
	defer func() { _ = intoEvents.Close() }()
	intoDeliveries, err := tx.PrepareContext(ctx, delivery.insert())
	if err != nil {
		return err
	}
	defer func() { _ = intoDeliveries.Close() }()
	for one := range rows(events, began, sourceIDs, routes) {
		if _, err := intoEvents.ExecContext(ctx, event.with(one.event)...); err != nil {
			return err
		}
		for _, d := range one.deliveries {
			if _, err := intoDeliveries.ExecContext(ctx, delivery.with(d)...); err != nil {
				return err
			}
		}
	}
	for _, statement := range append(indexes, fmt.Sprintf("UPDATE log_head SET sequence = %d", events)) {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// cleared are the statements that take away the rows that were the pattern.
func cleared() []string {
	return []string{"DELETE FROM attempts", "DELETE FROM deliveries", "DELETE FROM dedupe_keys", "DELETE FROM events"}
}

func dropped(indexes []string) []string {
	statements := make([]string, len(indexes))
	for i, name := range indexes {
		statements[i] = "DROP INDEX " + name
	}
	return statements
}

func (p pattern) insert() string {
	return "INSERT INTO " + p.table + " (" + strings.Join(p.columns, ", ") + ") VALUES (?" + strings.Repeat(", ?", len(p.columns)-1) + ")"
}

func patternOf(ctx context.Context, db *sql.DB, table string) (pattern, error) {
	p := pattern{table: table}
	rows, err := db.QueryContext(ctx, "SELECT * FROM "+table+" LIMIT 1")
	if err != nil {
		return p, err
	}
	defer func() { _ = rows.Close() }()
	if p.columns, err = rows.Columns(); err != nil {
		return p, err
	}
	if !rows.Next() {
		return p, errors.Join(fmt.Errorf("%s has no row", table), rows.Err())
	}
	p.values = make([]any, len(p.columns))
	into := make([]any, len(p.columns))
	for i := range into {
		into[i] = &p.values[i]
	}
	return p, rows.Scan(into...)
}

// list returns the first column of what a query finds.
func list(ctx context.Context, db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []string
	for rows.Next() {
		var one string
		if err := rows.Scan(&one); err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// fillPostgres does the same by COPY.
func fillPostgres(ctx context.Context, url string, events int, began time.Time, sourceIDs []string, routes []route) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	patterns := make(map[string]pattern)
	for _, table := range []string{"events", "deliveries"} {
		rows, err := conn.Query(ctx, "SELECT * FROM "+table+" LIMIT 1")
		if err != nil {
			return err
		}
		p := pattern{table: table}
		for _, field := range rows.FieldDescriptions() {
			p.columns = append(p.columns, field.Name)
		}
		if rows.Next() {
			p.values, err = rows.Values()
		}
		rows.Close()
		if err = errors.Join(err, rows.Err()); err != nil {
			return err
		}
		patterns[table] = p
	}
	const ofBoth = " FROM pg_indexes WHERE tablename IN ('events', 'deliveries') AND indexname NOT LIKE '%pkey' AND schemaname = current_schema()"
	names, err := listed(ctx, conn, "SELECT indexname"+ofBoth)
	if err != nil {
		return err
	}
	indexes, err := listed(ctx, conn, "SELECT indexdef"+ofBoth)
	if err != nil {
		return err
	}
	for _, statement := range append(cleared(), dropped(names)...) {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	for _, table := range []string{"events", "deliveries"} {
		p := patterns[table]
		next, stop := iter.Pull(func(yield func([]any) bool) {
			for one := range rows(events, began, sourceIDs, routes) {
				if table == "events" {
					if !yield(p.with(one.event)) {
						return
					}
					continue
				}
				for _, d := range one.deliveries {
					if !yield(p.with(d)) {
						return
					}
				}
			}
		})
		_, err := conn.CopyFrom(ctx, pgx.Identifier{table}, p.columns, pgx.CopyFromFunc(func() ([]any, error) {
			row, _ := next()
			return row, nil
		}))
		stop()
		if err != nil {
			return fmt.Errorf("copy %s: %w", table, err)
		}
	}
	for _, statement := range append(indexes, fmt.Sprintf("UPDATE log_head SET sequence = %d", events), "VACUUM ANALYZE") {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

func listed(ctx context.Context, conn *pgx.Conn, query string) ([]string, error) {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}
