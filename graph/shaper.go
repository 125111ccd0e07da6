package graph

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql"
	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
)

const (
	// shapeTimeout bounds the execution of a selection. What takes longer cannot be
	// shaped: nobody would wait for it again and again.
	shapeTimeout = 5 * time.Second
	// cachedSelections is how many selections are kept parsed and validated.
	cachedSelections = 1024
	// eventField is the field of the query root that selections are made on.
	eventField = "event"
	// shapedContentType is what a shaped body is sent as.
	shapedContentType = "application/json"
)

// shapeLimits bound a selection, which runs for every event. The event itself counts as
// one of the fields.
func shapeLimits() gate.Limits {
	return gate.Limits{
		Tokens: 1000, Depth: 10, Aliases: 100, Fragments: 10, Directives: 20,
		SameField: 50, RootFields: 1, Nodes: 500, Cost: 100,
	}
}

// ShaperConfig is what a Shaper is made of. View, Matcher and Fingerprint must be given.
type ShaperConfig struct {
	View        func(hub.Sight) View
	Matcher     Matcher
	Fingerprint func(hub.Secret) string
	Logger      *slog.Logger // silent if nil
	PublicURL   string
	Development bool // as of Config
}

// Shaper makes bodies of events: by CEL, or by a selection that the executor of queries
// answers with the rights of the subscription's owner. It is safe for concurrent use.
type Shaper struct {
	engine     *engine
	resolver   *Resolver
	view       func(hub.Sight) View
	matcher    Matcher
	selections *lru.Cache[string, *ast.QueryDocument] // admitted ones by their text
}

// NewShaper makes a Shaper.
func NewShaper(cfg ShaperConfig) (*Shaper, error) {
	paths, err := newPaths()
	if err != nil {
		return nil, err
	}
	selections, err := lru.New[string, *ast.QueryDocument](cachedSelections)
	if err != nil {
		return nil, fmt.Errorf("make selection cache: %w", err)
	}
	r := &Resolver{
		view: cfg.View, matcher: cfg.Matcher, logger: cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		inboundURL: inboundURL(cfg.PublicURL), fingerprint: cfg.Fingerprint, paths: paths,
	}
	e, err := newEngine(r, shapeLimits(), cfg.Development)
	if err != nil {
		return nil, err
	}
	s := &Shaper{engine: e, resolver: r, view: cfg.View, matcher: cfg.Matcher, selections: selections}
	r.shaper = s
	return s, nil
}

// ownerOf returns with whose rights bodies for a partner are shaped, or for the operator
// where partnerID is "": those of whoever owns the endpoint, who may read.
func ownerOf(partnerID string) *hub.Viewer {
	owner := &hub.Viewer{Role: hub.RoleOperator, Scopes: []hub.Scope{hub.ScopeEventsRead, hub.ScopePayloadsRead}}
	if partnerID != "" {
		owner.Role, owner.PartnerID = hub.RolePartner, partnerID
	}
	return owner
}

// whole is the configuration as the hub itself sees it.
func (s *Shaper) whole() *hub.Configuration { return s.view(hub.WholeSight()).Configuration() }

// CheckTransform says what is wrong with a transform for endpoints of a partner, or of
// the operator where partnerID is "": what cannot be parsed, is not in the schema, costs
// too much or is not for the owner to read. The error is a *match.ExpressionError.
func (s *Shaper) CheckTransform(partnerID string, transform *hub.Transform) error {
	switch transform.Kind {
	case hub.TransformCEL:
		return s.matcher.CheckTransform(transform.Expression)
	case hub.TransformGraphQL:
		document, err := s.selection(transform.Expression)
		if err != nil {
			return err
		}
		owner := ownerOf(partnerID)
		return s.walk(document, func(field *ast.Field) error {
			return cmp.Or(mayRead(owner, field), s.checkPath(field))
		})
	}
	return &match.ExpressionError{Message: fmt.Sprintf("there is no transform of kind %.20q", transform.Kind), Line: 1, Column: 1}
}

// Shape makes the body of a delivery of an event, which comes with its payload, to an
// endpoint of a partner, or of the operator where partnerID is "". Its errors are for
// people, and of hub.CodeUnavailable where it may work later.
func (s *Shaper) Shape(ctx context.Context, partnerID string, transform *hub.Transform, event *hub.Event) (hub.Body, error) {
	return s.shape(hub.WithViewer(ctx, ownerOf(partnerID)), transform, event)
}

// shape makes a body with the rights of the viewer in ctx. Without a transform it is the
// event's own.
func (s *Shaper) shape(ctx context.Context, transform *hub.Transform, event *hub.Event) (hub.Body, error) {
	if transform == nil {
		return hub.Body{ContentType: event.ContentType, Bytes: event.Payload.Body}, nil
	}
	var body []byte
	var err error
	if transform.Kind == hub.TransformGraphQL {
		body, err = s.selected(ctx, transform.Expression, event)
	} else if body, err = s.matcher.Transform(transform.Expression, event, s.slugOf(event)); err != nil {
		err = errors.New(match.Reason(err))
	}
	if err != nil {
		return hub.Body{}, err
	}
	return hub.Body{ContentType: shapedContentType, Bytes: body}, nil
}

// slugOf returns the slug of an event's source, "" where that is gone.
func (s *Shaper) slugOf(event *hub.Event) string {
	if source := s.whole().Sources[event.SourceID]; source != nil {
		return source.Slug
	}
	return ""
}

// selection admits a selection. What is wrong with one is not remembered: it is told to
// whoever wants to save it.
func (s *Shaper) selection(text string) (*ast.QueryDocument, error) {
	if known, ok := s.selections.Get(text); ok {
		return known, nil
	}
	document, errs := s.engine.gate.AdmitSelection(text, eventField, s.engine.development)
	if len(errs) > 0 {
		return nil, expressionError(errs[0])
	}
	s.selections.Add(text, document)
	return document, nil
}

func expressionError(err *gqlerror.Error) *match.ExpressionError {
	e := &match.ExpressionError{Message: err.Message, Line: 1, Column: 1}
	if len(err.Locations) > 0 {
		e.Line, e.Column = max(err.Locations[0].Line, 1), max(err.Locations[0].Column, 1)
	}
	return e
}

// walk calls check with every field that a document's text has, until one is wrong.
func (s *Shaper) walk(document *ast.QueryDocument, check func(*ast.Field) error) error {
	sets := []ast.SelectionSet{document.Operations[0].SelectionSet}
	for _, fragment := range document.Fragments {
		sets = append(sets, fragment.SelectionSet)
	}
	for len(sets) > 0 {
		set := sets[len(sets)-1]
		sets = sets[:len(sets)-1]
		for _, selection := range set {
			switch one := selection.(type) {
			case *ast.InlineFragment:
				sets = append(sets, one.SelectionSet)
			case *ast.Field:
				sets = append(sets, one.SelectionSet)
				if err := check(one); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// mayRead says that the viewer lacks the scope for a field, or never sees it.
func mayRead(viewer *hub.Viewer, field *ast.Field) error {
	if viewer.Role == hub.RolePartner && field.Definition != nil && field.Definition.Directives.ForName("hiddenFromPartners") != nil {
		return &match.ExpressionError{
			Message: fmt.Sprintf("the subscription's owner may not read %s: it is not shown to partners", field.Name),
			Line:    field.Position.Line, Column: field.Position.Column,
		}
	}
	scope := scopeOf(field.Definition)
	if scope == "" || viewer.Can(scope) {
		return nil
	}
	return &match.ExpressionError{
		Message: fmt.Sprintf("the subscription's owner may not read %s: it needs the scope %s", field.Name, scope),
		Line:    field.Position.Line, Column: field.Position.Column,
	}
}

// checkPath says what is wrong with the path into a payload, which would fail for every
// event alike.
func (s *Shaper) checkPath(field *ast.Field) error {
	path := field.Arguments.ForName("path")
	if field.Name != "payload" || path == nil || path.Value == nil || path.Value.Kind != ast.StringValue {
		return nil
	}
	if _, err := s.resolver.path(&path.Value.Raw); err != nil {
		known := err
		if e := new(hub.Error); errors.As(err, &e) {
			known = errors.New(e.Message)
		}
		return &match.ExpressionError{Message: known.Error(), Line: path.Position.Line, Column: path.Position.Column}
	}
	return nil
}

// scopeOf returns the scope that a field needs, "" for none.
func scopeOf(field *ast.FieldDefinition) hub.Scope {
	if field == nil {
		return ""
	}
	directive := field.Directives.ForName("hasScope")
	if directive == nil {
		return ""
	}
	scope := directive.Arguments.ForName("scope")
	if scope == nil || scope.Value == nil {
		return ""
	}
	return hub.Scope(scope.Value.Raw)
}

// hand holds the event that is being shaped, so that it is not read again, and its body
// decoded, so that many paths do not decode it many times. In a query the decoded bodies
// of whole lists would take more memory than decoding them again takes time.
type hand struct {
	event *hub.Event
	once  sync.Once
	body  any
	json  bool
}

type handKey struct{}

// handOf returns the event that is being shaped, nil in a query.
func handOf(ctx context.Context) *hand {
	h, _ := ctx.Value(handKey{}).(*hand)
	return h
}

// decode returns what decodes the body of an event.
func (h *hand) decode(eventID string) func([]byte) (any, bool) {
	if h == nil || h.event.ID != eventID {
		return decoded
	}
	return func(body []byte) (any, bool) {
		h.once.Do(func() { h.body, h.json = decoded(body) })
		return h.body, h.json
	}
}

// selected answers a selection on an event. Any error in the answer fails it whole: an
// error is no payload.
func (s *Shaper) selected(ctx context.Context, text string, event *hub.Event) ([]byte, error) {
	document, err := s.selection(text)
	if err != nil {
		return nil, err
	}
	if !hub.SightOf(hub.ViewerFromContext(ctx)).Sees(event, s.whole()) {
		return nil, errors.New("the subscription's owner may not see this event")
	}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, handKey{}, &hand{event: event}), shapeTimeout)
	defer cancel()
	ctx = graphql.StartOperationTrace(ctx)
	operation, errs := s.engine.Executor.CreateOperationContext(withDocument(ctx, document),
		&graphql.RawParams{Variables: map[string]any{"id": event.ID}})
	if len(errs) > 0 {
		return nil, failure(errs[0])
	}
	respond, ctx := s.engine.DispatchOperation(ctx, operation)
	response := respond(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, cutOff(ctx)
	case response == nil:
		return nil, errors.New("the selection was not answered")
	case len(response.Errors) > 0:
		return nil, failure(response.Errors[0])
	}
	var answered struct {
		Event json.RawMessage `json:"event"`
	}
	if err := json.Unmarshal(response.Data, &answered); err != nil {
		return nil, fmt.Errorf("the selection was not answered with JSON")
	}
	switch {
	case len(answered.Event) == 0 || string(answered.Event) == "null":
		return nil, errors.New("the subscription's owner may not see this event")
	case len(answered.Event) > hub.MaxShapedBytes:
		return nil, fmt.Errorf("the body is larger than %d bytes", hub.MaxShapedBytes)
	}
	return answered.Event, nil
}

// cutOff tells a selection that takes too long from a hub that stops.
func cutOff(ctx context.Context) error {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return hub.NewError(hub.CodeTimeout, "the selection took longer than "+shapeTimeout.String())
	}
	return hub.NewError(hub.CodeUnavailable, "the selection was cut off")
}

// failure is what is told of an error in an answer. One of the hub's own may be over
// next time.
func failure(err *gqlerror.Error) error {
	code, _ := err.Extensions["code"].(string)
	text := err.Message
	if path := strings.TrimPrefix(strings.TrimPrefix(err.Path.String(), eventField), "."); path != "" {
		text = path + ": " + text
	}
	switch known := hub.Code(code); known {
	case hub.CodeInternal, hub.CodeUnavailable:
		return hub.NewError(hub.CodeUnavailable, text)
	case hub.CodeTimeout:
		return hub.NewError(known, text)
	default:
		return errors.New(text)
	}
}
