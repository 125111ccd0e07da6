package catalogue_test

import (
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/catalogue"
	"github.com/hookgraph/hookgraph/internal/hub"
)

// silentAfter sets how long the source may be silent.
func (b *bundle) silentAfter(d time.Duration) {
	b.t.Helper()
	b.change(func(src *hub.Source) { src.SilentAfter = d })
}

func (b *bundle) change(edit func(*hub.Source)) {
	b.t.Helper()
	_, err := b.store.UpdateSource(b.t.Context(), b.source.ID, func(src *hub.Source) error {
		edit(src)
		return nil
	})
	must(b.t, err)
}

func TestSilenceIsToldOnceAndSoIsItsEnd(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		b.silentAfter(time.Hour)
		b.event(b.source, "one", `{}`)
		spoke := b.clock.Now()
		b.pass(50*time.Minute, time.Minute)
		b.quiet(hub.SourceSilentType)
		b.pass(11*time.Minute, time.Minute)
		facts := b.told(hub.SourceSilentType)
		if len(facts) != 1 || facts[0].SourceID != b.source.ID || !facts[0].SilentSince.Equal(spoke) || facts[0].ExpectedOnce != 3600 || !facts[0].Set {
			b.t.Fatalf("told %+v", facts)
		}
		if w := b.watched(); !w.SilentSince.Equal(spoke) {
			b.t.Fatalf("it is silent since %v", w.SilentSince)
		}
		b.keeper = b.newKeeper() // another process
		b.pass(2*time.Hour, time.Minute)
		b.quiet(hub.SourceSilentType, hub.SourceResumedType)

		b.event(b.source, "one", `{}`, func(ev *hub.Event) { ev.Recovered = true })
		b.pass(time.Minute, time.Minute)
		b.quiet(hub.SourceResumedType) // somebody else has found that one
		b.event(b.source, "one", `{}`)
		again := b.clock.Now()
		b.pass(2*time.Minute, time.Minute)
		facts = b.told(hub.SourceResumedType)
		if len(facts) != 1 || !facts[0].SilentSince.Equal(spoke) || !facts[0].ResumedAt.Equal(again) {
			b.t.Fatalf("told %+v", facts)
		}
		b.pass(time.Hour, time.Minute)
		if facts = b.told(hub.SourceSilentType); len(facts) != 1 {
			b.t.Fatalf("the second silence was told %d times", len(facts))
		}
	})
}

func TestWhoIsPausedOrWasNotHeardIsNotSilent(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		b.silentAfter(time.Hour)
		b.event(b.source, "one", `{}`)
		b.look()
		b.change(func(src *hub.Source) { src.State = hub.SourcePaused })
		b.pass(2*time.Hour, 100*time.Second)
		b.change(func(src *hub.Source) { src.State = hub.SourceActive })
		b.pass(50*time.Minute, time.Minute)
		b.quiet(hub.SourceSilentType)
		// The hub is not running for a while, and could hear nobody.
		b.clock.Advance(5 * time.Hour)
		b.keeper = b.newKeeper()
		b.pass(50*time.Minute, time.Minute)
		b.quiet(hub.SourceSilentType)
		b.pass(15*time.Minute, time.Minute)
		if facts := b.told(hub.SourceSilentType); len(facts) != 1 {
			b.t.Fatalf("told %+v", facts)
		}
	})
}

func TestTheRhythmOfASourceIsLearned(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		speak := func(times int) {
			for range times {
				b.event(b.source, "one", `{}`)
				b.clock.Advance(10 * time.Minute)
			}
			b.look()
		}
		speak(140)
		if usual := b.watched().UsualPause; usual != 0 {
			b.t.Fatalf("after less than a day it may be silent for %v", usual)
		}
		speak(10)
		usual := b.watched().UsualPause
		if usual < 30*time.Minute || usual > 2*time.Hour {
			b.t.Fatalf("with an event each ten minutes it may be silent for %v", usual)
		}
		b.pass(2*time.Hour, 110*time.Second)
		if facts := b.told(hub.SourceSilentType); len(facts) != 1 || facts[0].Set || facts[0].ExpectedOnce == 0 {
			b.t.Fatalf("told %+v", facts)
		}
	})
}

func TestHowLongAPauseIsUsual(t *testing.T) {
	t.Parallel()
	monday := time.Date(2026, 3, 2, 8, 0, 0, 0, time.UTC)
	span := func(at time.Time, n int) hub.Activity {
		return hub.Activity{Start: at, Width: 5 * time.Minute, Received: n}
	}
	var working, sparse, repeated []hub.Activity // every five minutes from 8 to 18, five days; every three hours; every hour
	for day := range 5 {
		for five := range 120 {
			working = append(working, span(monday.AddDate(0, 0, day).Add(time.Duration(five)*5*time.Minute), 40))
		}
	}
	for i := range 50 {
		sparse = append(sparse, span(monday.Add(time.Duration(i)*3*time.Hour), 1))
	}
	for hour := range 25 {
		repeated = append(repeated, hub.Activity{Start: monday.Add(time.Duration(hour) * time.Hour), Width: 5 * time.Minute, Duplicates: 30})
	}
	for name, c := range map[string]struct {
		spans       []hub.Activity
		least, most time.Duration
	}{
		"nothing":                        {nil, 0, 0},
		"too little":                     {sparse[:19], 0, 0},
		"one burst":                      {[]hub.Activity{span(monday, 500)}, 0, 0},
		"a burst of hours":               {working[:120], 0, 0},
		"two bursts, two days apart":     {[]hub.Activity{span(monday, 500), span(monday.AddDate(0, 0, 2), 500)}, 71 * time.Hour, 72 * time.Hour},
		"working hours, quiet at night":  {working, 20 * time.Hour, 22 * time.Hour},
		"an event every three hours":     {sparse, 14 * time.Hour, 15 * time.Hour},
		"duplicates are signs of life":   {repeated, 5 * 55 * time.Minute, 5 * 55 * time.Minute},
		"what is refused is not counted": {[]hub.Activity{}, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := catalogue.UsualPause(c.spans); got < c.least || got > c.most {
				t.Errorf("it is %v, not %v to %v", got, c.least, c.most)
			}
		})
	}
}

func TestASourceThatCannotBeFetchedFromIsToldOnceAndSoIsItsEnd(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		polled := &hub.Source{
			ID: hub.NewID(hub.SourcePrefix, b.clock.Now()), Name: "Items", Slug: "items", Kind: hub.SourcePoll, State: hub.SourceActive,
			MaxBodyBytes: hub.DefaultMaxBodyBytes, Poll: &hub.Poll{URL: "https://api.example.com", Interval: time.Minute, Items: "$[*]"},
		}
		must(b.t, b.store.CreateSource(b.t.Context(), polled))
		b.source = polled
		state := &hub.Fetch{SourceID: polled.ID}
		try := func(problem string) { // as the feed of a source stores it
			if state.Error = problem; problem == "" {
				state.Failures, state.FailingSince = 0, time.Time{}
			} else if state.Failures++; state.Failures == 1 {
				state.FailingSince = b.clock.Now()
			}
			taken, err := b.store.TakeFetch(b.t.Context(), polled.ID, "node", b.clock.Now().Add(time.Hour))
			must(b.t, err)
			if taken == nil {
				b.t.Fatal("another node has the source")
			}
			must(b.t, b.store.SaveFetch(b.t.Context(), state, "node", b.clock.Now().Add(time.Hour)))
		}
		b.look()
		try("the API answered 500")
		b.pass(time.Hour, 100*time.Second)
		b.quiet(hub.SourceFailingType) // it has not been tried again
		try("")
		b.look()
		b.quiet(hub.SourceFailingType, hub.SourceResumedType)

		try("the API answered 500")
		began := b.clock.Now()
		b.pass(4*time.Minute, time.Minute)
		try("the API answered 502")
		b.look()
		b.quiet(hub.SourceFailingType) // for less than five minutes
		b.pass(time.Minute, 10*time.Second)
		facts := b.told(hub.SourceFailingType)
		if len(facts) != 1 || facts[0].SourceID != polled.ID || !facts[0].FailingSince.Equal(began) || facts[0].Failures != 2 || facts[0].Error != "the API answered 502" {
			b.t.Fatalf("told %+v", facts)
		}
		b.keeper = b.newKeeper() // another process
		try("the API answered 502")
		b.pass(time.Hour, 100*time.Second)
		b.quiet(hub.SourceFailingType, hub.SourceResumedType)
		try("")
		b.pass(time.Minute, 10*time.Second)
		facts = b.told(hub.SourceResumedType)
		if len(facts) != 1 || !facts[0].FailingSince.Equal(began) || facts[0].ResumedAt == nil || facts[0].SilentSince != nil || facts[0].Error != "" {
			b.t.Fatalf("told %+v", facts)
		}

		// A pause ends it without a word, and so it is not known whether it works again.
		try("the API answered 500")
		b.pass(time.Minute, 10*time.Second)
		try("the API answered 500")
		b.pass(5*time.Minute, time.Minute)
		if facts := b.told(hub.SourceFailingType); len(facts) != 1 {
			b.t.Fatalf("the second failure was told %d times", len(facts))
		}
		_, err := b.store.UpdateSource(b.t.Context(), polled.ID, func(src *hub.Source) error { src.State = hub.SourcePaused; return nil })
		must(b.t, err)
		b.pass(time.Minute, 10*time.Second)
		if w := b.watched(); !w.FailingSince.IsZero() {
			b.t.Fatalf("it is failing since %v in spite of its pause", w.FailingSince)
		}
		b.quiet(hub.SourceResumedType)
	})
}

func TestRefusingMostRequestsIsToldOnce(t *testing.T) {
	t.Parallel()
	eachDatabase(t, func(b *bundle) {
		refuse := func(n int, reason hub.RejectionReason) {
			for range n {
				must(b.t, b.store.Reject(b.t.Context(), &hub.Rejection{
					ID: hub.NewID(hub.RejectionPrefix, b.clock.Now()), SourceID: b.source.ID, Reason: reason, Method: "POST", ReceivedAt: b.clock.Now(),
				}))
			}
		}
		b.look()
		refuse(19, hub.RejectedSignatureInvalid)
		refuse(30, hub.RejectedCaptured)
		b.pass(20*time.Second, 10*time.Second)
		b.quiet(hub.SourceRejectingType) // too few; what is captured is wanted
		b.events(b.source, "one", bodies(40, `{}`))
		refuse(11, hub.RejectedTimestamp)
		b.pass(20*time.Second, 10*time.Second)
		b.quiet(hub.SourceRejectingType) // less than half
		refuse(20, hub.RejectedTimestamp)
		b.pass(time.Minute, 10*time.Second)
		facts := b.told(hub.SourceRejectingType)
		if len(facts) != 1 || facts[0].Requests != 90 || facts[0].Rejected != 50 ||
			facts[0].Reasons[hub.RejectedSignatureInvalid] != 19 || facts[0].Reasons[hub.RejectedTimestamp] != 31 || len(facts[0].Reasons) != 2 {
			b.t.Fatalf("told %+v", facts)
		}
		if b.watched().RejectingSince.IsZero() {
			b.t.Fatal("the source says nothing of it")
		}
		b.keeper = b.newKeeper()
		refuse(50, hub.RejectedTimestamp)
		b.pass(4*time.Minute, 10*time.Second)
		b.quiet(hub.SourceRejectingType) // the same spike
		b.pass(5*time.Minute, 10*time.Second)
		if since := b.watched().RejectingSince; !since.IsZero() {
			b.t.Fatalf("it is refusing since %v", since)
		}
		refuse(20, hub.RejectedTimestamp)
		b.pass(time.Minute, 10*time.Second)
		if facts := b.told(hub.SourceRejectingType); len(facts) != 1 {
			b.t.Fatalf("the next spike was told %d times", len(facts))
		}
	})
}
