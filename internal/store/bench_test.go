package store_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/column"
	entdelivery "github.com/hookgraph/hookgraph/ent/delivery"
	entevent "github.com/hookgraph/hookgraph/ent/event"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// BenchmarkAppend stores events of 1 KiB with a dedupe key and one delivery each,
// by as many callers at once as its name says. Beside the writer's rate it measures,
// in the same run, one ent transaction for each event (x-ent is the ratio) and
// fdatasync of 4 KiB on the same disk (x-sync), since disks vary.
func BenchmarkAppend(b *testing.B) {
	databases := map[string]func(*testing.B) string{
		"SQLite":     func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "bench.db") },
		"PostgreSQL": func(b *testing.B) string { return testkit.Postgres(b) },
	}
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		for _, callers := range []int{1, 32, 256} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) { benchAppend(b, databases[name](b), callers) })
		}
	}
}

func benchAppend(b *testing.B, url string, callers int) {
	s, bu := start(b, url)
	src, e := newSource(b, s, bu), newEndpoint(b, s, bu)
	sub := newSubscription(b, s, bu, e)
	body := bytes.Repeat([]byte("x"), 1024)
	event := func() *hub.Event {
		return newEvent(bu, src, func(ev *hub.Event) { ev.DedupeKey, ev.Payload.Body = rand.Text(), body })
	}

	syncs := probeDisk(b)
	client := entClient(b, url)
	baseline := rate(200*time.Millisecond, callers, func() { must(b, appendByEnt(client, event(), sub)) })

	b.ResetTimer()
	before, begun := cpu(), time.Now()
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				if _, err := s.Append(context.Background(), []*hub.Event{event()}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	perSecond := float64(b.N) / time.Since(begun).Seconds()
	b.ReportMetric(perSecond, "events/s")
	b.ReportMetric(perSecond/baseline, "x-ent")
	b.ReportMetric(perSecond/syncs, "x-sync")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/event")
}

// BenchmarkSettle stores results of deliveries: an attempt, the delivery's end and
// the endpoint's health.
func BenchmarkSettle(b *testing.B) {
	b.Run("SQLite", func(b *testing.B) { benchSettle(b, "sqlite:"+filepath.Join(b.TempDir(), "bench.db")) })
	b.Run("PostgreSQL", func(b *testing.B) { benchSettle(b, testkit.Postgres(b)) })
}

func benchSettle(b *testing.B, url string) {
	s, bu, k := startBench(b, url)
	src, e := newSource(b, s, bu), newEndpoint(b, s, bu)
	newSubscription(b, s, bu, e)
	for stored := 0; stored < b.N; stored += 250 {
		events := make([]*hub.Event, 250)
		for i := range events {
			events[i] = newEvent(bu, src)
		}
		got[[]hub.Receipt](b)(s.Append(context.Background(), events))
	}
	leases := k.taken()[:b.N]
	b.ResetTimer()
	before := cpu()
	for _, l := range leases {
		r := attempt(bu, l, hub.AttemptSucceeded, hub.DeliveryDelivered)
		r.Health = &hub.EndpointHealth{EndpointID: e.ID, Breaker: hub.BreakerClosed}
		s.Settle(r)
	}
	must(b, s.Stop(context.Background()))
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "results/s")
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "cpu-µs/result")
}

// BenchmarkClaim claims of an endpoint for which 200,000 deliveries of a paused
// subscription wait, beside as many of an active one or none, and asks what is due.
func BenchmarkClaim(b *testing.B) {
	databases := map[string]func(*testing.B) string{
		"SQLite":     func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "bench.db") },
		"PostgreSQL": func(b *testing.B) string { return testkit.Postgres(b) },
	}
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		for _, active := range []int{0, 200_000} {
			b.Run(fmt.Sprintf("%s/active=%d", name, active), func(b *testing.B) { benchClaim(b, databases[name](b), active) })
		}
	}
}

func benchClaim(b *testing.B, url string, active int) {
	s, bu := start(b, url)
	src, e := newSource(b, s, bu), newEndpoint(b, s, bu)
	paused := newSubscription(b, s, bu, e, func(sub *hub.Subscription) { sub.State = hub.SubscriptionPaused })
	ev := newEvent(bu, src)
	add(b, s, ev)
	db, _ := connect(b, url)
	insert := func(sub *hub.Subscription, count int) {
		_, err := db.ExecContext(b.Context(), `WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
			INSERT INTO deliveries (id, event_id, subscription_id, endpoint_id, status, reason, attempt_count, schedule_position,
			next_attempt_at, due_at, lease_token, created_at, completed_at)
			SELECT CAST($2 AS text) || CAST(i AS text), $3, $4, $5, 'PENDING', '', 0, 0, i, i, '', i, 0 FROM n WHERE $1 > 0`,
			count, "dlv_"+sub.ID, ev.ID, sub.ID, e.ID)
		must(b, err)
	}
	insert(paused, 200_000)
	if active > 0 {
		insert(newSubscription(b, s, bu, e), active)
	}
	var claiming, asking time.Duration
	b.ResetTimer()
	for range b.N {
		begun := time.Now()
		claim(b, s, e, 10)
		claimed := time.Now()
		got[map[string]time.Time](b)(s.NextDue(b.Context()))
		claiming, asking = claiming+claimed.Sub(begun), asking+time.Since(claimed)
	}
	b.ReportMetric(float64(claiming.Microseconds())/float64(b.N), "µs/claim")
	b.ReportMetric(float64(asking.Microseconds())/float64(b.N), "µs/next-due")
}

// rate runs do by several callers for a while and returns how often in a second.
func rate(during time.Duration, callers int, do func()) float64 {
	begun := time.Now()
	var n atomic.Int64
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for time.Since(begun) < during {
				do()
				n.Add(1)
			}
		})
	}
	wg.Wait()
	return float64(n.Load()) / time.Since(begun).Seconds()
}

// probeDisk returns how many 4 KiB writes a second the disk makes durable.
func probeDisk(b *testing.B) float64 {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "probe"))
	must(b, err)
	defer func() { _ = f.Close() }()
	block := make([]byte, 4096)
	return rate(100*time.Millisecond, 1, func() {
		_, err := f.WriteAt(block, 0)
		must(b, err)
		must(b, syscall.Fdatasync(int(f.Fd())))
	})
}

// cpu returns the time this process has spent on processors.
func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// entClient opens the same database the way the writer does.
func entClient(b *testing.B, url string) *ent.Client {
	b.Helper()
	db, name := connect(b, url)
	if name == dialect.SQLite {
		_ = db.Close()
		var err error
		db, err = sql.Open("sqlite3", "file:"+url[len("sqlite:"):]+"?_txlock=immediate&_synchronous=FULL&_busy_timeout=5000&_mutex=no&_stmt_cache_size=64")
		must(b, err)
		b.Cleanup(func() { _ = db.Close() })
		db.SetMaxOpenConns(1)
	} else {
		db.SetMaxOpenConns(8)
		db.SetMaxIdleConns(8)
	}
	return ent.NewClient(ent.Driver(entsql.OpenDB(name, db)))
}

// baselineSequence numbers the baseline's events far above the writer's.
var baselineSequence atomic.Int64

// appendByEnt stores an event in a transaction of its own, as plain ent code would.
func appendByEnt(c *ent.Client, ev *hub.Event, sub *hub.Subscription) error {
	ctx := context.Background()
	tx, err := c.Tx(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing once it is committed
	sequence := 1<<40 + baselineSequence.Add(1)
	if err := tx.Event.Create().SetID(ev.ID).SetSequence(sequence).SetSourceID(ev.SourceID).SetType(ev.Type).SetDedupeKey(ev.DedupeKey).
		SetOrderingKey("").SetOccurredAt(0).SetReceivedAt(column.TimeOf(ev.ReceivedAt)).SetContentType(ev.ContentType).
		SetDuplicateCount(0).SetLastDuplicateAt(0).SetHeaders([]byte("[]")).SetQuery([]byte("")).SetBody(ev.Payload.Body).Exec(ctx); err != nil {
		return err
	}
	if err := tx.DedupeKey.Create().SetID(ev.ID).SetEventID(ev.ID).SetSequence(sequence).SetFirstSeenAt(0).Exec(ctx); err != nil {
		return err
	}
	if err := tx.Delivery.Create().SetID(hub.NewID(hub.DeliveryPrefix, ev.ReceivedAt)).SetEventID(ev.ID).SetSubscriptionID(sub.ID).
		SetEndpointID(sub.EndpointID).SetStatus(hub.DeliveryPending).SetReason("").SetAttemptCount(0).SetSchedulePosition(0).
		SetNextAttemptAt(1).SetDueAt(1).SetLeaseToken("").SetCreatedAt(1).SetCompletedAt(0).Exec(ctx); err != nil {
		return err
	}
	return tx.Commit()
}

// startBench starts a store with a taker that grants everything.
func startBench(b *testing.B, url string) (*store.Store, *bundle, *taker) {
	b.Helper()
	s, bu := open(b, url)
	k := &taker{slots: 1 << 30}
	must(b, s.Start(b.Context(), k))
	return s, bu, k
}

// BenchmarkRows reads a page of 50 events with their deliveries, beside ent's form of
// the same statements.
func BenchmarkRows(b *testing.B) {
	url := "sqlite:" + filepath.Join(b.TempDir(), "bench.db")
	s, bu := start(b, url)
	src, e := newSource(b, s, bu), newEndpoint(b, s, bu)
	newSubscription(b, s, bu, e)
	events := make([]*hub.Event, 250)
	for i := range events {
		events[i] = newEvent(bu, src)
	}
	got[[]hub.Receipt](b)(s.Append(context.Background(), events))
	client := entClient(b, url)
	page := func() {
		found := got[hub.Slice[*hub.Event]](b)(s.Events(b.Context(), store.EventQuery{Page: hub.Page{Size: 50}})).Items
		ids := make([]string, len(found))
		for i, ev := range found {
			ids[i] = ev.ID
		}
		got[map[string]hub.Slice[*hub.Delivery]](b)(s.DeliveriesOf(b.Context(), store.OfEvents, ids, hub.DeliveryFilter{}, hub.Page{Size: 10}))
	}
	byEnt := func() {
		found := got[[]*ent.Event](b)(client.Event.Query().Order(ent.Desc(entevent.FieldSequence)).Limit(51).Select(
			entevent.FieldID, entevent.FieldSequence, entevent.FieldSourceID, entevent.FieldType, entevent.FieldDedupeKey, entevent.FieldOrderingKey,
			entevent.FieldOccurredAt, entevent.FieldReceivedAt, entevent.FieldContentType, entevent.FieldDuplicateCount, entevent.FieldLastDuplicateAt,
		).All(b.Context()))
		ids := make([]string, 50)
		for i := range ids {
			ids[i] = found[i].ID
		}
		got[[]*ent.Delivery](b)(client.Delivery.Query().Where(entdelivery.EventIDIn(ids...)).Order(ent.Desc(entdelivery.FieldID)).All(b.Context()))
	}
	var ours, theirs time.Duration // in turn, so that what else the machine does disturbs both alike
	for b.Loop() {
		began := cpu()
		page()
		between := cpu()
		byEnt()
		ours, theirs = ours+between-began, theirs+cpu()-between
	}
	b.ReportMetric(float64(ours.Microseconds())/float64(b.N), "cpu-µs/page")
	b.ReportMetric(float64(theirs.Microseconds())/float64(b.N), "ent-cpu-µs/page")
}

// BenchmarkOrdering stores events and delivers them, in turn to a subscription of each
// order: with a key of its own for each event, and with 50 keys, where STRICT delivers 50
// at a time. The ratios are those of the rates to that without an order in the same run.
func BenchmarkOrdering(b *testing.B) {
	databases := map[string]func(*testing.B) string{
		"SQLite":     func(b *testing.B) string { return "sqlite:" + filepath.Join(b.TempDir(), "bench.db") },
		"PostgreSQL": func(b *testing.B) string { return testkit.Postgres(b) },
	}
	for _, name := range []string{"SQLite", "PostgreSQL"} {
		for _, keys := range []int{0, 50} {
			each := "own"
			if keys > 0 {
				each = fmt.Sprint(keys)
			}
			b.Run(name+"/keys="+each, func(b *testing.B) { benchOrdering(b, databases[name](b), keys) })
		}
	}
}

func benchOrdering(b *testing.B, url string, keys int) {
	s, bu := start(b, url)
	src := newSource(b, s, bu)
	modes := []hub.OrderingMode{hub.OrderingNone, hub.OrderingStrict, hub.OrderingSkipStale}
	endpoints, subs := make(map[hub.OrderingMode]*hub.Endpoint), make(map[hub.OrderingMode]*hub.Subscription)
	for _, mode := range modes {
		endpoints[mode] = newEndpoint(b, s, bu)
		subs[mode] = newSubscription(b, s, bu, endpoints[mode], inOrder(mode, hub.PoisonPark))
	}
	took := make(map[hub.OrderingMode]time.Duration)
	b.ResetTimer()
	for range b.N {
		for _, mode := range modes {
			bu.router.set(func(*hub.Event, *hub.Configuration) []string { return []string{subs[mode].ID} })
			began := time.Now()
			benchOrdered(b, s, bu, src, endpoints[mode], keys)
			took[mode] += time.Since(began)
		}
	}
	for _, mode := range modes[1:] {
		b.ReportMetric(float64(took[hub.OrderingNone])/float64(took[mode]), "x-none-"+string(mode))
	}
	b.ReportMetric(float64(b.N*200)/took[hub.OrderingStrict].Seconds(), "STRICT/s")
}

func benchOrdered(b *testing.B, s *store.Store, bu *bundle, src *hub.Source, e *hub.Endpoint, keys int) {
	events := make([]*hub.Event, 200)
	for i := range events {
		key := rand.Text()
		if keys > 0 {
			key = fmt.Sprint(i % keys)
		}
		events[i] = newEvent(bu, src, ofKey(key))
	}
	_, err := s.Append(context.Background(), events)
	must(b, err)
	var settling sync.WaitGroup
	for done := 0; done < len(events); {
		for _, l := range claim(b, s, e, len(events)) {
			settling.Add(1)
			r := attempt(bu, l, hub.AttemptSucceeded, hub.DeliveryDelivered)
			r.Stored = func(bool, error) { settling.Done() }
			s.Settle(r)
			done++
		}
		settling.Wait()
	}
}
