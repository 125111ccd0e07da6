package store

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/pressly/goose/v3"
)

//go:embed migrations
var migrations embed.FS

// newMigrator reads the migrations of one dialect.
func newMigrator(db *sql.DB, dialect goose.Dialect, folder string, opts ...goose.ProviderOption) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	p, err := goose.NewProvider(dialect, db, files, append(opts, goose.WithDisableGlobalRegistry(true))...)
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return p, nil
}

// Migrate brings the schema to this version and returns the versions before and
// after. Nodes that do so at once wait for one another. A newer schema is left
// alone and ErrSchemaNewer is returned.
func (s *Store) Migrate(ctx context.Context) (from, to int64, err error) {
	p, err := s.engine.migrator()
	if err != nil {
		return 0, 0, err
	}
	from, to, err = p.GetVersions(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read schema version: %w", err)
	}
	if from > to {
		return from, from, ErrSchemaNewer
	}
	if from == to {
		return from, to, nil
	}
	if _, err := p.Up(ctx); err != nil {
		return from, from, fmt.Errorf("migrate: %w", err)
	}
	return from, to, nil
}

// SchemaVersion returns the version of the schema and the one this program wants.
// An empty database has version 0.
func (s *Store) SchemaVersion(ctx context.Context) (current, wanted int64, err error) {
	p, err := s.engine.migrator()
	if err != nil {
		return 0, 0, err
	}
	current, wanted, err = p.GetVersions(ctx)
	if err != nil {
		return 0, 0, fmt.Errorf("read schema version: %w", err)
	}
	return current, wanted, nil
}
