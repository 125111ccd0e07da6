package catalogue

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/hookgraph/hookgraph/internal/hub"
)

const (
	watchEvery   = 5 * time.Second
	noteEvery    = 20 * time.Second // how often it is noted that sources are watched
	unwatched    = 2 * time.Minute  // after which what sources did meanwhile says nothing
	tellEvery    = time.Hour        // drift of one type at one source
	tellAtOnce   = 100
	measureEvery = time.Hour

	rhythmSpan  = 7 * 24 * time.Hour
	rhythmLeast = 20             // events, below which there is no rhythm
	rhythmKnown = 24 * time.Hour // from the first of them to the last: one burst says nothing of the next
	pauseLeast  = 5 * time.Minute
	pauseTimes  = 5   // how many times its usual pause counts as silence
	longest     = 1.5 // or how many times its longest one

	failingAfter = 5 * time.Minute
	failingLeast = 2 // failures in a row: one alone is not told, however long it is until the next try

	refusalSpan  = 5 * time.Minute
	refusalLeast = 20 // requests
	refusalOver  = 10 // requests, below which most are not refused any more
)

// watch looks at all sources, and announces what has begun or ended.
func (k *Keeper) watch(ctx context.Context) error {
	now := k.Clock.Now()
	if now.Before(k.watchedAt.Add(watchEvery)) {
		return nil
	}
	k.watchedAt = now
	known, err := k.Store.AllWatches(ctx)
	if err != nil {
		return err
	}
	recent, err := k.Store.Activity(ctx, now.Add(-refusalSpan))
	if err != nil {
		return err
	}
	p := &patrol{
		store: k.Store, now: now, watches: make(map[string]*hub.Watch), before: known,
		lapsed: now.After(k.state.WatchedAt.Add(unwatched)), recent: sumOf(recent),
	}
	var sources []*hub.Source
	for _, src := range k.Store.Configuration().Sources {
		if src.ID != hub.BuiltInHubID {
			sources = append(sources, src)
		}
	}
	slices.SortFunc(sources, func(a, b *hub.Source) int { return cmp.Compare(a.ID, b.ID) })
	for _, src := range sources {
		w := hub.Watch{SourceID: src.ID}
		if known[src.ID] != nil {
			w = *known[src.ID]
		}
		p.watches[src.ID] = &w
	}
	for _, look := range []func(context.Context, []*hub.Source) error{p.attend, p.measure, p.listen, p.count, p.reach} {
		if err := look(ctx, sources); err != nil {
			return err
		}
	}
	drifted, err := k.drifted(ctx, p)
	if err != nil {
		return err
	}
	changed := p.changed()
	if len(changed) == 0 && len(p.told) == 0 && len(drifted) == 0 && now.Before(k.state.WatchedAt.Add(noteEvery)) {
		return nil
	}
	if err := k.Store.SaveWatch(ctx, k.token, now, changed, drifted, p.told); err != nil {
		return err
	}
	k.state.WatchedAt = now
	return nil
}

// patrol is one look at all sources.
type patrol struct {
	store   Store
	now     time.Time
	lapsed  bool // nobody has watched for a while: the hub was not running
	recent  map[string]hub.Activity
	before  map[string]*hub.Watch
	watches map[string]*hub.Watch
	told    []*hub.Announcement
}

func (p *patrol) tell(eventType string, src *hub.Source, facts hub.SourceFacts) {
	p.told = append(p.told, hub.NewSourceAnnouncement(eventType, src, p.now, facts))
}

// changed lists what is to be stored.
func (p *patrol) changed() []*hub.Watch {
	var list []*hub.Watch
	for id, w := range p.watches {
		if before := p.before[id]; before == nil && *w != (hub.Watch{SourceID: id}) || before != nil && *w != *before {
			list = append(list, w)
		}
	}
	slices.SortFunc(list, func(a, b *hub.Watch) int { return cmp.Compare(a.SourceID, b.SourceID) })
	return list
}

// attend begins to watch those that can speak, and leaves alone those that are paused.
func (p *patrol) attend(_ context.Context, sources []*hub.Source) error {
	for _, src := range sources {
		w := p.watches[src.ID]
		switch {
		case src.State == hub.SourcePaused:
			w.Since, w.SilentSince, w.RejectingSince, w.FailingSince = time.Time{}, time.Time{}, time.Time{}, time.Time{}
		case w.Since.IsZero() || p.lapsed:
			w.Since = p.now
		}
	}
	return nil
}

// measure works out the rhythm of sources that speak.
func (p *patrol) measure(ctx context.Context, sources []*hub.Source) error {
	due := slices.DeleteFunc(slices.Clone(sources), func(src *hub.Source) bool {
		w := p.watches[src.ID]
		return w.Since.IsZero() || !w.SilentSince.IsZero() || p.now.Before(w.MeasuredAt.Add(measureEvery))
	})
	if len(due) == 0 {
		return nil
	}
	all, err := p.store.Activity(ctx, p.now.Add(-rhythmSpan))
	if err != nil {
		return err
	}
	by := make(map[string][]hub.Activity)
	for _, one := range all {
		if one.Received+one.Duplicates > 0 {
			by[one.SourceID] = append(by[one.SourceID], one)
		}
	}
	for _, src := range due {
		w := p.watches[src.ID]
		w.MeasuredAt, w.UsualPause = p.now, usualPause(by[src.ID])
	}
	return nil
}

// usualPause returns how long a source may be silent by what came from it, in the order
// of time; 0 where that is too little to tell. It is five times the pause that 99 % of its
// events keep to, and half as long again as the longest one, so that quiet nights and
// weekends are no silence.
func usualPause(spans []hub.Activity) time.Duration {
	type pause struct {
		length time.Duration
		times  int
	}
	var pauses []pause
	events := 0
	var most time.Duration
	for i, s := range spans {
		n := s.Received + s.Duplicates
		events += n
		// Within a span the events are taken to be even. Between two, nothing came from the
		// end of the one to the beginning of the other, at least.
		pauses = append(pauses, pause{s.Width / time.Duration(n), n - 1})
		if i > 0 {
			gap := max(s.Start.Sub(spans[i-1].Start.Add(spans[i-1].Width)), 0)
			pauses = append(pauses, pause{gap, 1})
			most = max(most, gap)
		}
	}
	if events < rhythmLeast || spans[len(spans)-1].Start.Sub(spans[0].Start) < rhythmKnown {
		return 0
	}
	slices.SortFunc(pauses, func(a, b pause) int { return cmp.Compare(a.length, b.length) })
	var usual time.Duration
	rank := (99*(events-1) + 99) / 100 // of all pauses, rounded up
	for _, one := range pauses {
		if one.times > 0 {
			usual = one.length
		}
		if rank -= one.times; rank <= 0 {
			break
		}
	}
	allowed := max(pauseLeast, pauseTimes*usual, time.Duration(longest*float64(most)))
	return min(allowed, hub.MaxSilentAfter).Truncate(time.Second)
}

// listen notices who has fallen silent, and who speaks again.
func (p *patrol) listen(ctx context.Context, sources []*hub.Source) error {
	var ids []string
	for _, src := range sources {
		if w := p.watches[src.ID]; !w.Since.IsZero() && (w.Expected(src) > 0 || !w.SilentSince.IsZero()) {
			ids = append(ids, src.ID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	heard, err := p.store.LastHeard(ctx, ids)
	if err != nil {
		return err
	}
	for _, src := range sources {
		if !slices.Contains(ids, src.ID) {
			continue
		}
		w, last := p.watches[src.ID], heard[src.ID]
		if again := p.recent[src.ID]; again.Duplicates > 0 && again.Start.After(last) {
			last = again.Start // it repeats itself, and so is there
		}
		expected := w.Expected(src)
		switch {
		case !w.SilentSince.IsZero():
			if last.After(w.SilentSince) {
				since := w.SilentSince
				p.tell(hub.SourceResumedType, src, hub.SourceFacts{SilentSince: &since, ResumedAt: &last})
				w.SilentSince, w.Since = time.Time{}, p.now
			}
		case p.now.Sub(later(last, w.Since)) >= expected:
			if w.SilentSince = last; last.IsZero() {
				w.SilentSince = w.Since
			}
			since := w.SilentSince
			p.tell(hub.SourceSilentType, src, hub.SourceFacts{
				SilentSince: &since, ExpectedOnce: expected.Seconds(), Set: src.SilentAfter > 0,
			})
		}
	}
	return nil
}

// count notices which sources refuse most of their requests.
func (p *patrol) count(ctx context.Context, sources []*hub.Source) error {
	for _, src := range sources {
		w, sum := p.watches[src.ID], p.recent[src.ID]
		if w.Since.IsZero() {
			continue
		}
		requests := sum.Received + sum.Duplicates + sum.Rejected
		if !w.RejectingSince.IsZero() {
			if sum.Rejected < refusalOver || 4*sum.Rejected <= requests {
				w.RejectingSince = time.Time{}
			}
			continue
		}
		if sum.Rejected < refusalLeast || 2*sum.Rejected <= requests {
			continue
		}
		reasons, err := p.store.Refusals(ctx, src.ID, p.now.Add(-refusalSpan))
		if err != nil {
			return err
		}
		meant := reasons[hub.RejectedCaptured] + reasons[hub.RejectedSourcePaused] // somebody wants these
		delete(reasons, hub.RejectedCaptured)
		delete(reasons, hub.RejectedSourcePaused)
		requests -= meant
		refused := sum.Rejected - meant
		if refused < refusalLeast || 2*refused <= requests {
			continue
		}
		w.RejectingSince = p.now
		p.tell(hub.SourceRejectingType, src, hub.SourceFacts{
			WindowSeconds: refusalSpan.Seconds(), Requests: requests, Rejected: refused, Reasons: reasons,
		})
	}
	return nil
}

// reach notices which sources cannot be fetched from, and which can again.
func (p *patrol) reach(ctx context.Context, sources []*hub.Source) error {
	if !slices.ContainsFunc(sources, (*hub.Source).Fetches) {
		return nil
	}
	failing, err := p.store.FailingFetches(ctx)
	if err != nil {
		return err
	}
	for _, src := range sources {
		w, f := p.watches[src.ID], failing[src.ID]
		switch {
		case w.Since.IsZero() || !src.Fetches():
		case !w.FailingSince.IsZero():
			if f == nil {
				since := w.FailingSince
				p.tell(hub.SourceResumedType, src, hub.SourceFacts{FailingSince: &since, ResumedAt: &p.now})
				w.FailingSince = time.Time{}
			}
		case f != nil && f.Failures >= failingLeast && p.now.Sub(later(f.FailingSince, w.Since)) >= failingAfter:
			w.FailingSince = f.FailingSince
			p.tell(hub.SourceFailingType, src, hub.SourceFacts{FailingSince: &f.FailingSince, Failures: f.Failures, Error: f.Error})
		}
	}
	return nil
}

// drifted announces the drift that it is time for.
func (k *Keeper) drifted(ctx context.Context, p *patrol) ([]*hub.Sighting, error) {
	list, err := k.Store.Untold(ctx, p.now.Add(-tellEvery), tellAtOnce)
	if err != nil {
		return nil, err
	}
	for _, one := range list {
		src := k.Store.Configuration().Sources[one.SourceID]
		if src == nil {
			continue
		}
		facts := hub.SourceFacts{EventType: one.Type}
		if err := json.Unmarshal(one.Drift, &facts.Changes); err != nil {
			return nil, err
		}
		facts.GivenSchema = slices.ContainsFunc(facts.Changes, func(c hub.TypeChange) bool { return c.Kind == MismatchKind })
		p.tell(hub.SourceDriftType, src, facts)
	}
	return list, nil
}

// sumOf adds up what came from each source. The start is that of the newest span with
// a duplicate.
func sumOf(list []hub.Activity) map[string]hub.Activity {
	sums := make(map[string]hub.Activity)
	for _, one := range list {
		sum := sums[one.SourceID]
		sum.Received += one.Received
		sum.Duplicates += one.Duplicates
		sum.Rejected += one.Rejected
		if one.Duplicates > 0 && one.Start.After(sum.Start) {
			sum.Start = one.Start
		}
		sums[one.SourceID] = sum
	}
	return sums
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
