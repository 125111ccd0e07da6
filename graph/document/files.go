package document

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// File is a trusted document that was read from a file.
type File struct {
	Path string // of the file, for messages
	Name string // under which clients ask for it, besides its hash
	Text string
	// Line and Column are where the text begins in a manifest, from 1; zero where the
	// file is the document.
	Line, Column int
}

// apolloManifest is the format of manifests that Apollo's tools write.
const apolloManifest = "apollo-persisted-query-manifest"

// Load reads the trusted documents of a folder and the folders in it: *.graphql and
// *.gql files, each one document whose name is its path without the ending and with
// dots for slashes; and *.json files, which are manifests: Apollo's, or an object of
// texts by their names as Relay's compiler writes it. Other files are left alone.
func Load(folder string) ([]File, error) {
	info, err := os.Stat(folder)
	if err == nil && !info.IsDir() {
		err = errors.New("this is not a folder")
	}
	if err != nil {
		return nil, fmt.Errorf("read trusted documents: %w", err)
	}
	files, err := load(os.DirFS(folder), ".")
	for i := range files {
		files[i].Path = filepath.Join(folder, filepath.FromSlash(files[i].Path))
	}
	return files, err
}

// load reads the documents under a root.
func load(tree fs.FS, root string) ([]File, error) {
	var files []File
	err := fs.WalkDir(tree, root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		ending := path.Ext(name)
		if ending != ".graphql" && ending != ".gql" && ending != ".json" {
			return nil
		}
		content, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if ending == ".json" {
			found, err := readManifest(name, content)
			files = append(files, found...)
			return err
		}
		relative := strings.TrimPrefix(strings.TrimSuffix(name, ending), root+"/")
		return addFile(&files, File{Path: name, Name: strings.ReplaceAll(relative, "/", "."), Text: string(content)})
	})
	if err != nil {
		return nil, fmt.Errorf("read trusted documents: %w", err)
	}
	return files, nil
}

// addFile adds a document whose name clients can ask for.
func addFile(files *[]File, file File) error {
	if wrong := hub.CheckDocumentName(file.Name); wrong != "" && file.Name != hub.HashDocument(file.Text) {
		return fmt.Errorf("%s: %q: %s", file.place(0, 0), file.Name, wrong)
	}
	*files = append(*files, file)
	return nil
}

// readManifest reads the documents of a manifest.
func readManifest(name string, content []byte) ([]File, error) {
	at := func(offset int64, message string) error {
		line, column := position(content, int(offset))
		return fmt.Errorf("%s:%d:%d: %s", name, line, column, message)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(content, &members); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, at(syntax.Offset-1, syntax.Error())
		}
		return nil, at(0, "a manifest is a JSON object")
	}
	texts := members // in Relay's form
	var format string
	if json.Unmarshal(members["format"], &format) == nil && format == apolloManifest {
		var manifest struct {
			Version    int `json:"version"`
			Operations []struct {
				ID   string          `json:"id"`
				Body json.RawMessage `json:"body"`
			} `json:"operations"`
		}
		if err := json.Unmarshal(content, &manifest); err != nil || manifest.Version != 1 {
			return nil, at(0, "a manifest of the format "+apolloManifest+" has version 1 and a list of operations, each with id and body")
		}
		texts = make(map[string]json.RawMessage, len(manifest.Operations))
		for _, operation := range manifest.Operations {
			if known, taken := texts[operation.ID]; taken && !bytes.Equal(known, operation.Body) {
				return nil, at(int64(bytes.Index(content, operation.Body)), fmt.Sprintf("the id %q is taken by another operation", operation.ID))
			}
			texts[operation.ID] = operation.Body
		}
	}
	var files []File
	for _, id := range slices.Sorted(maps.Keys(texts)) {
		raw := texts[id]
		file := File{Path: name, Name: id}
		file.Line, file.Column = position(content, bytes.Index(content, raw)) // raw is as it stands there
		if json.Unmarshal(raw, &file.Text) != nil || len(raw) == 0 || raw[0] != '"' {
			return nil, fmt.Errorf("%s: %q: this must be a string, the text of a document", file.place(0, 0), id)
		}
		if err := addFile(&files, file); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// position is the line and column of an offset, from 1.
func position(content []byte, offset int) (line, column int) {
	before := content[:min(max(offset, 0), len(content))]
	return bytes.Count(before, []byte("\n")) + 1, len(before) - bytes.LastIndexByte(before, '\n')
}

// place says where in a file something is: at a line and column of the document, or
// where that begins if they are zero.
func (f File) place(line, column int) string {
	switch {
	case f.Line > 0 && line > 0:
		return fmt.Sprintf("%s:%d:%d: %q, line %d, column %d", f.Path, f.Line, f.Column, f.Name, line, column)
	case f.Line > 0:
		return fmt.Sprintf("%s:%d:%d", f.Path, f.Line, f.Column)
	}
	return fmt.Sprintf("%s:%d:%d", f.Path, max(line, 1), max(column, 1))
}

// problems are what is wrong with files.
type problems []error

func (p *problems) add(file File, problem hub.UserError) {
	*p = append(*p, fmt.Errorf("%s: %s", file.place(problem.Line, problem.Column), problem.Message))
}

// err returns the first problems as one error.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	shown := p[:min(len(p), maxProblems)]
	if len(shown) < len(p) {
		shown = append(shown[:len(shown):len(shown)], fmt.Errorf("and %d more", len(p)-len(shown)))
	}
	return fmt.Errorf("trusted documents:\n%w", errors.Join(shown...))
}
