package poll

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/receive"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

const (
	// A source that fails is asked again after a while that doubles.
	firstRetry = 10 * time.Second
	lastRetry  = 15 * time.Minute
	// A source that has had nothing new for a number of runs and a while is asked less often.
	idleRuns   = 5
	idleFor    = time.Minute
	maxSlower  = 8
	maxSlowest = 15 * time.Minute // unless its interval is longer
)

// errGone says that an item of the list cannot be had any more.
var errGone = errors.New("the item is not kept any more")

// turn works through what the API lists, from where the run before was cut off, and
// returns when the source is due again. An error says that the source is not to be worked
// on any more, or not now.
func (w *work) turn(ctx context.Context) (due time.Time, err error) {
	began := w.clock.Now()
	p := w.progress
	if p.Run == nil {
		p.Runs++ // of which nothing is stored before something of the run is
		p.Run = &run{Began: began, Since: p.Since, Cursor: p.Cursor, Page: 1}
	}
	for asked := 1; ; asked++ {
		done, err := w.page(ctx)
		p.memory.forget()
		var trouble *problem
		switch {
		case err == nil:
		case errors.As(err, &trouble) && ctx.Err() == nil:
			return w.failed(ctx, began, trouble)
		default:
			return time.Time{}, err
		}
		p.Failures = 0
		now := w.clock.Now()
		if done {
			return w.finished(ctx, began, now)
		}
		due := now
		if p.NotBefore.After(now) {
			due = p.NotBefore
		} else if asked == maxPages {
			due = now.Add(w.interval())
		}
		if err := w.feed.Save(ctx, p.encode(), began, due, ""); err != nil {
			return time.Time{}, err
		}
		if due.After(now) {
			return due, nil
		}
	}
}

// finished ends a run.
func (w *work) finished(ctx context.Context, began, now time.Time) (time.Time, error) {
	p := w.progress
	if p.Run.New > 0 || !p.Run.Waiting.IsZero() {
		p.Idle = 0
	} else {
		p.Idle++
	}
	pages := p.Run.Asked
	p.finish(w.plan.pagination.KeepCursor)
	wait := max(w.interval(), share(w.quota, now)*time.Duration(pages))
	due := now.Add(min(wait, maxEvery))
	if p.NotBefore.After(due) {
		due = p.NotBefore
	}
	w.feed.Tell()
	w.feed.Works()
	return due, w.feed.Save(ctx, p.encode(), began, due, "")
}

// failed notes what went wrong, and when it is tried again.
func (w *work) failed(ctx context.Context, began time.Time, trouble *problem) (time.Time, error) {
	p := w.progress
	now := w.clock.Now()
	if trouble.restart && p.Run != nil {
		if p.Run.Asked > 0 || p.Run.Cursor != "" { // the place in the list may be what does not hold
			p.Run, p.Cursor, p.Pages = nil, "", nil // what follows an unchanged page may not have been seen
		}
	}
	if !trouble.patience {
		w.feed.Fails()
	}
	due := p.NotBefore
	if !trouble.patience || !due.After(now) {
		w.feed.Tell() // who knows when the run goes on
		p.Failures++
		wait := min(firstRetry, w.feed.Source.Poll.Interval) << min(p.Failures-1, 20)
		if wait > lastRetry || wait <= 0 {
			wait = lastRetry
		}
		wait = time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64()))
		if due = now.Add(wait); p.NotBefore.After(due) {
			due = p.NotBefore
		}
	}
	w.logger.WarnContext(ctx, "a source could not be polled and is tried again", slog.String("problem", trouble.message), slog.Time("next", due))
	return due, w.feed.Save(ctx, p.encode(), began, due, trouble.message)
}

// interval is how long it is from one run to the next: what the source says, or longer
// where the API asks for it or has had nothing new for a while.
func (w *work) interval() time.Duration {
	every := max(w.feed.Source.Poll.Interval, w.progress.Every)
	over := w.progress.Idle - max(idleRuns, int(idleFor/every))
	if over <= 0 || every >= maxSlowest {
		return every
	}
	slower := min(maxSlower, 1<<min(over, 8))
	return min(every*time.Duration(slower), maxSlowest)
}

// page asks for the page at which the run is, hands over what is new in it, and moves the
// run on; done says that it was the last one.
func (w *work) page(ctx context.Context) (done bool, err error) {
	p, r := w.progress, w.progress.Run
	target, err := w.target()
	if err != nil {
		return false, err
	}
	known := p.known(target)
	answer, err := w.get(ctx, target, known)
	if err != nil {
		return false, err
	}
	r.Asked++
	if answer.body == nil && known != nil { // nothing has changed
		if w.plan.newestFirst {
			return true, nil
		}
		return w.move(target, known.Next, known.Cursor, known.Items)
	}
	if w.plan.open == nil { // else the page is small, and takes long
		select {
		case w.reading <- struct{}{}:
			defer func() { <-w.reading }()
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	d, err := read(answer.header, answer.body)
	if err != nil {
		return false, &problem{message: err.Error()}
	}
	if w.plan.list && !d.IsList() {
		return false, &problem{message: errNoList.Error()}
	}
	raws, err := d.items(w.plan.items)
	if err != nil {
		return false, &problem{message: err.Error()}
	}
	body := short(answer.body)
	if (w.plan.pagination.Page || w.plan.pagination.Offset) && len(raws) > 0 && body == r.Body {
		return false, w.circle("one page is the same as the next: does the API know the parameter?")
	}
	oldest, waits, err := w.handOver(ctx, raws)
	if err != nil {
		return false, err
	}
	r.Body = body
	next, cursor := w.following(d, raws, answer)
	pg := page{ETag: validator(answer.header.Get("ETag")), Modified: validator(answer.header.Get("Last-Modified")), Next: next, Cursor: cursor, Items: len(raws)}
	if waits {
		pg = page{} // it is asked for again, unchanged as it may be
	}
	p.keep(target, pg)
	if w.plan.newestFirst && !r.Since.IsZero() && !oldest.IsZero() && oldest.Before(r.Since) {
		return true, nil
	}
	return w.move(target, next, cursor, len(raws))
}

// target is the URL of the page at which the run is.
func (w *work) target() (string, error) {
	r := w.progress.Run
	if r.Next != "" {
		return r.Next, nil
	}
	target, err := w.plan.url(variables{since: r.Since, cursor: r.Cursor, page: r.Page, offset: r.Offset})
	if err != nil {
		return "", &problem{message: "the URL template cannot be expanded"}
	}
	return target, nil
}

// following finds where an answer leads: to a URL, or to a cursor.
func (w *work) following(d document, items []gjson.Result, answer *reply) (next, cursor string) {
	switch {
	case w.plan.after != nil:
		cursor = w.plan.after(d, items)
	case w.plan.pagination.LinkHeader:
		next = nextLink(answer.header["Link"])
	case w.plan.nextURL != nil:
		next = d.text(w.plan.nextURL)
	case w.plan.cursor != nil:
		cursor = d.text(w.plan.cursor)
	}
	return next, cursor
}

const (
	// maxCursor bounds the cursors and URLs that an API gives.
	maxCursor = 4096
	// maxEmpty is how many pages without items an API may lead on from.
	maxEmpty = 100
)

// move moves the run on to the next page. It finds out where the way is a circle, which
// would never end: by remembering one page, and a later one after twice as many pages.
func (w *work) move(from, next, cursor string, items int) (done bool, err error) {
	r, pagination := w.progress.Run, w.plan.pagination
	if len(next) > maxCursor || len(cursor) > maxCursor {
		return false, w.circle("the API gives a cursor or URL that is longer than any should be")
	}
	switch {
	case next != "":
		base, err := w.origin.Parse(from)
		if err != nil {
			return false, &problem{message: "the URL of the next page cannot be read", restart: true}
		}
		target, err := base.Parse(next)
		if err != nil {
			return false, &problem{message: "the URL of the next page cannot be read", restart: true}
		}
		target.Fragment, target.RawFragment = "", ""
		r.Next = target.String()
	case cursor != "" && pagination.KeepCursor: // the end is where nothing comes any more
		same := cursor == r.Cursor
		if r.Cursor = cursor; same || items == 0 {
			return true, nil
		}
	case cursor != "":
		r.Cursor = cursor
	case (pagination.Page || pagination.Offset) && items > 0:
		r.Page++
		r.Offset += items
	default:
		return true, nil
	}
	if r.Empty++; items > 0 {
		r.Empty = 0
	} else if r.Empty >= maxEmpty {
		return true, nil
	}
	if at := r.Next + "\n" + r.Cursor + "\n" + strconv.Itoa(r.Page) + "\n" + strconv.Itoa(r.Offset); short([]byte(at)) == r.Mark || r.Next == from {
		return false, w.circle("the pages lead in a circle")
	} else if r.Asked&(r.Asked-1) == 0 {
		r.Mark = short([]byte(at))
	}
	return false, nil
}

// circle is a problem with the way from page to page; the next run begins at its beginning.
func (*work) circle(message string) *problem {
	return &problem{message: message, restart: true}
}

// handOver hands over the items of a page that are new and old enough, the oldest first
// where their times are known, and returns the time of the oldest item of the page and
// whether some have to wait.
func (w *work) handOver(ctx context.Context, raws []gjson.Result) (oldest time.Time, waits bool, err error) {
	settings, r, now := w.feed.Source.Poll, w.progress.Run, w.clock.Now()
	var list []item
	for _, raw := range raws {
		i := newItem(raw)
		if !i.at.IsZero() && (oldest.IsZero() || i.at.Before(oldest)) {
			oldest = i.at
		}
		if standing, _ := w.progress.memory.look(&i, w.progress.Runs); standing == unchanged {
			w.remember(&i)
			continue
		}
		if w.plan.open == nil {
			if found, ok := w.describe(i.received()); ok && !found.OccurredAt.IsZero() {
				i.at = found.OccurredAt
			}
		}
		standing, before := w.progress.memory.look(&i, w.progress.Runs)
		if standing == late {
			continue
		}
		i.again = before
		switch {
		case i.at.IsZero():
		case settings.Reconciles != "" && now.Sub(i.at) < settings.Grace && !i.at.After(now):
			waits = true
			if r.Waiting.IsZero() || i.at.Before(r.Waiting) {
				r.Waiting = i.at
			}
			continue
		case !w.plan.timed && i.at.Before(settings.Since):
			continue
		}
		list = append(list, i)
	}
	if !slices.ContainsFunc(list, func(i item) bool { return i.at.IsZero() }) {
		slices.SortStableFunc(list, func(a, b item) int { return a.at.Compare(b.at) })
	}
	if list, err = w.unknown(ctx, list); err != nil {
		return oldest, waits, err
	}
	for len(list) > 0 {
		n := min(len(list), batch)
		if w.plan.open != nil {
			n = min(n, openBatch)
		}
		if err := w.receive(ctx, list[:n]); err != nil {
			return oldest, waits, err
		}
		list = list[n:]
	}
	return oldest, waits, nil
}

// unknown leaves out the items that are events already, where each one would take a
// request to find that out: by the dedupe keys that the list alone gives them. An
// expression may want to see more than the list has, so it keeps all of them.
func (w *work) unknown(ctx context.Context, list []item) ([]item, error) {
	of := w.becomes()
	if w.plan.closed == nil || of == nil || of.DedupeKey != "" || w.feed.Source.DedupeKey != "" {
		return list, nil
	}
	left := make([]item, 0, len(list))
	for part := range slices.Chunk(list, batch) {
		keys := make([]string, len(part))
		for n := range part {
			if found, ok := w.describe(w.plan.closed(&part[n])); ok {
				keys[n] = found.DedupeKey
			}
		}
		known, err := w.known(ctx, slices.DeleteFunc(slices.Clone(keys), func(key string) bool { return key == "" }))
		if err != nil {
			return nil, fmt.Errorf("ask for dedupe keys: %w", err)
		}
		for n, i := range part {
			if keys[n] == "" || !known[keys[n]] {
				left = append(left, i)
				continue
			}
			w.settled(&i)
		}
	}
	return left, nil
}

// settled notes that an item is an event.
func (w *work) settled(i *item) {
	w.remember(i)
	if r := w.progress.Run; i.at.After(r.Newest) {
		r.Newest = i.at
	}
}

// remember notes that the run has listed an item, which is handed over as it is.
func (w *work) remember(i *item) { w.progress.memory.note(i, w.progress.Runs) }

// How many items are handed over at once; fewer where each of them is a request.
const (
	batch     = receive.MaxItems
	openBatch = 10
)

// receive hands items over. What could be had before a problem came up is durable, and
// seen, when it returns.
func (w *work) receive(ctx context.Context, list []item) error {
	items := make([]receive.Item, 0, len(list))
	given := make([]*item, 0, len(list))
	var trouble error
	for n := range list {
		i := &list[n]
		one := i.received()
		if w.plan.open != nil {
			if w.progress.NotBefore.After(w.clock.Now()) {
				trouble = &problem{message: "the API wants to be asked later", patience: true}
				break
			}
			opened, err := w.plan.open(ctx, w, i)
			if errors.Is(err, errGone) {
				w.logger.WarnContext(ctx, "an item is listed, and what it is about cannot be had any more", slog.String("item", i.key()))
				w.remember(i)
				continue
			}
			if err != nil {
				trouble = err
				break
			}
			one.Body, one.Header = opened.Body, opened.Header
		}
		items, given = append(items, one), append(given, i)
	}
	if len(items) > 0 {
		got, err := w.feed.Receive(ctx, items)
		if err != nil {
			return err
		}
		w.progress.Run.New += got.Stored
		for _, i := range given {
			w.settled(i)
		}
	}
	return trouble
}

// received is an item as the door takes it.
func (i *item) received() receive.Item {
	return receive.Item{
		Body: []byte(i.raw.Raw), ContentType: "application/json",
		Found: webhook.Extracted{DedupeKey: i.key(), OccurredAt: i.at},
	}
}
