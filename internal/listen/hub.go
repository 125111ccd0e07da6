package listen

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/hookgraph/hookgraph/internal/graphqlclient"
)

// How long the hub may take to answer, and how much it may say at once.
const (
	answerBound = 30 * time.Second
	maxMessage  = 128 << 20

	hubName = "the hub"
)

// fatalError is an error that trying again does not mend.
type fatalError struct{ error }

func (e fatalError) Unwrap() error { return e.error }

func fatal(format string, args ...any) error { return fatalError{fmt.Errorf(format, args...)} }

func isFatal(err error) bool {
	var f fatalError
	return errors.As(err, &f)
}

// judged marks an error of the hub that trying again does not mend.
func judged(err error) error {
	var said *graphqlclient.Error
	if !errors.As(err, &said) || !said.Lasting {
		return err
	}
	if said.Code == "CURSOR_EXPIRED" {
		err = fmt.Errorf("%w; begin anew with --restart", err)
	}
	return fatalError{err}
}

// hubClient speaks GraphQL with a hub.
type hubClient struct {
	url  string // of the hub
	key  string
	http *http.Client
}

// ask runs a query or mutation and decodes its data.
func (c *hubClient) ask(ctx context.Context, query string, variables map[string]any, out any) error {
	ctx, cancel := context.WithTimeout(ctx, answerBound)
	defer cancel()
	body, err := json.Marshal(map[string]any{"query": query, "variables": variables})
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+"/graphql", bytes.NewReader(body))
	if err != nil {
		return fatalError{err}
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Authorization", "Bearer "+c.key)
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("the hub cannot be reached: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(response.Body, maxMessage))
	if err != nil {
		return fmt.Errorf("the hub's answer broke off: %w", err)
	}
	var answer struct {
		Data   json.RawMessage
		Errors []graphqlclient.ResponseError
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return fmt.Errorf("the hub answered %d and no GraphQL; is --url that of a hub?", response.StatusCode)
	}
	if err := graphqlclient.FirstError(hubName, answer.Errors); err != nil {
		return judged(err)
	}
	return json.Unmarshal(answer.Data, out)
}

// stream runs a subscription over a connection of its own, and hands over each result
// until take fails, the hub ends it, or ctx ends. It never returns nil.
func (c *hubClient) stream(ctx context.Context, query string, variables map[string]any, take func(data json.RawMessage) error) error {
	raw, err := json.Marshal(variables)
	if err != nil {
		return fatalError{err}
	}
	client := graphqlclient.Client{
		URL: "ws" + strings.TrimPrefix(c.url, "http") + "/graphql", HTTP: c.http, Name: hubName,
		Header: http.Header{"Authorization": {"Bearer " + c.key}}, Answer: answerBound, MaxMessage: maxMessage,
	}
	return judged(client.Follow(ctx, query, raw, nil, func(r graphqlclient.Result) error {
		if err := graphqlclient.FirstError(hubName, r.Errors); err != nil {
			return err
		}
		return take(r.Data)
	}))
}
