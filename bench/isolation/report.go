package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

func (b *bench) print(c scenario, before, during []phase) {
	name, goal := c.name, goalOfOne
	if c.many {
		name, goal = strings.Replace(name, "many", fmt.Sprint(b.bad), 1), goalOfMany
	}
	fmt.Println(name)
	printLatencies("healthy", before, during, goal)
	printHeld(before, during)
}

// printLatencies shows latencies beside those before, and the median of the ratios of
// the rounds with what became of the goal for the p99. The disk's own time is beside
// them: where its ratio is no better, the others tell of the disk.
func printLatencies(name string, before, during []phase, goal float64) {
	for _, figure := range []struct {
		name string
		of   func(phase) float64
		goal float64
	}{
		{"p50", func(p phase) float64 { return p.p50 }, 0},
		{"p99", func(p phase) float64 { return p.p99 }, goal},
		{"p99 of a median second", func(p phase) float64 { return p.second }, goal},
		{"fdatasync p99", func(p phase) float64 { return p.disk }, 0},
	} {
		r := ratiosOf(before, during, figure.of)
		fmt.Printf("    %s %-22s %9s, before %9s   ratio %s%s\n", name, figure.name,
			ms(median(during, figure.of)), ms(median(before, figure.of)), r, r.verdict(figure.goal))
	}
}

// ratios are those of the rounds, each to the phase before it in the same round, the
// smallest first.
type ratios []float64

func ratiosOf(before, during []phase, of func(phase) float64) ratios {
	all := make(ratios, len(before))
	for i := range before {
		all[i] = of(during[i]) / of(before[i])
	}
	slices.Sort(all)
	return all
}

// interval is where the median of all rounds that could be made lies, with 95 %
// confidence, whatever the ratios are like: between two of them in their order, by the
// binomial distribution. Fewer than 6 rounds do not tell.
func (r ratios) interval() (low, high float64, known bool) {
	n := len(r)
	outside, chance := 0.0, math.Pow(0.5, float64(n)) // of k ratios below the median
	for k := 0; k < n/2; k++ {
		if outside += chance; 2*outside > 0.05 {
			return r[max(k-1, 0)], r[n-max(k, 1)], k > 0
		}
		chance *= float64(n-k) / float64(k+1)
	}
	return r[0], r[n-1], false
}

func (r ratios) String() string {
	text := fmt.Sprintf("%.2f (%.2f to %.2f", middle(r), r[0], r[len(r)-1])
	if low, high, known := r.interval(); known {
		text += fmt.Sprintf("; 95 %%: %.2f to %.2f", low, high)
	}
	return text + ")"
}

// verdict says whether the median keeps a goal.
func (r ratios) verdict(goal float64) string {
	low, high, known := r.interval()
	switch {
	case goal == 0:
		return ""
	case known && high <= goal:
		return fmt.Sprintf("   within %.2f", goal)
	case known && low > goal:
		return fmt.Sprintf("   beyond %.2f", goal)
	}
	return fmt.Sprintf("   %.2f neither shown nor refuted", goal)
}

// printHeld shows what surrounds the latencies, and what the hub held at most.
func printHeld(before, during []phase) {
	fmt.Printf("    acknowledged p99 %s, before %s\n",
		ms(median(during, func(p phase) float64 { return p.ack })), ms(median(before, func(p phase) float64 { return p.ack })))
	both := func(of func(phase) float64) string {
		return fmt.Sprintf("%.0f, before %.0f", median(during, of), median(before, of))
	}
	fmt.Printf("    resident MiB %s   sockets %s   goroutines %s   in flight %s   processor time %.1f s, before %.1f s\n\n",
		both(func(p phase) float64 { return p.resident }), both(func(p phase) float64 { return p.sockets }),
		both(func(p phase) float64 { return p.goroutines }), both(func(p phase) float64 { return p.inFlight }),
		median(during, func(p phase) float64 { return p.cpu }), median(before, func(p phase) float64 { return p.cpu }))
}

func median(phases []phase, of func(phase) float64) float64 {
	all := make([]float64, len(phases))
	for i, p := range phases {
		all[i] = of(p)
	}
	return middle(all)
}

func middle(all []float64) float64 {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

func ms(seconds float64) string { return fmt.Sprintf("%.2f ms", seconds*1000) }
