package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// postgresEngine is one pool, which ent shares.
type postgresEngine struct {
	pool *pgxpool.Pool
	db   *sql.DB
}

// connectTimeout keeps callers from waiting long on a server that is not there.
const connectTimeout = 5 * time.Second

// leastConns is what a node needs, whatever the URL says: a batch that holds log_head
// reads a changed configuration over a second connection, while a change of
// configuration waits for log_head on a third.
const leastConns = 3

// idleInTransaction bounds how long a node that vanished inside a transaction can
// hold log_head, and with it every other node's commits.
const idleInTransaction = "10s"

func openPostgres(ctx context.Context, url string) (engine, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil { // its text would repeat the password
		return nil, errors.New("the database URL is malformed: write postgres://user:password@host:port/database")
	}
	least := int32(leastConns)
	if !strings.Contains(url, "pool_max_conns") {
		least = 10
	}
	cfg.MaxConns = max(cfg.MaxConns, least)
	if !strings.Contains(url, "connect_timeout") {
		cfg.ConnConfig.ConnectTimeout = connectTimeout
	}
	params := cfg.ConnConfig.RuntimeParams
	for name, value := range map[string]string{
		"application_name":                    "hookgraph",
		"idle_in_transaction_session_timeout": idleInTransaction,
	} {
		if _, given := params[name]; !given {
			params[name] = value
		}
	}
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	e := &postgresEngine{pool: pool, db: stdlib.OpenDBFromPool(pool)}
	if err := e.ping(ctx); err != nil {
		target := fmt.Sprintf("%s:%d", cfg.ConnConfig.Host, cfg.ConnConfig.Port)
		_ = e.close() // the first error tells more
		return nil, unreachable(target, err)
	}
	return e, nil
}

// unreachable says why a server could not be used, in one line. The driver repeats
// its error for each address and for each way to encrypt.
func unreachable(target string, err error) error {
	var refused *pgconn.PgError
	if errors.As(err, &refused) { // it answers, with no
		return fmt.Errorf("the database at %s refuses, check user, password and name in HOOKGRAPH_DATABASE_URL: %s", target, refused.Message)
	}
	cause, _, _ := strings.Cut(err.Error(), "\n\t")
	var wrong *net.OpError
	var unknown *net.DNSError
	switch {
	case errors.As(err, &unknown):
		cause = unknown.Error()
	case errors.As(err, &wrong):
		cause = wrong.Err.Error()
	}
	return fmt.Errorf("the database at %s does not answer, check HOOKGRAPH_DATABASE_URL and that it runs: %s", target, strings.Join(strings.Fields(cause), " "))
}

func (e *postgresEngine) readDriver() dialect.Driver { return entsql.OpenDB(dialect.Postgres, e.db) }

func (e *postgresEngine) writeDriver() dialect.Driver { return e.readDriver() }

func (e *postgresEngine) ping(ctx context.Context) error { return e.pool.Ping(ctx) }

func (e *postgresEngine) close() error {
	err := e.db.Close()
	e.pool.Close()
	return err
}

func (e *postgresEngine) assertDurable(ctx context.Context) error {
	var mode string
	if err := e.pool.QueryRow(ctx, "SHOW synchronous_commit").Scan(&mode); err != nil {
		return fmt.Errorf("read synchronous_commit: %w", err)
	}
	if mode == "off" {
		return errors.New("synchronous_commit is off in this database, so acknowledged events could be lost: set it to on for this user or database")
	}
	return nil
}

// isLocked reports whether an error says that somebody else has a row that was not to be
// waited for.
func isLocked(err error) bool {
	const lockNotAvailable = "55P03"
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == lockNotAvailable
}

// voidLeases leaves leases alone: other nodes may hold them, so they end by time.
func (e *postgresEngine) voidLeases(context.Context, time.Time) error { return nil }

func (e *postgresEngine) migrator() (*goose.Provider, error) {
	const everySecond, forFiveMinutes = 1, 300
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(everySecond, forFiveMinutes))
	if err != nil {
		return nil, fmt.Errorf("make migration lock: %w", err)
	}
	return newMigrator(e.db, goose.DialectPostgres, "postgres", goose.WithSessionLocker(locker))
}

func (e *postgresEngine) snapshot() *sql.TxOptions {
	return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
}

func (e *postgresEngine) typeLike(pattern string) (operator, operand string) {
	return "LIKE", likeEscaper.Replace(pattern)
}

// likeEscaper escapes what LIKE would interpret, and writes * in its words.
var likeEscaper = strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`, `*`, `%`)

func (e *postgresEngine) begin(ctx context.Context) (transaction, error) {
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &postgresTx{conn: conn}, nil
}
