package store_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// anyDocument has nothing against a document.
func anyDocument([]*hub.Document) error { return nil }

func TestDocumentsArePartOfTheConfiguration(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		d := &hub.Document{
			ID: hub.NewID(hub.DocumentPrefix, b.clock.Now()), Name: "one", Text: "{ é }", Hash: hub.HashDocument("{ é }"), CreatedAt: b.clock.Now(),
		}
		revision := s.Configuration().Revision
		must(t, s.CreateDocument(t.Context(), d, anyDocument))
		cfg := s.Configuration()
		if !reflect.DeepEqual(cfg.Documents[d.ID], d) || cfg.Document("one") != cfg.Document(d.Hash) || cfg.Document("one") == nil || cfg.Revision <= revision {
			t.Errorf("known as %+v, want %+v, at revision %d after %d", cfg.Documents[d.ID], d, cfg.Revision, revision)
		}
		against := hub.UserErrors{{Code: hub.InputConflict, Message: "no"}}
		err := s.CreateDocument(t.Context(), &hub.Document{ID: "doc_2", Name: "two"}, func(stored []*hub.Document) error {
			if len(stored) != 1 || !reflect.DeepEqual(stored[0], d) {
				t.Errorf("check was given %+v", stored)
			}
			return against
		})
		if told := (hub.UserErrors)(nil); !errors.As(err, &told) || len(s.Configuration().Documents) != 1 {
			t.Errorf("got %v", err)
		}
		must(t, s.DeleteDocument(t.Context(), d.ID))
		if err := s.DeleteDocument(t.Context(), d.ID); hub.CodeOf(err) != hub.CodeNotFound || s.Configuration().Document("one") != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnotherNodesDocumentsAreFollowed(t *testing.T) {
	t.Parallel()
	one, two, b := twoNodes(t)
	d := &hub.Document{ID: hub.NewID(hub.DocumentPrefix, b.clock.Now()), Name: "one", Text: "{ a }", Hash: hub.HashDocument("{ a }")}
	must(t, one.CreateDocument(t.Context(), d, anyDocument))
	testkit.Eventually(t, "the other node knows the document", func() bool { return two.Configuration().Document("one") != nil })
}
