package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"
	"entgo.io/ent/dialect/sql/schema"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/store"
	"github.com/hookgraph/hookgraph/internal/testkit"
)

// connect opens a database beside the store.
func connect(t testing.TB, url string) (db *sql.DB, name string) {
	t.Helper()
	driver, dsn, name := "pgx", url, dialect.Postgres
	if path, isFile := strings.CutPrefix(url, "sqlite:"); isFile {
		driver, dsn, name = "sqlite3", "file:"+path+"?_foreign_keys=on&_busy_timeout=5000", dialect.SQLite
	}
	db, err := sql.Open(driver, dsn)
	must(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db, name
}

// schemaDiff returns what ent would change. PostgreSQL rewrites the conditions of
// partial indexes, so ent would make those anew each time: they are compared with the
// rewritten ones of a database that ent has made itself.
func schemaDiff(t *testing.T, db *sql.DB, name string) []string {
	t.Helper()
	var text bytes.Buffer
	client := ent.NewClient(ent.Driver(entsql.OpenDB(name, db)))
	must(t, client.Schema.WriteTo(t.Context(), &text, schema.WithDropColumn(true), schema.WithDropIndex(true)))
	var diff []string
	for line := range strings.Lines(text.String()) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "PRAGMA") {
			diff = append(diff, line)
		}
	}
	if name != dialect.Postgres {
		return diff
	}
	fresh, _ := connect(t, testkit.Postgres(t))
	must(t, ent.NewClient(ent.Driver(entsql.OpenDB(name, fresh))).Schema.Create(t.Context()))
	have, want := indexes(t, db), indexes(t, fresh)
	return slices.DeleteFunc(diff, func(change string) bool {
		index := regexp.MustCompile(`^(?:DROP|CREATE)(?: UNIQUE)? INDEX "(\w+)"`).FindStringSubmatch(change)
		return index != nil && want[index[1]] != "" && have[index[1]] == want[index[1]]
	})
}

func indexes(t *testing.T, db *sql.DB) map[string]string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
	must(t, err)
	defer func() { _ = rows.Close() }()
	found := make(map[string]string)
	for rows.Next() {
		var name, definition string
		must(t, rows.Scan(&name, &definition))
		found[name] = definition
	}
	must(t, rows.Err())
	return found
}

func TestMigrations(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, _ := open(t, url)
		db, name := connect(t, url)

		t.Run("make what the schema of ent describes", func(t *testing.T) {
			for _, change := range schemaDiff(t, db, name) {
				t.Errorf("the migrations lack: %s", change)
			}
		})

		t.Run("are done once", func(t *testing.T) {
			from, to, err := s.Migrate(t.Context())
			if err != nil || from != to || from == 0 {
				t.Fatalf("from %d to %d: %v", from, to, err)
			}
		})

		t.Run("a newer database is refused and left alone", func(t *testing.T) {
			_, err := db.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, true)")
			must(t, err)
			if err := s.Start(t.Context(), nil); !errors.Is(err, store.ErrSchemaNewer) {
				t.Fatalf("start says %v", err)
			}
			if _, _, err := s.Migrate(t.Context()); !errors.Is(err, store.ErrSchemaNewer) {
				t.Fatalf("migrate says %v", err)
			}
		})
	})
}

func TestStartingAnUnmigratedDatabase(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, err := store.Open(t.Context(), store.Config{URL: url, Keyring: sealer{}})
		must(t, err)
		defer func() { must(t, s.Close()) }()
		if err := s.Start(t.Context(), nil); !errors.Is(err, store.ErrSchemaOlder) {
			t.Fatalf("start says %v", err)
		}
	})
}

func TestOpening(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "mysql://x", "sqlite:", "postgres://%zz", "postgres://127.0.0.1:1/nothing?connect_timeout=1"} {
		_, err := store.Open(t.Context(), store.Config{URL: url, Keyring: sealer{}})
		if err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("opening %q says %v, want one line", url, err)
		}
	}

	t.Run("a database file is used by one server, and by tools beside it", func(t *testing.T) {
		t.Parallel()
		url := "sqlite:" + t.TempDir() + "/new folder/100%?#.db"
		s, b := start(t, url)
		if _, err := store.Open(t.Context(), store.Config{URL: url, Keyring: sealer{}}); !errors.Is(err, store.ErrInUse) {
			t.Fatalf("opening it again says %v", err)
		}
		tool, _ := start(t, url, func(cfg *store.Config) { cfg.Tool = true })
		must(t, tool.CreateAPIKey(t.Context(), &hub.APIKey{ID: "key_1", Name: "by a tool", Hash: []byte{1}, CreatedAt: b.clock.Now()}))
		if keys := got[int](t)(s.CountAPIKeys(t.Context())); keys != 1 {
			t.Fatalf("the server sees %d keys", keys)
		}
		src := newSource(t, s, b)
		_, err := tool.Append(t.Context(), []*hub.Event{newEvent(b, src)})
		if err == nil {
			t.Fatal("a tool stored an event")
		}
		add(t, s, newEvent(b, src))
	})

	t.Run("commits that may be lost are refused", func(t *testing.T) {
		t.Parallel()
		lossy, err := url.Parse(testkit.Postgres(t))
		must(t, err)
		query := lossy.Query()
		query.Set("options", "-c synchronous_commit=off")
		lossy.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20") // as PostgreSQL reads it
		s, _ := open(t, lossy.String())
		if err := s.Start(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "synchronous_commit") {
			t.Fatalf("start says %v", err)
		}
	})
}

func TestRestart(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b, k := started(t, url, 1)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		sub := newSubscription(t, s, b, e)
		ev := newEvent(b, src, keyed("k"))
		first := add(t, s, ev)
		leases := k.taken()
		if len(leases) != 1 {
			t.Fatalf("%d handed over", len(leases))
		}
		must(t, s.Close()) // as in a crash, the lease is neither settled nor given back

		s, b2 := start(t, url)
		again := claim(t, s, e, 1)
		if strings.HasPrefix(url, "sqlite:") {
			if len(again) != 1 {
				t.Fatal("the lease of the process before still holds")
			}
		} else {
			if len(again) != 0 {
				t.Fatal("the lease of another node was taken")
			}
			b2.clock.advance(e.Timeout + store.LeaseMargin)
			if again = claim(t, s, e, 1); len(again) != 1 {
				t.Fatal("the lease did not end by time")
			}
		}
		if again[0].Event.ID != ev.ID || string(again[0].Event.Payload.Body) != string(ev.Payload.Body) {
			t.Fatalf("claimed %+v", again[0].Event)
		}
		if r := add(t, s, newEvent(b2, src, keyed("k"))); !r.Duplicate || r.EventID != first.EventID {
			t.Fatalf("the key was forgotten: %+v", r)
		}
		if r := add(t, s, newEvent(b2, src)); r.Sequence != first.Sequence+1 {
			t.Fatalf("the sequence went on at %d", r.Sequence)
		}

		t.Run("a deletion that was cut off is completed", func(t *testing.T) {
			must(t, s.Close())
			db, _ := connect(t, url)
			_, err := db.ExecContext(t.Context(), "DELETE FROM subscriptions WHERE id = '"+sub.ID+"'")
			must(t, err)
			s, _ := start(t, url)
			waiting := got[int](t)(s.CountDeliveries(t.Context(), hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryPending}}))
			if waiting != 0 {
				t.Fatalf("%d deliveries still wait for a subscription that is gone", waiting)
			}
		})
	})
}

func TestWhatAProcessWasAtIsFreeAfterItsCrash(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src := newSource(t, s, b)
		until := b.clock.Now().Add(time.Hour)
		if got[*hub.Fetch](t)(s.TakeFetch(t.Context(), src.ID, "before", until)) == nil ||
			got[*hub.Learning](t)(s.TakeCatalogue(t.Context(), "before", until)) == nil {
			t.Fatal("they were not free at the beginning")
		}
		must(t, s.Close()) // as in a crash, nothing is given back

		s, _ = start(t, url)
		alone := strings.HasPrefix(url, "sqlite:")
		if free := got[*hub.Fetch](t)(s.TakeFetch(t.Context(), src.ID, "after", until)) != nil; free != alone {
			t.Errorf("the source can be fetched from: %t, want %t", free, alone)
		}
		if free := got[*hub.Learning](t)(s.TakeCatalogue(t.Context(), "after", until)) != nil; free != alone {
			t.Errorf("the catalogue can be taken: %t, want %t", free, alone)
		}
	})
}

func TestStop(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(t *testing.T, url string) {
		s, b := start(t, url)
		src, e := newSource(t, s, b), newEndpoint(t, s, b)
		newSubscription(t, s, b, e)
		for range 50 {
			add(t, s, newEvent(b, src))
		}
		leases := claim(t, s, e, 50)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var stored []string
		for range 8 {
			wg.Go(func() {
				for {
					ev := newEvent(b, src)
					if _, err := s.Append(t.Context(), []*hub.Event{ev}); err != nil {
						if hub.CodeOf(err) != hub.CodeUnavailable {
							t.Errorf("while stopping: %v", err)
						}
						return
					}
					mu.Lock()
					stored = append(stored, ev.ID)
					mu.Unlock()
				}
			})
		}
		for _, l := range leases {
			s.Settle(attempt(b, l, hub.AttemptSucceeded, hub.DeliveryDelivered))
		}
		must(t, s.Stop(t.Context()))
		must(t, s.Stop(t.Context()))
		wg.Wait()
		delivered := got[int](t)(s.CountDeliveries(t.Context(), hub.DeliveryFilter{Statuses: []hub.DeliveryStatus{hub.DeliveryDelivered}}))
		if delivered != 50 {
			t.Fatalf("%d of 50 results are stored", delivered)
		}
		found := got[map[string]*hub.Event](t)(s.EventsByID(t.Context(), stored))
		for _, id := range stored {
			if found[id] == nil {
				t.Fatalf("%s was acknowledged and is not stored", id)
			}
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		_ = s.Stop(done)
		s.Settle(attempt(b, leases[0], hub.AttemptSucceeded, hub.DeliveryDelivered)) // does not block
	})
}

func TestStoppingWhatWasNotStarted(t *testing.T) {
	t.Parallel()
	s, _ := open(t, "sqlite:"+t.TempDir()+"/a.db")
	must(t, s.Stop(t.Context()))
	must(t, s.Close())
	must(t, s.Close())
}
