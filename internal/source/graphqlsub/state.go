package graphqlsub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// state is how far a source has come.
type state struct {
	// Of tells subscriptions apart: the value of one means nothing to another.
	Of    string          `json:"of"`
	Value json.RawMessage `json:"value,omitempty"` // of the resume variable; nil: none yet
}

// restore reads how far a source has come; one that follows something else by now is at
// its beginning.
func restore(up *hub.Upstream, progress json.RawMessage) state {
	begin := state{Of: identity(up)}
	var stored state
	if json.Unmarshal(progress, &stored) != nil || stored.Of != begin.Of {
		return begin
	}
	return stored
}

func identity(up *hub.Upstream) string {
	hash := sha256.New()
	for _, part := range []string{up.URL, up.Document, string(up.Variables)} {
		_, _ = fmt.Fprintf(hash, "%d:%s", len(part), part) // documented never to fail
	}
	return hex.EncodeToString(hash.Sum(nil)[:16])
}

func (s state) encode() json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err) // the value was read as JSON
	}
	return raw
}

// resume returns the variables of the next connection.
func (s state) resume(up *hub.Upstream) (json.RawMessage, error) {
	if s.Value == nil || up.ResumeVariable == "" {
		return up.Variables, nil
	}
	variables := make(map[string]json.RawMessage)
	if len(up.Variables) > 0 {
		if err := json.Unmarshal(up.Variables, &variables); err != nil {
			return nil, fmt.Errorf("the source's variables are no object")
		}
	}
	variables[up.ResumeVariable] = s.Value
	return json.Marshal(variables)
}
