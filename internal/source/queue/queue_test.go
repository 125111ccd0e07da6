package queue_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/match"
	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/secret"
	"github.com/hookgraph/hookgraph/internal/source/fetch"
	"github.com/hookgraph/hookgraph/internal/source/queue"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type clock struct{}

func (clock) Now() time.Time { return time.Now().UTC().Truncate(time.Microsecond) }

// door is that of a hub, with a hand on it.
type door struct {
	*receive.Door
	mu     sync.Mutex
	before func()            // called before items are taken in; nil: not
	after  func(n int) error // called once items are durable; nil: not
}

func (d *door) Fetched(ctx context.Context, src, of *hub.Source, items []receive.Item) (receive.Fetched, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.before != nil {
		d.before()
	}
	got, err := d.Door.Fetched(ctx, src, of, items)
	if err == nil && d.after != nil {
		err = d.after(len(items))
	}
	return got, err
}

// world is a hub's store and door, with a node that takes from queues.
type world struct {
	*testing.T
	store *store.Store
	door  *door
}

func newWorld(t *testing.T) *world {
	t.Helper()
	keys, err := secret.ParseKeys("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
	must(t, err)
	keyring, err := secret.NewKeyring(keys...)
	must(t, err)
	matcher, err := match.New()
	must(t, err)
	w := &world{T: t}
	quiet := slog.New(slog.DiscardHandler)
	w.store, err = store.Open(t.Context(), store.Config{
		URL: "sqlite:" + filepath.Join(t.TempDir(), "hub.db"), Keyring: keyring, Clock: clock{}, Router: matcher, Logger: quiet,
	})
	must(t, err)
	t.Cleanup(func() { must(t, w.store.Close()) })
	_, _, err = w.store.Migrate(t.Context())
	must(t, err)
	must(t, w.store.Start(t.Context(), nil))
	w.door = &door{Door: receive.New(receive.Config{Store: w.store, Expressions: matcher, Clock: clock{}})}
	fetcher := queue.New(queue.Config{
		Dial: new(net.Dialer).DialContext, Configuration: w.store.Configuration, Clock: clock{}, Logger: quiet,
	})
	node := fetch.Start(t.Context(), fetch.Config{
		Store: w.store, Door: w.door, Clock: clock{}, Logger: quiet, Fetchers: map[hub.SourceKind]fetch.Fetcher{hub.SourceQueue: fetcher},
	})
	t.Cleanup(func() { must(t, node.Stop(context.Background())) })
	return w
}

func (w *world) source(url string, auth *hub.EndpointAuth) *hub.Source {
	w.Helper()
	src := &hub.Source{
		ID: hub.NewID(hub.SourcePrefix, time.Now()), Name: "Queue", Slug: "queue", Kind: hub.SourceQueue, State: hub.SourceActive,
		MaxBodyBytes: 1000, CreatedAt: clock{}.Now(), UpdatedAt: clock{}.Now(), Queue: &hub.Queue{URL: url}, Auth: auth,
	}
	must(w, w.store.CreateSource(w.Context(), src))
	return src
}

func (w *world) status(src *hub.Source) hub.Fetch {
	w.Helper()
	found, err := w.store.Fetches(w.Context(), []string{src.ID})
	must(w, err)
	if found[src.ID] == nil {
		return hub.Fetch{}
	}
	return *found[src.ID]
}

func (w *world) events() []*hub.Event {
	w.Helper()
	list, err := w.store.EventsAfter(w.Context(), 0, 1000)
	must(w, err)
	return list
}

// patience is how long is waited for what comes at once on a machine that is not busy.
const patience = time.Minute

// serveNATS starts a server with a stream that captures "kept".
func serveNATS(t *testing.T) (url string, conn *nats.Conn) {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, JetStream: true, StoreDir: t.TempDir(), AuthTimeout: patience.Seconds(),
		MaxPending: 256 << 20, WriteDeadline: patience, // it cuts nobody off who is slow
	})
	must(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(patience) {
		t.Fatal("the server does not start")
	}
	conn, err = nats.Connect(s.ClientURL(), nats.Timeout(patience))
	must(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(patience))
	must(t, err)
	_, err = js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}, Storage: jetstream.MemoryStorage})
	must(t, err)
	return "nats://" + s.Addr().String(), conn
}

// What is durable and was not acknowledged, since the hub broke in between, comes again and
// is known; what is left behind it is not lost.
func TestABreakBetweenCommitAndAcknowledgement(t *testing.T) {
	t.Parallel()
	const total = 300
	body := func(n int) []byte { return fmt.Appendf(nil, `{"n":%d}`, n) }
	for name, setUp := range map[string]func(t *testing.T) (url string, auth *hub.EndpointAuth, send func(n int), left func(src *hub.Source) int){
		"NATS": func(t *testing.T) (string, *hub.EndpointAuth, func(n int), func(src *hub.Source) int) {
			url, conn := serveNATS(t)
			js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(patience))
			must(t, err)
			send := func(n int) {
				_, err := js.Publish(t.Context(), "kept", body(n))
				must(t, err)
			}
			return url + "/kept", nil, send, func(src *hub.Source) int {
				consumer, err := js.Consumer(t.Context(), "KEPT", "hookgraph-"+src.ID)
				if err != nil {
					return -1
				}
				return consumer.CachedInfo().NumAckPending + int(consumer.CachedInfo().NumPending) //nolint:gosec // a few hundred
			}
		},
		"RabbitMQ": func(t *testing.T) (string, *hub.EndpointAuth, func(n int), func(src *hub.Source) int) {
			rabbit := testkit.AMQP(t)
			name := rabbit.Queue(t, nil)
			send := func(n int) {
				must(t, rabbit.Channel.Publish("", name, false, false, amqp.Publishing{MessageId: fmt.Sprint("m", n), Body: body(n)}))
			}
			auth := &hub.EndpointAuth{Kind: hub.AuthBasic, Username: rabbit.Username, Secret: hub.Secret(rabbit.Password)}
			return rabbit.URL("queue=" + name), auth, send, func(*hub.Source) int { return rabbit.Waiting(t, name) }
		},
		"Kafka": func(t *testing.T) (string, *hub.EndpointAuth, func(n int), func(src *hub.Source) int) {
			kafka := testkit.NewKafka(t)
			topic := kafka.Topic(t, 3)
			send := func(n int) { kafka.Send(t, &kgo.Record{Topic: topic, Partition: int32(n % 3), Value: body(n)}) } //nolint:gosec // below 3
			return kafka.URL(topic), nil, send, func(src *hub.Source) int {
				return total - int(kafka.Committed(t, "hookgraph-"+src.ID, topic, 3))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, auth, send, left := setUp(t)
			w := newWorld(t)
			broken, again := 0, 0
			w.door.after = func(n int) error {
				if broken < 2 {
					broken++
					again += n
					return errors.New("the hub broke")
				}
				return nil
			}
			for n := range total / 2 {
				send(n)
			}
			src := w.source(url, auth)
			testkit.Eventually(t, "the first have come", func() bool { return len(w.events()) > 0 })
			for n := range total / 2 {
				send(total/2 + n)
			}
			testkit.Eventually(t, "all is acknowledged", func() bool { return len(w.events()) == total && left(src) == 0 })
			seen, last := map[string]bool{}, map[int]int{}
			duplicates := 0
			for _, e := range w.events() {
				seen[string(e.Payload.Body)] = true
				duplicates += e.DuplicateCount
				var n int
				_, err := fmt.Sscanf(string(e.Payload.Body), `{"n":%d}`, &n)
				must(t, err)
				if name == "Kafka" && n < last[n%3] {
					t.Errorf("%d came after %d", n, last[n%3])
				}
				last[n%3] = n
			}
			w.door.mu.Lock()
			defer w.door.mu.Unlock()
			if len(seen) != total || broken != 2 || duplicates == 0 || duplicates > again {
				t.Errorf("%d of %d are there, %d came again of %d", len(seen), total, duplicates, again)
			}
		})
	}
}

// What no stream keeps and comes faster than it can be stored is lost, and counted.
func TestMessagesThatComeTooFastAreCounted(t *testing.T) {
	t.Parallel()
	url, conn := serveNATS(t)
	w := newWorld(t)
	held, release := make(chan struct{}), make(chan struct{})
	hold := sync.OnceFunc(func() { close(held); <-release })
	w.door.before = hold
	src := w.source(url+"/loose", nil)
	testkit.Eventually(t, "it listens", func() bool { return !w.status(src).LastAt.IsZero() })
	must(t, conn.Publish("loose", []byte("{}")))
	<-held
	const sent = 90
	for range sent {
		must(t, conn.Publish("loose", make([]byte, 1<<20)))
	}
	must(t, conn.Flush())
	close(release)
	testkit.Eventually(t, "the source says so", func() bool {
		must(t, conn.Publish("loose", []byte("{}")))
		said := w.status(src).Error
		return strings.Contains(said, "messages were lost: they came faster than they could be stored")
	})
	if s := w.status(src); s.Failures != 0 {
		t.Errorf("it has failed %d times, although messages come", s.Failures)
	}
}

// A key that cannot be stored is not that of the event, whose place in the stream is.
func TestKeysThatCannotBeStored(t *testing.T) {
	t.Parallel()
	url, conn := serveNATS(t)
	w := newWorld(t)
	for _, id := range []string{strings.Repeat("x", 5000), "fine"} {
		must(t, conn.PublishMsg(&nats.Msg{Subject: "kept", Header: nats.Header{nats.MsgIdHdr: {id}}, Data: []byte("{}")}))
	}
	must(t, conn.Flush())
	src := w.source(url+"/kept", nil)
	testkit.Eventually(t, "both have come", func() bool { return len(w.events()) == 2 })
	events := w.events()
	if !strings.HasPrefix(events[0].DedupeKey, "KEPT:") || events[1].DedupeKey != "fine" {
		t.Errorf("the keys are %q and %q", events[0].DedupeKey, events[1].DedupeKey)
	}

	// The source goes on with another queue, and leaves nothing behind.
	kafka := testkit.NewKafka(t)
	topic := kafka.Topic(t, 1)
	kafka.Send(t, &kgo.Record{Topic: topic, Value: []byte("{}")})
	changed := *src
	changed.Queue, changed.UpdatedAt = &hub.Queue{URL: kafka.URL(topic)}, clock{}.Now()
	_, err := w.store.UpdateSource(t.Context(), src.ID, func(s *hub.Source) error { *s = changed; return nil })
	must(t, err)
	testkit.Eventually(t, "it has come", func() bool { return len(w.events()) == 3 })
	if e := w.events()[2]; !strings.HasPrefix(e.DedupeKey, topic+":0:0:") {
		t.Errorf("came %+v", e)
	}
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(patience))
	must(t, err)
	testkit.Eventually(t, "the consumer is gone", func() bool {
		_, err := js.Consumer(t.Context(), "KEPT", "hookgraph-"+src.ID)
		return errors.Is(err, jetstream.ErrConsumerNotFound)
	})
	must(t, w.store.DeleteSource(t.Context(), src.ID))
	testkit.Eventually(t, "the group is gone", func() bool {
		return kafka.Committed(t, "hookgraph-"+src.ID, topic, 1) == -1
	})
	if slices.ContainsFunc(w.events(), func(e *hub.Event) bool { return e.SourceID != src.ID }) {
		t.Error("an event is of another source")
	}
}

// What is durable is acknowledged, also where the source has gone to somebody else or is no
// more by then: a queue that does not number its messages would make further events of it.
func TestWhatIsDurableIsAcknowledgedInAnyCase(t *testing.T) {
	rabbit := testkit.AMQP(t)
	name := rabbit.Queue(t, nil)
	w := newWorld(t)
	src := w.source(rabbit.URL("queue="+name), &hub.EndpointAuth{Kind: hub.AuthBasic, Username: rabbit.Username, Secret: hub.Secret(rabbit.Password)})
	testkit.Eventually(t, "how far it has come is due to be stored", func() bool {
		at := w.status(src).LastAt
		return !at.IsZero() && time.Since(at) > time.Second
	})
	w.door.mu.Lock()
	w.door.after = func(int) error { return w.store.DeleteSource(context.Background(), src.ID) }
	w.door.mu.Unlock()
	must(t, rabbit.Channel.Publish("", name, false, false, amqp.Publishing{Body: []byte(`{}`)}))
	testkit.Eventually(t, "its event is there, and the consumer is gone", func() bool {
		found, err := rabbit.Channel.QueueDeclarePassive(name, true, false, false, false, nil)
		return err == nil && found.Consumers == 0 && len(w.events()) == 1
	})
	if n := rabbit.Waiting(t, name); n != 0 {
		t.Errorf("%d messages were not acknowledged", n)
	}
}
