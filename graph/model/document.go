package model

import (
	"github.com/hookgraph/hookgraph/internal/hub"
)

// Document is a trusted document as GraphQL shows it.
type Document struct {
	*hub.Document
}

// NewDocuments shows documents.
func NewDocuments(documents []*hub.Document) []*Document {
	out := make([]*Document, len(documents))
	for i, d := range documents {
		out[i] = &Document{d}
	}
	return out
}
