package transport

import (
	"net/http"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"

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
	params, status, refused := h.readParams(w, r)
	if refused != nil {
		h.refuse(w, r, accept.single, status, refused)
		return
	}
	params.Headers = r.Header

	stream := &Stream{lastEventID: r.Header.Get("Last-Event-ID")}
	ctx := withStream(hub.WithViewer(graphql.StartOperationTrace(r.Context()), viewer), stream)
	operation, errs := h.cfg.Executor.CreateOperationContext(ctx, params)
	if len(errs) > 0 {
		ctx = graphql.WithOperationContext(ctx, operation)
		h.write(w, r, accept.single, requestErrorStatus(accept), h.cfg.Executor.DispatchError(ctx, errs))
		return
	}
	kind := operation.Operation.Operation
	switch {
	case r.Method == http.MethodGet && kind == ast.Mutation:
		w.Header().Set("Allow", "POST")
		h.refuse(w, r, accept.single, http.StatusMethodNotAllowed,
			hub.NewError(hub.CodeMethodNotAllowed, "mutations are sent by POST"))
	case accept.stream && (kind == ast.Subscription || accept.preferred == mediaStream):
		h.serveEvents(ctx, w, r, operation, stream)
	case kind == ast.Subscription:
		h.refuse(w, r, accept.single, http.StatusBadRequest, hub.NewError(hub.CodeOperationNotAllowed,
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
func requestErrorStatus(accept accepted) int {
	if accept.single == mediaJSON && accept.preferred != mediaStream {
		return http.StatusOK
	}
	return http.StatusBadRequest
}
