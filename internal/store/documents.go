package store

import (
	"cmp"
	"context"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	"github.com/hookgraph/hookgraph/ent/document"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// CreateDocument stores a document if check, which is given all that are stored,
// has nothing against it. An error of check is returned as it is.
func (v *View) CreateDocument(ctx context.Context, d *hub.Document, check func([]*hub.Document) error) error {
	if !v.sight.Whole() {
		return errOutOfSight
	}
	return v.store.change(ctx, "create document", func(tx *ent.Tx) error {
		stored, err := readAll(ctx, tx.Document.Query(), toDocument)
		if err != nil {
			return err
		}
		if err := check(stored); err != nil {
			return err
		}
		return tx.Document.Create().SetID(d.ID).SetName(d.Name).SetHash(d.Hash).SetText(d.Text).
			SetCreatedAt(column.TimeOf(cmp.Or(d.CreatedAt, v.store.clock.Now()))).Exec(ctx)
	})
}

// DeleteDocument removes a document.
func (v *View) DeleteDocument(ctx context.Context, id string) error {
	return v.store.change(ctx, "delete document", func(tx *ent.Tx) error {
		return deleted(tx.Document.Delete().Where(document.ID(id), v.ofOperator).Exec(ctx))
	})
}

func toDocument(row *ent.Document) (*hub.Document, error) {
	return &hub.Document{ID: row.ID, Name: row.Name, Hash: row.Hash, Text: row.Text, CreatedAt: row.CreatedAt.Time()}, nil
}
