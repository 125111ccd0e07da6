package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/hookgraph/hookgraph/ent"
	"github.com/hookgraph/hookgraph/ent/loghead"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// refreshInterval is how often a node looks for changes that others made.
const refreshInterval = time.Second

// Refresh brings this process's configuration and health of endpoints up to what
// the database holds. It costs one small statement where nothing has changed.
func (s *Store) Refresh(ctx context.Context) error {
	_, err := s.refresh(ctx)
	return err
}

// refresh does so and returns the head of the log.
func (s *Store) refresh(ctx context.Context) (logHead, error) {
	generation := s.health.generation()
	head, err := s.catchUp(ctx)
	if err != nil {
		return logHead{}, err
	}
	rows, err := s.read.EndpointHealth.Query().All(ctx)
	if err != nil {
		return logHead{}, fmt.Errorf("read endpoint health: %w", err)
	}
	s.health.replace(generation, rows)
	return head, nil
}

// catchUp loads the configuration where it has changed since, perhaps on another node.
func (s *Store) catchUp(ctx context.Context) (logHead, error) {
	head, err := s.read.LogHead.Get(ctx, 1)
	if err != nil {
		return logHead{}, fmt.Errorf("read the head of the log: %w", err)
	}
	if current := s.config.Load(); head.ConfigRevision != current.Revision || current.Revision == 0 {
		if _, err := s.loadConfiguration(ctx); err != nil {
			return logHead{}, err
		}
		s.wakeTaker()
	}
	return logHead{sequence: hub.Sequence(head.Sequence), changes: hub.Sequence(head.ChangeSequence), revision: head.ConfigRevision}, nil
}

// loadConfiguration reads what people have configured, as of one revision,
// and makes them this process's configuration, unless a newer one is known. To
// whoever holds log_head it returns exactly the revision in force.
func (s *Store) loadConfiguration(ctx context.Context) (*hub.Configuration, error) {
	tx, err := s.read.BeginTx(ctx, s.engine.snapshot())
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // it only read
	head, err := tx.LogHead.Query().Where(loghead.ID(1)).Only(ctx)
	if err != nil {
		return nil, fmt.Errorf("load configuration: %w", err)
	}
	sources, err := readAll(ctx, tx.Source.Query(), s.toSource)
	if err != nil {
		return nil, fmt.Errorf("load sources: %w", err)
	}
	endpoints, err := readAll(ctx, tx.Endpoint.Query(), s.toEndpoint)
	if err != nil {
		return nil, fmt.Errorf("load endpoints: %w", err)
	}
	subscriptions, err := readAll(ctx, tx.Subscription.Query(), toSubscription)
	if err != nil {
		return nil, fmt.Errorf("load subscriptions: %w", err)
	}
	partners, err := readAll(ctx, tx.Partner.Query(), toPartner)
	if err != nil {
		return nil, fmt.Errorf("load partners: %w", err)
	}
	documents, err := readAll(ctx, tx.Document.Query(), toDocument)
	if err != nil {
		return nil, fmt.Errorf("load documents: %w", err)
	}
	schemas, err := givenSchemas(ctx, tx)
	if err != nil {
		return nil, fmt.Errorf("load schemas: %w", err)
	}
	loaded := hub.NewConfiguration(head.ConfigRevision, sources, endpoints, subscriptions, partners...).
		WithDocuments(documents).WithSchemas(schemas)
	for {
		current := s.config.Load()
		if current.Revision > loaded.Revision || s.config.CompareAndSwap(current, loaded) {
			return loaded, nil
		}
	}
}

// readAll maps all rows of a query.
func readAll[Row, Noun any](ctx context.Context, q interface {
	All(context.Context) ([]Row, error)
}, to func(Row) (Noun, error),
) ([]Noun, error) {
	rows, err := q.All(ctx)
	if err != nil {
		return nil, err
	}
	nouns := make([]Noun, len(rows))
	for i, row := range rows {
		if nouns[i], err = to(row); err != nil {
			return nil, err
		}
	}
	return nouns, nil
}

// follow keeps up with what other processes store, until ctx ends: nodes on the same
// PostgreSQL, or a tool on the same file. It wakes this process's readers for it, for
// the case that nobody else does.
func (s *Store) follow(ctx context.Context) {
	tick := time.NewTicker(refreshInterval)
	defer tick.Stop()
	var seen logHead
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		head, err := s.refresh(ctx)
		switch {
		case err == nil && head != seen:
			if head.changes != seen.changes {
				s.notifyChanges()
			}
			if head.sequence != seen.sequence || head.revision != seen.revision {
				s.notify()
			}
			seen = head
		case err != nil && ctx.Err() == nil:
			s.log.WarnContext(ctx, "configuration could not be refreshed", "error", err)
		}
	}
}

// change runs a change of configuration in a transaction that holds log_head, and
// makes it this process's configuration before it returns.
func (s *Store) change(ctx context.Context, what string, do func(*ent.Tx) error) error {
	s.changing.Lock()
	defer s.changing.Unlock()
	tx, err := s.write.Tx(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	err = tx.LogHead.UpdateOneID(1).AddConfigRevision(1).Exec(ctx)
	if err == nil {
		err = do(tx)
	}
	if err != nil {
		_ = tx.Rollback() // the first error tells more
		if e := new(hub.Error); errors.As(err, &e) {
			return err
		}
		if u := (hub.UserErrors)(nil); errors.As(err, &u) {
			return err
		}
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if _, err := s.loadConfiguration(context.WithoutCancel(ctx)); err != nil {
		// The change stands all the same, and the next event will notice it.
		s.log.WarnContext(ctx, "configuration could not be refreshed", "error", err)
	}
	s.notify()
	s.wakeTaker()
	s.wakeSorter()
	return nil
}

func (s *Store) wakeTaker() {
	if s.taker != nil {
		s.taker.Wake()
	}
}

func (s *Store) notify() {
	if s.cfg.Notify != nil {
		s.cfg.Notify()
	}
}

func (s *Store) notifyChanges() {
	if s.cfg.NotifyChanges != nil {
		s.cfg.NotifyChanges()
	}
}

// Health returns what the attempts of an endpoint have shown, nil where there were
// none. The answer must not be changed.
func (v *View) Health(endpointID string) *hub.EndpointHealth {
	if !v.sight.Whole() && v.Configuration().Endpoints[endpointID] == nil {
		return nil
	}
	return v.store.health.of(endpointID)
}

// healthBook is the health of all endpoints as this process knows it.
type healthBook struct {
	mu    sync.RWMutex
	turn  int64 // counts this process's own commits
	pages map[string]healthPage
}

type healthPage struct {
	health *hub.EndpointHealth
	turn   int64 // of the own commit that wrote it
}

func (b *healthBook) of(endpointID string) *hub.EndpointHealth {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.pages[endpointID].health
}

func (b *healthBook) generation() int64 {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.turn
}

// committed notes what this process has just stored.
func (b *healthBook) committed(list []*hub.EndpointHealth) {
	if len(list) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.turn++
	if b.pages == nil {
		b.pages = make(map[string]healthPage)
	}
	for _, h := range list {
		b.pages[h.EndpointID] = healthPage{health: h, turn: b.turn}
	}
}

// replace takes over rows that were read after the given generation. What this
// process committed since then is newer and stays.
func (b *healthBook) replace(since int64, rows []*ent.EndpointHealth) {
	pages := make(map[string]healthPage, len(rows))
	for _, row := range rows {
		pages[row.ID] = healthPage{health: toHealth(row), turn: since}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	maps.DeleteFunc(b.pages, func(_ string, p healthPage) bool { return p.turn <= since })
	maps.Copy(pages, b.pages)
	b.pages = pages
}

func toHealth(row *ent.EndpointHealth) *hub.EndpointHealth {
	return &hub.EndpointHealth{
		EndpointID: row.ID, Breaker: row.Breaker, BreakerUntil: row.BreakerUntil.Time(), Probes: row.Probes,
		ConsecutiveFailures: row.ConsecutiveFailures, FailingSince: row.FailingSince.Time(),
		LastSuccessAt: row.LastSuccessAt.Time(), LastFailureAt: row.LastFailureAt.Time(), PacedUntil: row.PacedUntil.Time(),
	}
}
