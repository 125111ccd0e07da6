package gate_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/graph/gate"
)

// clock is set by hand.
type clock struct{ now time.Time }

func (c *clock) Now() time.Time { return c.now }

func newClock() *clock { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

// Whatever is asked, and whatever the clock does: what a bucket holds lies between
// nothing and its maximum, and in no stretch of time is more granted than that
// maximum and what came back meanwhile.
func TestPointsAreNeverMoreThanThereAre(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		maximum := rapid.IntRange(1, 1000).Draw(t, "maximum")
		perSecond := rapid.IntRange(1, 1000).Draw(t, "rate")
		c := newClock()
		p := gate.NewPoints(gate.PointsConfig{Maximum: maximum, RestoreRate: perSecond}, c)
		type grant struct {
			at   time.Time
			cost int
		}
		var grants []grant
		latest := c.now
		p.Balance("a") // from here on it knows the time
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			c.now = c.now.Add(time.Duration(rapid.IntRange(-500, 2_000).Draw(t, "ms")) * time.Millisecond)
			if c.now.After(latest) {
				latest = c.now
			}
			before := p.Balance("a")
			cost := rapid.IntRange(0, maximum+1).Draw(t, "cost")
			left, wait, ok := p.Charge("a", cost)
			if left.Available < 0 || left.Available > maximum || left.ResetAt.Before(latest) {
				t.Fatalf("holds %+v", left)
			}
			switch {
			case ok && left.Available != before.Available-cost:
				t.Fatalf("%+v minus %d is %+v", before, cost, left)
			case ok:
				grants = append(grants, grant{latest, cost})
			case cost <= before.Available:
				t.Fatalf("%d of %+v was refused", cost, before)
			case left.Available != before.Available:
				t.Fatalf("a refusal took some of %+v: %+v", before, left)
			case cost <= maximum: // the time that is said is neither too early nor much too late
				if wait <= 0 || wait > time.Duration(float64(maximum)/float64(perSecond)*float64(time.Second))+time.Microsecond {
					t.Fatalf("wait %s", wait)
				}
			}
		}
		for i := range grants {
			sum := 0
			for _, one := range grants[i:] {
				sum += one.cost
				most := float64(maximum) + float64(perSecond)*one.at.Sub(grants[i].at).Seconds()
				if float64(sum) > most+1e-3 {
					t.Fatalf("%d points in %s", sum, one.at.Sub(grants[i].at))
				}
			}
		}
	})
}

func TestPointsComeBackAtTheirRateAndWhenItIsSaid(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		maximum := rapid.IntRange(10, 1_000_000).Draw(t, "maximum")
		perSecond := rapid.IntRange(1, 1_000_000).Draw(t, "rate")
		c := newClock()
		p := gate.NewPoints(gate.PointsConfig{Maximum: maximum, RestoreRate: perSecond}, c)
		left, _, _ := p.Charge("a", maximum)
		if left.Available != 0 {
			t.Fatalf("left %+v", left)
		}
		cost := rapid.IntRange(1, maximum).Draw(t, "cost")
		_, wait, ok := p.Charge("a", cost)
		if exact := float64(cost) / float64(perSecond); ok || wait.Seconds() < exact-1e-9 || wait.Seconds() > exact+1e-6 {
			t.Fatalf("%t, wait %s for %d points at %d a second", ok, wait, cost, perSecond)
		}
		c.now = c.now.Add(wait + time.Microsecond)
		if _, _, ok := p.Charge("a", cost); !ok {
			t.Fatalf("%d points are not there when it was said", cost)
		}
		c.now = p.Balance("a").ResetAt.Add(time.Microsecond)
		if left := p.Balance("a"); left.Available != maximum {
			t.Fatalf("not full when it was said: %+v", left)
		}
	})
}

// Memory is bounded, and nobody gets points back because others came.
func TestAFullTableRefillsNobody(t *testing.T) {
	t.Parallel()
	c := newClock()
	p := gate.NewPoints(gate.PointsConfig{Maximum: 100, RestoreRate: 1, Credentials: 10}, c)
	for i := range 10 {
		if _, _, ok := p.Charge(fmt.Sprint(i), 100); !ok {
			t.Fatal("a new bucket is not full")
		}
	}
	granted := 0
	for i := range 1000 { // all of them share one bucket
		if _, _, ok := p.Charge(fmt.Sprint("new", i), 1); ok {
			granted++
		}
	}
	if granted != 100 {
		t.Errorf("newcomers were granted %d points", granted)
	}
	for i := range 10 {
		if left := p.Balance(fmt.Sprint(i)); left.Available != 0 {
			t.Errorf("%d has %+v", i, left)
		}
	}
	c.now = c.now.Add(100 * time.Second)
	if left := p.Balance("newest"); left.Available != 100 {
		t.Errorf("a newcomer after all are full again: %+v", left)
	}
	if _, _, ok := p.Charge("newest", 100); !ok {
		t.Error("it has no bucket of its own")
	}
	if left := p.Balance("another"); left.Available != 100 {
		t.Errorf("they share one: %+v", left)
	}
}

// Whatever is taken: no more is ever owed than a bucket holds, nothing is granted before it
// has come back, and the time that is said is when it has.
func TestWhatIsTakenIsOwed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		maximum := rapid.IntRange(1, 100_000).Draw(t, "maximum")
		perSecond := rapid.IntRange(1, 100_000).Draw(t, "rate")
		c := newClock()
		p := gate.NewPoints(gate.PointsConfig{Maximum: maximum, RestoreRate: perSecond}, c)
		holds := maximum // less than nothing where some are owed
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			cost := rapid.IntRange(-1, 3*maximum).Draw(t, "cost")
			holds = max(holds-min(max(cost, 0), maximum), -maximum)
			p.Take("a", cost)
			if left := p.Balance("a"); left.Available != max(holds, 0) {
				t.Fatalf("%+v, want %d", left, holds)
			}
		}
		if _, _, ok := p.Charge("a", 1); ok != (holds >= 1) {
			t.Fatalf("%d points, granted: %t", holds, ok)
		}
		if holds >= 1 {
			return
		}
		wait := p.Owed("a")
		if exact := float64(-holds) / float64(perSecond); wait.Seconds() < exact-1e-6 || wait.Seconds() > exact+1e-6 {
			t.Fatalf("wait %s for %d points at %d a second", wait, -holds, perSecond)
		}
		c.now = c.now.Add(wait + time.Microsecond)
		if wait := p.Owed("a"); wait != 0 {
			t.Fatalf("%s are left of the wait", wait)
		}
	})
}
