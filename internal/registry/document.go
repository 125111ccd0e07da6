package registry

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// RegisterDocumentInput is a document to trust.
type RegisterDocumentInput struct {
	Name     Optional[string] // the hash
	Document string
}

// DocumentRules are what the executor of documents knows of them.
type DocumentRules interface {
	// Check says what is wrong with a text, and where in it. Its errors have no field.
	Check(text string) hub.UserErrors
	// Owns reports whether a name or hash already leads to a document that is not
	// registered here.
	Owns(nameOrHash string) bool
}

// RegisterDocument registers a document. One that is there already under this name
// is returned as it is if it has the same text.
func (r *Registry) RegisterDocument(ctx context.Context, in RegisterDocumentInput, rules DocumentRules) (*hub.Document, error) {
	now := r.now()
	document := &hub.Document{
		ID: hub.NewID(hub.DocumentPrefix, now), Hash: hub.HashDocument(in.Document), Text: in.Document, CreatedAt: now,
	}
	var p problems
	if document.Name = document.Hash; in.Name.given() {
		if document.Name = in.Name.Value; rules.Owns(document.Name) {
			p.add(hub.InputConflict, "the name is taken by a document from a file or of the hub itself", "name")
		}
		if wrong := hub.CheckDocumentName(document.Name); wrong != "" {
			p.add(hub.InputInvalid, wrong, "name")
		}
	}
	switch {
	case strings.ContainsRune(in.Document, 0) || !utf8.ValidString(in.Document):
		p.add(hub.InputInvalid, "a document is text in UTF-8, without null characters", "document")
	case strings.TrimSpace(in.Document) == "":
		p.add(hub.InputRequired, "give the text of the document", "document")
	case len(in.Document) > hub.MaxDocumentBytes:
		p.add(hub.InputLimitExceeded, fmt.Sprintf("a document has at most %d bytes", hub.MaxDocumentBytes), "document")
	default:
		for _, problem := range rules.Check(in.Document) {
			problem.Field = []string{"input", "document"}
			p.list = append(p.list, problem)
		}
	}
	if err := p.err(); err != nil {
		return nil, err
	}
	var same *hub.Document
	err := r.store.CreateDocument(ctx, document, func(stored []*hub.Document) error {
		var err error
		same, err = fitsAmong(stored, document)
		return err
	})
	return switched(same, document, err)
}

// fitsAmong says whether there is room for a document, and that it is there already.
func fitsAmong(stored []*hub.Document, document *hub.Document) (same *hub.Document, err error) {
	var p problems
	bytes := len(document.Text)
	for _, other := range stored {
		bytes += len(other.Text)
		if other.Name != document.Name {
			continue
		}
		if other.Text == document.Text {
			return other, errUnchanged
		}
		p.add(hub.InputConflict, "the name is taken by another text; give this one a new name", "name")
	}
	if len(stored) >= hub.MaxDocuments || bytes > hub.MaxDocumentsBytes {
		p.add(hub.InputLimitExceeded, fmt.Sprintf("at most %d documents of %d bytes together are kept; remove some first",
			hub.MaxDocuments, hub.MaxDocumentsBytes), "document")
	}
	return nil, p.err()
}

// RemoveDocument removes a registered document.
func (r *Registry) RemoveDocument(ctx context.Context, id string) error {
	return r.store.DeleteDocument(ctx, id)
}
