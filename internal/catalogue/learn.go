package catalogue

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/shape"
)

const (
	window       = 5000    // events that one step counts
	samples      = 500     // of which it looks at so many bodies at most
	sampleBytes  = 8 << 20 // and at so much of them
	fingerprints = 128     // how many are remembered of a type at a source
	driftsAfter  = 3       // samples, before which everything is new where no schema is given
	maxChanges   = 100     // that wait to be announced

	captureOverlap = 2 * time.Minute // how late a captured request may be committed
	captureEvery   = 2 * time.Second
	captureList    = 5000
	captureBatch   = 100
)

// group is the events of one type of one source within a step.
type group struct {
	key     hub.SightingKey
	count   int
	last    time.Time
	sizes   map[hub.Sequence]int
	samples []hub.Sequence // in order
}

// learn counts the next events of the log and learns from some of them. It reports
// whether there are more.
func (k *Keeper) learn(ctx context.Context) (more bool, err error) {
	entries, err := k.Store.LogEntries(ctx, k.state.Position, window)
	if err != nil || len(entries) == 0 {
		return false, err
	}
	cfg := k.Store.Configuration()
	groups := make(map[hub.SightingKey]*group)
	var order []*group // as they come
	common := make(map[string]bool)
	for _, e := range entries {
		if cfg.Sources[e.SourceID] == nil {
			continue // deleted, and its part of the catalogue with it
		}
		key := hub.SightingKey{SourceID: e.SourceID, Type: e.Type}
		g := groups[key]
		if g == nil {
			g = &group{key: key, sizes: make(map[hub.Sequence]int)}
			groups[key], order = g, append(order, g)
		}
		g.count++
		g.last = e.ReceivedAt
		if e.Size <= shape.MaxDocumentBytes {
			g.sizes[e.Sequence] = e.Size
			g.samples = append(g.samples, e.Sequence)
		}
		if e.Common {
			common[e.Type] = true
		}
	}
	step := &hub.Learned{From: k.state.Position, To: entries[len(entries)-1].Sequence, Uncatalogued: make(map[string]int)}
	l, err := k.lesson(ctx, cfg, slices.Collect(func(yield func(hub.SightingKey) bool) {
		for _, g := range order {
			if !yield(g.key) {
				return
			}
		}
	}))
	if err != nil {
		return false, err
	}
	kept := order[:0]
	for _, g := range order {
		one := l.sightings[g.key]
		if one == nil {
			step.Uncatalogued[g.key.SourceID] += g.count
			continue
		}
		one.EventCount += g.count
		if g.last.After(one.LastSeenAt) {
			one.LastSeenAt = g.last
		}
		if common[g.key.Type] {
			step.Common = append(step.Common, g.key.Type)
		}
		kept = append(kept, g)
	}
	chosen := choose(kept)
	bodies, err := k.Store.EventBodies(ctx, chosen)
	if err != nil {
		return false, err
	}
	keys := make(map[hub.Sequence]hub.SightingKey, len(chosen))
	for _, e := range entries {
		keys[e.Sequence] = hub.SightingKey{SourceID: e.SourceID, Type: e.Type}
	}
	for _, sequence := range chosen {
		l.look(keys[sequence], bodies[sequence], true)
	}
	if step.Sightings, err = l.learned(ctx, k.Store); err != nil {
		return false, err
	}
	if err := k.Store.SaveLearned(ctx, k.token, step); err != nil {
		return false, err
	}
	k.state.Position = step.To
	return len(entries) == window, nil
}

// choose picks the events whose bodies are looked at, in order: all of them where they
// are few, else of each type in turn, spread over its events.
func choose(groups []*group) []hub.Sequence {
	var chosen []hub.Sequence
	bytes := 0
	left := samples
	for round := 0; left > 0; round++ {
		any := false
		for _, g := range groups {
			if round >= len(g.samples) || left == 0 {
				continue
			}
			any = true
			sequence := g.samples[spread(round, len(g.samples))]
			if bytes += g.sizes[sequence]; bytes > sampleBytes && len(chosen) > 0 {
				left = 0
				break
			}
			chosen = append(chosen, sequence)
			left--
		}
		if !any {
			break
		}
	}
	slices.Sort(chosen)
	return slices.Compact(chosen)
}

// spread returns the place of the n-th pick among so many: each place once, far from the
// ones before.
func spread(n, of int) int {
	if of <= samples/10 {
		return n
	}
	// Steps of a prime that does not divide the length visit every place.
	step := 619
	if of%step == 0 {
		step = 617
	}
	return n * step % of
}

// lesson is what one step learns.
type lesson struct {
	cfg       *hub.Configuration
	clock     hub.Clock
	sightings map[hub.SightingKey]*hub.Sighting
	rooms     map[string]int // bytes taken up, of the sources that a shape has grown at
	unseen    map[hub.SightingKey][]document
	touched   []hub.SightingKey // in order
	bytesOf   func(context.Context, []string) (map[string]int, error)
	checks    map[string]*shape.Validator
	revisions map[string]uint64 // of given schemas, by their types
}

// document is a body whose shape was not seen lately.
type document struct {
	body   []byte
	before int // samples
}

// lesson reads what is known of types at sources, and makes room for those that are new.
// One for which there is none is missing.
func (k *Keeper) lesson(ctx context.Context, cfg *hub.Configuration, keys []hub.SightingKey) (*lesson, error) {
	l := &lesson{
		cfg: cfg, clock: k.Clock, unseen: make(map[hub.SightingKey][]document), checks: make(map[string]*shape.Validator), revisions: make(map[string]uint64),
		touched: keys, bytesOf: func(ctx context.Context, sources []string) (map[string]int, error) {
			rooms, err := k.Store.Rooms(ctx, sources)
			bytes := make(map[string]int, len(rooms))
			for id, room := range rooms {
				bytes[id] = room.Bytes
			}
			return bytes, err
		},
	}
	var err error
	if l.sightings, err = k.Store.Sightings(ctx, keys); err != nil {
		return nil, err
	}
	var fresh []hub.SightingKey
	at := make(map[string]bool)
	for _, key := range keys {
		if l.sightings[key] == nil {
			fresh = append(fresh, key)
			at[key.SourceID] = true
		}
	}
	if len(fresh) == 0 {
		return l, nil
	}
	rooms, err := k.Store.Rooms(ctx, slices.Collect(maps.Keys(at)))
	if err != nil {
		return nil, err
	}
	types := make(map[string]int, len(rooms))
	for id, room := range rooms {
		types[id] = room.Types
	}
	for _, key := range fresh {
		if types[key.SourceID]++; types[key.SourceID] <= hub.MaxTypesPerSource {
			l.sightings[key] = &hub.Sighting{SightingKey: key}
		}
	}
	return l, nil
}

// look looks at one body. What is not JSON teaches nothing. counted says that it counts
// as a sample even where its shape is known.
func (l *lesson) look(key hub.SightingKey, body []byte, counted bool) {
	one := l.sightings[key]
	if one == nil || len(body) > shape.MaxDocumentBytes {
		return
	}
	fingerprint := shape.Fingerprint(body)
	if fingerprint == 0 {
		return
	}
	fingerprint ^= l.revision(one.Type) // what was seen under another schema is to be judged by this one
	seen := slices.Contains(one.Fingerprints, fingerprint)
	if !seen {
		l.unseen[key] = append(l.unseen[key], document{body: body, before: one.SampleCount})
		one.Fingerprints = append(one.Fingerprints, fingerprint)
		one.Fingerprints = one.Fingerprints[max(0, len(one.Fingerprints)-fingerprints):]
	}
	if counted || !seen {
		one.SampleCount++
	}
}

// revision tells the given schemas of a type apart; 0 where it has none.
func (l *lesson) revision(eventType string) uint64 {
	given := l.cfg.Schemas[eventType]
	if given == nil {
		return 0
	}
	revision, known := l.revisions[eventType]
	if !known {
		hash := fnv.New64a()
		_, _ = hash.Write(given) // documented never to fail
		revision = hash.Sum64()
		l.revisions[eventType] = revision
	}
	return revision
}

// learned learns from the bodies that are new, and returns everything to be stored.
func (l *lesson) learned(ctx context.Context, s Store) ([]*hub.Sighting, error) {
	var out, teach []*hub.Sighting
	var sources []string
	for _, key := range l.touched {
		one := l.sightings[key]
		if one == nil {
			continue
		}
		out = append(out, one)
		if len(l.unseen[key]) > 0 {
			teach, sources = append(teach, one), append(sources, key.SourceID)
		}
	}
	if len(teach) == 0 {
		return out, nil
	}
	slices.Sort(sources)
	var err error
	if l.rooms, err = l.bytesOf(ctx, slices.Compact(sources)); err != nil {
		return nil, err
	}
	if err := s.Shapes(ctx, teach); err != nil {
		return nil, err
	}
	for _, one := range teach {
		if err := l.teach(one, l.unseen[one.SightingKey]); err != nil {
			return nil, fmt.Errorf("learn from events of type %q: %w", one.Type, err)
		}
	}
	return out, nil
}

// teach has a sighting learn from bodies. Its shape is nil afterwards where it stays.
func (l *lesson) teach(one *hub.Sighting, documents []document) error {
	known := &shape.Shape{}
	before := len(one.Shape)
	if one.Shape != nil {
		if err := json.Unmarshal(one.Shape, known); err != nil {
			// What an other version wrote can be learned again.
			known = &shape.Shape{}
		}
	}
	one.Shape = nil
	grown := false
	var drift []hub.TypeChange
	given := l.cfg.Schemas[one.Type]
	for _, d := range documents {
		changed, changes, err := known.Learn(d.body)
		if errors.Is(err, shape.ErrTooLarge) || errors.Is(err, shape.ErrNotJSON) {
			continue
		}
		if err != nil {
			return err
		}
		grown = grown || changed
		switch {
		case one.SourceID == hub.BuiltInHubID:
			continue
		case given != nil: // then the first one can be other than it should
			drift = append(drift, l.mismatch(given, d.body)...)
			continue
		case d.before < driftsAfter:
			continue
		}
		for _, c := range changes {
			drift = append(drift, hub.TypeChange{Path: c.Path, Kind: string(c.Kind), From: c.From, To: c.To})
		}
	}
	if len(drift) > 0 {
		one.DriftedAt = l.clock.Now()
		var err error
		if one.Drift, err = joinDrift(one.Drift, drift); err != nil {
			return err
		}
	}
	if !grown {
		return nil
	}
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	if room := l.rooms[one.SourceID] - before + len(text); room <= hub.MaxShapeBytes {
		l.rooms[one.SourceID], one.Shape = room, text
	}
	return nil
}

// MismatchKind is the kind of a change that is against a given schema.
const MismatchKind = "MISMATCH"

// mismatch says where a body does not fit a given schema.
func (l *lesson) mismatch(given json.RawMessage, body []byte) []hub.TypeChange {
	check := l.checks[string(given)]
	if check == nil {
		var err error
		if check, err = shape.Compile(given); err != nil {
			return nil // it was compiled when it was given, perhaps by a version that knew more
		}
		l.checks[string(given)] = check
	}
	var mismatch *shape.Mismatch
	if !errors.As(check.Validate(body), &mismatch) {
		return nil
	}
	changes := make([]hub.TypeChange, len(mismatch.Problems))
	for i, p := range mismatch.Problems {
		changes[i] = hub.TypeChange{Path: p.Path, Kind: MismatchKind, To: p.Reason}
	}
	return changes
}

// joinDrift adds changes to those that wait to be announced. Of several of one kind at
// one place, it tells the first state and the last.
func joinDrift(waiting json.RawMessage, changes []hub.TypeChange) (json.RawMessage, error) {
	var all []hub.TypeChange
	if waiting != nil {
		if err := json.Unmarshal(waiting, &all); err != nil {
			return nil, err
		}
	}
	for _, c := range changes {
		at := slices.IndexFunc(all, func(other hub.TypeChange) bool { return other.Path == c.Path && other.Kind == c.Kind })
		switch {
		case at >= 0:
			all[at].To = c.To
		case len(all) < maxChanges:
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b hub.TypeChange) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Kind, b.Kind))
	})
	return json.Marshal(all)
}

// captures is what this process knows of captured requests.
type captures struct {
	until  time.Time // up to when there may be some that are not learned from
	looked time.Time
	seen   map[string]bool // that were learned from and would be found again
}

// capture learns from requests that were captured instead of received. They are no
// events and do not count; one that is learned from twice, after a restart, teaches
// nothing more.
func (k *Keeper) capture(ctx context.Context) error {
	cfg, now, c := k.Store.Configuration(), k.Clock.Now(), &k.captures
	for _, src := range cfg.Sources {
		if src.Capturing > 0 || now.Before(src.UpdatedAt.Add(captureOverlap)) { // all of it may have come in between two looks
			c.until = now.Add(captureOverlap)
		}
	}
	if now.After(c.until) || now.Before(c.looked.Add(captureEvery)) {
		return nil
	}
	c.looked = now
	since := k.state.CapturedAt
	if !since.IsZero() {
		since = since.Add(-captureOverlap)
	}
	ids, err := k.Store.Captured(ctx, since, captureList)
	if err != nil {
		return err
	}
	there := make(map[string]bool, len(ids))
	var fresh []string
	for _, id := range ids {
		if c.seen[id] {
			there[id] = true
		} else if len(fresh) < captureBatch {
			fresh = append(fresh, id)
		}
	}
	if c.seen = there; len(fresh) == 0 {
		return nil
	}
	c.looked = time.Time{} // there may be more
	found, err := k.Store.RejectionsByID(ctx, fresh)
	if err != nil {
		return err
	}
	bodies := make(map[hub.SightingKey][][]byte)
	var keys []hub.SightingKey
	newest := k.state.CapturedAt
	for _, id := range fresh {
		c.seen[id] = true
		r := found[id]
		if r == nil || cfg.Sources[r.SourceID] == nil {
			continue
		}
		if r.ReceivedAt.After(newest) {
			newest = r.ReceivedAt
		}
		key := hub.SightingKey{SourceID: r.SourceID, Type: k.TypeOf(cfg.Sources[r.SourceID], r)}
		if bodies[key] == nil {
			keys = append(keys, key)
		}
		bodies[key] = append(bodies[key], r.Body)
	}
	l, err := k.lesson(ctx, cfg, keys)
	if err != nil {
		return err
	}
	for _, key := range keys {
		for _, body := range bodies[key] {
			l.look(key, body, false)
		}
	}
	l.touched = slices.DeleteFunc(keys, func(key hub.SightingKey) bool { return len(l.unseen[key]) == 0 })
	step := &hub.Learned{From: k.state.Position, To: k.state.Position, CapturedAt: newest}
	if step.Sightings, err = l.learned(ctx, k.Store); err != nil {
		return err
	}
	if err := k.Store.SaveLearned(ctx, k.token, step); err != nil {
		return err
	}
	k.state.CapturedAt = newest
	return nil
}
