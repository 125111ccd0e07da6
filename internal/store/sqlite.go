package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"github.com/gofrs/flock"
	"github.com/mattn/go-sqlite3"
	"github.com/pressly/goose/v3"

	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/fetch"
	"github.com/hookgraph/hookgraph/ent/learnhead"
	"github.com/hookgraph/hookgraph/ent/replay"
)

// sqliteEngine is one file, one connection that writes and several that read.
type sqliteEngine struct {
	path           string
	wal            walBounds
	log            *slog.Logger
	writer, reader *sql.DB
	lock           *flock.Flock // nil for a tool

	stuck time.Time // when the WAL could not be emptied for a reader; only begin uses it
}

// The driver is compiled with NORMAL as the default in WAL mode, which loses the
// last commits in a power cut, so FULL is said here and asserted at the start. The
// checkpoint stays with the writer: a WAL that is recycled small is cheaper to sync
// than one that grows.
const (
	sqliteShared = "_synchronous=FULL&_busy_timeout=5000&_foreign_keys=on&_mutex=no&_stmt_cache_size=64&_cache_size=-16384"
	sqliteWriter = "_journal_mode=WAL&_txlock=immediate&" + sqliteShared
	sqliteReader = "_query_only=1&" + sqliteShared
)

func openSQLite(ctx context.Context, path string, cfg Config) (engine, error) {
	path = strings.TrimPrefix(path, "//") // sqlite://PATH is a common slip
	if err := makeFile(path); err != nil {
		return nil, err
	}
	e := &sqliteEngine{path: path, log: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)), wal: cmp.Or(cfg.wal, walBounds{length: maxWAL, again: emptyAgain})}
	if !cfg.Tool {
		e.lock = flock.New(path + ".lock")
		switch locked, err := e.lock.TryLock(); {
		case err != nil:
			return nil, fmt.Errorf("lock the database file: %w", err)
		case !locked:
			return nil, ErrInUse
		}
	}
	file := "file:" + (&url.URL{Path: path}).EscapedPath() + "?"
	var err error
	if e.writer, err = sql.Open("sqlite3", file+sqliteWriter); err == nil {
		e.reader, err = sql.Open("sqlite3", file+sqliteReader)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open database file %s: %w", path, err), e.close())
	}
	e.writer.SetMaxOpenConns(1)
	e.reader.SetMaxOpenConns(max(4, 2*runtime.NumCPU()))
	e.reader.SetMaxIdleConns(max(4, 2*runtime.NumCPU()))
	if err := e.open(ctx); err != nil {
		var of sqlite3.Error
		if errors.As(err, &of) && of.Code == sqlite3.ErrNotADB {
			err = errors.New("it is no SQLite database: name another file in HOOKGRAPH_DATABASE_URL, or move this one away")
		}
		return nil, errors.Join(fmt.Errorf("open database file %s: %w", path, err), e.close())
	}
	return e, nil
}

// makeFile creates the database file where it is missing, readable by its owner
// alone, since it holds what senders sent. SQLite gives its side files the same mode.
func makeFile(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("cannot create the folder of the database file, check HOOKGRAPH_DATABASE_URL: %w", err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the path is the operator's
	if err != nil {
		return fmt.Errorf("cannot open the database file, check HOOKGRAPH_DATABASE_URL: %w", err)
	}
	return f.Close()
}

func (e *sqliteEngine) readDriver() dialect.Driver { return entsql.OpenDB(dialect.SQLite, e.reader) }

func (e *sqliteEngine) writeDriver() dialect.Driver { return entsql.OpenDB(dialect.SQLite, e.writer) }

// open opens the file for the first time: the writing connection makes it a WAL one, for
// which it must be alone.
func (e *sqliteEngine) open(ctx context.Context) error {
	start := e.startLock()
	if err := start.Lock(ctx, e.writer); err != nil {
		return err
	}
	return errors.Join(e.ping(ctx), start.Unlock(ctx, e.writer))
}

// ping writes first: it is the writing connection that makes the file a WAL one.
func (e *sqliteEngine) ping(ctx context.Context) error {
	if err := e.writer.PingContext(ctx); err != nil {
		return err
	}
	return e.reader.PingContext(ctx)
}

func (e *sqliteEngine) close() error {
	var errs []error
	// The writer last: the last connection that closes folds the WAL into the file.
	for _, db := range []*sql.DB{e.reader, e.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	if e.lock != nil {
		errs = append(errs, e.lock.Unlock())
	}
	return errors.Join(errs...)
}

func (e *sqliteEngine) assertDurable(ctx context.Context) error {
	var journal string
	var synchronous int
	if err := e.writer.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return fmt.Errorf("read journal mode: %w", err)
	}
	if err := e.writer.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous); err != nil {
		return fmt.Errorf("read synchronous mode: %w", err)
	}
	const full = 2
	if !strings.EqualFold(journal, "wal") || synchronous < full {
		return fmt.Errorf("the database file is in journal mode %s with synchronous=%d and would lose acknowledged events: put it on a local file system that supports WAL", journal, synchronous)
	}
	return nil
}

// enrol has no place to give: one process at a time may use the file.
func (e *sqliteEngine) enrol(context.Context, string) (place, error) { return nil, nil }

func (e *sqliteEngine) voidLeases(ctx context.Context, now time.Time) error {
	_, err := e.writer.ExecContext(ctx,
		"UPDATE deliveries SET due_at = ?, lease_token = '' WHERE status = 'PENDING' AND lease_token <> ''", int64(column.TimeOf(now)))
	if err != nil {
		return fmt.Errorf("void leases: %w", err)
	}
	for _, table := range []string{fetch.Table, learnhead.Table, replay.Table} {
		if _, err := e.writer.ExecContext(ctx, "UPDATE "+table+" SET lease_token = '', lease_until = 0 WHERE lease_token <> ''"); err != nil {
			return fmt.Errorf("void leases of %s: %w", table, err)
		}
	}
	return nil
}

func (e *sqliteEngine) migrator() (*goose.Provider, error) {
	return newMigrator(e.writer, goose.DialectSQLite3, "sqlite", goose.WithLocker(e.startLock()))
}

// startLock has those who open or migrate a file at once wait for one another: commands may
// use it beside a hub, and be the first to do so.
type startLock struct {
	file *flock.Flock
	log  *slog.Logger
}

func (e *sqliteEngine) startLock() startLock {
	return startLock{file: flock.New(e.path + ".start.lock"), log: e.log}
}

// Lock waits until nobody else has the file. A migration may take long, so it says what it
// waits for.
func (l startLock) Lock(ctx context.Context, _ *sql.DB) error {
	locked, err := l.file.TryLock()
	if err == nil && !locked {
		tell := time.AfterFunc(time.Second, func() {
			l.log.WarnContext(ctx, "another process starts on the database file or migrates it: waiting for that", slog.String("file", l.file.Path()))
		})
		defer tell.Stop()
		_, err = l.file.TryLockContext(ctx, 20*time.Millisecond)
	}
	if err != nil {
		return fmt.Errorf("wait for others that start on the database file: %w", err)
	}
	return nil
}

// Unlock lets the next one go on.
func (l startLock) Unlock(context.Context, *sql.DB) error { return l.file.Unlock() }

// snapshot needs no option: any read transaction of SQLite sees one state.
func (e *sqliteEngine) snapshot() *sql.TxOptions { return nil }

// typeLike uses GLOB, since LIKE ignores case in SQLite.
func (e *sqliteEngine) typeLike(pattern string) (operator, operand string) {
	return "GLOB", globEscaper.Replace(pattern)
}

// globEscaper puts what GLOB would interpret into character classes; * means the
// same in both.
var globEscaper = strings.NewReplacer("?", "[?]", "[", "[[]")

// The WAL starts over only at a moment when nobody reads, and readers that overlap
// leave none: then it grows with every commit, and reading slows down with it. Past
// maxWAL the writer waits for those who read now, while whoever begins to read goes by
// the file alone. A reader that takes longer than emptyBound is let go on.
const (
	maxWAL     = 64 << 20
	emptyBound = 500 * time.Millisecond
	emptyAgain = 5 * time.Second
)

// walBounds is maxWAL and emptyAgain, where tests set others.
type walBounds struct {
	length int64
	again  time.Duration
}

// emptyWAL makes the WAL start over where it has grown too long.
func (e *sqliteEngine) emptyWAL(ctx context.Context) error {
	info, err := os.Stat(e.path + "-wal")
	if err != nil || info.Size() < e.wal.length || time.Since(e.stuck) < e.wal.again {
		return nil // without a WAL there is nothing to do
	}
	conn, err := e.writer.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it goes back to the pool
	_, err = conn.ExecContext(ctx, fmt.Sprintf("PRAGMA busy_timeout = %d", emptyBound.Milliseconds()))
	var busy bool
	if err == nil {
		var frames, moved int
		err = conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &frames, &moved)
	}
	if busy {
		e.stuck = time.Now()
	}
	_, restored := conn.ExecContext(ctx, "PRAGMA busy_timeout = 5000")
	return errors.Join(err, restored)
}

// begin is called by the writer alone.
func (e *sqliteEngine) begin(ctx context.Context) (transaction, error) {
	if err := e.emptyWAL(ctx); err != nil {
		return nil, fmt.Errorf("empty the WAL: %w", err)
	}
	tx, err := e.writer.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	return &sqliteTx{tx: tx}, nil
}
