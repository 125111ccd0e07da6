package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"
)

// Document is a GraphQL document that clients may ask for by its name or its hash.
// It never changes.
type Document struct {
	ID        string
	Name      string // unique; the hash where people gave none
	Hash      string // HashDocument of the text
	Text      string
	CreatedAt time.Time
}

// What registered documents may take. Every node has all of them in memory.
const (
	MaxDocuments          = 1000
	MaxDocumentBytes      = 64 << 10
	MaxDocumentsBytes     = 4 << 20
	MaxDocumentNameLength = 128
)

// HashDocument returns the hash of a document's text, in the form that GraphQL over
// HTTP gives document identifiers: sha256 and 64 hexadecimal digits.
func HashDocument(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// CheckDocumentName says what is wrong with the name of a document, "" if nothing
// is. A name is a custom document identifier of GraphQL over HTTP.
func CheckDocumentName(name string) string {
	if len(name) < 1 || len(name) > MaxDocumentNameLength {
		return fmt.Sprintf("the name of a document has 1 to %d characters", MaxDocumentNameLength)
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == '_', c == '~':
		default:
			return "the name of a document is made of letters, digits, dashes, dots, underscores and tildes"
		}
	}
	return ""
}
