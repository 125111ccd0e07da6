package webhook

import "github.com/hookgraph/hookgraph/internal/hub"

// Verdict is what came of checking a request. The zero value accepts it.
type Verdict struct {
	Reason hub.RejectionReason
	// Detail tells the operator which check failed, what was expected and what
	// came, and what usually causes it. It holds no secret, and no signature that
	// would have been right. The sender never sees it.
	Detail string
}

// Accepted reports whether nothing was wrong.
func (v Verdict) Accepted() bool { return v.Reason == "" }

func refuse(reason hub.RejectionReason, detail string) Verdict {
	return Verdict{Reason: reason, Detail: detail}
}
