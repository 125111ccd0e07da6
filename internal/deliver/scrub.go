package deliver

import (
	"bytes"
	"strings"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	scrubbed = "[redacted]"
	// minScrubbed is the length from which a value is looked for in an answer. Shorter
	// ones would be found in everything.
	minScrubbed = 6
)

// scrub removes credentials from what is kept of an answer: there are servers that
// repeat what they were sent.
func scrub(a *hub.Attempt, secrets []string) {
	cut := len(a.ResponseBody) == hub.MaxResponseBodyKept
	for _, secret := range secrets {
		if len(secret) < minScrubbed {
			continue
		}
		for i := range a.ResponseHeaders {
			a.ResponseHeaders[i].Value = strings.ReplaceAll(a.ResponseHeaders[i].Value, secret, scrubbed)
		}
		a.ResponseBody = bytes.ReplaceAll(a.ResponseBody, []byte(secret), []byte(scrubbed))
	}
	if !cut {
		return
	}
	// What was kept may end in the midst of one.
	for _, secret := range secrets {
		for n := min(len(secret)-1, len(a.ResponseBody)); n >= minScrubbed; n-- {
			if bytes.HasSuffix(a.ResponseBody, []byte(secret[:n])) {
				a.ResponseBody = append(a.ResponseBody[:len(a.ResponseBody)-n], scrubbed...)
				break
			}
		}
	}
	a.ResponseBody = a.ResponseBody[:min(len(a.ResponseBody), hub.MaxResponseBodyKept)]
}
