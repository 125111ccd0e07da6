// Package document finds the document that a request asks for: its text, a trusted
// document by name or hash (GraphQL over HTTP, appendix Persisted Documents), or one
// that was sent before (automatic persisted queries). What it finds is admitted by
// the gate like any other: being trusted lifts no limit and no scope.
package document

import (
	"embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"github.com/hookgraph/hookgraph/graph/gate"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// builtin are the documents by which trusted documents are managed. They are trusted
// themselves, or nobody could register the first one where nothing else is accepted.
//
//go:embed builtin
var builtin embed.FS

// Mode says which documents are accepted.
type Mode string

// The modes.
const (
	Off  Mode = "off"  // by their text
	On   Mode = "on"   // by their text, and trusted ones by name or hash
	Only Mode = "only" // trusted ones alone
)

// Options say what is accepted besides texts, and instead of them.
type Options struct {
	Mode  Mode   // On if ""
	Files []File // trusted documents; those of the hub itself come on top
	// PersistedQueries is how many documents that clients have sent are kept to be
	// asked for by their hash: automatic persisted queries. 0 turns them off.
	PersistedQueries int
}

// Documents finds documents. It is safe for concurrent use.
type Documents struct {
	mode       Mode
	gate       *gate.Gate
	fixed      map[string]string // texts by name and by hash
	registered func(nameOrHash string) *hub.Document
	sent       *sent // nil where automatic persisted queries are off
}

// New makes Documents. registered finds a document that was registered by mutation.
// Documents of files that are not admitted are an error that says where.
func New(options Options, admission *gate.Gate, registered func(nameOrHash string) *hub.Document) (*Documents, error) {
	d := &Documents{mode: options.Mode, gate: admission, registered: registered}
	if d.mode == "" {
		d.mode = On
	}
	own, err := load(builtin, "builtin")
	if err != nil {
		return nil, err
	}
	if d.fixed, err = d.fix(append(own, options.Files...)); err != nil {
		return nil, err
	}
	if options.PersistedQueries > 0 && d.mode != Only {
		if d.sent, err = newSent(options.PersistedQueries); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Admit finds the document that a request asks for, by the parameter documentId or
// as params say, writes its text into params and admits it. Suggest is that of the
// gate.
func (d *Documents) Admit(params *graphql.RawParams, documentID string, suggest bool) (*ast.QueryDocument, gqlerror.List) {
	text, keep, err := d.find(params, documentID)
	if err != nil {
		return nil, gqlerror.List{err}
	}
	params.Query = text
	document, errs := d.gate.Admit(text, suggest)
	if len(errs) == 0 && keep {
		d.sent.keep(text)
	}
	return document, errs
}

// find returns the text of the document that is asked for, and whether it is to be
// kept once it is admitted.
func (d *Documents) find(params *graphql.RawParams, documentID string) (text string, keep bool, err *gqlerror.Error) {
	hash, err := persistedQuery(params.Extensions)
	switch {
	case err != nil:
		return "", false, err
	case documentID != "" && (params.Query != "" || hash != ""):
		return "", false, failed(hub.CodeBadUserInput, "give either documentId, or query with or without a persistedQuery extension")
	case documentID != "" && d.mode == Off:
		return "", false, failed(hub.CodeDocumentsOff, "documents are not asked for by documentId here; send the query")
	case documentID != "":
		if text, ok := d.trusted(documentID); ok {
			return text, false, nil
		}
		return "", false, failed(hub.CodeDocumentNotFound, "no document is registered under this documentId")
	case hash != "" && params.Query == "":
		text, err := d.byHash(hash)
		return text, false, err
	}
	if isHash(hash) && hub.HashDocument(params.Query) != hashPrefix+hash {
		return "", false, failed(hub.CodeBadUserInput, "persistedQuery.sha256Hash is not the hash of the query")
	}
	if d.mode == Only {
		if _, ok := d.trusted(hub.HashDocument(params.Query)); !ok {
			return "", false, failed(hub.CodeOperationNotAllowed, "only trusted documents are accepted; ask for one by documentId")
		}
	}
	return params.Query, d.sent != nil && isHash(hash), nil
}

// byHash returns the text of what a persistedQuery extension asks for. The messages
// are those by which clients know to send the query too, or to stop asking.
func (d *Documents) byHash(hash string) (string, *gqlerror.Error) {
	id := hash // identifiers of manifests need not be hashes
	if isHash(hash) {
		id = hashPrefix + hash
	}
	for _, key := range []string{id, hash} {
		if text, ok := d.trusted(key); ok {
			return text, nil
		}
	}
	if d.sent != nil {
		if text, ok := d.sent.get(id); ok {
			return text, nil
		}
	}
	if d.mode == Off && d.sent == nil {
		return "", failed(hub.CodeDocumentsOff, "PersistedQueryNotSupported")
	}
	return "", failed(hub.CodeDocumentNotFound, "PersistedQueryNotFound")
}

// trusted returns the text of a trusted document.
func (d *Documents) trusted(nameOrHash string) (string, bool) {
	if d.mode == Off {
		return "", false
	}
	if text, ok := d.fixed[nameOrHash]; ok {
		return text, true
	}
	if document := d.registered(nameOrHash); document != nil {
		return document.Text, true
	}
	return "", false
}

// Owns reports whether a name leads to a document of a file or of the hub itself.
func (d *Documents) Owns(name string) bool {
	_, ok := d.fixed[name]
	return ok
}

// maxProblems bounds what is told of one document.
const maxProblems = 20

// Check says what is wrong with a document that is to be trusted. What an operation
// costs is counted with the defaults of its variables; it is counted again each time.
func (d *Documents) Check(text string) hub.UserErrors {
	document, errs := d.gate.Admit(text, true)
	if errs == nil {
		for _, operation := range document.Operations {
			if err := d.gate.CheckCost(d.gate.Cost(operation, defaults(operation))); err != nil {
				err.Locations = []gqlerror.Location{{Line: operation.Position.Line, Column: operation.Position.Column}}
				errs = append(errs, err)
			}
		}
	}
	var out hub.UserErrors
	for _, err := range errs[:min(len(errs), maxProblems)] {
		problem := hub.UserError{Code: hub.InputInvalid, Message: err.Message}
		switch err.Extensions["code"] {
		case string(hub.CodeCostLimitExceeded), string(hub.CodeDepthLimitExceeded):
			problem.Code = hub.InputLimitExceeded
		}
		if len(err.Locations) > 0 {
			problem.Line, problem.Column = err.Locations[0].Line, err.Locations[0].Column
		}
		out = append(out, problem)
	}
	return out
}

// defaults are the variables of an operation that nobody gives any.
func defaults(operation *ast.OperationDefinition) map[string]any {
	out := make(map[string]any)
	for _, variable := range operation.VariableDefinitions {
		if variable.DefaultValue != nil {
			if value, err := variable.DefaultValue.Value(nil); err == nil {
				out[variable.Variable] = value
			}
		}
	}
	return out
}

const hashPrefix = "sha256:"

// isHash reports whether a text is 64 lower-case hexadecimal digits.
func isHash(text string) bool {
	return len(text) == 64 && strings.Trim(text, "0123456789abcdef") == ""
}

// persistedQuery returns the hash of the extension persistedQuery, "" where there is
// no such extension.
func persistedQuery(extensions map[string]any) (string, *gqlerror.Error) {
	given, ok := extensions["persistedQuery"]
	if !ok || given == nil {
		return "", nil
	}
	members, _ := given.(map[string]any)
	hash, _ := members["sha256Hash"].(string)
	if version, _ := members["version"].(json.Number); version != "1" || hash == "" {
		return "", failed(hub.CodeBadUserInput, "extensions.persistedQuery must be an object with version 1 and a sha256Hash")
	}
	return hash, nil
}

func failed(code hub.Code, message string) *gqlerror.Error {
	return &gqlerror.Error{Message: message, Extensions: map[string]any{"code": string(code)}}
}

// fix makes the texts of files reachable, by the name and the hash of each.
func (d *Documents) fix(files []File) (map[string]string, error) {
	fixed, origin := make(map[string]string), make(map[string]string)
	var wrong problems
	for _, file := range files {
		for _, problem := range d.Check(file.Text) {
			wrong.add(file, problem)
		}
		for _, key := range []string{file.Name, hub.HashDocument(file.Text), hub.HashDocument(strings.TrimSpace(file.Text))} {
			if text, taken := fixed[key]; taken && strings.TrimSpace(text) != strings.TrimSpace(file.Text) {
				wrong.add(file, hub.UserError{Message: fmt.Sprintf("the name %q is taken by another text, in %s", key, origin[key])})
				continue
			}
			fixed[key], origin[key] = file.Text, file.Path
		}
	}
	return fixed, wrong.err()
}
