package webhook

import (
	"context"
	"slices"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// Adapter judges the requests of webhook sources.
type Adapter struct {
	table       *Table
	expressions Expressions
	tokens      *tokens
	keys        Keys // nil: none can be had
}

// New makes an adapter over a table of providers.
func New(table *Table, expressions Expressions) *Adapter {
	return &Adapter{table: table, expressions: expressions, tokens: newTokens()}
}

// Admit checks what can be checked before the body is read: the network a
// request comes from.
func (a *Adapter) Admit(src *hub.Source, r *Request) Verdict {
	if v := src.Verification; v != nil && len(v.AllowNetworks) > 0 {
		return checkNetwork(v.AllowNetworks, r.Peer)
	}
	return Verdict{}
}

// Verify checks that a request that was admitted comes from whom it should. A
// source without any check accepts it only where it says so aloud.
func (a *Adapter) Verify(ctx context.Context, src *hub.Source, r *Request) Verdict {
	p, found := a.table.Lookup(src.Provider)
	// A source that allows unverified requests may name a provider for its rules
	// alone: then it has nothing to verify with.
	keyed := len(src.Secrets) > 0 || found && p.keyed(src)
	if !src.Verified() && !keyed {
		if src.AllowUnverified {
			return Verdict{}
		}
		return refuse(hub.RejectedCredentialsInvalid,
			"The source has neither a provider nor a scheme of its own to verify requests with, and does not allow unverified ones.")
	}
	if v := src.Verification; v != nil {
		switch {
		case v.HMAC != nil:
			return a.customHMAC(v.HMAC, src, r)
		case v.APIKey != nil:
			return apiKey(v.APIKey, src, r)
		case v.Basic != nil:
			return basic(v.Basic, src, r)
		case v.JWT != nil:
			return a.customJWT(ctx, v.JWT, src, r)
		}
	}
	if src.Provider == "" || src.AllowUnverified && !keyed {
		return Verdict{} // the network alone is checked, and Admit has done it
	}
	if !found {
		return refuse(hub.RejectedSignatureInvalid, "This hub does not know the source's provider "+src.Provider+".")
	}
	if p.Verify != nil {
		return p.Verify(ctx, a.caseOf(p, src, r))
	}
	return p.Scheme.verify(p, src, r)
}

// Handshake answers a request that is a handshake of the source's provider.
// Verified says whether the request has passed Verify: a handshake that the
// provider signs is answered only then, any other only before.
func (a *Adapter) Handshake(ctx context.Context, src *hub.Source, r *Request, verified bool) (Answer, bool) {
	p, found := a.table.Lookup(src.Provider)
	if !found {
		return Answer{}, false
	}
	for _, h := range p.Handshakes {
		if h.Signed != verified {
			continue
		}
		if answer, asked := h.Answer(ctx, a.caseOf(p, src, r)); asked {
			return answer, true
		}
	}
	return Answer{}, false
}

// Bare reports whether a request is a handshake that is refused without a body.
func (a *Adapter) Bare(ctx context.Context, src *hub.Source, r *Request) bool {
	p, found := a.table.Lookup(src.Provider)
	return found && slices.ContainsFunc(p.Handshakes, func(h Handshake) bool {
		if !h.Bare {
			return false
		}
		_, asked := h.Answer(ctx, a.caseOf(p, src, r))
		return asked
	})
}

func (a *Adapter) caseOf(p *Provider, src *hub.Source, r *Request) *Case {
	return &Case{Source: src, Request: r, Provider: p, remote: a.table.remote, tokens: a.tokens}
}
