package webhook

import (
	"crypto/sha256"

	lru "github.com/hashicorp/golang-lru/v2"
)

// maxTokens bounds how many one-time tokens are remembered. Only requests that were
// signed right and just now add to them.
const maxTokens = 1 << 14

// tokens remembers which body came with a one-time token, for vendors whose
// signature covers the token and not the body. It is safe for concurrent use.
type tokens struct {
	seen *lru.Cache[string, [sha256.Size]byte]
}

func newTokens() *tokens {
	seen, err := lru.New[string, [sha256.Size]byte](maxTokens)
	if err != nil { // of a size that is not positive
		panic(err)
	}
	return &tokens{seen: seen}
}

// claim reports whether a token is new, or came with the same body before.
func (t *tokens) claim(source, token string, body []byte) bool {
	hash := sha256.Sum256(body)
	known, found, _ := t.seen.PeekOrAdd(source+"\x00"+token, hash)
	return !found || known == hash
}
