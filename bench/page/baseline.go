package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	_ "github.com/mattn/go-sqlite3"

	"github.com/hookgraph/hookgraph/graph/page"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// The answer of the baseline, as encoding/json writes it: the same as the hub's.
type (
	answer struct {
		Data struct {
			Events eventPage `json:"events"`
		} `json:"data"`
	}
	eventPage struct {
		Nodes    []event  `json:"nodes"`
		PageInfo pageInfo `json:"pageInfo"`
	}
	pageInfo struct {
		HasNextPage bool    `json:"hasNextPage"`
		EndCursor   *string `json:"endCursor"`
	}
	event struct {
		ID         string       `json:"id"`
		Type       string       `json:"type"`
		ReceivedAt time.Time    `json:"receivedAt"`
		Source     *named       `json:"source"`
		Deliveries deliveryPage `json:"deliveries"`
	}
	named struct {
		Name string `json:"name"`
	}
	deliveryPage struct {
		Nodes []delivery `json:"nodes"`
	}
	delivery struct {
		ID           string `json:"id"`
		Status       string `json:"status"`
		Subscription *named `json:"subscription"`
		Endpoint     *named `json:"endpoint"`
	}
)

const (
	ofEvents = `SELECT e.id, e.type, e.received_at, e.sequence, s.name FROM events e LEFT JOIN sources s ON s.id = e.source_id
		WHERE e.sequence < $1 ORDER BY e.sequence DESC LIMIT $2`
	ofDeliveries = `SELECT d.event_id, d.id, d.status, s.name, p.name FROM deliveries d
		LEFT JOIN subscriptions s ON s.id = d.subscription_id LEFT JOIN endpoints p ON p.id = d.endpoint_id
		WHERE d.event_id %s ORDER BY d.id DESC`
)

// baseline answers one query by hand: two statements, prepared once.
type baseline struct {
	events, deliveries *sql.Stmt
	postgres           bool
}

// gcPercent is the hub's.
const gcPercent = 1000

// serveBaseline serves it until the process is killed.
func serveBaseline(ctx context.Context, addr, url string) error {
	debug.SetGCPercent(gcPercent)
	b := &baseline{}
	var db *sql.DB
	var err error
	in := "IN (?" + strings.Repeat(", ?", pageSize-1) + ")"
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		db, err = sql.Open("sqlite3", "file:"+path+"?_query_only=1&_busy_timeout=5000&_mutex=no&_cache_size=-16384")
		if err != nil {
			return err
		}
		db.SetMaxOpenConns(max(4, 2*runtime.NumCPU()))
		db.SetMaxIdleConns(max(4, 2*runtime.NumCPU()))
	} else {
		pool, err := pgxpool.New(ctx, url)
		if err != nil {
			return err
		}
		db, in, b.postgres = stdlib.OpenDBFromPool(pool), "= ANY ($1)", true
	}
	if b.events, err = db.PrepareContext(ctx, ofEvents); err != nil {
		return err
	}
	if b.deliveries, err = db.PrepareContext(ctx, fmt.Sprintf(ofDeliveries, in)); err != nil {
		return err
	}
	server := &http.Server{Addr: addr, Handler: b, ReadHeaderTimeout: 5 * time.Second}
	return server.ListenAndServe()
}

func (b *baseline) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var asked struct {
		Variables struct {
			After *string `json:"after"`
		} `json:"variables"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&asked); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	size := pageSize
	wanted, err := page.Events.Page(page.Arguments{First: &size, After: asked.Variables.After})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var out answer
	if out.Data.Events, err = b.page(r.Context(), wanted); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	body, err := json.Marshal(out)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

// page reads the events, and then all of their deliveries at once.
func (b *baseline) page(ctx context.Context, p hub.Page) (out eventPage, err error) {
	before := int64(1<<63 - 1)
	if p.After != "" {
		if before, err = strconv.ParseInt(p.After, 16, 64); err != nil {
			return out, err
		}
	}
	rows, err := b.events.QueryContext(ctx, before, p.Size+1)
	if err != nil {
		return out, err
	}
	defer func() { _ = rows.Close() }()
	out.Nodes = make([]event, 0, p.Size+1)
	ids := make([]string, 0, p.Size)
	places := make(map[string]int, p.Size)
	var last hub.Sequence
	for rows.Next() {
		if len(out.Nodes) == p.Size {
			out.PageInfo.HasNextPage = true
			break
		}
		var e event
		var receivedAt int64
		var source sql.NullString
		if err := rows.Scan(&e.ID, &e.Type, &receivedAt, &last, &source); err != nil {
			return out, err
		}
		e.ReceivedAt, e.Source, e.Deliveries.Nodes = time.UnixMicro(receivedAt).UTC(), nameOf(source), []delivery{}
		places[e.ID] = len(out.Nodes)
		ids = append(ids, e.ID)
		out.Nodes = append(out.Nodes, e)
	}
	if err := rows.Close(); err != nil {
		return out, err
	}
	if len(ids) == 0 {
		return out, rows.Err()
	}
	cursor := page.Events.Cursor(last.String())
	out.PageInfo.EndCursor = &cursor
	return out, b.addDeliveries(ctx, out.Nodes, ids, places)
}

func (b *baseline) addDeliveries(ctx context.Context, events []event, ids []string, places map[string]int) error {
	arguments := []any{ids}
	if !b.postgres {
		arguments = make([]any, pageSize)
		for i := range arguments {
			arguments[i] = ids[min(i, len(ids)-1)]
		}
	}
	rows, err := b.deliveries.QueryContext(ctx, arguments...)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var d delivery
		var eventID string
		var subscription, endpoint sql.NullString
		if err := rows.Scan(&eventID, &d.ID, &d.Status, &subscription, &endpoint); err != nil {
			return err
		}
		d.Subscription, d.Endpoint = nameOf(subscription), nameOf(endpoint)
		if of := &events[places[eventID]].Deliveries; len(of.Nodes) < deliveriesShown {
			of.Nodes = append(of.Nodes, d)
		}
	}
	return rows.Err()
}

func nameOf(name sql.NullString) *named {
	if !name.Valid {
		return nil
	}
	return &named{name.String}
}
