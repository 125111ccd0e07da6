package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// StreamEvent is what Stream hands over of one event.
type StreamEvent struct {
	ID        string
	Sequence  string
	DedupeKey string
}

// Stream follows eventStream over SSE from the cursor, "" for the beginning of
// the log, and calls each for every batch with the batch's cursor. It returns
// when the connection ends, each returns false, or the context is done.
func (s *Server) Stream(ctx context.Context, after string, each func(cursor string, events []StreamEvent) bool) error {
	variables := map[string]any{}
	if after != "" {
		variables["after"] = after
	}
	body, err := json.Marshal(map[string]any{
		"query": `subscription ($after: String) {
			eventStream(after: $after, from: EARLIEST, batchSize: 500) { cursor events { id sequence dedupeKey } } }`,
		"variables": variables,
	})
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL()+"/graphql", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+OperatorKey)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the stream was answered %s", resp.Status)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 16<<20)
	event := ""
	for lines.Scan() {
		line := lines.Text()
		if name, ok := strings.CutPrefix(line, "event:"); ok {
			event = strings.TrimSpace(name)
			continue
		}
		data, ok := strings.CutPrefix(line, "data:")
		if !ok || event != "next" {
			continue
		}
		var answer struct {
			Data struct {
				EventStream *struct {
					Cursor string
					Events []StreamEvent
				}
			}
			Errors json.RawMessage
		}
		if err := json.Unmarshal([]byte(data), &answer); err != nil {
			return fmt.Errorf("decode a batch: %w", err)
		}
		if answer.Errors != nil || answer.Data.EventStream == nil {
			return fmt.Errorf("the stream said %s", data)
		}
		if !each(answer.Data.EventStream.Cursor, answer.Data.EventStream.Events) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("the stream ended")
}
