package receive

import (
	"errors"
	"net/http"
	"strings"
	"sync"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/shape"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// schemas are the given schemas of event types, compiled when they are first needed.
type schemas struct {
	// mu guards what follows.
	mu       sync.Mutex
	revision int64                       // of the configuration they belong to
	compiled map[string]*shape.Validator // by the schemas' text; nil for one that does not compile
}

// check holds a body to the given schema of its type, where its source asks for that.
// Learned schemas describe, and refuse nothing.
func (s *schemas) check(c *hub.Configuration, src *hub.Source, eventType string, body []byte) webhook.Verdict {
	if !src.ValidateSchema {
		return webhook.Verdict{}
	}
	given := c.Schemas[eventType]
	if given == nil {
		return webhook.Verdict{}
	}
	refuse := func(why string) webhook.Verdict {
		return webhook.Verdict{Reason: hub.RejectedSchema, Detail: "The body does not fit the given schema of its type: " + why}
	}
	validator := s.of(c, string(given))
	if validator == nil {
		return refuse("this version of the hub cannot read that schema; give it again.")
	}
	err := validator.Validate(body)
	var mismatch *shape.Mismatch
	switch {
	case err == nil:
		return webhook.Verdict{}
	case errors.As(err, &mismatch):
		problems := make([]string, len(mismatch.Problems))
		for i, p := range mismatch.Problems {
			problems[i] = p.String()
		}
		return refuse(strings.Join(problems, "; ") + ".")
	case errors.Is(err, shape.ErrNotJSON):
		return refuse("it is not JSON.")
	}
	return refuse(err.Error() + ".")
}

// of returns a compiled schema. Those that a newer configuration has no more are
// forgotten.
func (s *schemas) of(c *hub.Configuration, text string) *shape.Validator {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.compiled == nil || c.Revision > s.revision {
		kept := make(map[string]*shape.Validator, len(s.compiled))
		for _, given := range c.Schemas {
			if known, ok := s.compiled[string(given)]; ok {
				kept[string(given)] = known
			}
		}
		s.compiled, s.revision = kept, c.Revision
	}
	validator, known := s.compiled[text]
	if !known {
		// What was saved once and cannot be read any more is nil, and refused.
		validator, _ = shape.Compile([]byte(text))
		s.compiled[text] = validator
	}
	return validator
}

// TypeOf returns the type that the event of a recorded request would have had: the slug
// of its source where none can be made out.
func (d *Door) TypeOf(src *hub.Source, r *hub.Rejection) string {
	request := &webhook.Request{Method: r.Method, Header: http.Header{}, Body: r.Body, ReceivedAt: r.ReceivedAt, PublicURL: d.publicURL}
	for _, h := range r.Headers {
		request.Header.Add(h.Name, h.Value)
	}
	extracted, verdict := d.adapter.Extract(src, request, webhook.Extracted{})
	if !verdict.Accepted() || extracted.Type == "" {
		return src.Slug
	}
	return extracted.Type
}
