package graph

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime/debug"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/graph/model"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// forbidden is the error of a field that needs a scope.
func forbidden(scope hub.Scope) *hub.Error {
	return hub.NewError(hub.CodeForbidden, "the key needs the scope "+string(scope))
}

// present is the one place where errors become GraphQL errors. Those that carry
// a code are shown, everything else is logged and shown as internal.
func (r *Resolver) present(ctx context.Context, err error) *gqlerror.Error {
	shown := graphql.DefaultErrorPresenter(ctx, err)
	shown.Path = wholePath(ctx, shown.Path)
	if _, coded := shown.Extensions["code"]; coded {
		return shown
	}
	// What was wrapped keeps its place; its text stays inside.
	out := &gqlerror.Error{Path: shown.Path, Locations: shown.Locations, Extensions: map[string]any{}}
	set := func(code hub.Code, message string) *gqlerror.Error {
		out.Message, out.Extensions["code"] = message, string(code)
		return out
	}
	var known *hub.Error
	var problems hub.UserErrors
	field := graphql.GetFieldContext(ctx)
	switch {
	case errors.As(err, &known):
		if known.RetryAfter > 0 {
			out.Extensions["retryAfter"] = int(math.Ceil(known.RetryAfter.Seconds()))
		}
		if known.Err != nil {
			r.logger.WarnContext(ctx, "a field was answered with an error", slog.String("code", string(known.Code)),
				slog.String("path", shown.Path.String()), slog.Any("error", known.Err))
		}
		return set(known.Code, known.Message)
	case errors.As(err, &problems):
		return set(hub.CodeBadUserInput, problems.Error())
	case field != nil && (field.Field.Name == "__schema" || field.Field.Name == "__type"):
		return set(hub.CodeIntrospectionOff, "introspection needs the scope SCHEMA_READ")
	case errors.Is(err, context.DeadlineExceeded):
		return set(hub.CodeTimeout, "the operation took too long; ask for less at once")
	case errors.Is(err, context.Canceled):
		return set(hub.CodeUnavailable, "the operation was cut off")
	}
	requestID := rand.Text()
	r.logger.ErrorContext(ctx, "a field failed", slog.String("request_id", requestID),
		slog.String("path", shown.Path.String()), slog.Any("error", err))
	out.Extensions["requestId"] = requestID
	return set(hub.CodeInternal, "internal error; the log has more under this request id")
}

// nulled is the rule that an error in a field which cannot be null takes what is
// around it along (GraphQL specification, 6.4.4). The executor does not apply it to
// the root field of a subscription.
func nulled(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	response := next(ctx)
	if response == nil || len(response.Errors) == 0 {
		return response
	}
	root := streamOf(ctx)
	if root != nil && root.Definition.Type.NonNull && string(response.Data) == `{"`+root.Alias+`":null}` {
		response.Data = []byte("null")
	}
	return response
}

// streamOf returns the root field of a subscription, nil for other operations.
func streamOf(ctx context.Context) *ast.Field {
	if !graphql.HasOperationContext(ctx) {
		return nil
	}
	operation := graphql.GetOperationContext(ctx)
	if operation.Operation == nil || operation.Operation.Operation != ast.Subscription {
		return nil
	}
	for _, root := range graphql.CollectFields(operation, operation.Operation.SelectionSet, []string{"Subscription"}) {
		return root.Field
	}
	return nil
}

// wholePath returns a path that begins at the operation's root. The executor gives
// those within a message of a subscription without its root field.
func wholePath(ctx context.Context, path ast.Path) ast.Path {
	field, root := graphql.GetFieldContext(ctx), streamOf(ctx)
	if len(path) == 0 || field == nil || root == nil {
		return path
	}
	for field.Parent != nil && field.Parent.Field.Field != nil {
		field = field.Parent
	}
	if field.Object == "Subscription" {
		return path
	}
	return append(ast.Path{ast.PathName(root.Alias)}, path...)
}

// recovered turns a panic in a resolver into an error, which is presented, and
// logged with the stack, like any other.
func (r *Resolver) recovered(_ context.Context, reason any) error {
	return fmt.Errorf("panic in a resolver: %v\n%s", reason, debug.Stack())
}

// userErrors shows what was wrong with the input of a mutation. What is wrong
// with the thing that field names becomes a user error too; what the caller
// cannot mend is returned as an error.
func userErrors(err error, field ...string) ([]*model.UserError, error) {
	if err == nil {
		return []*model.UserError{}, nil
	}
	var problems hub.UserErrors
	if errors.As(err, &problems) {
		return model.NewUserErrors(problems), nil
	}
	var known *hub.Error
	if errors.As(err, &known) {
		codes := map[hub.Code]hub.InputCode{
			hub.CodeNotFound: hub.InputNotFound, hub.CodeConflict: hub.InputConflict, hub.CodeBadUserInput: hub.InputInvalid,
		}
		if code, ok := codes[known.Code]; ok {
			return model.NewUserErrors(hub.UserErrors{{Code: code, Message: known.Message, Field: field}}), nil
		}
	}
	return nil, err
}
