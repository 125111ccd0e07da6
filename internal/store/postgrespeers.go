package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// postgresPlace is a row and a connection of its own. The connection holds an advisory
// lock, so that the others learn at once when it ends with its process.
type postgresPlace struct {
	conn *pgx.Conn
	name string
}

// placeLock is the class of these locks; their objects are sessions.
const placeLock = 0x686f6f6b

// The clock is the database's, so that those of the nodes need not agree. A row that is
// older than any attempt can be is of no account to anybody.
const (
	peersNow   = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint"
	enrolPeer  = "WITH before AS (DELETE FROM peers WHERE id = $4) INSERT INTO peers (id, seen_at, session, counted) VALUES ($1, " + peersNow + ", $2, $3)"
	forgetPeer = "DELETE FROM peers WHERE seen_at < " + peersNow + " - $1"
	leavePeers = "DELETE FROM peers WHERE id = $1"
	beatPeer   = `WITH clock AS MATERIALIZED (SELECT ` + peersNow + ` AS now),
		mine AS (UPDATE peers SET seen_at = clock.now, counted = $2 FROM clock WHERE id = $1)
		SELECT p.id, p.counted, clock.now - p.seen_at, NOT EXISTS (SELECT 1 FROM pg_locks AS l WHERE l.locktype = 'advisory' AND l.objsubid = 2
			AND l.classid::bigint = $3 AND l.objid::bigint = p.session
			AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()))
		FROM peers AS p CROSS JOIN clock ORDER BY p.id`
)

// forgetAfter is when nothing of a silent node can be under way whatever the timeout.
const forgetAfter = hub.PeerSilence + hub.MaxTimeout

func (e *postgresEngine) enrol(ctx context.Context, before string) (_ place, err error) {
	conn, err := pgx.ConnectConfig(ctx, e.pool.Config().ConnConfig)
	if err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	p := &postgresPlace{conn: conn, name: rand.Text()}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	var random [4]byte
	_, _ = rand.Read(random[:]) // it never fails
	session := int64(binary.BigEndian.Uint32(random[:]) & math.MaxInt32)
	var held bool
	if err := conn.QueryRow(ctx, "SELECT pg_try_advisory_lock($1::int, $2::int)", placeLock, session).Scan(&held); err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	if !held {
		return nil, errors.New("enrol: another node has this session's lock")
	}
	if _, err := conn.Exec(ctx, enrolPeer, p.name, session, []byte("[]"), before); err != nil {
		return nil, fmt.Errorf("enrol: %w", err)
	}
	return p, nil
}

func (p *postgresPlace) id() string { return p.name }

func (p *postgresPlace) beat(ctx context.Context, counted []string) ([]hub.Peer, error) {
	list, err := json.Marshal(append([]string{}, counted...))
	if err != nil {
		return nil, err
	}
	rows, err := p.conn.Query(ctx, beatPeer, p.name, list, placeLock)
	if err != nil {
		return nil, err
	}
	present, forget := false, false
	peers, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (one hub.Peer, err error) {
		var knows []byte
		var silent int64
		if err := row.Scan(&one.ID, &knows, &silent, &one.Ended); err != nil {
			return one, err
		}
		var ids []string
		if err := json.Unmarshal(knows, &ids); err != nil {
			return one, err
		}
		one.Counts = slices.Contains(ids, p.name)
		if one.Silent = (time.Duration(silent) * time.Microsecond).Truncate(time.Second); one.Silent < hub.PeerEnded {
			one.Silent = 0
		}
		present = present || one.ID == p.name
		forget = forget || one.Silent > forgetAfter
		return one, nil
	})
	switch {
	case err != nil:
		return nil, err
	case !present:
		return nil, errors.New("the others have forgotten this node")
	case forget:
		_, err = p.conn.Exec(ctx, forgetPeer, forgetAfter.Microseconds())
	}
	return slices.DeleteFunc(peers, func(one hub.Peer) bool { return one.ID == p.name }), err
}

func (p *postgresPlace) leave(ctx context.Context) error {
	_, err := p.conn.Exec(ctx, leavePeers, p.name)
	return err
}

// placeClose bounds the goodbye.
const placeClose = time.Second

func (p *postgresPlace) close() {
	ctx, cancel := context.WithTimeout(context.Background(), placeClose)
	defer cancel()
	_ = p.conn.Close(ctx) // it is of no use any more, whatever this says
}
