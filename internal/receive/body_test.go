package receive_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
)

func TestBodyBound(t *testing.T) {
	t.Parallel()
	const limit = 100_000
	for _, c := range []struct {
		name    string
		size    int
		chunked bool
		status  int
		kept    int
	}{
		{"at the bound", limit, false, 200, limit},
		{"at the bound, in chunks", limit, true, 200, limit},
		{"one byte beyond", limit + 1, false, 413, hub.MaxRejectionBodyBytes},
		{"one byte beyond, in chunks", limit + 1, true, 413, hub.MaxRejectionBodyBytes},
		{"far beyond, in chunks", 20 * limit, true, 413, hub.MaxRejectionBodyBytes},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			source := open()
			source.MaxBodyBytes = limit
			store := newStore(source)
			body := bytes.Repeat([]byte("0123456789"), c.size/10+1)[:c.size]
			var reader io.Reader = bytes.NewReader(body)
			if c.chunked {
				reader = io.MultiReader(reader) // hides its length
			}
			request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, serve(t, store)+"/in/open", reader)
			answer, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if answer.StatusCode != c.status {
				t.Fatalf("answered %d", answer.StatusCode)
			}
			if c.status == 200 {
				if !bytes.Equal(store.last(t).Payload.Body, body) {
					t.Fatal("the body differs")
				}
				return
			}
			if r := store.refusal(t); r.Reason != hub.RejectedBodyTooLarge || !bytes.Equal(r.Body, body[:c.kept]) || !strings.Contains(r.Detail, "100000") {
				t.Fatalf("%s %s with %d bytes", r.Reason, r.Detail, len(r.Body))
			}
		})
	}
}

// wire sends bytes over a connection of its own and returns what comes back.
func wire(t *testing.T, target string, parts ...string) (net.Conn, *bufio.Reader) {
	t.Helper()
	where, _ := url.Parse(target)
	conn, err := net.Dial("tcp", where.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	for _, part := range parts {
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
	}
	return conn, bufio.NewReader(conn)
}

func TestSlowAndBrokenBodies(t *testing.T) {
	t.Parallel()
	quick := func(c *receive.Config) { c.ReadTimeout = 50 * time.Millisecond }
	for _, c := range []struct {
		name, head, path string
		status           int
	}{
		{"a body that does not come", "Content-Length: 100", "/in/open", 408},
		{"chunks that do not come", "Transfer-Encoding: chunked", "/in/open", 408},
		{"a large body that does not come", "Content-Length: 999999999", "/in/open", 413},
		{"a body for a paused source that does not come", "Content-Length: 100", "/in/paused", 503},
		{"a body for nobody that does not come", "Content-Length: 100", "/in/nobody", 404},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			paused := open()
			paused.ID, paused.Slug, paused.State = "src_paused", "paused", hub.SourcePaused
			store := newStore(open(), paused)
			_, reader := wire(t, serve(t, store, quick), "POST "+c.path+" HTTP/1.1\r\nHost: x\r\n"+c.head+"\r\n\r\n")
			answer, err := http.ReadResponse(reader, nil)
			if err != nil || answer.StatusCode != c.status {
				t.Fatalf("%v, %v", answer, err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
			if _, err := reader.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection is not closed: %v", err)
			}
			if events, rejections := store.counts(); events != 0 || rejections != 1 && c.status != 404 {
				t.Errorf("stored %d events, %d rejections", events, rejections)
			}
		})
	}
	t.Run("chunks that are none are a client's error", func(t *testing.T) {
		t.Parallel()
		store := newStore(open())
		_, reader := wire(t, serve(t, store), "POST /in/open HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
		answer, err := http.ReadResponse(reader, nil)
		if err != nil || answer.StatusCode != http.StatusUnprocessableEntity || store.refusal(t).Reason != hub.RejectedBodyInvalid {
			t.Fatalf("%v, %v", answer, err)
		}
		_ = answer.Body.Close()
	})
	t.Run("a body that breaks off is recorded", func(t *testing.T) {
		t.Parallel()
		store := newStore(open())
		conn, _ := wire(t, serve(t, store), "POST /in/open HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf")
		_ = conn.Close()
		eventually(t, func() bool { _, n := store.counts(); return n == 1 })
		if r := store.refusal(t); r.Reason != hub.RejectedBodyInvalid || string(r.Body) != "half" || !strings.Contains(r.Detail, "4 of 100") {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("a connection goes on after an event", func(t *testing.T) {
		t.Parallel()
		store := newStore(open())
		one := "POST /in/open HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
		_, reader := wire(t, serve(t, store, quick), one, one, one)
		for range 3 {
			answer, err := http.ReadResponse(reader, nil)
			if err != nil || answer.StatusCode != http.StatusOK {
				t.Fatalf("%v, %v", answer, err)
			}
			_, _ = io.Copy(io.Discard, answer.Body)
			_ = answer.Body.Close()
		}
	})
}

// eventually waits for a fact.
func eventually(t *testing.T, fact func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !fact(); {
		if time.Now().After(end) {
			t.Fatal("it did not come to pass")
		}
		select {
		case <-t.Context().Done():
		case <-time.After(time.Millisecond):
		}
	}
}

// TestBytesAreKept states that whatever comes, however it is cut, is stored as it came.
func TestBytesAreKept(t *testing.T) {
	t.Parallel()
	store := newStore(open())
	target := serve(t, store) + "/in/open"
	rapid.Check(t, func(r *rapid.T) {
		body := rapid.SliceOf(rapid.Byte()).Draw(r, "body")
		if big := rapid.IntRange(0, 3).Draw(r, "size"); big > 0 {
			body = bytes.Repeat(append(body, 'x'), big*9001)
		}
		body = body[:min(len(body), 1<<20)]
		var reader io.Reader = bytes.NewReader(body)
		if rapid.Bool().Draw(r, "chunked") {
			reader = io.MultiReader(reader)
		}
		request, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, target, reader)
		request.Header.Set("Content-Type", rapid.SampledFrom([]string{"", "application/json", "application/x-www-form-urlencoded", "text/xml", "x/y"}).Draw(r, "type"))
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			r.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode == http.StatusUnprocessableEntity { // a body whose type field is of no use
			return
		}
		if event := store.last(t); answer.StatusCode != http.StatusOK || !bytes.Equal(event.Payload.Body, body) || event.ContentType != request.Header.Get("Content-Type") {
			r.Fatalf("%d, %d of %d bytes", answer.StatusCode, len(event.Payload.Body), len(body))
		}
	})
}
