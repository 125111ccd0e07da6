package transport

import (
	"net/http"
	"strconv"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// serveHTTP answers a POST or GET, by a single answer or an event stream.
//
// Credentials travel in a header alone, which no other site's form, image or
// link can set, so a forged cross-site request is always unauthenticated.
func (h *Handler) serveHTTP(w http.ResponseWriter, r *http.Request) {
	accept := negotiate(r.Header)
	if accept.preferred == "" {
		h.refuse(w, r, mediaJSON, http.StatusNotAcceptable, hub.NewError(hub.CodeNotAcceptable,
			"answers are given as "+mediaGraphQL+", "+mediaJSON+" or "+mediaStream))
		return
	}
	viewer, refused := h.authenticate(r.Context(), r.Header.Get("Authorization"))
	if refused != nil {
		h.refuse(w, r, accept.single, statusOf(refused.Code), refused)
		return
	}
	turn := h.turn()
	defer turn.end()
	params, wrong := h.readParams(w, r, viewer, turn)
	if wrong != nil {
		if wrong.told == nil {
			wrong.told = h.cfg.Executor.Refused(viewer, wrong.size)
		}
		h.refuseTelling(w, r, accept.single, wrong.status, wrong.Error, wrong.told)
		return
	}
	params.Headers = r.Header

	stream := &Stream{lastEventID: r.Header.Get("Last-Event-ID")}
	ctx := withStream(hub.WithViewer(graphql.StartOperationTrace(r.Context()), viewer), stream)
	operation, errs := h.prepare(ctx, params, turn)
	if len(errs) > 0 {
		ctx = graphql.WithOperationContext(ctx, operation)
		h.write(w, r, accept.single, requestErrorStatus(w.Header(), accept, errs), h.cfg.Executor.DispatchError(ctx, errs))
		return
	}
	kind := operation.Operation.Operation
	switch {
	case r.Method == http.MethodGet && kind == ast.Mutation:
		w.Header().Set("Allow", "POST")
		h.refuseOperation(w, r, operation, accept.single, http.StatusMethodNotAllowed,
			hub.NewError(hub.CodeMethodNotAllowed, "mutations are sent by POST"))
	case accept.stream && (kind == ast.Subscription || accept.preferred == mediaStream):
		h.serveEvents(ctx, w, r, operation, stream)
	case kind == ast.Subscription:
		h.refuseOperation(w, r, operation, accept.single, http.StatusBadRequest, hub.NewError(hub.CodeOperationNotAllowed,
			"subscriptions need Accept: "+mediaStream+", or a WebSocket"))
	default:
		respond, ctx := h.cfg.Executor.DispatchOperation(ctx, operation)
		response := respond(ctx)
		if response == nil { // the client is gone
			return
		}
		h.write(w, r, accept.single, http.StatusOK, response)
	}
}

// requestErrorStatus is the status of a well-formed request that is refused
// before execution: the media type says which rule holds.
func requestErrorStatus(header http.Header, accept accepted, errs gqlerror.List) int {
	if accept.single == mediaJSON && accept.preferred != mediaStream {
		return http.StatusOK
	}
	if wait, ok := errs[0].Extensions["retryAfter"].(int); ok && errs[0].Extensions["code"] == string(hub.CodeRateLimited) {
		header.Set("Retry-After", strconv.Itoa(wait))
		return http.StatusTooManyRequests
	}
	return http.StatusBadRequest
}
