package app_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/app"
)

func TestABadTrustedDocumentStopsTheStart(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.TrustedDocumentsDir = t.TempDir()
	path := filepath.Join(o.TrustedDocumentsDir, "orders.graphql")
	if err := os.WriteFile(path, []byte("query Orders {\n  orders { id }\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := app.Start(t.Context(), o, secretKey, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), path+":2:3: Cannot query field") {
		t.Errorf("got %v", err)
	}
	o.TrustedDocumentsDir = filepath.Join(o.TrustedDocumentsDir, "none")
	_, err = app.Start(t.Context(), o, secretKey, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "HOOKGRAPH_TRUSTED_DOCUMENTS_DIR") {
		t.Errorf("got %v", err)
	}
}
