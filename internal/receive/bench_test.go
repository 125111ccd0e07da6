package receive_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/receive"
)

// nullStore takes everything and keeps nothing.
type nullStore struct{ configuration *hub.Configuration }

func (s nullStore) Configuration() *hub.Configuration { return s.configuration }

func (s nullStore) Append(_ context.Context, events []*hub.Event) ([]hub.Receipt, error) {
	receipts := make([]hub.Receipt, len(events))
	for i, e := range events {
		receipts[i] = hub.Receipt{EventID: e.ID, Sequence: 1}
	}
	return receipts, nil
}

func (nullStore) Reject(context.Context, *hub.Rejection) error { return nil }

func (nullStore) Capture(context.Context, *hub.Rejection) (bool, error) { return false, nil }

func (nullStore) Refresh(context.Context) error { return nil }

func (nullStore) EventsByID(context.Context, []string) (map[string]*hub.Event, error) {
	return nil, nil
}

// document is a JSON object of about the given size.
func document(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"id":"evt_1MqqbKLt4dXK03v5qaIbiNCC","type":"invoice.paid","created":1773500000,"data":{"items":[`)
	for i := 0; b.Len() < size-20; i++ {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"sku":"sku_%d","amount":%d}`, i, i*100)
	}
	b.WriteString(`]}}`)
	return b.Bytes()
}

func bare(w http.ResponseWriter, r *http.Request) {
	if _, err := io.ReadAll(r.Body); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"id":"evt_00000000000000000000000000","duplicate":false}`)
}

// BenchmarkDoor serves real connections, one request after another on each, and
// compares the door with a handler that reads the body and answers.
func BenchmarkDoor(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		body := document(size)
		run := func(name string, h http.Handler, header http.Header) {
			b.Run(fmt.Sprintf("%s/%dKiB", name, size>>10), func(b *testing.B) {
				server := httptest.NewServer(h)
				defer server.Close()
				var head bytes.Buffer
				fmt.Fprintf(&head, "POST /in/acme HTTP/1.1\r\nHost: hooks.example\r\nContent-Type: application/json\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\nContent-Length: %d\r\n", len(body))
				_ = header.Write(&head)
				head.WriteString("\r\n")
				request := append(head.Bytes(), body...)
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				b.RunParallel(func(pb *testing.PB) {
					conn, err := net.Dial("tcp", server.Listener.Addr().String())
					if err != nil {
						b.Error(err)
						return
					}
					defer func() { _ = conn.Close() }()
					answer := make([]byte, 4096)
					for pb.Next() {
						if _, err := conn.Write(request); err != nil {
							b.Error(err)
							return
						}
						n, err := conn.Read(answer)
						if err != nil || !bytes.HasPrefix(answer[:n], []byte("HTTP/1.1 200")) {
							b.Errorf("%v: %q", err, answer[:n])
							return
						}
					}
				})
			})
		}
		run("bare", http.HandlerFunc(bare), nil)
		for _, s := range schemes()[:4] {
			store := nullStore{hub.NewConfiguration(1, []*hub.Source{&s.source}, nil, nil)}
			door := receive.New(receive.Config{Store: store, Expressions: newMatcher(b), Clock: clock{now}})
			run(s.name, door, s.sign(s.source.Secrets[0], now, body))
		}
	}
}

// BenchmarkHandler is the door without a connection: its own work alone.
func BenchmarkHandler(b *testing.B) {
	body := document(1 << 10)
	for _, s := range schemes() {
		b.Run(s.name, func(b *testing.B) {
			store := nullStore{hub.NewConfiguration(1, []*hub.Source{&s.source}, nil, nil)}
			door := receive.New(receive.Config{Store: store, Expressions: newMatcher(b), Clock: clock{now}})
			header := s.sign(s.source.Secrets[0], now, body)
			header.Set("Content-Type", "application/json")
			header.Set("User-Agent", "bench/1.0")
			header.Set("Accept", "*/*")
			header.Set("Content-Length", fmt.Sprint(len(body)))
			request := httptest.NewRequest(http.MethodPost, "/in/acme", nil)
			request.Header = header
			request.ContentLength = int64(len(body))
			reader := bytes.NewReader(body)
			request.Body = io.NopCloser(reader)
			w := &discard{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				reader.Reset(body)
				door.ServeHTTP(w, request)
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) WriteHeader(status int)      { d.status = status }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }

func (d *discard) SetReadDeadline(time.Time) error { return nil }
