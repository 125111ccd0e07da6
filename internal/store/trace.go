package store

import (
	"context"
	"database/sql"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
)

// traced calls trace with each statement that goes through the driver.
func traced(driver dialect.Driver, trace func(context.Context, string)) dialect.Driver {
	if trace == nil {
		return driver
	}
	return &tracedDriver{Driver: driver, trace: trace}
}

type tracedDriver struct {
	dialect.Driver
	trace func(context.Context, string)
}

func (d *tracedDriver) Exec(ctx context.Context, query string, args, v any) error {
	d.trace(ctx, query)
	return d.Driver.Exec(ctx, query, args, v)
}

func (d *tracedDriver) Query(ctx context.Context, query string, args, v any) error {
	d.trace(ctx, query)
	return d.Driver.Query(ctx, query, args, v)
}

func (d *tracedDriver) Tx(ctx context.Context) (dialect.Tx, error) { return d.BeginTx(ctx, nil) }

// BeginTx is what ent looks for beside dialect.Driver.
func (d *tracedDriver) BeginTx(ctx context.Context, opts *sql.TxOptions) (dialect.Tx, error) {
	tx, err := d.Driver.(interface {
		BeginTx(context.Context, *entsql.TxOptions) (dialect.Tx, error)
	}).BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &tracedTx{Tx: tx, trace: d.trace}, nil
}

type tracedTx struct {
	dialect.Tx
	trace func(context.Context, string)
}

func (t *tracedTx) Exec(ctx context.Context, query string, args, v any) error {
	t.trace(ctx, query)
	return t.Tx.Exec(ctx, query, args, v)
}

func (t *tracedTx) Query(ctx context.Context, query string, args, v any) error {
	t.trace(ctx, query)
	return t.Tx.Query(ctx, query, args, v)
}
