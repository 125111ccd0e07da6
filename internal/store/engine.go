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
	// enrol gives this node a place among the nodes of the hub, in exchange for the one that
	// it had before, if any; nil where no other node can use the database.
	enrol(ctx context.Context, before string) (place, error)
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

// place is a node's among the nodes of the hub.
type place interface {
	id() string
	// beat says that the node is there, and with which nodes it shares what endpoints
	// permit, and returns the others. After an error the place is lost.
	beat(ctx context.Context, counted []string) ([]hub.Peer, error)
	// leave gives the place up: nothing is under way any more.
	leave(context.Context) error
	// close ends the connection, and leaves the others to find out.
	close()
}

// transaction is one batch on its way into the database. Either write or
// rollback ends it.
type transaction interface {
	// lock writes results and says in each what became of it, takes the row that orders
	// all commits, then looks up dedupe keys and when the latest events of some sources
	// happened. It locks deliveries before that row, those of the bodies included, like
	// whatever else changes deliveries.
	lock(ctx context.Context, now time.Time, results []*settlement, bodies []*bodyRequest, keys, sources []string) (logHead, knowledge, error)
	// write stores the plan and commits. An error means that nothing is stored, or
	// that nobody knows (the connection broke during the commit).
	write(ctx context.Context, p *plan) error
	rollback(context.Context)
	// Between the two, lines move.
	ordering
}

// logHead is the row that orders all commits.
type logHead struct {
	sequence hub.Sequence
	changes  hub.Sequence
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
