package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"entgo.io/ent/dialect"
	"github.com/pressly/goose/v3"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// engine is what the two databases do differently.
type engine interface {
	readDriver() dialect.Driver
	writeDriver() dialect.Driver
	ping(context.Context) error
	close() error

	// assertDurable fails where a commit would not survive a power cut.
	assertDurable(context.Context) error
	// voidLeases makes everything due that a process before had leased, where no
	// other process can be working on it.
	voidLeases(context.Context, time.Time) error
	// migrator returns what applies migrations, safe against a second node.
	migrator() (*goose.Provider, error)
	// snapshot returns the options of a transaction that reads one state.
	snapshot() *sql.TxOptions
	// typeLike returns the operator and pattern that match a type with wildcards.
	typeLike(pattern string) (operator, operand string)
	// bound gives one batch the time it may take.
	bound(context.Context) (context.Context, context.CancelFunc)
	// begin opens the transaction of one batch.
	begin(context.Context) (transaction, error)
}

// transaction is one batch on its way into the database. Either write or
// rollback ends it.
type transaction interface {
	// lock takes the row that orders all commits, then looks up dedupe keys.
	lock(ctx context.Context, keys []string) (logHead, map[string]keyRow, error)
	// write stores the plan and commits. An error means that nothing is stored, or
	// that nobody knows (the connection broke during the commit).
	write(ctx context.Context, p *plan) error
	rollback(context.Context)
}

// logHead is the row that orders all commits.
type logHead struct {
	sequence hub.Sequence
	revision int64
}

func connect(ctx context.Context, cfg Config) (engine, error) {
	scheme, rest, _ := strings.Cut(cfg.URL, ":")
	switch scheme {
	case "sqlite":
		if rest == "" {
			return nil, errors.New("the database URL names no file: write sqlite:PATH")
		}
		return openSQLite(ctx, rest, cfg)
	case "postgres", "postgresql":
		if _, err := url.Parse(cfg.URL); err != nil {
			return nil, errors.New("the database URL is malformed: write postgres://user:password@host:port/database")
		}
		return openPostgres(ctx, cfg.URL)
	}
	return nil, fmt.Errorf("the database URL begins with %q: write sqlite:PATH or postgres://…", scheme)
}
